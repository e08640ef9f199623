#include "worker/ops/linear.h"

namespace worker {
namespace {

double ProductFlops(const Graph& graph, TensorId rows_by_n, TensorId rows_by_k) {
  const double elements = static_cast<double>(NumElements(graph.tensor(rows_by_n).dims));
  return 2.0 * elements * static_cast<double>(graph.tensor(rows_by_k).dims.back());
}

}  // namespace

TensorId Linear(Graph& graph, TensorId x, TensorId weight, int64_t out_features) {
  Dims dims = graph.tensor(x).dims;
  dims.back() = out_features;
  const TensorId y = graph.Activation(graph.tensor(weight).name + ".out", dims);
  graph.Apply(std::make_unique<LinearOp>(), {x, weight}, {y});
  return y;
}

void LinearOp::Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                        std::span<TensorId> grad_in) const {
  const TensorId x = node.inputs[0], weight = node.inputs[1];
  graph.Apply(std::make_unique<LinearBackwardWeightOp>(), {grad_out[0], x}, {graph.GradOf(weight)});
  grad_in[0] = graph.Activation("d." + graph.tensor(x).name, graph.tensor(x).dims);
  graph.Apply(std::make_unique<LinearBackwardInputOp>(), {grad_out[0], weight}, {grad_in[0]});
}

double LinearOp::MatmulFlops(const Graph& graph, const Node& node) const {
  return ProductFlops(graph, node.outputs[0], node.inputs[0]);
}
double LinearBackwardInputOp::MatmulFlops(const Graph& graph, const Node& node) const {
  return ProductFlops(graph, node.inputs[0], node.outputs[0]);
}
double LinearBackwardWeightOp::MatmulFlops(const Graph& graph, const Node& node) const {
  return ProductFlops(graph, node.inputs[0], node.inputs[1]);
}

}  // namespace worker
