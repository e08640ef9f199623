// The cheapest run that would decide between two cohorts; what it computes stands at DecidingRun.
#pragma once

#include <string>
#include <utility>

#include "fit/compare.h"
#include "fit/multiplier_draws.h"

namespace fit {

// Looks at compute-optimal runs of either cohort, 4 budgets a decade from its smallest fitted one
// to 10 times its largest, and 1, 2, 4 or 8 repetitions. `names` of A and B. Without one
// that decides by the margin: the single run that narrows the interval most.
DecidingRun FindDecidingRun(const MultiplierDraws& draws, double flops,
                            const std::pair<std::string, std::string>& names, double level);

}  // namespace fit
