// Add: out = a + b, any equal shapes. Joins the gradients of a tensor used twice.
#pragma once

#include "worker/graph/op.h"

namespace worker {

class AddOp : public Op {
 public:
  const char* Name() const override { return "add"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override {
    grad_in[0] = grad_in[1] = grad_out[0];
  }
  WORKER_OP_RUN;
};

}  // namespace worker
