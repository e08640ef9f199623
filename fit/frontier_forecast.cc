#include "fit/frontier_forecast.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "fit/asymptote.h"
#include "fit/frontier_bootstrap.h"
#include "fit/stats.h"

namespace fit {
namespace {

constexpr uint64_t kNoiseStream = uint64_t{1} << 41, kShapeStream = uint64_t{1} << 42;
// ln of 2: beyond twice or half of the optimal size, runs are for laws of N and D.
constexpr double kFarFromOptimum = 0.6931471805599453;

// What a run loses by its shape, of L*: a parabola in ln x whose curvature is a share of what can
// be reduced, L* - E, as that of every sum of power laws is.
class Shape {
 public:
  explicit Shape(const std::vector<IsoflopMinimum>& minima) {
    for (const IsoflopMinimum& m : minima)
      if (m.ok() && m.curvature > 0) known_.push_back(&m);
  }

  // Of (L - E) / (L* - E) per (ln x)^2, the median of the budgets that have a minimum; of a
  // resample of them with `rng`.
  double Curvature(double E, core::Rng* rng) const {
    std::vector<double> shares;
    for (size_t i = 0; i < known_.size(); ++i) {
      const IsoflopMinimum& m = *known_[rng == nullptr ? i : rng->Below(known_.size())];
      if (m.loss > E) shares.push_back(m.curvature / (m.loss - E));
    }
    return shares.empty() ? 0 : Quantile(shares, 0.5);
  }

