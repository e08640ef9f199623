// A trial on a GPU, in bf16 with f32 master weights, moments and reductions ("bf16-mixed"). Defined
// by cuda_trial.cc in programs with the CUDA backend; elsewhere Create says that it is missing.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "worker/trainer/device_memory.h"
#include "worker/trainer/trial.h"

namespace worker {

struct CudaTrialOptions {
  int device = 0;
  // Shared with the other trials of the process, outlives the trial; null: it takes what is free.
  DeviceMemory* memory = nullptr;
  // How many trials of equal shape in this process may train as one batched graph; 1: none. Changes
  // no result.
  int max_seats = 8;
  // Whether to stop waiting for memory; see DeviceMemory::Take.
  std::function<bool()> give_up = [] { return false; };
};

// The microbatch is the largest that the whole GPU could hold, so it is no matter of neighbours.
// Waits until the trial's memory is free. RESOURCE_EXHAUSTED with the prediction when even a
// microbatch of one sequence needs more than there is; CANCELLED by give_up. The dataset outlives
// the trial. Trials of one process may run from different threads.
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
