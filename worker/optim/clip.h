// Norm of a group's gradients and the factor that clips it.
//   inputs  the gradient blocks of the group
//   output  clip (2) accum, kOutput: [0] = ||g||_2 over the group, [1] = min(1, limit / ||g||), 1
//   without a limit
// Sums in f64, block by block in a fixed order. A group's views cover its blocks whole or in part.
// Source: Pascanu et al., 2013, section 3.2; one norm a group as in Delphi, reference section 6.
#pragma once

#include <vector>

#include "worker/graph/op.h"
#include "worker/optim/block_range.h"

namespace worker {

class ClipOp : public Op {
 public:
  ClipOp(std::vector<BlockRange> ranges, double limit)
      : ranges_(std::move(ranges)), limit_(limit) {}
  const char* Name() const override { return "clip"; }
  WORKER_OP_RUN;

 private:
  std::vector<BlockRange> ranges_;
  double limit_;
};

}  // namespace worker
