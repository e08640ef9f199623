// The fitter's one entry point: FitOptions -> RunFit -> FitSummary. Laws, intervals, backtest and
// forecasts from one set of observations; everything a report prints is in the summary.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/backtest.h"
#include "fit/cohort.h"
#include "fit/forecast.h"
#include "fit/law.h"
#include "fit/law_list.h"
#include "fit/observation.h"
#include "fit/reach_coverage.h"
#include "fit/sensitivity.h"
#include "fit/two_step_run.h"

namespace fit {

enum class NConvention { kParams, kNoEmbedding };

// A model and what it costs a token in training, both conventions of N. 0: no_embedding not known.
struct KnownFlops {
  double params = 0, params_no_embedding = 0;
  double flops_per_token = 0;
};

struct FitOptions {
  // Names of LawNames(), "default" (UsualLaws) or "all" (two-step only where
  // the observations have a hard metric). The order of the result is that of LawNames().
  std::vector<std::string> laws = {"default"};
  LawOptions law;
  // What a budget buys: C / (N D) as the runs have it (flops_relation.h), not law.flops, which is
  // then replaced. What the caller knows beyond the runs, as the models of their recipe, joins
  // them.
  bool learn_flops = true;
  std::vector<KnownFlops> known_flops;
  std::vector<double> predict;  // training FLOPs to forecast at; > 0
  // Runs to forecast at their own N and D; flops 0: what the runs' C / (N D) makes of them. A law
  // that does not see N and D (Law::forecasts_runs) says that it cannot.
  std::vector<RunTarget> predict_runs;
  // Two-step: models to forecast; params, tokens > 0, flops 0: derived. Where it is not among the
  // laws fitted, they join predict_runs.
  std::vector<TwoStepTarget> models;
  TwoStepRequest two_step;
  // Rows of one id are checkpoints of one run: laws are fitted to the last row of each, but for
  // those that use the way there.
  bool checkpoints = false;
  NConvention n_convention = NConvention::kParams;
  std::vector<std::string> allow_mixed;  // cohort keys and columns that may differ
  // Whether who asks has --experiment COLUMN, which makes a column a cohort key: advice names it.
  bool experiment_option = true;
  // What flops stands for where the rows are points of a curve in something else
  // (CsvOptions::input): only laws in C alone are fitted then.
  std::string input = "FLOPs";
  double spent_flops = 0;  // everything spent, for leverage; 0: the sum over observations
  bool backtest = true;
  BacktestOptions backtest_options;
  bool sensitivity = true;  // refit under the changes of sensitivity.h
  // Called before each step that may take seconds ("farseer: backtest"), by the calling thread.
  std::function<void(const std::string&)> progress;
};

struct FitSummary {
  std::vector<LawFit> fits;
  // The laws themselves, in the order of `fits`, for what needs more than numbers
  // (frontier_curve.h). Shared by the copies of a summary; nothing changes them.
  std::vector<std::shared_ptr<const FittedLaw>> laws;
  std::vector<Forecast> predictions;  // by target, the primary law first
  std::vector<BacktestRow> backtest;
  // The same fit at kWeighingLevel (average.h), which says what the laws of an average weigh;
  // nullptr where this one has that level or no average.
  std::shared_ptr<const FitSummary> weighed;
  // The same fit with E fitted; nullptr where E was not given.
  std::shared_ptr<const FitSummary> unpinned;
  std::optional<double> pinned_E;
  std::vector<ReachCoverage> coverage;
  std::vector<Warning> warnings;  // of the data and of laws that could not be fitted
  std::vector<Exclusion> excluded;
  std::vector<Sensitivity> sensitivities;
  std::optional<TwoStepSummary> two_step;
  std::string input;  // as of FitOptions
  Cohort cohort;
  FlopsRelation flops;       // with which surfaces turned C into (N, D)
  std::string flops_source;  // "of the runs"; empty where rows have no FLOPs
  // Why no forecast from this fit may be registered; empty where one may.
  std::vector<std::string> registration_blocked;
  BudgetGrouping grouping = BudgetGrouping::kNominal;
  size_t observations = 0;                                        // after exclusions
  double smallest_flops = 0, largest_flops = 0;                   // fitted budgets
  double fewest_tokens_per_param = 0, most_tokens_per_param = 0;  // of the fitted runs
  double spent_flops = 0;
  bool one_law = false;  // one law that forecasts was asked for: it is primary
  double elapsed_s = 0;
};

// Where the fitted budgets lie, as ForecastAt wants it.
Scale ScaleOf(const FitSummary& summary);
// All laws of a fit at one more target, the primary first, as ForecastAt gives them.
std::vector<Forecast> ForecastsOf(const FitSummary& summary, const RunTarget& target);

// `excluded`: what the reader of the observations left out already; it is reported again.
// INVALID_ARGUMENT: no observations, a bad number, an unknown law or option value, a run to
// forecast and no law that can; FAILED_PRECONDITION: mixed cohort, or a law asked for by name that
// the data cannot determine when no other law could be fitted. A law that fails beside others is a
// warning (not-fitted). Deterministic for equal inputs, whatever the number of threads. Cost: about
// .15 ms a start and .06 ms a resample for 240 observations.
absl::StatusOr<FitSummary> RunFit(const std::vector<Observation>& observations,
                                  const FitOptions& options,
                                  const std::vector<Exclusion>& excluded = {});

}  // namespace fit
