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

// What power analysis forecasts: the loss of each plan at what it will spend.
std::vector<fit::PowerTarget> PowerTargetsOf(const std::vector<Target>& targets);

}  // namespace sweepctl
