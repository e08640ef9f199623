#include "fit/surface_forecast.h"

#include <algorithm>
#include <cmath>

#include "core/units.h"
#include "fit/asymptote.h"
#include "fmt/format.h"

namespace fit {
namespace {

// Streams of the prediction noise, apart from those of the resamples (their numbers).
constexpr uint64_t kNoiseStream = uint64_t{1} << 40;

// A run that is to be trained; where data are limited, it repeats them.
Inputs InputsOf(const SurfaceFit& fit, const RunTarget& run) {
  const double tokens = std::log(run.tokens);
  const double unique = fit.options.unique_tokens > 0
                            ? std::min(tokens, std::log(fit.options.unique_tokens))
                            : tokens;
  return {std::log(run.params), tokens, unique};
}

// What the optimum costs a parameter and token, and whether that is known so far out.
void DescribeFlops(const SurfaceFit& fit, Forecast* forecast) {
  const FlopsRelation& relation = fit.options.flops;
  forecast->flops_per_param_token = relation.PerParamToken(forecast->params);
  constexpr double kNear = 1.1, kSame = 0.02;
  if (!(forecast->params > kNear * relation.params_hi)) return;
  forecast->flops_extrapolated = forecast->params / relation.params_hi;
  const double last = relation.PerParamToken(relation.params_hi);
  if (std::fabs(forecast->flops_per_param_token / last - 1) <= kSame) return;
  forecast->warnings.push_back(
      Warn(kFlopConvention,
           fmt::format("C / (N D) is taken as {:.3g} at N* = {:.3g}, {:.3g} times the largest "
                       "model counted, where it is {:.3g}",
                       forecast->flops_per_param_token, forecast->params,
                       forecast->flops_extrapolated, last)));
}

// A few noise values a resample, so that the tails of heavy-tailed residuals are sampled too.
size_t NoiseEach(const SurfaceFit& fit) { return fit.draws.size() > 10000 ? 1 : 4; }
void AddNoise(const SurfaceFit& fit, double loss, size_t resample, double scale,
              std::vector<double>& out) {
  core::Rng rng(fit.options.bootstrap.seed, kNoiseStream + resample);
  for (size_t k = 0; k < NoiseEach(fit); ++k)
    out.push_back(loss * std::exp(scale * fit.noise[rng.Below(fit.noise.size())]));
}

// Of single runs at `flops`, as ln L - ln Lhat.
std::vector<double> NoiseAt(const SurfaceFit& fit, double flops) {
  std::vector<double> noise = fit.noise;
  for (double& r : noise) r *= fit.NoiseScale(flops);
  return noise;
}

// Sizes at this budget within the tolerance of the optimum's loss, to both sides.
void FlatRange(const SurfaceFit& fit, const Optimum& optimum, double flops, Forecast* forecast) {
  forecast->within = fit.options.isoflop.flat_tolerance;
  if (fit.law->in_compute() || !(forecast->within > 0)) return;
  const double unique = fit.law->knows_repetition() && fit.options.unique_tokens > 0
                            ? std::log(fit.options.unique_tokens)
                            : HUGE_VAL;
  const double limit = optimum.loss * (1 + forecast->within);
  const auto inside = [&](double n) {
    const double d = fit.options.flops.LogTokens(n, flops);
    return fit.law->Value(fit.theta.data(), {n, d, std::min(d, unique)}) <= limit;
  };
  const auto end = [&](int side) {
    constexpr double kFarthest = 14;  // a factor of a million
    double in = std::log(optimum.params), step = 0.05;
    while (inside(in + side * step)) {
      in += side * step;
      step *= 1.3;
      if (std::fabs(in - std::log(optimum.params)) > kFarthest) return 0.0;
    }
    for (int i = 0; i < 40; ++i) {
      step *= 0.5;
      if (inside(in + side * step)) in += side * step;
    }
    return std::exp(in);
  };
  forecast->flat_params_lo = end(-1), forecast->flat_params_hi = end(+1);
  if (!(forecast->flat_params_lo > 0 && forecast->flat_params_hi > 0))
    forecast->flat_params_lo = forecast->flat_params_hi = 0;
}

// What equally good constants forecast, where that differs by more than anyone would round off.
template <typename LossOf>
void WarnOfEquals(const SurfaceFit& fit, const LossOf& loss_of, Forecast* forecast) {
  constexpr double kTolerated = 1e-3;
  double low = forecast->loss, high = forecast->loss;
  size_t without = 0;
  for (const LocalOptimum& equal : fit.best.equals) {
    const Optimum optimum = OptimumOf(fit, equal.theta, forecast->flops);
    if (!optimum.found) {
      ++without;
      continue;
    }
    const double loss = loss_of(equal.theta, optimum);
    low = std::min(low, loss), high = std::max(high, loss);
  }
  if (without == 0 && high - low <= kTolerated * forecast->loss) return;
  forecast->warnings.push_back(
      Warn(kEqualOptima,
           fmt::format("{} sets of constants with one objective to rounding forecast {:.4f} to "
                       "{:.4f} here{}: which is printed is chance",
                       fit.best.equals.size() + 1, low, high,
                       without > 0 ? fmt::format(", {} of them no optimum", without) : "")));
}

// Resamples that are fitted and yet have no optimum here.
void WarnOfMissing(const SurfaceFit& fit, size_t with_optimum, Forecast* forecast) {
  constexpr double kTolerated = 0.1;
  if (fit.draws.empty()) return;
  const double missing =
      1 - static_cast<double>(with_optimum) / static_cast<double>(fit.draws.size());
  if (missing <= kTolerated) return;
  forecast->warnings.push_back(
      Warn(kBootstrapFailures,
           fmt::format("at {} {:.0f} % of the resamples that could be fitted have no optimum and "
                       "are missing from the intervals",
                       core::FormatFlops(forecast->flops), 100 * missing)));
}

}  // namespace

Optimum OptimumOf(const SurfaceFit& fit, const std::vector<double>& theta, double flops) {
  const SurfaceLaw& law = *fit.law;
  if (law.in_compute()) return {0, 0, law.Value(theta.data(), {std::log(flops), 0, 0}), true};
  if (law.knows_repetition() && fit.options.unique_tokens > 0)
    return law.ComputeOptimalLimited(theta, flops, fit.options.flops, fit.options.unique_tokens);
  return law.ComputeOptimalUnder(theta, flops, fit.options.flops);
}

std::optional<Forecast> ForecastOf(const SurfaceFit& fit, const RunTarget& target) {
  const SurfaceLaw& law = *fit.law;
  const double flops = target.flops;
  const Optimum optimum = OptimumOf(fit, fit.theta, flops);
  if (!optimum.found) return std::nullopt;
  const bool run = target.params > 0;
  const Inputs x = run ? InputsOf(fit, target) : Inputs{};
  const auto loss_of = [&](const std::vector<double>& theta, const Optimum& best) {
    return run ? law.Value(theta.data(), x) : best.loss;
  };
  Forecast forecast;
  forecast.law = law.name();
  forecast.flops = flops;
  forecast.run_params = target.params, forecast.run_tokens = target.tokens;
  forecast.loss = loss_of(fit.theta, optimum);
  forecast.off_optimum = forecast.loss / optimum.loss - 1;
  forecast.params = optimum.params;
  forecast.tokens = optimum.tokens;
  if (!law.in_compute()) DescribeFlops(fit, &forecast);
  std::vector<double> mean, best, params, tokens, draws;
  for (size_t i = 0; i < fit.draws.size(); ++i) {
    const std::vector<double> theta = fit.draws.Row(i);
    const Optimum drawn = OptimumOf(fit, theta, flops);
    if (!drawn.found) continue;
    best.push_back(drawn.loss);
    mean.push_back(loss_of(theta, drawn));
    params.push_back(drawn.params);
    tokens.push_back(drawn.tokens);
    AddNoise(fit, mean.back(), i, fit.NoiseScale(flops), draws);
  }
  const double level = fit.options.bootstrap.level;
  const std::string method = fit.Method();
  const size_t tried = fit.draws.drawn;
  forecast.mean_interval = PercentileInterval(mean, tried, level, IntervalKind::kMean, method);
  forecast.interval = PercentileInterval(draws, tried, level, IntervalKind::kPrediction,
                                         method + " + residuals", NoiseEach(fit));
  forecast.params_interval = PercentileInterval(params, tried, level, IntervalKind::kMean, method);
  forecast.tokens_interval = PercentileInterval(tokens, tried, level, IntervalKind::kMean, method);
  if (!law.in_compute()) forecast.joint = JointRegionOf(params, tokens, best, tried, level, method);
  WarnOfMissing(fit, mean.size(), &forecast);
  FlatRange(fit, optimum, flops, &forecast);
  WarnOfEquals(fit, loss_of, &forecast);
  if (fit.HasHeldEnds()) {
    const Optimum low = OptimumOf(fit, fit.held[0], flops);
    const Optimum high = OptimumOf(fit, fit.held[1], flops);
    if (low.found && high.found) {
      const double at_lo = loss_of(fit.held[0], low), at_hi = loss_of(fit.held[1], high);
      forecast.asymptote = AsymptoteSpan{fit.asymptote, at_lo, at_hi};
      if (std::isfinite(forecast.mean_interval.lo))
        UniteWithAsymptote(forecast.loss, at_lo, at_hi, NoiseAt(fit, flops),
                           &forecast.mean_interval, &forecast.interval);
    }
  }
  return forecast;
}

TestPoint TestOf(const SurfaceFit& fit, const Observation& run) {
  const SurfaceLaw& law = *fit.law;
  const Inputs x = PointsOf(law, {run})[0].x;
  const double loss = law.Value(fit.theta.data(), x);
  std::vector<double> mean_draws, draws;
  for (size_t i = 0; i < fit.draws.size(); ++i) {
    mean_draws.push_back(law.Value(fit.draws.row(i), x));
    AddNoise(fit, mean_draws.back(), i, fit.NoiseScale(run.flops), draws);
  }
  const double level = fit.options.bootstrap.level;
  const std::string method = fit.Method();
  const size_t tried = fit.draws.drawn;
  Interval mean = PercentileInterval(mean_draws, tried, level, IntervalKind::kMean, method);
  Interval one =
      PercentileInterval(draws, tried, level, IntervalKind::kPrediction, method, NoiseEach(fit));
  double at_E_lo = loss, at_E_hi = loss;
  if (fit.HasHeldEnds()) {
    at_E_lo = law.Value(fit.held[0].data(), x), at_E_hi = law.Value(fit.held[1].data(), x);
    if (std::isfinite(mean.lo))
      UniteWithAsymptote(loss, at_E_lo, at_E_hi, NoiseAt(fit, run.flops), &mean, &one);
  }
  TestPoint test{run.flops, run.loss, loss, one.lo, one.hi};
  test.mean_lo = mean.lo, test.mean_hi = mean.hi;
  test.at_E_lo = at_E_lo, test.at_E_hi = at_E_hi;
  return test;
}

}  // namespace fit
