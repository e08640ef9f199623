// A forecast against what happened.
#pragma once

#include <optional>

namespace fit {

struct Score {
  double error_rel = 0;  // forecast / outcome - 1: positive when the run did better than forecast
  bool inside = false;   // lo <= outcome <= hi
};

// nullopt when a number is not finite or not above 0. A missing interval (NaN bounds) is never
// inside.
std::optional<Score> ScoreForecast(double forecast_loss, double lo, double hi, double outcome_loss);

}  // namespace fit
