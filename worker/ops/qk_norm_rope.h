// Splits a fused qkv projection into heads, with RMSNorm of each q and k head and rotary position
// embedding.
//   inputs  qkv (B, T, (H + 2 KV) D): H query heads, KV key heads, KV value heads; q_gain (D),
//   k_gain (D), both absent
//           without QK-norm; cosine and sine (T, D/2) constants
//   outputs q (B, T, H, D); k (B, T, KV, D); v (B, T, KV, D), a view of qkv; rstd (B, T, H + KV),
//   absent without QK-norm
// Rotary layout is Hugging Face's: the halves x1 = x[0:D/2], x2 = x[D/2:D] become (x1 cos - x2 sin,
// x2 cos + x1 sin). Sources: Su et al., "RoFormer", 2021, eq. 34; Henry et al., "Query-key
// normalization", 2020; Qwen3 for the order.
#pragma once

#include "worker/graph/op.h"

namespace worker {

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
};

struct HeadsOutputs {
  TensorId q, k, v;
};
HeadsOutputs QkNormRope(Graph& graph, TensorId qkv, TensorId q_gain, TensorId k_gain,
                        TensorId cosine, TensorId sine, const AttentionShape& shape, double eps);

class QkNormRopeOp : public Op {
 public:
  QkNormRopeOp(const AttentionShape& shape, double eps) : shape_(shape), eps_(eps) {}
  const char* Name() const override { return "qk_norm_rope"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override;
  bool Repeat(Graph& graph, const Node& node, std::span<TensorId> again) const override;
  WORKER_OP_RUN;

 private:
  AttentionShape shape_;
  double eps_;
};

// inputs  qkv, q_gain, k_gain, cosine, sine, rstd, dq, dk, dv: a view of dqkv that is there already
// outputs dqkv, the heads of q and k; dq_gain, dk_gain (added to; absent without QK-norm)
class QkNormRopeBackwardOp : public Op {
 public:
  explicit QkNormRopeBackwardOp(const AttentionShape& shape) : shape_(shape) {}
  const char* Name() const override { return "qk_norm_rope_backward"; }
  WORKER_OP_RUN;

 private:
  AttentionShape shape_;
};

}  // namespace worker
