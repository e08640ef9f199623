#include "fit/frontier_curve.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "fit/forecast.h"
#include "fit/stats.h"

namespace fit {
namespace {

const double kInfinity = std::numeric_limits<double>::infinity();
const double kDecade = std::log(10);
// Degrees of freedom from which Student's t is the normal distribution.
constexpr double kNormal = 1e6;
// A stretch beyond this says that the resamples know nothing: their spread is rounding.
constexpr double kMostStretch = 100;

double Ratio(double wanted, double had) {
  if (!(wanted > 0) || !(had > 0)) return 1;
  return std::clamp(wanted / had, 1.0, kMostStretch);
}

}  // namespace

FrontierCurve::FrontierCurve(const FitSummary& summary, const FittedLaw& law)
    : summary_(summary), law_(law) {
  const double smallest = std::log(summary.smallest_flops),
               largest = std::log(summary.largest_flops);
  lowest_ = smallest - 6 * kDecade;
  highest_ = largest + 6 * kDecade;
  first_ = smallest - kDecade;
  step_ = kDecade / 4;
  if (resamples() == 0) return;
  for (double x = first_; x < largest + 3 * kDecade; x += step_) {
    const std::optional<Forecast> forecast = Optimum(x);
    Stretch stretch;
    const double centre = RawLnLoss(x, kAsFitted);
    std::vector<double> distances;
    for (size_t i = 0; i < resamples(); ++i) {
      const double distance = RawLnLoss(x, i) - centre;
      if (std::isfinite(distance)) distances.push_back(distance);
    }
    if (distances.size() >= 20 && forecast && std::isfinite(forecast->mean_interval.lo)) {
      const double level = forecast->mean_interval.level;
      stretch.below = Ratio(centre - std::log(forecast->mean_interval.lo),
                            -Quantile(distances, 0.5 - level / 2));
      stretch.above = Ratio(std::log(forecast->mean_interval.hi) - centre,
                            Quantile(distances, 0.5 + level / 2));
    }
    table_.push_back(stretch);
  }
}

std::optional<Forecast> FrontierCurve::Optimum(double ln_flops) const {
  Scale scale = ScaleOf(summary_);
  scale.one_law = true;
  std::vector<Forecast> forecasts =
      ForecastAt({&law_}, {std::exp(ln_flops)}, scale, summary_.backtest);
  if (forecasts.empty()) return std::nullopt;
  return std::move(forecasts[0]);
}

FrontierCurve::Stretch FrontierCurve::StretchAt(double ln_flops) const {
  if (table_.empty()) return {};
  const double at =
      std::clamp((ln_flops - first_) / step_, 0.0, static_cast<double>(table_.size() - 1));
  const auto left = static_cast<size_t>(at);
  const size_t right = std::min(left + 1, table_.size() - 1);
  const double share = at - static_cast<double>(left);
  return {table_[left].below + share * (table_[right].below - table_[left].below),
          table_[left].above + share * (table_[right].above - table_[left].above)};
}

double FrontierCurve::RawLnLoss(double ln_flops, size_t resample) const {
  return std::log(law_.FrontierLoss(
      std::exp(ln_flops), resample == kAsFitted ? std::nullopt : std::optional<size_t>(resample)));
}

double FrontierCurve::LnLoss(double ln_flops, size_t resample) const {
  const double centre = RawLnLoss(ln_flops, kAsFitted);
  if (resample == kAsFitted) return centre;
  const double distance = RawLnLoss(ln_flops, resample) - centre;
  const Stretch stretch = StretchAt(ln_flops);
  return centre + distance * (distance < 0 ? stretch.below : stretch.above);
}

double FrontierCurve::LnFlops(double ln_loss, size_t resample) const {
  double lo = lowest_, hi = highest_;
  // Far out a law may have no optimum.
  while (lo < first_ && std::isnan(LnLoss(lo, resample))) lo += kDecade;
  while (hi > first_ && std::isnan(LnLoss(hi, resample))) hi -= kDecade;
  if (!(LnLoss(lo, resample) >= ln_loss)) return -kInfinity;
  if (!(LnLoss(hi, resample) <= ln_loss)) return kInfinity;
  // 40 decades at most, to 1e-9 in ln C.
  for (int i = 0; i < 48 && hi - lo > 1e-9; ++i) {
    const double middle = (lo + hi) / 2;
    (LnLoss(middle, resample) > ln_loss ? lo : hi) = middle;
  }
  return (lo + hi) / 2;
}

double FrontierCurve::RunScatter(double ln_flops) const {
  const std::optional<Forecast> forecast = Optimum(ln_flops);
  if (!forecast.has_value()) return 0;
  const auto half = [](const Interval& interval) {
    return (std::log(interval.hi) - std::log(interval.lo)) / 2;
  };
  const double run = half(forecast->interval), mean = half(forecast->mean_interval);
  if (!(run > mean)) return 0;
  return std::sqrt(run * run - mean * mean) / StudentTwoSided(forecast->interval.level, kNormal);
}

}  // namespace fit
