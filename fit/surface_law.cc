#include "fit/surface_law.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace fit {
namespace {

constexpr double kLogParamsMin = 0, kLogParamsMax = 41.5;  // 1 .. 1e18 parameters

// `log_tokens` gives ln D on the budget at ln N; ln U is at most `most_unique`.
template <typename LogTokens>
Optimum Search(const SurfaceLaw& law, const double* theta, const LogTokens& log_tokens,
               double most_unique = HUGE_VAL) {
  const auto loss_at = [&](double log_params) {
    const double d = log_tokens(log_params);
    return law.Value(theta, {log_params, d, std::min(d, most_unique)});
  };
  // A coarse scan first: golden section alone could settle in a wrong valley. Only valleys count:
  // far from all data a rich law may fall without end.
  constexpr int kScan = 166;
  const double step = (kLogParamsMax - kLogParamsMin) / kScan;
  std::array<double, kScan + 1> scan{};
  for (int i = 0; i <= kScan; ++i) scan[static_cast<size_t>(i)] = loss_at(kLogParamsMin + i * step);
  const auto at = [&](int i) { return scan[static_cast<size_t>(i)]; };
  int best = 0;
  for (int i = 1; i < kScan; ++i)
    if (at(i) <= at(i - 1) && at(i) < at(i + 1) && (best == 0 || at(i) < at(best))) best = i;
  double low = kLogParamsMin + std::max(best - 1, 0) * step;
  double high = kLogParamsMin + std::min(best + 1, kScan) * step;
  constexpr double kGolden = 0.6180339887498949;
  double x1 = high - kGolden * (high - low), x2 = low + kGolden * (high - low);
  double f1 = loss_at(x1), f2 = loss_at(x2);
  for (int i = 0; i < 80; ++i) {
    if (f1 < f2) {
      high = x2, x2 = x1, f2 = f1, x1 = high - kGolden * (high - low), f1 = loss_at(x1);
    } else {
      low = x1, x1 = x2, f1 = f2, x2 = low + kGolden * (high - low), f2 = loss_at(x2);
    }
  }
  const double log_params = 0.5 * (low + high);
  Optimum optimum;
  optimum.params = std::exp(log_params);
  optimum.tokens = std::exp(log_tokens(log_params));
  optimum.loss = loss_at(log_params);
  optimum.found = best != 0 && best != kScan;
  return optimum;
}

}  // namespace

std::vector<FitPoint> SurfacePoints(const std::vector<Observation>& observations) {
  std::vector<FitPoint> points;
  points.reserve(observations.size());
  for (const Observation& o : observations) {
    const double tokens = std::log(o.tokens);
    const double unique = o.unique_tokens > 0 ? std::log(o.unique_tokens) : tokens;
    points.push_back({{std::log(o.params), tokens, unique}, o.loss, std::log(o.loss)});
  }
  return points;
}

Optimum SurfaceLaw::ComputeOptimal(const std::vector<double>& theta, double flops,
                                   double flops_per_param_token) const {
  const double log_nd = std::log(flops / flops_per_param_token);
  return Search(*this, theta.data(), [=](double log_params) { return log_nd - log_params; });
}

Optimum SurfaceLaw::ComputeOptimalUnder(const std::vector<double>& theta, double flops,
                                        const FlopsRelation& relation) const {
  if (relation.proportional()) return ComputeOptimal(theta, flops, relation.limit);
  return Search(*this, theta.data(),
                [&](double log_params) { return relation.LogTokens(log_params, flops); });
}

Optimum SurfaceLaw::ComputeOptimalLimited(const std::vector<double>& theta, double flops,
                                          const FlopsRelation& relation,
                                          double unique_tokens) const {
  return Search(
      *this, theta.data(), [&](double log_params) { return relation.LogTokens(log_params, flops); },
      std::log(unique_tokens));
}

}  // namespace fit
