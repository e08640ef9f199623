// The seam between laws and everything that uses them (fit.h, backtest.h, forecast.h): a Law turns
// observations into a FittedLaw, which forecasts the compute-optimal loss and can be tested on
// later observations. A new kind of law implements these two classes and is listed in
// law_list.cc.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/bootstrap.h"
#include "fit/effective_compute.h"
#include "fit/isoflop.h"
#include "fit/joint_region.h"
#include "fit/loss_spec.h"
#include "fit/noise_model.h"
#include "fit/observation.h"
#include "fit/surface_law.h"
#include "fit/warnings.h"

namespace fit {

// How laws are fitted; the part of FitOptions (fit.h) that they see.
struct LawOptions {
  LossSpec loss;    // of surface laws; isoflop and frontier are least squares
  int starts = 64;  // of surface laws
  BootstrapOptions bootstrap;
  // Surface laws: the scatter of runs is a power of C (noise_model.h); runs weigh accordingly, and
  // prediction intervals scatter as runs of the target's C do.
  bool noise_by_flops = false;
  bool cluster_by_budget = false;  // surface laws: resample whole budgets instead of runs
  WithinBudget within_budget = WithinBudget::kResiduals;  // isoflop and frontier
  IsoflopOptions isoflop;
  // isoflop and frontier: budgets weigh by the inverse square of the resampled spread of ln N* (and
  // ln D*) in the power laws, as in arXiv:2406.19146, instead of all alike.
  bool weigh_budgets = false;
  std::optional<double> pinned_E;  // E is given, in the unit of the loss
  // Surface laws: constants that are given, by the letter of the report ("A", "beta"). A letter
  // that a law does not have is not its business.
  std::map<std::string, double> hold;
  // Of the exponents in profile averages (drift_law.h); off: uniform in their logarithm.
  bool exponent_prior = true;
  bool profile = true;       // surface laws: profile every constant, not the asymptote alone
  double unique_tokens = 0;  // different tokens there are, for laws of repeated data; 0: no limit
  bool observations_are_optima = false;  // rows are optima of budgets, one each, not runs
  bool rows_are_curve = false;           // laws in C alone: every row is a point of the curve
  bool checkpoints = false;              // rows of one id are one run (checkpoints.h); envelope
  FlopsRelation flops;                   // where a law must turn C into (N, D)
};

// One budget of approach 2 with the uncertainty of its minimum.
struct BudgetOptimum {
  IsoflopMinimum minimum;
  Interval params, tokens, loss;     // NaN bounds where there is no bootstrap
  double share_without_minimum = 0;  // of the resamples, in [0, 1]
  // Known bias of the curve there, a share of N*, D* and L* (curve_bias.h); NaN: not known.
  double params_bias = std::numeric_limits<double>::quiet_NaN();
  double tokens_bias = params_bias, loss_bias = params_bias;
};

// A local optimum that is not the best one but nearly as good.
struct OtherOptimum {
  NamedValues params;
  double objective = 0;
  int starts = 0;  // that ended there
};

// In what compute a frontier's losses are a power law: C, or 6 N* D* where C / (N D) bends.
struct FrontierCompute {
  std::optional<OptimalSizes> sizes;  // where it bends
  double moved_rms = 0;  // of ln L, by which runs were moved to what the relation gives a budget
};

// A law as fitted, for reports.
struct LawFit {
  std::string law, equation;
  std::string loss, residual;  // "huber", "log"
  double delta = 0;            // 0 unless huber
  NamedValues params;          // in the paper's letters
  double objective = 0;
  size_t n = 0;  // observations (surface) or budgets (frontier) fitted
  int starts = 0, starts_at_best = 0;
  double over = 1;                                         // weight of over-estimates
  int constants = 0;                                       // that were fitted
  double aicc = std::numeric_limits<double>::quiet_NaN();  // information.h; surface laws
  std::optional<NoiseModel> noise;                         // where it weighed the runs
  std::string weights;   // how rows or budgets weigh where they weigh unequally otherwise
  double condition = 0;  // of J'J; 0 where it has no meaning
  std::optional<double> referee_objective;  // what Ceres reaches from an independent start
  int resamples = 0, resamples_failed = 0;
  std::vector<std::pair<std::string, Interval>> intervals;  // by parameter name
  // Profile likelihood, by parameter name; an open end is 0 or infinity. E has one range, the one
  // among `intervals`.
  std::vector<std::pair<std::string, Interval>> profiles;
  std::vector<OtherOptimum> other_optima;
  // Different constants whose objective is the best one's within rounding, this fit not counted.
  int equal_optima = 0;
  std::optional<FrontierCompute> compute;  // frontier and envelope
  std::vector<BudgetOptimum> budgets;      // isoflop and frontier: one a budget, refused ones too
  std::vector<Warning> warnings;
  double elapsed_s = 0;
};

// What the forecast is when E moves over its interval and the other constants are refitted to it.
// E is the same interval as the one among LawFit::intervals: there is one range of E.
struct AsymptoteSpan {
  Interval E;  // kind parameter
  double loss_at_E_lo = 0, loss_at_E_hi = 0;
};

// What is forecast: the optimum of a budget or, with params and tokens, the very run that is to
// spend it, which a recipe's grid seldom puts on the optimum.
struct RunTarget {
  double flops = 0, params = 0, tokens = 0;
};

// A law's forecast averaged over the profile of its constants (drift.h): what an average of laws
// takes of it. NaN ends without intervals.
struct ProfileAverage {
  double loss = 0;
  Interval interval, mean_interval;
  std::optional<AsymptoteSpan> asymptote;
};

// A law as an average takes it: averaged over its profile, where it is, and calibrated; its N* and
// D* divided by the ratios, which are those of Forecast.
struct AverageMember {
  std::string law;
  double weight = 0;  // those of an average sum to 1
  double loss = 0;
  Interval interval, mean_interval;
  double params_ratio = 1, tokens_ratio = 1;
};

struct Forecast {
  std::string law;
  bool primary = false;
  double flops = 0;
  // Of a run: its own N and D, and by what share its loss lies above the optimum's. N* and D* below
  // stay the optimum's.
  double run_params = 0, run_tokens = 0, off_optimum = 0;
  std::string metric;
  double loss = 0;
  Interval interval;       // kind prediction: wider than the mean's by the scatter of single runs
  Interval mean_interval;  // kind mean
  Interval unwidened;      // `interval` before it was widened for reach; set by ForecastAt
  double params = 0, tokens = 0;
  Interval params_interval, tokens_interval;
  // Approach 2: N* and D* over what they would be without the curve's known bias (curve_bias.h),
  // beyond the largest budget that at it; 1: none. A law prints them as its curves give them, and
  // its intervals hold either; an average takes them divided by the ratios, which leave k(N*) N* D*
  // as it is (flops_relation.h).
  double params_ratio = 1, tokens_ratio = 1;
  // Surfaces: C / (N D) at the optimum (flops_relation.h), and N* over the largest model that was
  // counted where N* lies beyond it, else 0.
  double flops_per_param_token = 0, flops_extrapolated = 0;
  std::optional<JointRegion> joint;  // of N*, D* and the mean loss, by the law's own draws
  // Sizes at this budget that the law puts within `within` (relative loss) of the optimum; 0 where
  // it says nothing about that. An average: where all of its laws agree.
  double within = 0, flat_params_lo = 0, flat_params_hi = 0;
  std::vector<std::string> flat_by;  // an average: the laws that say so
  // False where the ends of the prediction interval are more than a factor of 2 apart: that is no
  // forecast, and the warning not-determined says so.
  bool determined = true;
  double reach = 0;     // flops / largest fitted budget
  double leverage = 0;  // flops / all FLOPs spent; NaN where those are unknown
  std::optional<AsymptoteSpan> asymptote;
  std::optional<ProfileAverage> averaged;
  std::vector<Warning> warnings;
  std::vector<AverageMember> members;  // of an average
  // An average: the laws that forecast but are not in it, and why.
  std::vector<std::pair<std::string, std::string>> left_out;
};

// One held-out value, as the law forecast it. reach: flops / the largest fitted budget, and target:
// what tells the value from others of the same data, both filled in by the backtest. mean_lo,
// mean_hi: the interval of the law's own mean; at_E_lo, at_E_hi: its loss with E at the ends of its
// range, `predicted` where it has none. An average looks at them. `averaged`: the same of the law's
// ProfileAverage, where it has one.
struct TestPoint {
  double flops = 0, actual = 0, predicted = 0, lo = 0, hi = 0, reach = 0;
  double mean_lo = std::numeric_limits<double>::quiet_NaN(), mean_hi = mean_lo;
  double at_E_lo = predicted, at_E_hi = predicted;
  size_t target = 0;
  std::shared_ptr<const TestPoint> averaged;  // shared by copies, which do not change it
};

class FittedLaw {
 public:
  virtual ~FittedLaw() = default;
  virtual const LawFit& fit() const = 0;
  // The compute-optimal model at `flops` > 0 and its loss, with intervals, asymptote and the law's
  // own warnings. nullopt when the law says nothing about it (allocation only, no optimum, a run of
  // its own N and D where Law::forecasts_runs does not hold).
  virtual std::optional<Forecast> Predict(const RunTarget& target) const = 0;
  // The mean loss of a compute-optimal run at `flops` > 0: of the law as fitted, or as refitted to
  // resample number `resample` < resamples(). NaN where the law says nothing about it.
  virtual size_t resamples() const { return 0; }
  virtual double FrontierLoss(double flops, std::optional<size_t> resample) const {
    return std::numeric_limits<double>::quiet_NaN();
  }
  // What its frontier is a power law of, where that is not the budget itself.
  virtual EffectiveCompute Compute(double flops) const { return {flops, 1}; }
  // Whether its forecasts and tests come averaged over its profile too (ProfileAverage).
  virtual bool averages_profile() const { return false; }
  // Forecasts of what later observations show: a surface predicts every run, a frontier the
  // optimum of every later budget that has one.
  virtual std::vector<TestPoint> Test(const std::vector<Observation>& later) const = 0;
  // The forecast of one run: a surface at its (N, D), a frontier at its C, as if the run were the
  // best at its budget. nullopt where the law forecasts no losses.
  virtual std::optional<TestPoint> TestRun(const Observation& run) const = 0;
};

class Law {
 public:
  virtual ~Law() = default;
  virtual std::string_view name() const = 0;
  // Letters of the constants that LawOptions::hold may give.
  virtual std::vector<std::string> constants() const { return {}; }
  // The surface L(N, D) behind the law, for laws that are one; lives for ever.
  virtual const SurfaceLaw* surface() const { return nullptr; }
  // Whether it is a curve in C that says nothing about params and tokens.
  virtual bool in_compute() const { return false; }
  // Whether it knows what a run loses by its own N and D: a law in C alone would take every run for
  // the optimum, and so does every law where rows are optima.
  virtual bool forecasts_runs() const { return !in_compute(); }
  // Whether it wants all checkpoints of a run, not the last alone.
  virtual bool uses_checkpoints() const { return false; }
  // Fewest budgets from which a backtest may start.
  virtual size_t backtest_budgets(const LawOptions& options) const = 0;
  // FAILED_PRECONDITION when the observations cannot determine the law; the message says what is
  // missing. Deterministic. REQUIRES: valid observations, not empty.
  virtual absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(
      const std::vector<Observation>& observations, const LawOptions& options) const = 0;
};

}  // namespace fit
