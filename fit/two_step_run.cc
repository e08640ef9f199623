#include "fit/two_step_run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "core/status_macros.h"
#include "core/units.h"
#include "fit/asymptote.h"
#include "fit/chinchilla.h"
#include "fit/curve.h"
#include "fit/flops_check.h"
#include "fit/remarks.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

absl::StatusOr<const Equation*> CurveOf(const std::string& name) {
  if (name == "sigmoid") return &SigmoidCurve();
  if (name == "log-sigmoid") return &LogSigmoidCurve();
  if (name == "exponential-error") return &ExponentialErrorCurve();
  return absl::InvalidArgumentError(
      fmt::format("no curve '{}'; the curves are: sigmoid, log-sigmoid, exponential-error", name));
}

struct Chain {
  const Equation* law;
  const Equation* curve;
  bool perfect_model = false;
  TwoStepData data;
};

absl::StatusOr<Chain> ChainOf(const std::vector<Observation>& observations,
                              const std::vector<RunRows>& runs, const TwoStepRequest& request) {
  Chain chain;
  ASSIGN_OR_RETURN(chain.curve, CurveOf(request.curve));
  chain.law = request.by_flops ? &ComputeCurve() : &ChinchillaLaw();
  chain.data = MakeTwoStepData(observations, runs, request.by_flops, request.checkpoints);
  if (chain.data.pairs.empty())
    return absl::FailedPreconditionError(
        "two-step: no row has a hard metric; name its column with --hard COLUMN");
  if (chain.curve == &ExponentialErrorCurve() && !IsError(chain.data.pairs))
    return absl::FailedPreconditionError(
        "two-step: exponential-error is a curve of errors, and this hard metric rises as the soft "
        "one falls; name a column of errors with --hard, or give --curve sigmoid");
  chain.perfect_model = request.perfect_model && chain.curve == &SigmoidCurve();
  if (chain.perfect_model) chain.data.known = {{{0}, IsError(chain.data.pairs) ? 0.0 : 1.0, 0}};
  return chain;
}

Inputs InputsOf(const TwoStepTarget& target, bool by_flops) {
  if (by_flops) return {std::log(target.flops), 0, 0};
  return {std::log(target.params), std::log(target.tokens), std::log(target.tokens)};
}

TwoStepStep Describe(const Equation& equation, const EquationFit& fit,
                     std::vector<std::pair<std::string, Interval>> intervals) {
  return {std::string(equation.name()),
          std::string(equation.equation()),
          equation.Report(fit.theta),
          std::move(intervals),
          fit.objective,
          fit.residuals.size(),
          fit.starts,
          fit.starts_at_best};
}

std::vector<double> CutsOf(const std::vector<Observation>& observations,
                           const std::vector<RunRows>& runs, int most) {
  constexpr size_t kManyBudgets = 20;
  std::vector<double> flops;
  for (const RunRows& rows : runs) flops.push_back(observations[rows.back()].flops);
  const std::set<double> budgets(flops.begin(), flops.end());
  std::vector<double> cuts;
  if (budgets.size() > kManyBudgets) {
    for (const double q : {.5, .6, .7, .8, .9}) cuts.push_back(Quantile(flops, q));
  } else {
    cuts.assign(budgets.begin(), budgets.end());
    if (!cuts.empty()) cuts.pop_back();
  }
  const auto kept = static_cast<size_t>(std::max(most, 0));
  if (cuts.size() > kept) cuts.erase(cuts.begin(), cuts.end() - static_cast<std::ptrdiff_t>(kept));
  return cuts;
}

double LargestFlops(const std::vector<Observation>& observations,
                    const std::vector<RunRows>& runs) {
  double largest = 0;
  for (const RunRows& rows : runs) largest = std::max(largest, observations[rows.back()].flops);
  return largest;
}

struct Rolled {
  std::vector<TwoStepBacktestRow> table;
  // One list a cut: of the soft metric, and exp of the hard one where it did not abstain.
  std::vector<RollingForecasts> soft, hard;
};

// What past forecasts needed.
struct Widening {
  Calibration soft, hard;
  Widening(const Equation& law, const std::vector<RollingForecasts>& soft_known,
           const std::vector<RollingForecasts>& hard_known, double level)
      : soft(law.name(), soft_known, level), hard(Calibration::WithoutGrowth(hard_known, level)) {}
};

// What was known at `cut` of earlier forecasts.
std::vector<RollingForecasts> KnownBy(const std::vector<RollingForecasts>& cuts, double cut) {
  std::vector<RollingForecasts> known = cuts;
  for (RollingForecasts& forecasts : known)
    std::erase_if(forecasts, [&](const TestPoint& test) { return test.flops > cut; });
  return known;
}

