// A trial on a GPU, in bf16 with f32 master weights, moments and reductions ("bf16-mixed"). Defined
// by cuda_trial.cc in programs with the CUDA backend; elsewhere Create says that it is missing.
#pragma once

#include <memory>
#include <string>

#include "worker/trainer/trial.h"

namespace worker {

struct CudaTrialOptions {
  int device = 0;
  // What the trial may allocate; 0: what is free.
  int64_t memory_limit_bytes = 0;
  // No other trial is in this process: one that needs more than its share may take what is free.
  bool alone = true;
};

// RESOURCE_EXHAUSTED with the prediction when even a microbatch of one sequence needs more than the
// limit. The dataset outlives the trial. Trials of one process may run from different threads.
absl::StatusOr<std::unique_ptr<Trial>> CreateCudaTrial(std::string plan_bytes,
                                                       const Dataset* dataset,
                                                       const CudaTrialOptions& options);

// Names the device and its libraries for provenance; empty device: there is none, and why.
struct CudaIdentity {
  std::string device, libraries_json, why_none;
  int64_t free_bytes = 0;
};
CudaIdentity IdentifyCuda(int device);
// SHA-256 of the table of matrix-product algorithms this process uses; empty without CUDA.
std::string CudaAlgorithmTableHash();
// Pins the algorithms of a file an earlier process wrote (none: nothing happens), and brings the
// file up to date. DATA_LOSS for a file that is no table of this device and library.
absl::Status PinCudaAlgorithms(const std::string& path);
absl::Status SaveCudaAlgorithms(const std::string& path);

}  // namespace worker
