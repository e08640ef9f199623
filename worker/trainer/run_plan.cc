#include "worker/trainer/run_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/canonical_json.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/trainer/cpu_trial.h"
#include "worker/trainer/cuda_trial.h"

namespace worker {

absl::Status RunPlan(const RunPlanOptions& options) {
  ASSIGN_OR_RETURN(const std::string bytes, core::ReadFile(options.plan_path));
  ASSIGN_OR_RETURN(const recipes::Plan plan, recipes::ParsePlan(bytes));
  ASSIGN_OR_RETURN(const auto dataset, Dataset::Open(options.data_dir, plan, true));
  std::unique_ptr<Trial> trial;
  if (options.cuda_device >= 0) {
    if (!options.gemm_table.empty()) RETURN_IF_ERROR(PinCudaAlgorithms(options.gemm_table));
    ASSIGN_OR_RETURN(trial, CreateCudaTrial(bytes, dataset.get(), {.device = options.cuda_device}));
    if (!options.gemm_table.empty()) RETURN_IF_ERROR(SaveCudaAlgorithms(options.gemm_table));
  } else {
    ASSIGN_OR_RETURN(trial, CpuTrial::Create(bytes, dataset.get(), options.threads));
  }
  if (!options.resume_from.empty()) RETURN_IF_ERROR(trial->Load(options.resume_from));
  std::vector<double> losses;
  const int64_t every = std::max<int64_t>(1, plan.steps / 20);
  const int64_t begun_ms = core::SystemClock().MonotonicMs(), first = trial->step();
  while (trial->step() < plan.steps) {
    const int64_t count =
        std::min(std::min(trial->StepsAtOnce(), every), plan.steps - trial->step());
    for (const StepResult& result : trial->Run(count)) {
      losses.push_back(result.loss);
      if (!result.finite) {
        return absl::OutOfRangeError(
            fmt::format("diverged at step {}: loss {}", first + losses.size(), result.loss));
      }
    }
    if (trial->step() / every == (trial->step() - count) / every) continue;
    const double seconds = static_cast<double>(core::SystemClock().MonotonicMs() - begun_ms) / 1000;
    std::fprintf(stderr, "step %lld of %lld  train loss %.4f  %.0f tokens/s\n",
                 static_cast<long long>(trial->step()), static_cast<long long>(plan.steps),
                 losses.back(),
                 static_cast<double>((trial->step() - first) * plan.batch * plan.seq_len) /
                     std::max(seconds, 1e-3));
  }
  const HeldoutScore score = trial->Score();
  core::Json out = {
      {"trial_id", core::Sha256Hex(bytes)},
      {"steps", trial->step()},
      {"sum_nats", score.sum_nats},
      {"loss", score.sum_nats / static_cast<double>(score.scored_tokens)},
      {"bits_per_byte", score.sum_nats / std::log(2.0) / static_cast<double>(score.scored_bytes)}};
  if (options.print_losses) out["train_losses"] = losses;
  if (!options.out_dir.empty()) {
    ASSIGN_OR_RETURN(const CheckpointInfo info, trial->Save(options.out_dir));
    out["checkpoint"] = info.path;
  }
  std::printf("%s\n", out.dump().c_str());
  return absl::OkStatus();
}

}  // namespace worker
