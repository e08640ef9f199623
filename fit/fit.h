// The fitter's one entry point: FitOptions -> RunFit -> FitSummary. Laws, intervals, backtest and
// forecasts from one set of observations; everything a report prints is in the summary.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/backtest.h"
#include "fit/cohort.h"
#include "fit/forecast.h"
#include "fit/law.h"
#include "fit/observation.h"
#include "fit/sensitivity.h"

namespace fit {

enum class NConvention { kParams, kNoEmbedding };

struct FitOptions {
  // Names of LawNames(), "default" (isoflop, frontier, chinchilla) or "all". The order of the
  // result is that of LawNames().
  std::vector<std::string> laws = {"default"};
  LawOptions law;
  std::vector<double> predict;  // training FLOPs to forecast at; > 0
  NConvention n_convention = NConvention::kParams;
  std::vector<std::string> allow_mixed;  // cohort keys that may differ
  double spent_flops = 0;  // everything spent, for leverage; 0: the sum over observations
  bool backtest = true;
  BacktestOptions backtest_options;
  bool clamp_effect = true;  // refit without clamped points and say what changes
  bool sensitivity = true;   // refit under the changes of sensitivity.h
};

struct FitSummary {
  std::vector<LawFit> fits;
  std::vector<Forecast> predictions;  // by target, the primary law first
  std::vector<BacktestRow> backtest;
  std::vector<Warning> warnings;  // of the data and of laws that could not be fitted
  std::vector<Exclusion> excluded;
  std::vector<Sensitivity> sensitivities;
  Cohort cohort;
  BudgetGrouping grouping = BudgetGrouping::kNominal;
  size_t observations = 0;                       // after exclusions
  double smallest_flops = 0, largest_flops = 0;  // fitted budgets
  double spent_flops = 0;
  double elapsed_s = 0;
};

// isoflop, frontier, chinchilla, overtrain, data-constrained, kaplan.
const std::vector<std::string>& LawNames();
// nullptr when there is none of that name. Lives for ever.
const Law* LawByName(std::string_view name);

// `excluded`: what the reader of the observations left out already; it is reported again.
// INVALID_ARGUMENT: no observations, a bad number, an unknown law or option value;
// FAILED_PRECONDITION: mixed cohort, or a law asked for by name that the data cannot determine when
// no other law could be fitted. A law that fails beside others is a warning (not-fitted).
// Deterministic for equal inputs, whatever the number of threads. Cost: about 1 ms a start and 1 ms
// a resample for 240 observations.
absl::StatusOr<FitSummary> RunFit(const std::vector<Observation>& observations,
                                  const FitOptions& options,
                                  const std::vector<Exclusion>& excluded = {});

}  // namespace fit
