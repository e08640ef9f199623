#include "fit/curve_bias.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fit/chinchilla.h"
#include "fit/equation_fit.h"

namespace fit {
namespace {

constexpr int kStarts = 16;

std::vector<FitPoint> PointsOf(const std::vector<IsoflopGroup>& groups) {
  std::vector<FitPoint> points;
  for (const IsoflopGroup& group : groups)
    for (const IsoflopPoint& p : group.points)
      points.push_back({{p.log_params, p.log_tokens, p.log_tokens}, p.loss, std::log(p.loss)});
  return points;
}

struct Bottom {
  double log_params = 0, log_tokens = 0, loss = 0;
};

// The surface's least loss on the line ln D = level + slope ln N through a budget's runs.
Bottom BottomOf(const std::vector<double>& theta, const IsoflopGroup& group) {
  double mean_n = 0, mean_d = 0, nn = 0, nd = 0;
  for (const IsoflopPoint& p : group.points) mean_n += p.log_params, mean_d += p.log_tokens;
  const auto count = static_cast<double>(group.points.size());
  mean_n /= count, mean_d /= count;
  double lo = HUGE_VAL, hi = -HUGE_VAL;
  for (const IsoflopPoint& p : group.points) {
    nn += (p.log_params - mean_n) * (p.log_params - mean_n);
    nd += (p.log_params - mean_n) * (p.log_tokens - mean_d);
    lo = std::min(lo, p.log_params), hi = std::max(hi, p.log_params);
  }
  const double slope = nn > 0 ? nd / nn : -1;
  const auto tokens_at = [&](double x) { return mean_d + slope * (x - mean_n); };
  const auto loss_at = [&](double x) {
    return ChinchillaLaw().Loss(theta.data(), x, tokens_at(x));
  };
  // As far beyond the runs as the curve of a valley could be wrong.
  const double beyond = std::max(hi - lo, 1.0);
  lo -= beyond, hi += beyond;
  constexpr double kGolden = 0.6180339887498949;
  for (int i = 0; i < 60; ++i) {
    const double x1 = hi - kGolden * (hi - lo), x2 = lo + kGolden * (hi - lo);
    (loss_at(x1) < loss_at(x2) ? hi : lo) = loss_at(x1) < loss_at(x2) ? x2 : x1;
  }
  const double x = (lo + hi) / 2;
  return {x, tokens_at(x), loss_at(x)};
}

}  // namespace

std::optional<CurveBias> BiasOfCurve(const std::vector<IsoflopGroup>& groups,
                                     const std::vector<bool>& used, const IsoflopOptions& options) {
  const std::vector<FitPoint> points = PointsOf(groups);
  const SurfaceLaw& law = ChinchillaLaw();
  if (points.size() <= law.coordinates().size()) return std::nullopt;
  const std::vector<double> ones(points.size(), 1);
  const std::vector<std::vector<double>> starts = law.Starts(points, ones, kStarts);
  if (starts.empty()) return std::nullopt;
  const std::vector<double> theta = FitGlobally(law, points, ones, LossSpec{}, starts).theta;
  if (theta.empty()) return std::nullopt;

  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  CurveBias bias;
  std::vector<double> flops, params;
  for (size_t g = 0; g < groups.size(); ++g) {
    bias.budgets.push_back({kNone, kNone, kNone});
    if (!used[g]) continue;
    IsoflopGroup sampled = groups[g];
    for (IsoflopPoint& p : sampled.points)
      p.loss = law.Loss(theta.data(), p.log_params, p.log_tokens);
    const IsoflopMinimum curve = FitMinimum(sampled, options);
    if (!curve.ok()) continue;
    const Bottom bottom = BottomOf(theta, sampled);
    flops.push_back(groups[g].budget_flops);
    params.push_back(curve.params / std::exp(bottom.log_params));
    bias.budgets.back() = {params.back() - 1, curve.tokens / std::exp(bottom.log_tokens) - 1,
                           curve.loss / bottom.loss - 1};
  }
  const auto params_ratio = FitPowerLaw(flops, params);
  if (!params_ratio.has_value()) return std::nullopt;
  bias.params_ratio = *params_ratio;
  return bias;
}

}  // namespace fit
