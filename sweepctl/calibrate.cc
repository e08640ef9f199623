#include "sweepctl/calibrate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <thread>

#include "core/status_macros.h"
#include "worker/trainer/cpu_trial.h"

namespace sweepctl {
namespace {

int64_t Width(const recipes::Plan& plan) {
  return plan.model.config.value("hidden_size", int64_t{1});
}

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

double Calibration::Rate(const recipes::Plan& plan) const {
  const auto above = flops_per_second.lower_bound(Width(plan));
  if (above == flops_per_second.begin()) return above->second;
  const auto below = std::prev(above);
  if (above == flops_per_second.end()) return below->second;
  const double x = std::log(static_cast<double>(Width(plan)) / below->first) /
                   std::log(static_cast<double>(above->first) / below->first);
  return below->second + x * (above->second - below->second);
}

absl::StatusOr<Calibration> Calibrate(const std::vector<const recipes::Plan*>& plans,
                                      const std::string& data_dir, int slots, double seconds) {
  std::vector<const recipes::Plan*> sorted = plans;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return Width(*a) < Width(*b); });
  Calibration calibration;
  for (size_t pick : {size_t{0}, sorted.size() / 2, sorted.size() - 1}) {
    const recipes::Plan& plan = *sorted[pick];
    if (calibration.flops_per_second.count(Width(plan)) > 0) continue;
    ASSIGN_OR_RETURN(const auto dataset, worker::Dataset::Open(data_dir, plan, false));
    ASSIGN_OR_RETURN(const std::string bytes, recipes::PlanBytes(plan));
    std::vector<std::unique_ptr<worker::CpuTrial>> trials;
    for (int slot = 0; slot < slots; ++slot) {
      ASSIGN_OR_RETURN(auto trial, worker::CpuTrial::Create(bytes, dataset.get(), 1));
      trials.push_back(std::move(trial));
    }
    std::vector<double> steps_per_second(slots, 0);
    std::vector<std::thread> threads;
    for (int slot = 0; slot < slots; ++slot) {
      threads.emplace_back([&, slot] {
        worker::CpuTrial& trial = *trials[slot];
        trial.SetThreads(1);  // of this thread
        trial.Step();         // warm
        const double start = Seconds();
        int64_t steps = 0;
        while (trial.step() < plan.steps && (steps == 0 || Seconds() - start < seconds / 3)) {
          trial.Step();
          ++steps;
        }
        steps_per_second[slot] = static_cast<double>(steps) / (Seconds() - start);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const double mean =
        std::accumulate(steps_per_second.begin(), steps_per_second.end(), 0.0) / slots;
    calibration.flops_per_second[Width(plan)] =
        plan.model_flops / static_cast<double>(plan.steps) * mean;
  }
  return calibration;
}

double EstimateWallSeconds(const std::vector<const recipes::Plan*>& plans,
                           const Calibration& calibration, int slots) {
  std::vector<double> seconds;
  for (const recipes::Plan* plan : plans) {
    seconds.push_back(plan->model_flops / calibration.Rate(*plan));
  }
  std::sort(seconds.rbegin(), seconds.rend());
  std::vector<double> busy(std::max(1, slots), 0.0);
  for (double s : seconds) *std::min_element(busy.begin(), busy.end()) += s;
  return *std::max_element(busy.begin(), busy.end());
}

}  // namespace sweepctl
