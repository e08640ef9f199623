#include "worker/graph/autodiff.h"

#include <algorithm>

#include "core/check.h"
#include "worker/graph/op.h"
#include "worker/ops/add.h"

namespace worker {

size_t Differentiate(Graph& graph, TensorId loss) {
  const size_t forward_nodes = graph.nodes().size();
  std::vector<TensorId> grad(graph.tensors().size(), kNoTensor);
  grad[loss] = loss;  // the seed: the loss op ignores its value
  for (size_t i = forward_nodes; i-- > 0;) {
    // Copies, because Backward appends nodes.
    const std::vector<TensorId> inputs = graph.nodes()[i].inputs;
    const std::vector<TensorId> outputs = graph.nodes()[i].outputs;
    const Op& op = *graph.nodes()[i].op;
    std::vector<TensorId> grad_out(outputs.size(), kNoTensor), grad_in(inputs.size(), kNoTensor);
    for (size_t o = 0; o < outputs.size(); ++o) {
      if (outputs[o] != kNoTensor) grad_out[o] = grad[outputs[o]];
    }
    if (std::all_of(grad_out.begin(), grad_out.end(), [](TensorId id) { return id == kNoTensor; }))
      continue;
    const Node view(nullptr, inputs, outputs);
    op.Backward(graph, view, grad_out, grad_in);
    grad.resize(graph.tensors().size(), kNoTensor);
    for (size_t k = 0; k < inputs.size(); ++k) {
      if (grad_in[k] == kNoTensor) continue;
      if (grad[inputs[k]] == kNoTensor) {
        grad[inputs[k]] = grad_in[k];
      } else {
        SWEEP_CHECK(graph.tensor(grad_in[k]).view_of == kNoTensor);  // sums are of whole tensors
        const TensorId sum =
            graph.Activation("sum." + graph.tensor(grad_in[k]).name, graph.tensor(grad_in[k]).dims);
        graph.Apply(std::make_unique<AddOp>(), {grad[inputs[k]], grad_in[k]}, {sum});
        grad.resize(graph.tensors().size(), kNoTensor);
        grad[inputs[k]] = sum;
      }
    }
  }
  return forward_nodes;
}

}  // namespace worker
