#include "worker/ops/qk_norm_rope.h"

#include "core/check.h"

namespace worker {

HeadsOutputs QkNormRope(Graph& graph, TensorId qkv, TensorId q_gain, TensorId k_gain,
                        TensorId cosine, TensorId sine, const AttentionShape& shape, double eps) {
  const Dims in = graph.tensor(qkv).dims;
  const std::string name = graph.tensor(qkv).name;
  const TensorId q = graph.Activation(name + ".q", {in[0], in[1], shape.heads, shape.head_dim});
  const TensorId k = graph.Activation(name + ".k", {in[0], in[1], shape.kv_heads, shape.head_dim});
  const TensorId v = graph.View(name + ".v", qkv, {in[0], in[1], shape.kv_heads, shape.head_dim},
                                (shape.heads + shape.kv_heads) * shape.head_dim);
  const TensorId rstd =
      q_gain == kNoTensor
          ? kNoTensor
          : graph.Activation(name + ".rstd", {in[0], in[1], shape.heads + shape.kv_heads},
                             Element::kAccum);
  graph.Apply(std::make_unique<QkNormRopeOp>(shape, eps), {qkv, q_gain, k_gain, cosine, sine},
              {q, k, v, rstd});
  return {q, k, v};
}

void QkNormRopeOp::Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                            std::span<TensorId> grad_in) const {
  const bool norm = node.inputs[1] != kNoTensor;
  const TensorId qkv = node.inputs[0];
  SWEEP_CHECK(grad_out[2] != kNoTensor && graph.tensor(grad_out[2]).view_of != kNoTensor);
  grad_in[0] = graph.tensor(grad_out[2]).view_of;
  graph.Apply(std::make_unique<QkNormRopeBackwardOp>(shape_),
              {qkv, node.inputs[1], node.inputs[2], node.inputs[3], node.inputs[4], node.outputs[3],
               grad_out[0], grad_out[1], grad_out[2]},
              {grad_in[0], norm ? graph.GradOf(node.inputs[1]) : kNoTensor,
               norm ? graph.GradOf(node.inputs[2]) : kNoTensor});
}

bool QkNormRopeOp::Repeat(Graph& graph, const Node& node, std::span<TensorId> again) const {
  const HeadsOutputs heads = QkNormRope(graph, node.inputs[0], node.inputs[1], node.inputs[2],
                                        node.inputs[3], node.inputs[4], shape_, eps_);
  again[0] = heads.q;
  again[1] = heads.k;
  again[2] = heads.v;
  return true;
}

}  // namespace worker
