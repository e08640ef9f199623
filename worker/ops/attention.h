// Causal softmax attention with grouped query heads; head h reads key/value head h / (H / KV).
//   inputs  q (B, T, H, D); k, v (B, T, KV, D); v may be a view, and its gradient then is one too
//   outputs o (B, T, H D) = softmax(q k^T / sqrt(D), causal) v; lse (B, H, T), log of the softmax
//   denominators
// The (T, T) scores are never stored: a block of query rows at a time, recomputed in the backward
// from lse. Sources: Vaswani et al., 2017, eq. 1; Dao et al., "FlashAttention", 2022, for the
// backward from lse; Ainslie et al., "GQA", 2023.
#pragma once

#include "worker/graph/op.h"
#include "worker/ops/qk_norm_rope.h"

namespace worker {

// Whether CUDA runs a head size with our own kernels (attention_forward.cu, attention_backward.cu)
// and not with cuDNN's.
constexpr bool HasFusedAttention(int64_t head_dim) {
  return head_dim == 32 || head_dim == 64 || head_dim == 128;
}

TensorId Attention(Graph& graph, TensorId q, TensorId k, TensorId v, const AttentionShape& shape);

class AttentionOp : public Op {
 public:
  explicit AttentionOp(const AttentionShape& shape) : shape_(shape) {}
  const char* Name() const override { return "attention"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override;
  // 2 products of T x T x D a head, causal half: 2 T^2 H D a sequence.
  double MatmulFlops(const Graph& graph, const Node& node) const override;
  WORKER_OP_RUN;

 private:
  AttentionShape shape_;
};

// inputs q, k, v, o, lse, do; outputs dq, dk, dv.
class AttentionBackwardOp : public Op {
 public:
  explicit AttentionBackwardOp(const AttentionShape& shape) : shape_(shape) {}
  const char* Name() const override { return "attention_backward"; }
  // 4 products with stored scores; the recomputed one is not counted.
  double MatmulFlops(const Graph& graph, const Node& node) const override;
  WORKER_OP_RUN;

 private:
  AttentionShape shape_;
};

}  // namespace worker
