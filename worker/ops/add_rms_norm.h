// Residual add and RMSNorm in one pass.
//   inputs  x (B, T, C) residual stream; delta (B, T, C) branch output, optional; gain (C)
//   outputs sum (B, T, C) = x + scale * delta (absent without delta); y (B, T, C) = gain * sum *
//   rstd;
//           rstd (B, T) = (mean(sum^2) + eps)^-1/2
// Source: Zhang and Sennrich, "Root mean square layer normalization", 2019, eq. 4.
#pragma once

#include "worker/graph/op.h"

namespace worker {

struct NormOutputs {
  TensorId sum, y;
};
// `delta` may be kNoTensor: then sum is x itself.
NormOutputs AddRmsNorm(Graph& graph, TensorId x, TensorId delta, TensorId gain, double eps,
                       double scale);

class AddRmsNormOp : public Op {
 public:
  AddRmsNormOp(double eps, double scale) : eps_(eps), scale_(scale) {}
  const char* Name() const override { return "add_rms_norm"; }
  void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                std::span<TensorId> grad_in) const override;
  bool Repeat(Graph& graph, const Node& node, std::span<TensorId> again) const override;
  WORKER_OP_RUN;

 private:
  double eps_, scale_;
};

// inputs  sum (B, T, C), gain (C), rstd (B, T), dy (B, T, C), dsum (B, T, C) optional
// outputs dx (B, T, C); ddelta (B, T, C) = scale * dx, absent when scale is 1; dgain (C), added to
class AddRmsNormBackwardOp : public Op {
 public:
  explicit AddRmsNormBackwardOp(double scale) : scale_(scale) {}
  const char* Name() const override { return "add_rms_norm_backward"; }
  WORKER_OP_RUN;

 private:
  double scale_;
};

}  // namespace worker