 private:
  std::vector<const IsoflopMinimum*> known_;
};

// ln of the target's x over that of the optimum of its budget.
double OffOptimum(const LawOptions& options, const FrontierFit& laws, const RunTarget& target,
                  double bought) {
  return options.isoflop.axis == IsoflopAxis::kParams
             ? std::log(target.params / laws.ParamsAt(bought))
             : std::log(target.tokens / laws.TokensAt(bought));
}

// A bias of the curve, `ratio` of N*, with that of D* at `flops`; 1 where it is not worth saying.
// What N* is moved by moves D* to the tokens that the budget buys then: the budgets' own ratios of
// tokens follow their runs, whose C / (N D) may bend otherwise than it does out there.
std::pair<double, double> BiasOf(const FrontierEstimate& estimate, double flops, double ratio) {
  constexpr double kNotWorthSaying = 1e-3;
  if (!(std::fabs(std::log(ratio)) > kNotWorthSaying)) return {1, 1};
  const FlopsRelation& relation = estimate.laws.relation;
  const double params = estimate.laws.ParamsAt(flops);
  return {ratio, relation.PerParamToken(params / ratio) / relation.PerParamToken(params) / ratio};
}

// The resamples have the curve's bias too: an optimum may lie where they do, and where they would
// without it.
void UniteWithBias(double ratio, const Interval& drawn, Interval* interval) {
  if (!std::isfinite(interval->lo) || ratio == 1) return;
  interval->lo = std::min(interval->lo, drawn.lo / ratio);
  interval->hi = std::max(interval->hi, drawn.hi / ratio);
  if (interval->method == drawn.method) interval->method += ", united with the curve's bias";
}

}  // namespace

std::optional<Forecast> ForecastOf(const FrontierEstimate& estimate, const RunTarget& target) {
  if (!estimate.with_loss()) return std::nullopt;
  const LawOptions& options = estimate.options;
  const double flops = target.flops;
  const FlopsRelation& relation = estimate.laws.relation;
  // A run's loss follows from its N and D, whatever C is said of it: it is judged by the budget
  // that would buy them by the relation.
  const bool own = target.params > 0;
  const double bought =
      own ? relation.PerParamToken(target.params) * target.params * target.tokens : flops;
  // Optima are what is known here; a parabola does not reach far from them, or from its budget.
  if (target.params > 0 &&
      !(std::fabs(OffOptimum(options, estimate.laws, target, bought)) <= kFarFromOptimum))
    return std::nullopt;
  const Shape known(estimate.laws.minima);
  const auto shape = [&](const FrontierFit& laws, double best, core::Rng* rng) {
    if (!(target.params > 0)) return 1.0;
    const double off = OffOptimum(options, laws, target, bought), E = laws.loss_law->E;
    return 1 + known.Curvature(E, rng) * off * off * (best - E) / best;
  };
  Forecast forecast;
  forecast.law = Text(estimate.kind);
  forecast.flops = flops;
  forecast.params = estimate.laws.ParamsAt(flops);
  forecast.tokens = estimate.laws.TokensAt(flops);
  forecast.run_params = target.params, forecast.run_tokens = target.tokens;
  const double at_optimum = LossAt(estimate, bought, std::nullopt);
  const double penalty = shape(estimate.laws, at_optimum, nullptr);
  forecast.loss = at_optimum * penalty;
  forecast.off_optimum =
      own ? forecast.loss / LossAt(estimate, flops, std::nullopt) - 1 : penalty - 1;
  const std::vector<double>& noise = estimate.noise;
  std::vector<double> mean, best, params, tokens, draws;
  for (size_t i = 0; i < estimate.draws.size(); ++i) {
    const FrontierFit laws = LawsOf(estimate, i);
    params.push_back(laws.ParamsAt(flops));
    tokens.push_back(laws.TokensAt(flops));
    best.push_back(laws.loss_law->At(laws.Effective(flops)));
    const double optimum = own ? laws.loss_law->At(laws.Effective(bought)) : best.back();
    core::Rng of_shape(options.bootstrap.seed, kShapeStream + i);
    const double loss = optimum * shape(laws, optimum, &of_shape);
    mean.push_back(loss);
    core::Rng rng(options.bootstrap.seed, kNoiseStream + i);
    draws.push_back(loss * (noise.empty() ? 1 : std::exp(noise[rng.Below(noise.size())])));
  }
  // Without a known scatter of single runs nothing can be said about one.
  if (noise.empty()) draws.clear();
  const double level = options.bootstrap.level;
  const std::string method = estimate.Method();
  const size_t tried = estimate.draws.drawn;
  forecast.mean_interval = PercentileInterval(mean, tried, level, IntervalKind::kMean, method);
  forecast.interval =
      PercentileInterval(draws, tried, level, IntervalKind::kPrediction, method + " + residuals");
  forecast.params_interval = PercentileInterval(params, tried, level, IntervalKind::kMean, method);
  forecast.tokens_interval = PercentileInterval(tokens, tried, level, IntervalKind::kMean, method);
  if (estimate.bias.has_value()) {
    // What is known of it ends at the largest budget; that it may grow on is the interval's.
    const std::vector<double>& budgets = estimate.laws.flops;
    const double known = std::min(flops, *std::max_element(budgets.begin(), budgets.end()));
    const Interval drawn_params = forecast.params_interval, drawn_tokens = forecast.tokens_interval;
    for (const double at : {flops, known}) {
      std::tie(forecast.params_ratio, forecast.tokens_ratio) =
          BiasOf(estimate, flops, estimate.bias->params_ratio.At(at));
      UniteWithBias(forecast.params_ratio, drawn_params, &forecast.params_interval);
      UniteWithBias(forecast.tokens_ratio, drawn_tokens, &forecast.tokens_interval);
    }
  }
  forecast.joint = JointRegionOf(params, tokens, best, tried, level, method);
  if (estimate.profile.has_value()) {
    const EffectiveCompute compute = estimate.laws.Effective(bought);
    const double at_lo = estimate.profile->lo.At(compute) * penalty;
    const double at_hi = estimate.profile->hi.At(compute) * penalty;
    forecast.asymptote = AsymptoteSpan{estimate.AsymptoteInterval(), at_lo, at_hi};
    // Few ready-made optima leave hardly a resample that determines the law; their profile does.
    if (std::isfinite(forecast.mean_interval.lo) ||
        (options.observations_are_optima && options.bootstrap.resamples > 0))
      UniteWithAsymptote(forecast.loss, at_lo, at_hi, noise, &forecast.mean_interval,
                         &forecast.interval);
  }
  return forecast;
}

double LossAt(const FrontierEstimate& estimate, double flops, std::optional<size_t> resample) {
  if (!estimate.with_loss()) return std::numeric_limits<double>::quiet_NaN();
  if (!resample) return estimate.laws.loss_law->At(estimate.laws.Effective(flops));
  const FrontierFit laws = LawsOf(estimate, *resample);
  return laws.loss_law->At(laws.Effective(flops));
}

std::optional<TestPoint> TestAt(const FrontierEstimate& estimate, double flops, double actual) {
  const std::optional<Forecast> forecast = ForecastOf(estimate, {flops});
  if (!forecast.has_value()) return std::nullopt;
  TestPoint test{flops, actual, forecast->loss, forecast->interval.lo, forecast->interval.hi};
  test.mean_lo = forecast->mean_interval.lo, test.mean_hi = forecast->mean_interval.hi;
  if (forecast->asymptote.has_value()) {
    test.at_E_lo = forecast->asymptote->loss_at_E_lo;
    test.at_E_hi = forecast->asymptote->loss_at_E_hi;
  }
  return test;
}

std::vector<TestPoint> TestOptima(const FrontierEstimate& estimate,
                                  const std::vector<Observation>& later) {
  std::vector<TestPoint> tests;
  FrontierFit truth;
  if (estimate.kind == FrontierKind::kEnvelope) {
    const auto runs = GroupRuns(later, estimate.options.checkpoints);
    if (!runs.ok()) return tests;
    truth = FitEnvelope(LowerEnvelope(later, *runs), {});
  } else {
    truth = FitFrontier(MovedOntoRelation(estimate.laws, GroupByBudget(later).groups, nullptr),
                        estimate.options.isoflop, {}, estimate.options.observations_are_optima);
  }
  for (size_t i = 0; i < truth.flops.size(); ++i)
    if (auto test = TestAt(estimate, truth.flops[i], truth.losses[i])) tests.push_back(*test);
  return tests;
}

}  // namespace fit
