#include "worker/ops/attention.h"

namespace worker {
namespace {

double CausalProductFlops(const Dims& q) {  // one T x T x D product for all heads, half of it
  return static_cast<double>(q[0]) * q[1] * q[1] * q[2] * q[3];
}

}  // namespace

TensorId Attention(Graph& graph, TensorId q, TensorId k, TensorId v, const AttentionShape& shape) {
  const Dims in = graph.tensor(q).dims;
  const TensorId o = graph.Activation("attention", {in[0], in[1], shape.heads * shape.head_dim});
  const TensorId lse =
      graph.Activation("attention.lse", {in[0], shape.heads, in[1]}, Element::kAccum);
  graph.Apply(std::make_unique<AttentionOp>(shape), {q, k, v}, {o, lse});
  return o;
}

void AttentionOp::Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                           std::span<TensorId> grad_in) const {
  for (int i = 0; i < 3; ++i) {
    const Tensor t = graph.tensor(node.inputs[i]);
    if (t.view_of == kNoTensor) {
      grad_in[i] = graph.Activation("d." + t.name, t.dims);
    } else {  // whoever made the view fills the rest
      const Tensor whole = graph.tensor(t.view_of);
      grad_in[i] = graph.View("d." + t.name, graph.Activation("d." + whole.name, whole.dims),
                              t.dims, t.view_offset);
    }
  }
  graph.Apply(std::make_unique<AttentionBackwardOp>(shape_),
              {node.inputs[0], node.inputs[1], node.inputs[2], node.outputs[0], node.outputs[1],
               grad_out[0]},
              {grad_in[0], grad_in[1], grad_in[2]});
}

double AttentionOp::MatmulFlops(const Graph& graph, const Node& node) const {
  return 2 * CausalProductFlops(graph.tensor(node.inputs[0]).dims);
}
double AttentionBackwardOp::MatmulFlops(const Graph& graph, const Node& node) const {
  return 4 * CausalProductFlops(graph.tensor(node.inputs[0]).dims);
}

}  // namespace worker
