#include "fit/envelope.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "fit/isoflop.h"

namespace fit {
namespace {

constexpr double kPointsADecade = 24;
constexpr double kSameSize = 1e-3;  // of ln N, as in isoflop.cc

struct Curve {
  double params = 0;
  std::vector<double> log_flops, log_tokens, log_loss;

  bool Covers(double x) const { return log_flops.front() <= x && x <= log_flops.back(); }
  // A column at x, linear between checkpoints.
  double At(const std::vector<double>& column, double x) const {
    const auto right = static_cast<size_t>(
        std::lower_bound(log_flops.begin() + 1, log_flops.end() - 1, x) - log_flops.begin());
    const double width = log_flops[right] - log_flops[right - 1];
    const double share = width > 0 ? (x - log_flops[right - 1]) / width : 1;
    return column[right - 1] + share * (column[right] - column[right - 1]);
  }
};

// Whether `params` lies strictly inside the sizes.
bool IsInterior(double params, const std::vector<double>& sizes) {
  const auto [low, high] = std::minmax_element(sizes.begin(), sizes.end());
  return std::log(params / *low) > kSameSize && std::log(*high / params) > kSameSize;
}

std::vector<EnvelopePoint> OfCurves(const std::vector<Curve>& curves) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const Curve& curve : curves)
    low = std::min(low, curve.log_flops.front()), high = std::max(high, curve.log_flops.back());
  std::vector<EnvelopePoint> envelope;
  const double step = std::log(10) / kPointsADecade;
  for (double x = std::ceil(low / step) * step; x <= high; x += step) {
    const Curve* best = nullptr;
    double least = HUGE_VAL;
    std::vector<double> sizes;
    for (const Curve& curve : curves) {
      if (!curve.Covers(x)) continue;
      sizes.push_back(curve.params);
      const double here = curve.At(curve.log_loss, x);
      if (here < least) least = here, best = &curve;
    }
    if (best == nullptr || !IsInterior(best->params, sizes)) continue;
    envelope.push_back(
        {std::exp(x), best->params, std::exp(best->At(best->log_tokens, x)), std::exp(least)});
  }
  return envelope;
}

std::vector<EnvelopePoint> OfFinalLosses(const std::vector<Observation>& runs) {
  std::vector<EnvelopePoint> candidates;
  for (const IsoflopGroup& group : GroupByBudget(runs).groups) {
    const Observation* best = nullptr;
    std::vector<double> sizes;
    std::set<double> distinct;
    for (const size_t i : group.members) {
      sizes.push_back(runs[i].params);
      distinct.insert(std::round(std::log(runs[i].params) / kSameSize));
      if (best == nullptr || runs[i].loss < best->loss) best = &runs[i];
    }
    if (distinct.size() >= 3 && !IsInterior(best->params, sizes)) continue;
    candidates.push_back({group.budget_flops, best->params, best->tokens, best->loss});
  }
  std::vector<EnvelopePoint> envelope;
  for (const EnvelopePoint& point : candidates)
    if (envelope.empty() || point.loss < envelope.back().loss) envelope.push_back(point);
  return envelope;
}

}  // namespace

std::vector<EnvelopePoint> LowerEnvelope(const std::vector<Observation>& observations,
                                         const std::vector<RunRows>& runs,
                                         const std::vector<double>& weights) {
  std::vector<Curve> curves;
  std::vector<Observation> finals;
  for (size_t r = 0; r < runs.size(); ++r) {
    if (!weights.empty() && weights[r] == 0) continue;
    finals.push_back(observations[runs[r].back()]);
    if (runs[r].size() < 2) continue;
    Curve curve;
    curve.params = finals.back().params;
    for (const size_t i : runs[r]) {
      curve.log_flops.push_back(std::log(observations[i].flops));
      curve.log_tokens.push_back(std::log(observations[i].tokens));
      curve.log_loss.push_back(std::log(observations[i].loss));
    }
    // Rows are ordered by tokens; a curve that goes back in compute is no curve.
    if (std::is_sorted(curve.log_flops.begin(), curve.log_flops.end()))
      curves.push_back(std::move(curve));
  }
  return curves.empty() ? OfFinalLosses(finals) : OfCurves(curves);
}

FrontierFit FitEnvelope(const std::vector<EnvelopePoint>& envelope,
                        const AsymptoticOptions& asymptotic) {
  FrontierFit fit;
  std::vector<double> tokens;
  for (const EnvelopePoint& p : envelope) {
    fit.flops.push_back(p.flops), fit.losses.push_back(p.loss);
    fit.params.push_back(p.params), tokens.push_back(p.tokens);
  }
  fit.params_law = FitPowerLaw(fit.flops, fit.params);
  fit.tokens_law = FitPowerLaw(fit.flops, tokens);
  FitLossLaw(asymptotic, &fit);
  return fit;
}

}  // namespace fit
