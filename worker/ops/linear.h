// Linear: y = x W^T, no bias.
//   inputs  x (..., K); W (N, K), a parameter block
//   output  y (..., N)
// Backward: dx = dy W; dW += dy^T x.
#pragma once

#include "worker/graph/op.h"

namespace worker {

TensorId Linear(Graph& graph, TensorId x, TensorId weight, int64_t out_features);

class LinearOp : public Op {
 public:
  const char* Name() const override { return "linear"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override;
  double MatmulFlops(const Graph& graph, const Node& node) const override;
  WORKER_OP_RUN;
};

// inputs dy (..., N), W (N, K); output dx (..., K).
class LinearBackwardInputOp : public Op {
 public:
  const char* Name() const override { return "linear_backward_input"; }
  double MatmulFlops(const Graph& graph, const Node& node) const override;
  WORKER_OP_RUN;
};

// inputs dy (..., N), x (..., K); output dW (N, K), added to.
class LinearBackwardWeightOp : public Op {
 public:
  const char* Name() const override { return "linear_backward_weight"; }
  double MatmulFlops(const Graph& graph, const Node& node) const override;
  WORKER_OP_RUN;
};

}  // namespace worker