// Fits what ends at or below each cut, forecasts both metrics of every later run. Intervals are
// widened by what was known at the cut.
Rolled TwoStepBacktest(const std::vector<Observation>& observations,
                       const std::vector<RunRows>& runs, const TwoStepRequest& request,
                       const TwoStepOptions& options) {
  constexpr int kResamples = 100;
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  TwoStepOptions quick = options;
  quick.bootstrap.resamples = std::min(options.bootstrap.resamples, kResamples);
  quick.starts = std::min(options.starts, 16);
  Rolled backtest;
  for (const double cut : CutsOf(observations, runs, request.backtest_cuts)) {
    std::vector<RunRows> before, after;
    for (const RunRows& rows : runs)
      (observations[rows.back()].flops <= cut ? before : after).push_back(rows);
    const auto chain = ChainOf(observations, before, request);
    if (!chain.ok()) continue;
    const auto fit = TwoStep::Fit(*chain->law, *chain->curve, chain->data, quick);
    if (!fit.ok()) continue;
    TwoStepBacktestRow row;
    row.cut_flops = cut;
    row.n_train = before.size();
    const double largest = LargestFlops(observations, before);
    const Widening widening(*chain->law, KnownBy(backtest.soft, cut), KnownBy(backtest.hard, cut),
                            options.bootstrap.level);
    RollingForecasts soft, hard;
    std::vector<double> errors;
    size_t inside = 0;
    bool intervals = true;
    for (const RunRows& rows : after) {
      const TwoStepData truth =
          MakeTwoStepData(observations, {rows}, request.by_flops, request.checkpoints);
      const Inputs& x = truth.soft[0].x;
      const double flops = observations[rows.back()].flops, reach = flops / largest;
      soft.push_back(fit->TestSoft(x, flops, truth.soft[0].y));
      soft.back().reach = reach;
      if (truth.pairs.empty()) continue;
      ++row.n_test;
      row.reach = std::max(row.reach, reach);
      const HardForecast own = fit->At(x, reach, &widening.soft);
      const HardForecast forecast = fit->At(x, reach, &widening.soft, &widening.hard);
      if (!forecast.abstains.empty()) {
        ++row.abstained;
        continue;
      }
      const double actual = truth.pairs.back().y;
      errors.push_back(forecast.hard - actual);
      hard.push_back({flops, std::exp(actual), std::exp(own.hard), std::exp(own.interval.lo),
                      std::exp(own.interval.hi), reach});
      row.max = std::max(row.max, std::fabs(errors.back()));
      inside += forecast.interval.lo <= actual && actual <= forecast.interval.hi;
      intervals = intervals && std::isfinite(forecast.interval.lo);
    }
    backtest.soft.push_back(std::move(soft));
    backtest.hard.push_back(std::move(hard));
    if (row.n_test == 0) continue;
    if (errors.empty()) {
      row.rms = row.max = row.bias = row.coverage = kNone;
    } else {
      row.rms = RootMeanSquare(errors);
      row.bias = Mean(errors);
      row.coverage =
          intervals ? static_cast<double>(inside) / static_cast<double>(errors.size()) : kNone;
    }
    backtest.table.push_back(row);
  }
  return backtest;
}

// As RemarkOnCoverage of remarks.h: of the summary and of every forecast.
void RemarkOnBacktest(double level, TwoStepSummary& summary) {
  double inside = 0;
  size_t tested = 0;
  for (const TwoStepBacktestRow& row : summary.backtest) {
    if (!std::isfinite(row.coverage)) continue;
    inside += row.coverage * static_cast<double>(row.n_test - row.abstained);
    tested += row.n_test - row.abstained;
  }
  const std::optional<Warning> warning = Undercoverage("two-step", level, inside, tested);
  if (!warning.has_value()) return;
  summary.warnings.push_back(*warning);
  for (TwoStepForecast& forecast : summary.forecasts) forecast.warnings.push_back(*warning);
}

// Constants on their bounds, and an E that the runs do not tell from 0.
void RemarkOnStep(const Equation& equation, const EquationFit& fit, const TwoStepStep& step,
                  TwoStepSummary& summary) {
  for (const size_t i : fit.at_bound) {
    const Coordinate& c = equation.coordinates()[i];
    summary.warnings.push_back(
        Warn(c.bound_warning.empty() ? kParameterAtBound : c.bound_warning,
             fmt::format("{}: {} = {:.6g} sits on its bound [{:g}, {:g}]", step.name, c.name,
                         fit.theta[i], c.lower, c.upper)));
  }
  for (const auto& [name, interval] : step.intervals)
    if (name == "E" && interval.lo <= 0)
      summary.warnings.push_back(
          Warn(kAsymptoteUnidentified,
               fmt::format(
                   "{}: the {:.10g} % interval of E, {:.4g} .. {:.4g}, reaches 0: the data do not "
                   "show where the soft metric levels off",
                   step.name, 100 * interval.level, interval.lo, interval.hi)));
}

