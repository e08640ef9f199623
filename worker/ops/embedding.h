// Embedding: rows of a table by token id.
//   inputs  tokens (B, T) int32 in [0, V); table (V, C)
//   output  x (B, T, C)
// Backward adds each row of dx to its table row, in token order: deterministic.
#pragma once

#include "worker/graph/op.h"

namespace worker {

TensorId Embedding(Graph& graph, TensorId tokens, TensorId table, int64_t channels);

class EmbeddingOp : public Op {
 public:
  const char* Name() const override { return "embedding"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override;
  WORKER_OP_RUN;
};

// inputs tokens (B, T), dx (B, T, C); output dtable (V, C), added to.
class EmbeddingBackwardOp : public Op {
 public:
  const char* Name() const override { return "embedding_backward"; }
  WORKER_OP_RUN;
};

}  // namespace worker
