// One trial on a device: its programs, parameters and position. Exact: losses and weights are a
// function of the plan, the microbatch and the device's kernels alone, whatever the neighbours,
// interruptions and resumes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/plan.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/data/dataset.h"

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

class Trial {
 public:
  virtual ~Trial() = default;

  // The next `count` steps, results in order; step() grows by count.
  // REQUIRES: count >= 1, step() + count <= plan().steps.
  virtual std::vector<StepResult> Run(int64_t count) = 0;
  // How many steps a caller who wants to hear about four times a second should ask for: 1 on a CPU.
  virtual int64_t StepsAtOnce() const { return 1; }
  // Cross-entropy of the present weights over the whole held-out set.
  virtual HeldoutScore Score() = 0;
  virtual absl::StatusOr<CheckpointInfo> Save(const std::string& parent) = 0;
  // As ReadCheckpoint; DATA_LOSS also when it is beyond the plan's last step. After an error the
  // trial is of no further use.
  virtual absl::Status Load(const std::string& path) = 0;
  // Bytes on the device that computes.
  virtual int64_t memory_bytes() const = 0;

  int64_t step() const { return step_; }
  const recipes::Plan& plan() const { return plan_; }
  int64_t microbatch() const { return microbatch_; }
  const Parameters& layout() const { return layout_; }

 protected:
  // Fills tokens and targets of a score batch of `rows` windows from `first`; rows past the end of
  // the held-out set are not scored.
  void FillScoreBatch(int64_t first, int64_t rows, int32_t* tokens, int32_t* targets) const;
  StepResult MakeResult(double nats, double squares, std::vector<double> grad_norms,
                        int64_t step) const;
  // DATA_LOSS when step() is beyond the plan's last step.
  absl::Status CheckStep(const std::string& path) const;
  // hyper (1 + groups) of a step, see UpdateProgram.
  void FillHyper(int64_t step, float* hyper) const;

  std::string plan_bytes_;
  recipes::Plan plan_;
  const Dataset* dataset_ = nullptr;
  Parameters layout_;
  int64_t microbatch_ = 0;
  int64_t step_ = 0;
};

// Initial weights of every view. INVALID_ARGUMENT when a rule is missing.
absl::Status InitializeWeights(const recipes::Plan& plan, const Parameters& layout, int threads,
                               CpuParameters<float>& parameters);
// INVALID_ARGUMENT unless the plan is one 'train' phase over all its steps.
absl::Status CheckPhases(const recipes::Plan& plan);

}  // namespace worker
