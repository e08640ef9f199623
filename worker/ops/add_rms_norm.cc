#include "worker/ops/add_rms_norm.h"

#include "core/check.h"

namespace worker {

NormOutputs AddRmsNorm(Graph& graph, TensorId x, TensorId delta, TensorId gain, double eps,
                       double scale) {
  const Dims dims = graph.tensor(x).dims;
  const std::string name = graph.tensor(gain).name;
  const TensorId sum = delta == kNoTensor ? kNoTensor : graph.Activation(name + ".sum", dims);
  const TensorId y = graph.Activation(name + ".out", dims);
  const TensorId rstd =
      graph.Activation(name + ".rstd", {NumElements(dims) / dims.back()}, Element::kAccum);
  graph.Apply(std::make_unique<AddRmsNormOp>(eps, scale), {x, delta, gain}, {sum, y, rstd});
  return {delta == kNoTensor ? x : sum, y};
}

void AddRmsNormOp::Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                            std::span<TensorId> grad_in) const {
  const bool has_delta = node.inputs[1] != kNoTensor;
  const TensorId sum = has_delta ? node.outputs[0] : node.inputs[0];
  SWEEP_CHECK(grad_out[1] != kNoTensor);
  const Dims dims = graph.tensor(sum).dims;
  const TensorId dx = graph.Activation("d." + graph.tensor(sum).name, dims);
  const bool scaled = has_delta && scale_ != 1;
  const TensorId ddelta =
      scaled ? graph.Activation("d.delta." + graph.tensor(sum).name, dims) : kNoTensor;
  graph.Apply(
      std::make_unique<AddRmsNormBackwardOp>(scale_),
      {sum, node.inputs[2], node.outputs[2], grad_out[1], has_delta ? grad_out[0] : kNoTensor},
      {dx, ddelta, graph.GradOf(node.inputs[2])});
  grad_in[0] = dx;
  if (has_delta) grad_in[1] = scaled ? ddelta : dx;
}

bool AddRmsNormOp::Repeat(Graph& graph, const Node& node, std::span<TensorId> again) const {
  const TensorId sum = node.inputs[1] == kNoTensor ? node.inputs[0] : node.outputs[0];
  again[1] = AddRmsNorm(graph, sum, kNoTensor, node.inputs[2], eps_, scale_).y;
  return true;
}

}  // namespace worker
