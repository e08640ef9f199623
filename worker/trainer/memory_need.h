// What a trial takes of a device's memory, from its graphs' memory plans, before anything is
// allocated.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "recipes/plan.h"
#include "worker/graph/parameters.h"

namespace worker {

// Bytes of host memory on the CPU: weights, gradients and two moments in f32, and activations of
// the CPU trainer's micro-step. Errors are those of building the model. Cost: milliseconds.
absl::StatusOr<int64_t> CpuBytes(const recipes::Plan& plan);

// Bytes of one GPU that a trial in bf16-mixed takes whose micro-step is `step`, of `sequences`.
int64_t GpuBytes(const recipes::Plan& plan, const Graph& step, const Parameters& layout,
                 int64_t sequences);

// The fewest bytes of one GPU that train the plan in bf16-mixed: micro-steps of one sequence, cheap
// activations made again. A larger GPU takes larger micro-steps. Errors and cost as CpuBytes.
absl::StatusOr<int64_t> LeastGpuBytes(const recipes::Plan& plan);

}  // namespace worker
