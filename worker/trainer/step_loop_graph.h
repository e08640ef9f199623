// Joins a trial's programs to the loop that runs them on a GPU.
#pragma once

#include "worker/runtime/cuda/step_loop.h"
#include "worker/trainer/programs.h"

namespace worker {

// For steps of plan.batch sequences, `microbatch` (a divisor) at a time.
inline StepLoopGraph LoopGraph(const recipes::Plan& plan, int64_t microbatch,
                               const StepProgram& step, const UpdateProgram& update) {
  return {.tokens = step.tokens,
          .targets = step.targets,
          .loss = step.loss,
          .hyper = update.hyper,
          .clip = update.clip,
          .micro_steps = plan.batch / microbatch,
          .micro_tokens = microbatch * plan.seq_len};
}

}  // namespace worker
