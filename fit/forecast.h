// From the forecasts of single laws to the one that is registered.
// The rule of this version: the primary law is `frontier` (E + A C^-p through the IsoFLOP minima)
// when it rests on at least 3 good budgets, else the first law that forecasts at all. The other
// laws stand beside it; where one lies outside the primary interval, both say so. The choice is
// made before any forecast is looked at and does not depend on the target.
#pragma once

#include <string>
#include <vector>

#include "fit/law.h"

namespace fit {

// Name of the primary law among the fitted ones; empty when none forecasts losses.
std::string PrimaryLaw(const std::vector<const FittedLaw*>& laws);

struct Scale {
  double smallest_flops = 0, largest_flops = 0;  // fitted budgets
  double spent_flops = 0;                        // everything spent: tuning, seeds and failures too
  std::string metric;                            // of the cohort; "loss" when it names none
};

// All laws at one target, the primary first, with reach, leverage and the warnings outside-range
// (above or below the fitted budgets), laws-disagree and no-interval; a law's own warnings that
// bear on a forecast are repeated there.
std::vector<Forecast> ForecastAt(const std::vector<const FittedLaw*>& laws, double flops,
                                 const Scale& scale);

}  // namespace fit
