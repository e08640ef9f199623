#include "fit/effective_compute.h"

#include <algorithm>
#include <cmath>

#include "fit/frontier.h"

namespace fit {
namespace {

// Wild curves must not give a price of nothing.
double PriceOf(const FlopsRelation& relation, double params) {
  return std::max(1 + relation.LogSlope(params), 0.1);
}

}  // namespace

EffectiveCompute EffectiveComputeAt(const FlopsRelation& relation, double flops, double params,
                                    double alpha) {
  if (relation.proportional()) return {flops, 1};
  const double g = PriceOf(relation, params);
  return {6 * flops / relation.PerParamToken(params),
          alpha * std::pow(g, 1 - alpha) + (1 - alpha) * std::pow(g, -alpha)};
}

double OptimalSizes::At(const FlopsRelation& relation, double flops) const {
  double low = 0, high = 41.5;
  for (int i = 0; i < 50; ++i) {
    const double middle = 0.5 * (low + high), params = std::exp(middle);
    const double x = std::log(6 * flops / relation.PerParamToken(params));
    const double above = middle + h * std::log(PriceOf(relation, params)) - log_G - alpha * x;
    (above > 0 ? high : low) = middle;
  }
  return std::exp(0.5 * (low + high));
}

std::optional<OptimalSizes> FitOptimalSizes(const FlopsRelation& relation,
                                            const std::vector<double>& flops,
                                            const std::vector<double>& params, double h,
                                            const std::vector<double>& weights) {
  std::vector<double> x, y;
  for (size_t i = 0; i < flops.size(); ++i) {
    x.push_back(6 * flops[i] / relation.PerParamToken(params[i]));
    y.push_back(params[i] * std::pow(PriceOf(relation, params[i]), h));
  }
  const std::optional<PowerLaw> law = FitPowerLaw(x, y, weights);
  if (!law.has_value()) return std::nullopt;
  OptimalSizes sizes{law->log_coefficient, law->exponent, h};
  constexpr double kLeast = 0.05;
  sizes.alpha = std::clamp(law->exponent, kLeast, 1 - kLeast);
  if (sizes.alpha == law->exponent) return sizes;
  double sum = 0, level = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double w = weights.empty() ? 1 : weights[i];
    sum += w, level += w * (std::log(y[i]) - sizes.alpha * std::log(x[i]));
  }
  sizes.log_G = level / sum;
  return sizes;
}

double PricePower(double alpha, double p) {
  constexpr double kMost = 4;
  return std::clamp(alpha * (1 - alpha) / p, 0.0, kMost);
}

}  // namespace fit
