#include "fit/calibration.h"

#include <algorithm>
#include <cmath>

#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

constexpr double kFrontierA = 0.8, kFrontierB = 0.15;
constexpr double kSurfaceA = 1.3, kSurfaceB = 0.4;
constexpr double kPriorForecasts = 10;
constexpr double kMostOfACut = 4;

double NormalTwoSided(double level) { return StudentTwoSided(level, 1e7); }

// |ln(actual/forecast)| in half-widths; NaN without an interval.
double Score(const TestPoint& test) {
  const double error = std::log(test.actual / test.predicted);
  const double half =
      error > 0 ? std::log(test.hi / test.predicted) : std::log(test.predicted / test.lo);
  return std::fabs(error) / half;
}

}  // namespace

Calibration::Calibration(std::string_view law, const std::vector<RollingForecasts>& cuts,
                         double level) {
  const bool frontier = law == "frontier";
  a_ = frontier ? kFrontierA : kSurfaceA;
  b_ = frontier ? kFrontierB : kSurfaceB;
  std::vector<std::pair<double, double>> scores;  // with weight
  constexpr int kPriorPoints = 40;
  for (int i = 0; i < kPriorPoints; ++i)
    scores.emplace_back(NormalTwoSided((i + 0.5) / kPriorPoints) / NormalTwoSided(level),
                        kPriorForecasts / kPriorPoints);
  for (const RollingForecasts& cut : cuts) {
    std::vector<double> own;
    for (const TestPoint& test : cut) {
      const double z = Score(test);
      if (test.reach > 1 && std::isfinite(z)) own.push_back(z / Growth(test.reach));
    }
    forecasts_ += static_cast<int>(own.size());
    const double weight = std::min(1.0, kMostOfACut / static_cast<double>(own.size()));
    for (const double z : own) scores.emplace_back(z, weight);
  }
  std::sort(scores.begin(), scores.end());
  double total = 0, below = 0;
  for (const auto& [z, weight] : scores) total += weight;
  for (const auto& [z, weight] : scores) {
    q_ = z;
    below += weight;
    if (below >= level * total) break;
  }
}

double Calibration::Growth(double reach) const { return a_ + b_ * std::log(reach); }

double Calibration::Factor(double reach) const {
  return reach > 1 + 1e-9 ? std::max(1.0, Growth(reach) * q_) : 1;
}

void Calibration::Apply(double loss, double reach, Interval* interval) const {
  const double factor = Factor(reach);
  constexpr double kNotWorthSaying = 1.005;
  if (!std::isfinite(interval->lo) || !std::isfinite(interval->hi) || factor < kNotWorthSaying)
    return;
  // A united interval can end on the forecast itself, or beyond it.
  interval->lo = loss * std::pow(std::min(interval->lo / loss, 1.0), factor);
  interval->hi = loss * std::pow(std::max(interval->hi / loss, 1.0), factor);
  interval->method +=
      fmt::format(", widened {:.2f} times for reach ({} rolling forecasts)", factor, forecasts_);
}

}  // namespace fit
