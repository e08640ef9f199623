// The compute-optimal frontier of one law fitted to one cohort as a curve ln L(ln C), with its
// resamples, and its inverse: how much compute a loss costs.
// A resample's distance from the fit is stretched, on each side, so that the resamples' percentiles
// at every C are the ends of the forecast's interval of the mean there (forecast.h): united with
// the range of E, and widened out of range by what past forecasts needed.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "fit/fit.h"

namespace fit {

class FrontierCurve {
 public:
  static constexpr size_t kAsFitted = static_cast<size_t>(-1);

  // `law` is one of summary.laws and forecasts losses; both must outlive the curve.
  // Cost: one forecast at each of 4 points a decade.
  FrontierCurve(const FitSummary& summary, const FittedLaw& law);

  size_t resamples() const { return law_.resamples(); }
  // Natural logarithms. NaN where the law has no optimum.
  double LnLoss(double ln_flops, size_t resample = kAsFitted) const;
  // The ln C at which the loss falls to `ln_loss`: +infinity when it has not at 1e6 times the
  // largest fitted budget, -infinity when it is lower at 1e-6 times the smallest.
  double LnFlops(double ln_loss, size_t resample = kAsFitted) const;
  // The forecast at C, with the compute-optimal model; nullopt where there is none.
  std::optional<Forecast> Optimum(double ln_flops) const;
  // Standard deviation of ln L of a single run about the mean at C, as the forecast's intervals of
  // a run and of the mean imply; 0 without intervals.
  double RunScatter(double ln_flops) const;

  const FitSummary& summary() const { return summary_; }
  const LawFit& fit() const { return law_.fit(); }
  const std::string& law_name() const { return law_.fit().law; }

 private:
  struct Stretch {
    double below = 1, above = 1;  // of resamples with less loss than the fit, with more
  };
  Stretch StretchAt(double ln_flops) const;
  double RawLnLoss(double ln_flops, size_t resample) const;

  const FitSummary& summary_;
  const FittedLaw& law_;
  double lowest_, highest_;  // ln C between which an inverse is looked for
  double first_, step_;      // of the table
  std::vector<Stretch> table_;
};

}  // namespace fit
