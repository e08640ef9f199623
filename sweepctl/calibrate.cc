#include "sweepctl/calibrate.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <thread>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "fmt/format.h"
#include "worker/trainer/cpu_trial.h"

namespace sweepctl {
namespace {

// The first process on a GPU starts its libraries and times products.
constexpr int kGpuPatienceMs = 120'000;

int64_t Width(const recipes::Plan& plan) {
  return plan.model.config.value("hidden_size", int64_t{1});
}

// The smallest, the middle and the largest.
std::vector<const recipes::Plan*> Picks(const std::vector<const recipes::Plan*>& plans) {
  std::vector<const recipes::Plan*> sorted = plans, picks;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return Width(*a) < Width(*b); });
  for (size_t at : {size_t{0}, sorted.size() / 2, sorted.size() - 1}) {
    if (picks.empty() || Width(*picks.back()) != Width(*sorted[at])) picks.push_back(sorted[at]);
  }
  return picks;
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
  Calibration calibration;
  for (const recipes::Plan* pick : Picks(plans)) {
    const recipes::Plan& plan = *pick;
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

absl::StatusOr<Calibration> CalibrateGpu(const std::vector<const recipes::Plan*>& plans,
                                         const std::string& data_dir, const std::string& program,
                                         const std::string& work_dir, int slots, double seconds) {
  const std::string folder = work_dir + "/gpu-0";
  RETURN_IF_ERROR(core::MakeDirs(folder));
  Calibration calibration;
  for (const recipes::Plan* plan : Picks(plans)) {
    ASSIGN_OR_RETURN(const std::string bytes, recipes::PlanBytes(*plan));
    const std::string plan_path = folder + "/rate-plan.json", log = folder + "/rate.log";
    RETURN_IF_ERROR(core::WriteFileAtomically(plan_path, bytes));
    RETURN_IF_ERROR(core::WriteFileAtomically(log, ""));
    ASSIGN_OR_RETURN(
        const pid_t pid,
        core::Spawn({.argv = {program, "rate", "--plan", plan_path, "--data", data_dir, "--copies",
                              std::to_string(slots), "--seconds", fmt::format("{}", seconds / 3),
                              "--gemm-table", folder + "/gemm-table.txt"},
                     .log_path = log}));
    const std::optional<int> code = core::WaitExit(pid, kGpuPatienceMs);
    if (!code.has_value()) core::SignalGroup(pid, SIGKILL);
    ASSIGN_OR_RETURN(const std::string said, core::ReadFile(log));
    const size_t at = said.rfind("{\"");
    const core::Json json =
        core::Json::parse(at == std::string::npos ? "" : said.substr(at), nullptr, false);
    if (code != 0 || !json.is_object()) {
      return absl::FailedPreconditionError(
          fmt::format("timing a trial on the GPU failed: {}", said.empty() ? "no answer" : said));
    }
    // Large trials that do not fit side by side share the slots' time.
    calibration.flops_per_second[Width(*plan)] =
        json.value("flops_per_second", 0.0) * json.value("copies", 1.0) / slots;
    calibration.setup_seconds =
        std::max(calibration.setup_seconds, json.value("setup_seconds", 0.0));
  }
  return calibration;
}

double EstimateWallSeconds(const std::vector<const recipes::Plan*>& plans,
                           const Calibration& calibration, int slots) {
  std::vector<double> seconds;
  for (const recipes::Plan* plan : plans) {
    seconds.push_back(calibration.setup_seconds + plan->model_flops / calibration.Rate(*plan));
  }
  std::sort(seconds.rbegin(), seconds.rend());
  std::vector<double> busy(std::max(1, slots), 0.0);
  for (double s : seconds) *std::min_element(busy.begin(), busy.end()) += s;
  return *std::max_element(busy.begin(), busy.end());
}

}  // namespace sweepctl
