// How much wider an interval must be out of range. A law's own interval knows the noise of the runs
// but not that the law is wrong, and that grows with reach; so it is multiplied, in ln L, by what
// past forecasts needed:
//   factor(reach) = max(1, f(reach) q),   f(reach) = a + b ln(reach),   reach > 1
// z     |ln(actual / forecast)| over the half-width on the actual's side, of one rolling forecast
// f     how z's quantile at the level grows with reach on public data, one (a, b) for surfaces, one
//       for frontiers: set on the tuning half of bench/forecasts and frozen (its PROTOCOL.md)
// q     the quantile at the level of z / f over this data set's own rolling forecasts, together
//       with ten forecasts' worth of a normal law's quantiles, 40 of them (alone they give q = .965
//       at 90 %, as the public benchmark was run): own experience takes over as it grows. Forecasts
//       from one cut share their error, so a cut counts as at most four.
// At reach <= 1 an interval stays as it is.
// A profile average (drift.h) already grows with reach, so less is added to it, and to a wide
// interval nothing:
//   f = sqrt(1 + (c(reach) / h)^2),   h its half-width in ln L
// where c is what surfaces were off on public data however many runs they had (1 % + 0.5 % ln
// reach); for frontiers c = 0. Its factor may fall to 0.7: it errs by being too wide as well.
// **Source:** split conformal prediction of rolling-origin scores, Vovk et al. 2005, with a prior,
// because scaling data have few cuts and extrapolation breaks exchangeability.
#pragma once

#include <string_view>
#include <vector>

#include "fit/law.h"

namespace fit {

// Rolling forecasts from one cut, with reach filled in.
using RollingForecasts = std::vector<TestPoint>;

class Calibration {
 public:
  // `law` is LawFit::law; `cuts`: forecasts whose outcomes are known. 0 < level < 1. Forecasts
  // without an interval, or at reach <= 1, teach nothing.
  Calibration(std::string_view law, const std::vector<RollingForecasts>& cuts, double level);

  // The same for profile averages; `cuts` hold those (ProfileAverages of average.h).
  static Calibration OfAverages(std::string_view law, const std::vector<RollingForecasts>& cuts,
                                double level);

  // By own experience alone: a = 1, b = 0.
  static Calibration WithoutGrowth(const std::vector<RollingForecasts>& cuts, double level);

  // Of one side of an interval; profile averages need its half-width in ln L.
  double Factor(double reach, double half_width = 1) const;
  int forecasts() const { return forecasts_; }  // that it learned from

  // Widens both ends about `loss`, and says so in the method. NaN intervals stay NaN.
  void Apply(double loss, double reach, Interval* interval) const;

 private:
  Calibration() = default;
  void Learn(const std::vector<RollingForecasts>& cuts, double level);
  double Growth(double reach, double half_width) const;
  bool of_average_ = false;
  double a_ = 1, b_ = 0, q_ = 1;  // of an average: c = a + b ln(reach)
  int forecasts_ = 0;
};

}  // namespace fit
