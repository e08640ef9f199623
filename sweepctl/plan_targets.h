// The targets of a sweep before anything is fitted: chosen by the recipe's prior.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "fit/design.h"
#include "recipes/plan.h"
#include "sweeps/expand.h"

namespace sweepctl {

// A forecast's target as the prior would choose it; the fit decides in the end.
struct Target {
  double budget_flops = 0;
  recipes::Plan plan;
};

// Of forecast.at. Errors at the key's place in the file.
absl::StatusOr<std::vector<Target>> PriorTargets(const sweeps::SweepFile& file,
                                                 const sweeps::ExpandOptions& expand);

// Training FLOPs of a sweep file: of its trials, and of the targets it registers and so trains.
struct SweepFlops {
  double trials = 0, targets = 0;
  double Total() const { return trials + targets; }
};
// `targets` may hold others than the file's; those are forecast and not trained.
SweepFlops FlopsOf(const sweeps::SweepFile& file, const std::vector<sweeps::PlannedTrial>& trials,
                   const std::vector<Target>& targets);

// Why `launch` refuses the file: INVALID_ARGUMENT at limits.flops when that is less than trials and
// registered targets need.
absl::Status CheckLimit(const sweeps::SweepFile& file,
                        const std::vector<sweeps::PlannedTrial>& trials,
                        const std::vector<Target>& targets);

// Raises limits.flops to what `needed` takes, rounded up to two digits; a file without one gets
// that.
void CoverLimit(const SweepFlops& needed, sweeps::SweepFile* file);

// What power analysis forecasts: the loss of each plan at what it will spend.
std::vector<fit::PowerTarget> PowerTargetsOf(const std::vector<Target>& targets);

}  // namespace sweepctl
