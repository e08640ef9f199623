// Adam with decoupled weight decay, and AdamH, on the parameter views of one group. Both consume
// the gradients: afterwards they are zero on the CPU, and overwritten by the next step on CUDA.
//   inputs  clip (2); hyper (1 + groups): [0] = 1-based step t, [1 + group] = learning rate of this
//           step; then the gradient of every storage block of the group
//   outputs of every block: parameters, first moments, second moments (updated in place)
// With g scaled by clip[1]:  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  u = (m/(1-b1^t)) /
// (sqrt(v/(1-b2^t)) + eps)
//   adamw  p = p - lr (u + weight_decay p)
//   adamh  r = ||p||_F;  q = p - lr u r / max(||u||_F, 1e-10);  p = q r / ||q||_F   (a step on the
//   sphere of radius r)
// Sources: Loshchilov and Hutter, 2019, algorithm 2; AdamH: Delphi, reference section 6.
#pragma once

#include <vector>

#include "worker/graph/op.h"
#include "worker/optim/block_range.h"

namespace worker {

struct AdamAttributes {
  std::vector<BlockRange> views;
  int group = 0;  // index into hyper
  double beta1 = 0, beta2 = 0, epsilon = 0;
  double weight_decay = 0;  // adamw only
};

class AdamWOp : public Op {
 public:
  explicit AdamWOp(AdamAttributes attributes) : a_(std::move(attributes)) {}
  const char* Name() const override { return "adamw"; }
  WORKER_OP_RUN;

 private:
  AdamAttributes a_;
};

class AdamHOp : public Op {
 public:
  explicit AdamHOp(AdamAttributes attributes) : a_(std::move(attributes)) {}
  const char* Name() const override { return "adamh"; }
  WORKER_OP_RUN;

 private:
  AdamAttributes a_;
};

}  // namespace worker
