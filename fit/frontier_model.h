// Approach 2 as two Laws that share the parabolas:
//   isoflop    the optima of the budgets and N*(C), D*(C); forecasts sizes, not losses
//   frontier   the same and L*(C) = E + A C^-p
// Uncertainty: every budget is resampled, its parabola refitted, and the laws refitted through the
// new minima, so the errors of both steps are carried. The range of E is the union of its profile
// and bootstrap intervals, and the frontier's intervals are never narrower than what moving E over
// that range does to the forecast.
#pragma once

#include <memory>

#include "fit/law.h"

namespace fit {

std::unique_ptr<Law> MakeIsoflopModel();
std::unique_ptr<Law> MakeFrontierModel();

}  // namespace fit
