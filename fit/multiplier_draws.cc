#include "fit/multiplier_draws.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "fmt/format.h"

namespace fit {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();
bool Enough(const FrontierCurve& curve) {
  const LawFit& fit = curve.fit();
  return EnoughResamples(static_cast<size_t>(fit.resamples - fit.resamples_failed),
                         static_cast<size_t>(fit.resamples));
}

}  // namespace

double LawPair::LnMultiplier(double ln_flops, size_t resample) const {
  return a->LnFlops(b->LnLoss(ln_flops, resample), resample) - ln_flops;
}

MultiplierDraws::MultiplierDraws(std::vector<LawPair> laws) : laws_(std::move(laws)) {
  for (size_t l = 0; l < laws_.size(); ++l) {
    if (!Enough(*laws_[l].a) || !Enough(*laws_[l].b)) continue;
    const size_t pairs = std::min(laws_[l].a->resamples(), laws_[l].b->resamples());
    for (size_t i = 0; i < pairs; ++i)
      draws_.push_back({l, i, laws_[l].weight / static_cast<double>(pairs)});
  }
}

double MultiplierDraws::Share(const std::vector<bool>& has) const {
  double share = 0, total = 0;
  for (size_t i = 0; i < draws_.size(); ++i) {
    total += draws_[i].weight;
    if (has[i]) share += draws_[i].weight;
  }
  return total > 0 ? share / total : 0;
}

double MultiplierDraws::LnMultiplier(double ln_flops) const {
  double sum = 0;
  for (const LawPair& pair : laws_)
    sum += pair.weight * pair.LnMultiplier(ln_flops, FrontierCurve::kAsFitted);
  return sum;
}

std::vector<double> MultiplierDraws::LnMultipliers(double ln_flops) const {
  std::vector<double> values;
  for (const Draw& draw : draws_)
    values.push_back(laws_[draw.law].LnMultiplier(ln_flops, draw.resample));
  return values;
}

double MultiplierDraws::Gap(double ln_flops, size_t draw) const {
  const LawPair& pair = laws_[draws_[draw].law];
  return pair.a->LnLoss(ln_flops, draws_[draw].resample) -
         pair.b->LnLoss(ln_flops, draws_[draw].resample);
}

std::vector<double> MultiplierDraws::LnLosses(bool of_a, double ln_flops) const {
  std::vector<double> values;
  for (const Draw& draw : draws_) {
    const LawPair& pair = laws_[draw.law];
    values.push_back((of_a ? pair.a : pair.b)->LnLoss(ln_flops, draw.resample));
  }
  return values;
}

std::pair<double, double> MultiplierDraws::Percentiles(const std::vector<double>& values,
                                                       double level) const {
  constexpr size_t kFewest = 20;
  std::vector<size_t> order;
  double total = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    order.push_back(i);
    total += draws_[i].weight;
  }
  if (order.size() < kFewest || total < 0.5) return {kNaN, kNaN};
  std::sort(order.begin(), order.end(), [&](size_t i, size_t j) { return values[i] < values[j]; });
  const auto quantile = [&](double q) {
    double below = 0;
    for (const size_t i : order) {
      below += draws_[i].weight;
      if (below >= q * total) return values[i];
    }
    return values[order.back()];
  };
  return {quantile((1 - level) / 2), quantile((1 + level) / 2)};
}

Interval MultiplierDraws::IntervalOf(const std::vector<double>& logs, double level) const {
  std::string method = fmt::format("{} independent pairs of resamples", size());
  if (laws_.size() > 1) method += fmt::format(" of {} laws pooled", laws_.size());
  method += ", stretched to the forecasts' intervals";
  const auto [lo, hi] = Percentiles(logs, level);
  return {std::exp(lo), std::exp(hi), level, IntervalKind::kMean, method};
}

double MultiplierDraws::Covariance(const std::vector<double>& x,
                                   const std::vector<double>& y) const {
  double total = 0, mean_x = 0, mean_y = 0, sum = 0;
  const auto both = [&](size_t i) { return std::isfinite(x[i]) && std::isfinite(y[i]); };
  for (size_t i = 0; i < draws_.size(); ++i) {
    if (!both(i)) continue;
    total += draws_[i].weight;
    mean_x += draws_[i].weight * x[i];
    mean_y += draws_[i].weight * y[i];
  }
  if (!(total > 0)) return kNaN;
  mean_x /= total, mean_y /= total;
  for (size_t i = 0; i < draws_.size(); ++i)
    if (both(i)) sum += draws_[i].weight * (x[i] - mean_x) * (y[i] - mean_y);
  return sum / total;
}

std::vector<SignChange> SignChanges(const std::function<double(double)>& f, double lo, double hi) {
  std::vector<SignChange> changes;
  const double step = std::log(10) / 8;
  const int steps = std::max(1, static_cast<int>(std::ceil((hi - lo) / step)));
  double left = lo, at_left = f(lo);  // the last x with a sign
  for (int i = 1; i <= steps; ++i) {
    const double right = lo + (hi - lo) * i / steps, at_right = f(right);
    if (at_right == 0) continue;
    if ((at_left < 0 && at_right > 0) || (at_left > 0 && at_right < 0)) {
      double a = left, b = right;
      while (b - a > 1e-6) {
        const double middle = (a + b) / 2;
        ((f(middle) < 0) == (at_left < 0) ? a : b) = middle;
      }
      if (std::isfinite(f(a)) && std::isfinite(f(b)))
        changes.push_back({(a + b) / 2, at_right > 0});
    }
    left = right, at_left = at_right;
  }
  return changes;
}

}  // namespace fit
