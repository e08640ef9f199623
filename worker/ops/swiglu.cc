#include "worker/ops/swiglu.h"

namespace worker {

TensorId SwiGlu(Graph& graph, TensorId gate_up) {
  Dims dims = graph.tensor(gate_up).dims;
  dims.back() /= 2;
  const TensorId y = graph.Activation("swiglu", dims);
  graph.Apply(std::make_unique<SwiGluOp>(), {gate_up}, {y});
  return y;
}

void SwiGluOp::Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                        std::span<TensorId> grad_in) const {
  const TensorId gate_up = node.inputs[0];
  grad_in[0] = graph.Activation("d." + graph.tensor(gate_up).name, graph.tensor(gate_up).dims);
  graph.Apply(std::make_unique<SwiGluBackwardOp>(), {gate_up, grad_out[0]}, {grad_in[0]});
}

bool SwiGluOp::Repeat(Graph& graph, const Node& node, std::span<TensorId> again) const {
  again[0] = SwiGlu(graph, node.inputs[0]);
  return true;
}

}  // namespace worker
