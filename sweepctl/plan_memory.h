// Whether the trials of a sweep fit a device: from the trainer's own memory plan, before a launch.
#pragma once

#include <string>
#include <vector>

#include "core/canonical_json.h"
#include "sweepctl/plan_targets.h"
#include "sweeps/expand.h"

namespace sweepctl {

// Trials of one budget that no device here, or none known, can train ("memory"); or all that could
// train on a GPU, on a host without one ("no-gpu": budget_flops is 0).
struct MemoryWarning {
  std::string code = "memory";
  double budget_flops = 0;
  bool targets = false;  // of forecast.at; else fit trials
  size_t trials = 0, of = 0;
  double least_bytes = 0, most_bytes = 0;  // of one GPU, in bf16-mixed; see LeastGpuBytes
  double host_bytes = 0;     // the most of them need in f32 on the CPU; 0: they are not f32
  bool fits_no_gpu = false;  // known to us: one of them needs more than the largest
  std::string text;
};

// What there is: one host's devices.
struct Devices {
  double gpu_bytes = 0;   // the largest GPU's, what a trial may use of it; 0: no GPU
  std::string gpu;        // its name
  double host_bytes = 0;  // 0: unknown
};
Devices DevicesHere();

// By rising budget, fit trials first, no-gpu last. A plan in f32 trains on a CPU and is compared
// with the host's memory, one in bf16-mixed with the GPU's; either is warned of where no GPU that
// sweep-worker-cuda is built for could train it. Cost: milliseconds a trial.
std::vector<MemoryWarning> MemoryWarnings(const std::vector<sweeps::PlannedTrial>& trials,
                                          const std::vector<Target>& targets,
                                          const Devices& devices);

core::Json MemoryWarningsJson(const std::vector<MemoryWarning>& warnings);

}  // namespace sweepctl
