#include "fit/score.h"

#include <cmath>

namespace fit {

std::optional<Score> ScoreForecast(double forecast_loss, double lo, double hi,
                                   double outcome_loss) {
  if (!std::isfinite(forecast_loss) || !std::isfinite(outcome_loss) || forecast_loss <= 0 ||
      outcome_loss <= 0)
    return std::nullopt;
  return Score{forecast_loss / outcome_loss - 1, lo <= outcome_loss && outcome_loss <= hi};
}

}  // namespace fit
