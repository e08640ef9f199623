#include "worker/trainer/cuda_trial.h"

namespace worker {

absl::StatusOr<std::unique_ptr<Trial>> CreateCudaTrial(std::string, const Dataset*,
                                                       const CudaTrialOptions&) {
  return absl::UnimplementedError(
      "this program was linked without CUDA; sweep-worker-cuda trains on GPUs");
}
CudaIdentity IdentifyCuda(int) { return {.why_none = "linked without CUDA"}; }
std::string CudaAlgorithmTableHash() { return ""; }
absl::Status PinCudaAlgorithms(const std::string&) { return absl::OkStatus(); }
absl::Status SaveCudaAlgorithms(const std::string&) { return absl::OkStatus(); }

}  // namespace worker