void SayOfAll(const Warning& warning, TwoStepSummary& summary) {
  summary.warnings.push_back(warning);
  for (TwoStepForecast& forecast : summary.forecasts) forecast.warnings.push_back(warning);
}

// Of the summary and of every forecast: the number printed is that of the curve asked for.
void RemarkOnCurve(const Equation& curve, const CurveFamily& family, TwoStepSummary& summary) {
  constexpr double kNotable = 1.2;
  if (family.worse() <= kNotable) return;
  SayOfAll(
      Warn(kCurveMisfit,
           fmt::format(
               "the pairs lie {:.3g} times as far from the {} as from the {} curve: the interval "
               "covers what that makes of the soft metric, the number does not follow it",
               family.worse(), curve.name(), family.best())),
      summary);
}

// Rows that nobody grouped and that cannot all be runs; TwoStepSummary states the rule.
void RemarkOnCheckpoints(const std::vector<Observation>& observations,
                         const std::vector<RunRows>& runs, TwoStepSummary& summary) {
  constexpr size_t kManyRowsOfASize = 20;
  if (runs.size() < observations.size()) return;
  std::set<double> sizes;
  std::map<std::pair<std::string, double>, double> tokens;
  bool named = false, repeated = false;
  for (const Observation& o : observations) {
    sizes.insert(o.params);
    if (o.id.empty()) continue;
    named = true;
    const auto [known, fresh] = tokens.try_emplace({o.id, o.params}, o.tokens);
    repeated = repeated || (!fresh && known->second != o.tokens);
  }
  if (!repeated && (named || observations.size() < kManyRowsOfASize * sizes.size())) return;
  summary.warnings.push_back(
      Warn(kCheckpoints,
           fmt::format(
               "{} rows of {} different N {}, yet each is taken for a run of its own, which "
               "makes intervals too narrow: --checkpoints (with --column id=COLUMN) makes "
               "one run of the rows of one id",
               observations.size(), sizes.size(),
               repeated ? "repeat ids with other D, as checkpoints do" : "look like checkpoints")));
}

// What C or (N, D) of a target was derived with. `given`: as asked for.
void RemarkOnFlops(const FlopsRelation& relation, const TwoStepTarget& given,
                   const TwoStepTarget& target, TwoStepForecast& forecast) {
  constexpr double kNear = 1.1, kSame = 0.02;
  const bool derived = given.flops == 0;
  if (!derived && given.params > 0) return;
  const double k = relation.PerParamToken(target.params);
  const bool beyond = target.params > kNear * relation.params_hi;
  const double last = beyond ? relation.PerParamToken(relation.params_hi) : k;
  if (!derived && std::fabs(k / last - 1) <= kSame) return;
  std::string text = fmt::format("C / (N D) is taken as {:.3g} at N = {:.3g}", k, target.params);
  if (beyond)
    text += fmt::format(", {:.3g} times the largest model counted, where it is {:.3g}",
                        target.params / relation.params_hi, last);
  if (derived)
    text += fmt::format(": the target's C = {:.4g} was not given; PARAMS:TOKENS:FLOPS gives it",
                        target.flops);
  forecast.warnings.push_back(Warn(kFlopConvention, std::move(text)));
}

// Where the target lies beyond what was fitted, and what E does to it.
void RemarkOnRange(const TwoStep& fit, double largest,
                   const std::vector<TwoStepBacktestRow>& backtest, TwoStepForecast& forecast) {
  double tested = 0;
  for (const TwoStepBacktestRow& row : backtest) tested = std::max(tested, row.reach);
  if (forecast.reach > 1 + 1e-9)
    forecast.warnings.push_back(Warn(
        kOutsideRange,
        fmt::format("{} is {:.3g} times the largest fitted run's {}; {}",
                    core::FormatFlops(forecast.target.flops), forecast.reach,
                    core::FormatFlops(largest),
                    tested > 0 ? fmt::format("the backtest tells of a reach up to {:.3g}", tested)
                               : "no backtest tells of any")));
  Forecast first;
  first.flops = forecast.target.flops;
  first.interval = forecast.at.soft_interval, first.asymptote = forecast.at.asymptote;
  if (std::optional<Warning> warning = UnidentifiedAsymptote(first, forecast.at.soft_unwidened))
    forecast.warnings.push_back(Warn(warning->code, "soft metric: " + warning->text));
  const double soft = forecast.at.soft;
  if (soft < fit.lowest() || soft > fit.highest())
    forecast.warnings.push_back(Warn(
        kOutsideRange,
        fmt::format("soft {:.4f} lies {} every soft metric that fitted the curve, {:.4f} .. {:.4f}",
                    soft, soft < fit.lowest() ? "below" : "above", fit.lowest(), fit.highest())));
}

}  // namespace

