// The two-step forecast as `sweepctl fit --law two-step` runs it: from observations with a hard
// metric to both steps, forecasts at targets and a backtest over the runs.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/flops_relation.h"
#include "fit/two_step.h"
#include "fit/warnings.h"

namespace fit {

struct TwoStepRequest {
  bool by_flops = false;          // the first step in C alone (ComputeCurve) instead of in (N, D)
  std::string curve = "sigmoid";  // or "log-sigmoid", "exponential-error"
  std::optional<double> chance;   // the curve's floor, in [0, 1]; absent: fitted
  // A perfect model (soft metric 0) is right: the pair (0, 1), or (0, 0) where the hard metric is
  // an error. The published procedure adds it for the sigmoid; the log-sigmoid is 1 there by
  // itself. Where the runs contradict it, it is left out (TwoStep::contradiction).
  bool perfect_model = true;
  bool beyond_middle = false;  // TwoStepOptions
  CheckpointPolicy checkpoints;
  // The last so many of: the FLOPs of every run but the largest; where more than 20 differ, the 50,
  // 60, ..., 90 % quantiles of the runs' FLOPs, as in backtest.h. 0: none.
  int backtest_cuts = 4;
};

// A model to forecast: with tokens 0, the compute-optimal one at `flops` by the first step; with
// flops 0, C is what the runs' relation makes of params and tokens (both > 0 then).
struct TwoStepTarget {
  double flops = 0, params = 0, tokens = 0;
};

struct TwoStepForecast {
  TwoStepTarget target;  // params and tokens 0 where the first step is in C alone
  double reach = 0;      // flops / the largest run's
  HardForecast at;
  // outside-range: beyond the largest run's FLOPs (and how far the backtest reaches), or a soft
  // metric outside of the pairs'. asymptote-unidentified: the range of E moves the soft forecast by
  // more than half of its interval.
  // flop-convention: C was derived from N and D, or N* from C beyond the largest model counted, or
  // C was given and is not counted as that of the runs (flops_check.h). backtest-undercoverage,
  // perfect-model-contradicted and curve-misfit, as the summary's. curve-assumed: beyond_middle
  // made a forecast that would have abstained.
  std::vector<Warning> warnings;
};

// Errors in the hard metric's own unit, a share, of the tests that did not abstain; NaN where all
// did.
struct TwoStepBacktestRow {
  double cut_flops = 0;
  double reach = 0;                               // the largest of the tests
  size_t n_train = 0, n_test = 0, abstained = 0;  // runs; of the tests
  double rms = 0, max = 0, bias = 0;              // forecast minus measured
  double coverage = 0;                            // of the intervals; NaN without
};

struct TwoStepStep {
  std::string name, equation;
  NamedValues params;
  std::vector<std::pair<std::string, Interval>> intervals;
  double objective = 0;
  size_t n = 0;
  int starts = 0, starts_at_best = 0;
};

struct TwoStepSummary {
  TwoStepStep soft, hard;
  size_t runs = 0;
  double lowest_soft = 0, highest_soft = 0;  // of the pairs
  double scatter = 0;                        // rms of the hard metric about the curve
  bool perfect_model = false;
  std::optional<double> chance;
  int resamples = 0, resamples_failed = 0;
  std::vector<TwoStepForecast> forecasts;
  std::vector<TwoStepBacktestRow> backtest;
  // Of both steps: parameter-at-bound, asymptote-at-bound, asymptote-unidentified (the range of
  // E reaches 0), perfect-model-contradicted, curve-misfit (another curve of curve_family.h
  // lies 1.2 times nearer to the pairs), what resamples failed; abstains, one a forecast;
  // backtest-undercoverage (at least 5 tests, 15 points below the level); checkpoints: rows that
  // nobody grouped and that repeat an id and N with other D or, without ids, are 20 or more for
  // each different N.
  std::vector<Warning> warnings;
};

// `runs` as of GroupRuns. INVALID_ARGUMENT: an unknown curve, chance outside [0, 1];
// FAILED_PRECONDITION: no hard metric, too few runs. Deterministic.
absl::StatusOr<TwoStepSummary> RunTwoStep(const std::vector<Observation>& observations,
                                          const std::vector<RunRows>& runs,
                                          const TwoStepRequest& request,
                                          const TwoStepOptions& options, const FlopsRelation& flops,
                                          const std::vector<TwoStepTarget>& targets);

}  // namespace fit
