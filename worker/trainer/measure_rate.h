// How fast a GPU trains a plan: the price of a sweep before it is launched.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace worker {

struct MeasureRateOptions {
  std::string plan_path;  // canonical bytes
  std::string data_dir;
  int device = 0;
  int copies = 1;          // trials side by side; fewer when memory is short
  double seconds = 1;      // of training that are timed
  std::string gemm_table;  // as TrainerOptions::gemm_table
};

// Trains copies of the plan side by side for a moment, keeps nothing, prints one JSON object:
// copies, flops_per_second (model FLOPs of one of them), setup_seconds (until one of them could
// take its first step; the first of a process also starts the libraries). Errors as the trial's
// Create.
absl::Status MeasureRate(const MeasureRateOptions& options);

}  // namespace worker
