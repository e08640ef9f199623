#include "worker/ops/embedding.h"

namespace worker {

TensorId Embedding(Graph& graph, TensorId tokens, TensorId table, int64_t channels) {
  Dims dims = graph.tensor(tokens).dims;
  dims.push_back(channels);
  const TensorId x = graph.Activation("embedding", dims);
  graph.Apply(std::make_unique<EmbeddingOp>(), {tokens, table}, {x});
  return x;
}

void EmbeddingOp::Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                           std::span<TensorId>) const {
  graph.Apply(std::make_unique<EmbeddingBackwardOp>(), {node.inputs[0], grad_out[0]},
              {graph.GradOf(node.inputs[1])});
}

}  // namespace worker
