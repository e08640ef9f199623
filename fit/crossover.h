// Where the frontiers of two cohorts cross; what is computed stands at Crossover in compare.h.
#pragma once

#include <string>
#include <utility>

#include "fit/compare.h"
#include "fit/multiplier_draws.h"

namespace fit {

// Looks one decade below the range of the trend, in it, and two above. `lo`, `hi`: the ends of that
// range as ln C, lo < hi. `names` of A and B.
Crossover FindCrossover(const MultiplierDraws& draws, double lo, double hi,
                        const std::pair<std::string, std::string>& names, double level);

}  // namespace fit
