#include "fit/two_step_run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/status_macros.h"
#include "fit/chinchilla.h"
#include "fit/curve.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

absl::StatusOr<const Equation*> CurveOf(const std::string& name) {
  if (name == "sigmoid") return &SigmoidCurve();
  if (name == "log-sigmoid") return &LogSigmoidCurve();
  return absl::InvalidArgumentError(
      fmt::format("no curve '{}'; the curves are: sigmoid, log-sigmoid", name));
}

// Whether the hard metric falls as the soft one falls, as an error does.
bool IsError(const std::vector<FitPoint>& pairs) {
  double x = 0, y = 0, xy = 0;
  for (const FitPoint& p : pairs) x += p.x[0], y += p.y;
  x /= static_cast<double>(pairs.size()), y /= static_cast<double>(pairs.size());
  for (const FitPoint& p : pairs) xy += (p.x[0] - x) * (p.y - y);
  return xy > 0;
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

// Fits what ends at or below each cut, forecasts the hard metric of every later run.
std::vector<TwoStepBacktestRow> TwoStepBacktest(const std::vector<Observation>& observations,
                                                const std::vector<RunRows>& runs,
                                                const TwoStepRequest& request,
                                                const TwoStepOptions& options) {
  constexpr int kResamples = 100;
  std::set<double> budgets;
  for (const RunRows& rows : runs) budgets.insert(observations[rows.back()].flops);
  std::vector<double> cuts(budgets.begin(), budgets.end());
  if (!cuts.empty()) cuts.pop_back();
  TwoStepOptions quick = options;
  quick.bootstrap.resamples = std::min(options.bootstrap.resamples, kResamples);
  quick.starts = std::min(options.starts, 16);
  std::vector<TwoStepBacktestRow> table;
  for (auto cut = cuts.rbegin();
       cut != cuts.rend() && static_cast<int>(table.size()) < request.backtest_cuts; ++cut) {
    std::vector<RunRows> before, after;
    for (const RunRows& rows : runs)
      (observations[rows.back()].flops <= *cut ? before : after).push_back(rows);
    const auto chain = ChainOf(observations, before, request);
    if (!chain.ok()) break;
    const auto fit = TwoStep::Fit(*chain->law, *chain->curve, chain->data, quick);
    if (!fit.ok()) break;
    TwoStepBacktestRow row;
    row.cut_flops = *cut;
    row.n_train = before.size();
    std::vector<double> errors;
    size_t inside = 0;
    bool intervals = true;
    for (const RunRows& rows : after) {
      const TwoStepData truth =
          MakeTwoStepData(observations, {rows}, request.by_flops, request.checkpoints);
      if (truth.pairs.empty()) continue;
      const HardForecast forecast = fit->At(truth.soft[0].x);
      const double actual = truth.pairs.back().y;
      errors.push_back(forecast.hard - actual);
      row.max = std::max(row.max, std::fabs(errors.back()));
      row.abstained += forecast.abstains.empty() ? 0 : 1;
      inside += forecast.interval.lo <= actual && actual <= forecast.interval.hi;
      intervals = intervals && std::isfinite(forecast.interval.lo);
    }
    if (errors.empty()) continue;
    row.n_test = errors.size();
    row.rms = RootMeanSquare(errors);
    row.bias = Mean(errors);
    row.coverage = intervals ? static_cast<double>(inside) / static_cast<double>(errors.size())
                             : std::numeric_limits<double>::quiet_NaN();
    table.push_back(row);
  }
  std::reverse(table.begin(), table.end());
  return table;
}

}  // namespace

absl::StatusOr<TwoStepSummary> RunTwoStep(const std::vector<Observation>& observations,
                                          const std::vector<RunRows>& runs,
                                          const TwoStepRequest& request,
                                          const TwoStepOptions& options, const FlopsRelation& flops,
                                          const std::vector<TwoStepTarget>& targets) {
  TwoStepOptions chosen = options;
  chosen.chance = request.chance;
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
  summary.perfect_model = chain.perfect_model;
  summary.chance = request.chance;
  summary.resamples = options.bootstrap.resamples;
  summary.resamples_failed = fit.draws().failed;
  double largest = 0;
  for (const RunRows& rows : runs) largest = std::max(largest, observations[rows.back()].flops);
  for (TwoStepTarget target : targets) {
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
    if (request.by_flops) target.params = target.tokens = 0;
    const HardForecast at = fit.At(InputsOf(target, request.by_flops));
    if (!at.abstains.empty())
      summary.warnings.push_back(
          Warn(kAbstains, fmt::format("at {:.4g} FLOPs: {}", target.flops, at.abstains)));
    summary.forecasts.push_back({target, target.flops / largest, at});
  }
  const auto add_bounds = [&](const Equation& equation, const EquationFit& step) {
    for (const size_t i : step.at_bound)
      if (const Coordinate& c = equation.coordinates()[i]; !c.bound_warning.empty())
        summary.warnings.push_back(
            Warn(c.bound_warning, fmt::format("{}: {} = {:.6g} sits on its bound", equation.name(),
                                              c.name, step.theta[i])));
  };
  add_bounds(*chain.law, fit.soft());
  add_bounds(*chain.curve, fit.hard());
  for (Warning& warning : WarningsOfResamples(fit.draws()))
    summary.warnings.push_back(std::move(warning));
  summary.backtest = TwoStepBacktest(observations, runs, request, chosen);
  return summary;
}

}  // namespace fit
