#include "sweepctl/plan_memory.h"

#include <algorithm>
#include <map>

#include "core/machine.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweeps/estimate.h"
#include "worker/runtime/cuda/device_probe.h"
#include "worker/trainer/memory_need.h"

namespace sweepctl {
namespace {

// GPUs that sweep-worker-cuda is built for (compute capability 9.0), in the decimal GB that their
// maker prints.
struct KnownGpu {
  const char* name;
  double bytes;
};
constexpr KnownGpu kKnownGpus[] = {{"80 GB (H100)", 80e9}, {"141 GB (H200)", 141e9}};
const KnownGpu& kLargest = std::end(kKnownGpus)[-1];
// What driver and fragmentation leave of it.
constexpr double kUsable = 0.94;
// The rough estimate is of larger micro-steps than the least; what is below this share of a limit
// is not looked at closely.
constexpr double kClose = 0.5;

const KnownGpu* SmallestThatFits(double bytes) {
  for (const KnownGpu& gpu : kKnownGpus)
    if (bytes <= kUsable * gpu.bytes) return &gpu;
  return nullptr;
}

// In the unit of kKnownGpus, so that need and room can be compared as they stand.
std::string Gigabytes(double bytes) { return fmt::format("{:.3g} GB", bytes / 1e9); }

class Looker {
 public:
  explicit Looker(const Devices& devices) : devices_(devices) {}

  // Counts the plan in its group's warning, unless it fits where it may run.
  void Look(bool target, double budget, const recipes::Plan& plan) {
    MemoryWarning& w = groups_[{target, budget}];
    w.budget_flops = budget;
    w.targets = target;
    ++w.of;
    const bool f32 = plan.numerics == "f32";
    const double largest = kUsable * kLargest.bytes;
    const double here = f32 ? devices_.host_bytes : devices_.gpu_bytes;
    const bool homeless = !f32 && here == 0;
    if (!homeless &&
        sweeps::EstimateMemoryBytes(plan) < kClose * (here > 0 ? std::min(here, largest) : largest))
      return;
    const auto gpu = worker::LeastGpuBytes(plan), cpu = worker::CpuBytes(plan);
    if (!gpu.ok() || !cpu.ok()) return;  // a model that only an outside trainer knows
    const auto gpu_bytes = static_cast<double>(*gpu), cpu_bytes = static_cast<double>(*cpu);
    const bool nowhere = gpu_bytes > largest;
    if (homeless && !nowhere) {
      homeless_.least_bytes =
          homeless_.trials == 0 ? gpu_bytes : std::min(homeless_.least_bytes, gpu_bytes);
      homeless_.most_bytes = std::max(homeless_.most_bytes, gpu_bytes);
      ++homeless_.trials;
      return;
    }
    if (!nowhere && !(here > 0 && (f32 ? cpu_bytes : gpu_bytes) > here)) return;
    w.least_bytes = w.trials == 0 ? gpu_bytes : std::min(w.least_bytes, gpu_bytes);
    w.most_bytes = std::max(w.most_bytes, gpu_bytes);
    if (f32) w.host_bytes = std::max(w.host_bytes, cpu_bytes);
    w.fits_no_gpu = w.fits_no_gpu || nowhere;
    ++w.trials;
  }

  std::vector<MemoryWarning> Warnings() {
    std::vector<MemoryWarning> warnings;
    size_t all = 0;
    for (auto& [key, group] : groups_) {
      all += group.of;
      if (group.trials == 0) continue;
      group.text = TextOf(group);
      warnings.push_back(group);
    }
    if (homeless_.trials > 0) {
      homeless_.code = "no-gpu";
      homeless_.of = all;
      homeless_.text = fmt::format(
          "this host has no GPU and {} of {} trials and targets compute in bf16-mixed: they take a "
          "GPU of {} or more, the largest {} of it at the least",
          homeless_.trials, all, SmallestThatFits(homeless_.most_bytes)->name,
          Gigabytes(homeless_.most_bytes));
      warnings.push_back(homeless_);
    }
    return warnings;
  }

 private:
  std::string TextOf(const MemoryWarning& w) const {
    const bool one = Gigabytes(w.least_bytes) == Gigabytes(w.most_bytes);
    std::string text =
        fmt::format("{} at {}: {} of {} need{} ", w.targets ? "target" : "trials",
                    core::FormatFlops(w.budget_flops), w.trials, w.of, w.trials == 1 ? "s" : "");
    if (w.host_bytes > 0)
      text += fmt::format(
          "up to {} of memory in f32 on a CPU, and this host has {}; on a GPU, in "
          "bf16-mixed, ",
          Gigabytes(w.host_bytes), Gigabytes(devices_.host_bytes));
    text += fmt::format("{}{} on one GPU at the least",
                        one ? "" : Gigabytes(w.least_bytes) + " to ", Gigabytes(w.most_bytes));
    const KnownGpu* const fits = SmallestThatFits(w.most_bytes);
    if (fits == nullptr)
      return text + fmt::format(
                        ": fits no GPU known, a trial may use {} of the largest, {}; a model "
                        "on several GPUs is not there yet",
                        Gigabytes(kUsable * kLargest.bytes), kLargest.name);
    text += fmt::format(": takes one of {}", fits->name);
    if (w.host_bytes > 0) return text;
    return text + fmt::format(", and a trial may use {} of {}", Gigabytes(devices_.gpu_bytes),
                              devices_.gpu);
  }

  const Devices& devices_;
  std::map<std::pair<bool, double>, MemoryWarning> groups_;
  MemoryWarning homeless_;
};

}  // namespace

Devices DevicesHere() {
  Devices devices;
  for (const worker::DeviceInfo& device : worker::ProbeDevices()) {
    const double bytes = kUsable * static_cast<double>(device.memory_bytes);
    if (bytes <= devices.gpu_bytes) continue;
    devices.gpu_bytes = bytes;
    devices.gpu = device.name;
  }
  devices.host_bytes = static_cast<double>(core::ReadMachine().total_bytes);
  return devices;
}

std::vector<MemoryWarning> MemoryWarnings(const std::vector<sweeps::PlannedTrial>& trials,
                                          const std::vector<Target>& targets,
                                          const Devices& devices) {
  Looker looker(devices);
  for (const sweeps::PlannedTrial& trial : trials)
    looker.Look(false, trial.plan.budget.amount, trial.plan);
  for (const Target& target : targets) looker.Look(true, target.budget_flops, target.plan);
  return looker.Warnings();
}

core::Json MemoryWarningsJson(const std::vector<MemoryWarning>& warnings) {
  core::Json list = core::Json::array();
  for (const MemoryWarning& w : warnings)
    list.push_back(
        {{"code", w.code},
         {"budget_flops", w.budget_flops > 0 ? core::Json(w.budget_flops) : core::Json()},
         {"stage", w.targets ? "target" : "fit"},
         {"trials", w.trials},
         {"of", w.of},
         {"least_gpu_bytes", w.least_bytes},
         {"most_gpu_bytes", w.most_bytes},
         {"host_bytes", w.host_bytes > 0 ? core::Json(w.host_bytes) : core::Json()},
         {"fits_no_gpu", w.fits_no_gpu},
         {"text", w.text}});
  return list;
}

}  // namespace sweepctl
