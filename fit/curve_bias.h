// The known bias of approach 2: a parabola through losses that rise more steeply on one side has
// its bottom elsewhere than they do, however little noise there is, and no resample shows it.
// Chinchilla's surface is fitted to the budgets' runs, sampled without noise where they lie, and
// the curve's optimum is held against the surface's own along the same runs.
// **Source:** arXiv:2603.22339, which finds the bias of the parabola by such samples.
#pragma once

#include <optional>
#include <vector>

#include "fit/frontier.h"
#include "fit/isoflop.h"

namespace fit {

struct CurveBias {
  // By budget, as shares: N* of the curve over the surface's, minus 1, and so on. NaN where one of
  // them has no optimum.
  struct AtBudget {
    double params = 0, tokens = 0, loss = 0;
  };
  std::vector<AtBudget> budgets;
  // The law's N* over the surface's: a power of C through the budgets' ratios.
  PowerLaw params_ratio;
};

// nullopt where fewer than two of the budgets in `used` have both optima, or no surface fits.
// Cost: one surface fit, about 5 ms. REQUIRES: as many `used` as groups.
std::optional<CurveBias> BiasOfCurve(const std::vector<IsoflopGroup>& groups,
                                     const std::vector<bool>& used, const IsoflopOptions& options);

}  // namespace fit
