// SwiGLU: y = silu(gate) * up.
//   input   gate_up (..., 2F): F gate values, then F up values, of one row
//   output  y (..., F)
// Source: Shazeer, "GLU variants improve transformer", 2020, eq. 6.
#pragma once

#include "worker/graph/op.h"

namespace worker {

TensorId SwiGlu(Graph& graph, TensorId gate_up);

class SwiGluOp : public Op {
 public:
  const char* Name() const override { return "swiglu"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override;
  bool Repeat(Graph& graph, const Node& node, std::span<TensorId> again) const override;
  WORKER_OP_RUN;
};

// inputs gate_up (..., 2F), dy (..., F); output dgate_up (..., 2F).
class SwiGluBackwardOp : public Op {
 public:
  const char* Name() const override { return "swiglu_backward"; }
  WORKER_OP_RUN;
};

}  // namespace worker
