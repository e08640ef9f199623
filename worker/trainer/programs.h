// The programs of a trial, built from its plan: micro-step (forward and backward), update, score.
// All are graphs over one parameter layout.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "recipes/plan.h"
#include "worker/graph/graph.h"
#include "worker/graph/parameters.h"

namespace worker {

// Forward, and with `training` backward, of `sequences` sequences.
struct StepProgram {
  Graph graph;
  TensorId tokens = kNoTensor,
           targets = kNoTensor;  // (sequences, seq_len) int32; target < 0: not scored
  TensorId loss = kNoTensor;     // (3): sum of nats, sum of lse^2, scored targets
  size_t first_backward = 0;     // node index
  double forward_matmul_flops = 0;
};

// Optimiser step of every group.
struct UpdateProgram {
  Graph graph;
  TensorId hyper =
      kNoTensor;  // (1 + groups): 1-based step, then this step's learning rate of each group
  std::vector<TensorId> clip;  // by group, (2): gradient norm, clip factor
};

// Target tokens of one sequence: every token after the first.
inline int64_t TargetsPerSequence(const recipes::Plan& plan) { return plan.seq_len - 1; }

// `recompute`: with RecomputeCheap; less memory, the same results.
absl::StatusOr<std::unique_ptr<StepProgram>> BuildStep(const recipes::Plan& plan, int64_t sequences,
                                                       bool training, Parameters* parameters,
                                                       bool recompute = false);
// INVALID_ARGUMENT when a role of the model belongs to no group or to two, or a group's algorithm
// is unknown.
absl::StatusOr<std::unique_ptr<UpdateProgram>> BuildUpdate(const recipes::Plan& plan,
                                                           const Parameters& parameters);

}  // namespace worker
