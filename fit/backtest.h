// How well a law would have forecast what is already known: for every cut, fit what lies at or
// below it and forecast what lies above. Coverage is the share of later values inside the interval;
// for an honest 90 % interval it is near 0.9.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "fit/calibration.h"
#include "fit/law.h"

namespace fit {

struct BacktestOptions {
  int resamples = 100;       // of each fit; 0: no coverage
  std::vector<double> cuts;  // training FLOPs; empty: chosen, see Backtest
  int max_cuts = 8;          // of the chosen ones, the last are kept
};

struct BacktestRow {
  std::string law;
  double cut_flops = 0;
  size_t n_train = 0, n_test = 0;  // observations before; values forecast
  // Of predicted / actual - 1. bias is the mean.
  double rms_rel = 0, max_rel = 0, bias_rel = 0;
  // Share of values inside the interval as a forecast would print it: widened by what the cuts
  // before this one had taught (calibration.h). NaN without intervals.
  double coverage = 0;
  double coverage_raw = 0;                                 // the same of the law's own interval
  double reach = 0;                                        // largest tested FLOPs / cut
  double aicc = std::numeric_limits<double>::quiet_NaN();  // of the fit at the cut
  std::vector<std::string> chosen;  // average: the laws that selection left in it at this cut
  // The forecast of every later budget's judged run: what calibration and weights learn from.
  std::vector<TestPoint> judged;
};

// The run of a budget that forecasts are judged by, as an index into group.members: the one whose N
// is nearest to the minimum of the budget's own parabola or, where that has none, of median N. Not
// the lowest: of many runs that one is low by luck, which no law of means foretells, and the less
// the more runs a budget has. REQUIRES: group not empty.
size_t JudgedRun(const IsoflopGroup& group);

// Forecasts of the judged runs whose outcome was known at `cut_flops`: those of earlier cuts, at
// budgets up to it. Infinity: all of them.
std::vector<RollingForecasts> KnownAt(const std::vector<BacktestRow>& rows, std::string_view law,
                                      double cut_flops);

// Cuts, unless given: every budget with law.backtest_budgets() budgets at or below it and one
// above; where budgets are buckets of realised FLOPs and more than 20, the 50, 60, ..., 90 %
// quantiles of the FLOPs. Cuts whose fit is refused give no row. Deterministic.
std::vector<BacktestRow> Backtest(const Law& law, const std::vector<Observation>& observations,
                                  const LawOptions& options, const BacktestOptions& backtest);

}  // namespace fit