absl::StatusOr<TwoStepSummary> RunTwoStep(const std::vector<Observation>& observations,
                                          const std::vector<RunRows>& runs,
                                          const TwoStepRequest& request,
                                          const TwoStepOptions& options, const FlopsRelation& flops,
                                          const std::vector<TwoStepTarget>& targets) {
  TwoStepOptions chosen = options;
  chosen.chance = request.chance, chosen.beyond_middle = request.beyond_middle;
  if (request.chance.has_value() && !(*request.chance >= 0 && *request.chance <= 1))
    return absl::InvalidArgumentError(
        fmt::format("chance is {}, must lie between 0 and 1", *request.chance));
  ASSIGN_OR_RETURN(const Chain chain, ChainOf(observations, runs, request));
  ASSIGN_OR_RETURN(const TwoStep fit, TwoStep::Fit(*chain.law, *chain.curve, chain.data, chosen));
  TwoStepSummary summary;
  summary.soft = Describe(*chain.law, fit.soft(), fit.SoftIntervals());
  summary.hard = Describe(*chain.curve, fit.hard(), fit.HardIntervals());
  summary.runs = runs.size();
  summary.lowest_soft = fit.lowest(), summary.highest_soft = fit.highest();
  summary.scatter = fit.scatter();
  summary.perfect_model = chain.perfect_model && fit.contradiction().empty();
  summary.chance = request.chance;
  summary.resamples = options.bootstrap.resamples;
  summary.resamples_failed = fit.draws().failed;
  Rolled backtest = TwoStepBacktest(observations, runs, request, chosen);
  summary.backtest = std::move(backtest.table);
  const Widening widening(*chain.law, backtest.soft, backtest.hard, options.bootstrap.level);
  const double largest = LargestFlops(observations, runs);
  for (const TwoStepTarget& given : targets) {
    TwoStepTarget target = given;
    if (target.flops == 0)
      target.flops = flops.PerParamToken(target.params) * target.params * target.tokens;
    if (!request.by_flops && target.tokens == 0) {
      const Optimum best =
          ChinchillaLaw().ComputeOptimalUnder(fit.soft().theta, target.flops, flops);
      if (!best.found) {
        summary.warnings.push_back(
            Warn(kNotFitted, "two-step: the soft metric's law has no optimum at the target"));
        continue;
      }
      target.params = best.params, target.tokens = best.tokens;
    }
    TwoStepForecast forecast;
    if (target.params > 0) RemarkOnFlops(flops, given, target, forecast);
    if (given.flops > 0 && given.params > 0)
      if (std::string doubt =
              TargetFlopsDoubt(observations, flops, given.flops, given.params, given.tokens);
          !doubt.empty())
        forecast.warnings.push_back(Warn(kFlopConvention, std::move(doubt)));
    if (request.by_flops) target.params = target.tokens = 0;
    forecast.target = target;
    forecast.reach = target.flops / largest;
    forecast.at =
        fit.At(InputsOf(target, request.by_flops), forecast.reach, &widening.soft, &widening.hard);
    RemarkOnRange(fit, largest, summary.backtest, forecast);
    if (!forecast.at.assumes.empty())
      forecast.warnings.push_back(Warn(kCurveAssumed, forecast.at.assumes));
    if (!forecast.at.abstains.empty())
      summary.warnings.push_back(
          Warn(kAbstains, fmt::format("at {:.4g} FLOPs: {}", target.flops, forecast.at.abstains)));
    summary.forecasts.push_back(std::move(forecast));
  }
  RemarkOnStep(*chain.law, fit.soft(), summary.soft, summary);
  RemarkOnStep(*chain.curve, fit.hard(), summary.hard, summary);
  if (!fit.contradiction().empty()) SayOfAll(Warn(kPerfectModel, fit.contradiction()), summary);
  RemarkOnCurve(*chain.curve, fit.family(), summary);
  RemarkOnCheckpoints(observations, runs, summary);
  for (Warning& warning : WarningsOfResamples(fit.draws()))
    summary.warnings.push_back(std::move(warning));
  RemarkOnBacktest(options.bootstrap.level, summary);
  return summary;
}

}  // namespace fit
