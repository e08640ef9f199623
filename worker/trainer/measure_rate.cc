#include "worker/trainer/measure_rate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "worker/trainer/cuda_trial.h"

namespace worker {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

absl::Status MeasureRate(const MeasureRateOptions& options) {
  ASSIGN_OR_RETURN(const std::string bytes, core::ReadFile(options.plan_path));
  ASSIGN_OR_RETURN(const recipes::Plan plan, recipes::ParsePlan(bytes));
  ASSIGN_OR_RETURN(const auto dataset, Dataset::Open(options.data_dir, plan, false));
  if (!options.gemm_table.empty()) RETURN_IF_ERROR(PinCudaAlgorithms(options.gemm_table));
  DeviceMemory memory(
      static_cast<int64_t>(0.94 * static_cast<double>(IdentifyCuda(options.device).free_bytes)));
  std::vector<std::unique_ptr<Trial>> trials;
  double setup = 0;
  while (static_cast<int>(trials.size()) < options.copies) {
    const double begun = Now();
    auto trial = CreateCudaTrial(
        bytes, dataset.get(),
        // Neighbours in a sweep are of other shapes.
        {.device = options.device, .memory = &memory, .max_seats = 1, .give_up = [] {
           return true;
         }});
    if (absl::IsCancelled(trial.status())) break;
    RETURN_IF_ERROR(trial.status());
    setup = Now() - begun;  // of the last: libraries are loaded and algorithms chosen
    trials.push_back(*std::move(trial));
  }
  if (!options.gemm_table.empty()) RETURN_IF_ERROR(SaveCudaAlgorithms(options.gemm_table));
  std::vector<double> steps_per_second(trials.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < trials.size(); ++i) {
    threads.emplace_back([&, i] {
      Trial& trial = *trials[i];
      trial.Run(1);
      const double begun = Now();
      int64_t steps = 0;
      while (trial.step() < plan.steps && Now() - begun < options.seconds) {
        const int64_t count = std::min(trial.StepsAtOnce(), plan.steps - trial.step());
        trial.Run(count);
        steps += count;
      }
      steps_per_second[i] = static_cast<double>(steps) / (Now() - begun);
    });
  }
  for (std::thread& thread : threads) thread.join();
  double mean = 0;
  for (double rate : steps_per_second) mean += rate / static_cast<double>(trials.size());
  const core::Json out = {
      {"copies", trials.size()},
      {"flops_per_second", mean * plan.model_flops / static_cast<double>(plan.steps)},
      {"setup_seconds", setup}};
  std::printf("%s\n", out.dump().c_str());
  return absl::OkStatus();
}

}  // namespace worker
