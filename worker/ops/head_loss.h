// Output head and cross-entropy in one op that never holds B*T*V logits.
//   inputs  x (B, T, C); W (V, C); targets (B, T) int32, negative = not scored
//   outputs loss (3) accum: sum of nats, sum of lse^2, number of scored targets;
//           when training: dx (B, T, C), and dW (V, C) added to
// The gradient, of  scale * (sum of nats + z_weight * sum of lse^2),  is made in the forward, a
// chunk of rows at a time, while the chunk's logits are in cache. Logits and softmax in f32 (f64 in
// the checker). Sources: cross-entropy with z-loss: Chowdhery et al., "PaLM", 2022, section 5;
// gradient in the forward: Hsu et al., "Liger kernel", 2024.
#pragma once

#include "worker/graph/op.h"

namespace worker {

// Appends the op. With `training` Differentiate() may be called on the result; `scale` is usually 1
// / targets per step.
TensorId HeadLoss(Graph& graph, TensorId x, TensorId weight, TensorId targets, int64_t vocab,
                  bool training, double scale, double z_weight);

class HeadLossOp : public Op {
 public:
  HeadLossOp(int64_t vocab, bool training, double scale, double z_weight)
      : vocab_(vocab), training_(training), scale_(scale), z_weight_(z_weight) {}
  const char* Name() const override { return "head_loss"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override;
  double MatmulFlops(const Graph& graph, const Node& node) const override;
  WORKER_OP_RUN;

 private:
  int64_t vocab_;
  bool training_;
  double scale_, z_weight_;
};

}  // namespace worker
