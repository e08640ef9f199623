// From the forecasts of single laws to the one that is registered.
// The primary forecast is `average`, the mixture of average.h, when at least two laws are
// determined by the data (no collinear N and D, no constant on its bound, enough degrees of
// freedom), or one that averages over its profile is, of several that were asked for (who names one
// law wants that one); else `frontier` when it rests on at least 3 good budgets; else the first law
// that forecasts at all. The single laws stand beside it; where one lies outside the primary
// interval, both say so. N* and D* of approach 2 join the average without their curve's known bias
// (curve_bias.h), with its own intervals, which hold them either way; the law's own forecast keeps
// the bias, as published fits have it. The rule knows neither the forecasts nor the target.
// Surfaces that compete are selected first (SelectLaws of average.h).
#pragma once

#include <string>
#include <vector>

#include "fit/backtest.h"
#include "fit/law.h"

namespace fit {

// Whether an estimate lies outside its own interval, where it has one: percentiles of refits need
// not hold the fit itself.
bool IsOutside(double value, const Interval& interval);

// Whether the data determine a law, so that it joins the average: no collinear N and D, no constant
// on its bound, an asymptote, a converged solver, degrees of freedom.
bool IsDetermined(const LawFit& fit);

// Name of the primary law, which may be "average"; empty when none forecasts losses.
// `one_law`: one law that forecasts was asked for.
std::string PrimaryLaw(const std::vector<const FittedLaw*>& laws, bool one_law);

// The laws that make up the average, in order.
std::vector<std::string> LawsOfAverage(const std::vector<const FittedLaw*>& laws);

struct Scale {
  double smallest_flops = 0, largest_flops = 0;  // fitted budgets
  double spent_flops = 0;  // everything spent: tuning, seeds and failures too; 0: unknown
  std::string metric;      // of the cohort; "loss" when it names none
  bool one_law = false;    // as of PrimaryLaw
  // D / N of the fitted runs; 0 where unknown.
  double fewest_tokens_per_param = 0, most_tokens_per_param = 0;
};

// What other fits of the same runs say of the same target.
struct Beside {
  // At kWeighingLevel (average.h), whose weights an average takes; empty where `laws` have that
  // level themselves.
  std::vector<Forecast> weighed;
  // With E fitted, where it is given for `laws`; else empty.
  std::vector<Forecast> unpinned;
  double pinned_E = 0;
};

// All laws at one target, the primary first, with reach, leverage and the warnings outside-range
// (above or below the fitted budgets, or a run's D / N), laws-disagree, no-interval and
// estimate-outside-interval; a law's own warnings that bear on a forecast are repeated there.
// Intervals out of range are widened by what `backtest` teaches (calibration.h; it may be empty).
std::vector<Forecast> ForecastAt(const std::vector<const FittedLaw*>& laws, const RunTarget& target,
                                 const Scale& scale, const std::vector<BacktestRow>& backtest,
                                 const Beside& beside = {});

}  // namespace fit
