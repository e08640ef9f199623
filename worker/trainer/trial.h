// One trial on the CPU: its programs, parameters and position. Exact: losses and weights are a
// function of the plan and the microbatch alone, whatever the threads, interruptions and resumes.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "recipes/plan.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/data/dataset.h"
#include "worker/runtime/cpu/cpu_program.h"
#include "worker/trainer/programs.h"

namespace worker {

struct StepResult {
  double loss = 0;                 // mean nats per target of the step's batch
  double z = 0;                    // mean lse^2, the z-loss before its weight
  std::vector<double> grad_norms;  // by optimiser group, before clipping
  double lr_factor = 0;
  bool finite =
      true;  // false: a loss or gradient norm is not finite; the update has still been applied
};

struct HeldoutScore {
  double sum_nats = 0;
  int64_t scored_tokens = 0, scored_bytes = 0;
};

class CpuTrial {
 public:
  // Builds the programs and the initial weights. RESOURCE_EXHAUSTED with the prediction when
  // memory_limit_bytes > 0 and the memory plan needs more. The dataset outlives the trial.
  static absl::StatusOr<std::unique_ptr<CpuTrial>> Create(std::string plan_bytes,
                                                          const Dataset* dataset, int threads,
                                                          int64_t memory_limit_bytes = 0);

  // Step number step(); then step() grows by one. REQUIRES: step() < plan().steps.
  StepResult Step();
  // Cross-entropy of the present weights over the whole held-out set.
  HeldoutScore Score();
  absl::StatusOr<CheckpointInfo> Save(const std::string& parent);
  // As ReadCheckpoint; DATA_LOSS also when it is beyond the plan's last step. After an error the
  // trial is of no further use.
  absl::Status Load(const std::string& path);

  int64_t step() const { return step_; }
  const recipes::Plan& plan() const { return plan_; }
  int64_t microbatch() const { return microbatch_; }
  int64_t memory_bytes() const;
  void SetThreads(int threads) { runtime_.SetThreads(threads); }
  const Parameters& layout() const { return layout_; }
  CpuParameters<float>& parameters() { return *parameters_; }

 private:
  CpuTrial(std::string plan_bytes, int threads)
      : plan_bytes_(std::move(plan_bytes)), runtime_(threads) {}

  std::string plan_bytes_;
  recipes::Plan plan_;
  const Dataset* dataset_ = nullptr;
  CpuRuntime runtime_;
  Parameters layout_;
  int64_t microbatch_ = 0;
  std::unique_ptr<StepProgram> step_graph_, score_graph_;
  std::unique_ptr<UpdateProgram> update_graph_;
  std::unique_ptr<CpuParameters<float>> parameters_;
  std::unique_ptr<CpuProgram<float>> train_, update_, score_;
  int64_t step_ = 0;
};

// Sequences a micro-step holds: the largest divisor of the batch with at most about 4,096 tokens
// (what fits in cache).
int64_t ChooseMicrobatch(int64_t batch, int64_t seq_len);

}  // namespace worker
