// Approach 2 as two Laws that share the parabolas:
//   isoflop    the optima of the budgets and N*(C), D*(C); forecasts sizes, not losses
//   frontier   the same and L*(C) = E + A C^-p
// Uncertainty: every budget is resampled, its parabola refitted, and the laws refitted through the
// new minima, so the errors of both steps are carried. The frontier's intervals are never narrower
// than what moving E over its profile interval does to the forecast.
#pragma once

#include <memory>

#include "fit/law.h"

namespace fit {

std::unique_ptr<Law> MakeIsoflopModel();
std::unique_ptr<Law> MakeFrontierModel();

}  // namespace fit
