#include "worker/ops/head_loss.h"

#include "core/check.h"

namespace worker {

TensorId HeadLoss(Graph& graph, TensorId x, TensorId weight, TensorId targets, int64_t vocab,
                  bool training, double scale, double z_weight) {
  const TensorId loss = graph.Add(
      {.name = "loss", .dims = {3}, .element = Element::kAccum, .storage = Storage::kOutput});
  TensorId dx = kNoTensor, dweight = kNoTensor;
  if (training) {
    dx = graph.Activation("d." + graph.tensor(x).name, graph.tensor(x).dims);
    dweight = graph.GradOf(weight);
  }
  graph.Apply(std::make_unique<HeadLossOp>(vocab, training, scale, z_weight), {x, weight, targets},
              {loss, dx, dweight});
  return loss;
}

void HeadLossOp::Backward(Graph&, const Node& node, std::span<const TensorId>,
                          std::span<TensorId> grad_in) const {
  SWEEP_CHECK(training_);
  grad_in[0] = node.outputs[1];
}

double HeadLossOp::MatmulFlops(const Graph& graph, const Node& node) const {
  const double product = 2.0 * NumElements(graph.tensor(node.inputs[0]).dims) * vocab_;
  return training_ ? 3 * product : product;
}

}  // namespace worker
