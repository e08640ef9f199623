// A trial on the CPU, in f32.
#pragma once

#include <memory>
#include <string>

#include "worker/runtime/cpu/cpu_program.h"
#include "worker/trainer/programs.h"
#include "worker/trainer/trial.h"

namespace worker {

class CpuTrial : public Trial {
 public:
  // Builds the programs and the initial weights. RESOURCE_EXHAUSTED with the prediction when
  // memory_limit_bytes > 0 and the memory plan needs more. The dataset outlives the trial.
  static absl::StatusOr<std::unique_ptr<CpuTrial>> Create(std::string plan_bytes,
                                                          const Dataset* dataset, int threads,
                                                          int64_t memory_limit_bytes = 0);

  StepResult Step();
  std::vector<StepResult> Run(int64_t count) override;
  HeldoutScore Score() override;
  absl::StatusOr<CheckpointInfo> Save(const std::string& parent) override;
  absl::Status Load(const std::string& path) override;
  int64_t memory_bytes() const override;

  void SetThreads(int threads) { runtime_.SetThreads(threads); }
  CpuParameters<float>& parameters() { return *parameters_; }

 private:
  CpuTrial(std::string plan_bytes, int threads) : runtime_(threads) {
    plan_bytes_ = std::move(plan_bytes);
  }

  CpuRuntime runtime_;
  std::unique_ptr<StepProgram> step_graph_, score_graph_;
  std::unique_ptr<UpdateProgram> update_graph_;
  std::unique_ptr<CpuParameters<float>> parameters_;
  std::unique_ptr<CpuProgram<float>> train_, update_, score_;
};

// Sequences a micro-step holds: the largest divisor of the batch with at most about 4,096 tokens
// (what fits in cache).
int64_t ChooseMicrobatch(int64_t batch, int64_t seq_len);

}  // namespace worker
