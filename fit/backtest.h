// How well a law would have forecast what is already known: for every cut, fit what lies at or
// below it and forecast what lies above. Coverage is the share of later values inside the interval;
// for an honest 90 % interval it is near 0.9.
#pragma once

#include <string>
#include <vector>

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
  double coverage = 0;  // NaN without intervals
  double reach = 0;     // largest tested FLOPs / cut
};

// Cuts, unless given: every budget with law.backtest_budgets() budgets at or below it and one
// above; where budgets are buckets of realised FLOPs and more than 20, the 50, 60, ..., 90 %
// quantiles of the FLOPs. Cuts whose fit is refused give no row. Deterministic.
std::vector<BacktestRow> Backtest(const Law& law, const std::vector<Observation>& observations,
                                  const LawOptions& options, const BacktestOptions& backtest);

}  // namespace fit
