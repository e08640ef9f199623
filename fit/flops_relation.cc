#include "fit/flops_relation.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/flops_doubt.h"
#include "fit/stats.h"

namespace fit {
namespace {

constexpr double kLimitFactor = 1.5;

double Scatter(const std::vector<FlopsSample>& samples, const FlopsRelation& relation) {
  std::vector<double> residuals;
  for (const FlopsSample& s : samples)
    residuals.push_back(relation.PerParamToken(s.params) / s.flops_per_param_token - 1);
  return RootMeanSquare(residuals);
}

// The best curve for one gamma; a limit outside its range is moved to the range's end.
FlopsRelation CurveAt(const std::vector<FlopsSample>& samples, double gamma, FlopsRelation curve) {
  // Relative to the largest model, so that u lies between 1 and some thousands.
  double uu = 0, u1 = 0, one = 0, yu = 0, y1 = 0;
  for (const FlopsSample& s : samples) {
    const double weight = 1 / s.flops_per_param_token;
    const double u = std::pow(s.params / curve.params_hi, -gamma) * weight;
    uu += u * u, u1 += u * weight, one += weight * weight, yu += u, y1 += weight;
  }
  const double determinant = uu * one - u1 * u1;
  curve.gamma = gamma;
  if (!(determinant > 1e-12 * uu * one)) {
    curve.limit = HUGE_VAL;
    return curve;
  }
  double slope = (yu * one - y1 * u1) / determinant, limit = (y1 * uu - yu * u1) / determinant;
  const double at_largest = limit + slope;
  double held = std::clamp(limit, at_largest / kLimitFactor, at_largest * kLimitFactor);
  if (!(at_largest > 0)) held = y1 / one;
  if (held != limit) {
    limit = held;
    slope = (yu - limit * u1) / uu;
  }
  curve.limit = limit;
  curve.slope = slope * std::pow(curve.params_hi, gamma);
  return curve;
}

}  // namespace

double FlopsRelation::PerParamToken(double params) const {
  if (slope == 0) return limit;
  const double top = held ? params_hi : std::numeric_limits<double>::infinity();
  return limit + slope * std::pow(std::clamp(params, params_lo, top), -gamma);
}

double FlopsRelation::LogSlope(double params) const {
  if (slope == 0 || params < params_lo || (held && params > params_hi)) return 0;
  return -gamma * slope * std::pow(params, -gamma) / PerParamToken(params);
}

double FlopsRelation::LogTokens(double log_params, double flops) const {
  const double k = slope == 0 ? limit : PerParamToken(std::exp(log_params));
  return std::log(flops / k) - log_params;
}

FlopsRelation FlopsRelation::HeldBeyond() const {
  FlopsRelation relation = *this;
  relation.held = true;
  return relation;
}

FlopsRelation ProportionalFlops(double flops_per_param_token) {
  FlopsRelation relation;
  relation.limit = flops_per_param_token;
  return relation;
}

std::vector<FlopsSample> FlopsOf(const std::vector<Observation>& observations) {
  std::vector<FlopsSample> samples;
  // Hostile numbers overflow squares; nothing within is near these ends.
  constexpr double kMost = 138;  // ln 1e60
  for (const Observation& o : observations) {
    const double log_ratio = std::log(o.flops) - std::log(o.params) - std::log(o.tokens);
    samples.push_back({o.params, std::exp(std::clamp(log_ratio, -kMost, kMost))});
  }
  return samples;
}

FlopsRelation LearnFlops(const std::vector<FlopsSample>& all) {
  SWEEP_CHECK(!all.empty());
  // One row in another unit must not bend the rest.
  std::vector<FlopsSample> samples;
  for (const FlopsSample& s : all)
    if (s.flops_per_param_token >= core::kLeastFlopsPerParamToken &&
        s.flops_per_param_token <= core::kMostFlopsPerParamToken)
      samples.push_back(s);
  if (samples.empty()) samples = all;
  std::vector<double> ratios, sizes;
  for (const FlopsSample& s : samples) {
    ratios.push_back(s.flops_per_param_token);
    sizes.push_back(s.params);
  }
  std::sort(sizes.begin(), sizes.end());
  FlopsRelation constant = ProportionalFlops(Quantile(ratios, 0.5));
  constant.params_lo = sizes.front(), constant.params_hi = sizes.back();
  constant.samples = static_cast<int>(samples.size());
  constant.scatter = Scatter(samples, constant);
  constexpr double kSame = 0.01;  // relative: one size
  int different = 1;
  for (size_t i = 1; i < sizes.size(); ++i) different += sizes[i] > sizes[i - 1] * (1 + kSame);
  constexpr int kFewest = 4;
  if (different < kFewest || constant.exact()) return constant;

  const auto scatter_at = [&](double log_gamma) {
    const FlopsRelation curve = CurveAt(samples, std::exp(log_gamma), constant);
    return std::isfinite(curve.limit) ? Scatter(samples, curve) : HUGE_VAL;
  };
  const double low = std::log(0.02), high = std::log(2.0);
  constexpr int kGrid = 48;
  const double step = (high - low) / (kGrid - 1);
  int best = 0;
  double least = HUGE_VAL;
  for (int i = 0; i < kGrid; ++i)
    if (const double s = scatter_at(low + i * step); s < least) least = s, best = i;
  double a = low + std::max(best - 1, 0) * step, b = low + std::min(best + 1, kGrid - 1) * step;
  constexpr double kGolden = 0.6180339887498949;
  for (int i = 0; i < 60; ++i) {
    const double x1 = b - kGolden * (b - a), x2 = a + kGolden * (b - a);
    if (scatter_at(x1) < scatter_at(x2)) {
      b = x2;
    } else {
      a = x1;
    }
  }
  FlopsRelation curve = CurveAt(samples, std::exp(0.5 * (a + b)), constant);
  curve.scatter = Scatter(samples, curve);
  if (!std::isfinite(curve.limit) || !std::isfinite(curve.slope) || !std::isfinite(curve.scatter))
    return constant;
  // Two constants more must earn their place, as in information.h.
  constexpr double kNoSupport = 10;
  const auto n = static_cast<double>(samples.size());
  const bool positive =
      curve.PerParamToken(sizes.front()) > 0 && curve.PerParamToken(sizes.back()) > 0;
  const bool better = positive && 2 * n * std::log(constant.scatter / curve.scatter) > kNoSupport;
  return better ? curve : constant;
}

}  // namespace fit
