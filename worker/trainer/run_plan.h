// One plan trained alone, without coordinator: what `sweepctl show --repro` prints.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace worker {

struct RunPlanOptions {
  std::string plan_path;  // canonical bytes
  std::string data_dir;
  std::string out_dir;  // checkpoints; empty: none are written
  std::string resume_from;
  int threads = 1;
  int cuda_device = -1;       // -1: the CPU
  std::string gemm_table;     // as TrainerOptions::gemm_table
  bool print_losses = false;  // the training loss of every step, in the final object
};

// Prints a line about every twentieth of the run and, last, one JSON object with trial_id, loss,
// sum_nats, bits_per_byte and steps on stdout. Errors as Dataset::Open and the trial's Create.
absl::Status RunPlan(const RunPlanOptions& options);

}  // namespace worker
