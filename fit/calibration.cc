#include "fit/calibration.h"

#include <algorithm>
#include <cmath>

#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

constexpr double kFrontierA = 0.8, kFrontierB = 0.15;
constexpr double kSurfaceA = 1.3, kSurfaceB = 0.4;
constexpr double kAveragedSurfaceA = 0.01, kAveragedSurfaceB = 0.005;
constexpr double kPriorForecasts = 10;
constexpr double kMostOfACut = 4;

double NormalTwoSided(double level) { return StudentTwoSided(level, 1e7); }

}  // namespace

Calibration::Calibration(std::string_view law, const std::vector<RollingForecasts>& cuts,
                         double level) {
  const bool frontier = law == "frontier";
  a_ = frontier ? kFrontierA : kSurfaceA;
  b_ = frontier ? kFrontierB : kSurfaceB;
  Learn(cuts, level);
}

Calibration Calibration::OfAverages(std::string_view law, const std::vector<RollingForecasts>& cuts,
                                    double level) {
  Calibration calibration;
  calibration.of_average_ = true;
  const bool frontier = law == "frontier";
  calibration.a_ = frontier ? 0 : kAveragedSurfaceA;
  calibration.b_ = frontier ? 0 : kAveragedSurfaceB;
  calibration.Learn(cuts, level);
  return calibration;
}

Calibration Calibration::WithoutGrowth(const std::vector<RollingForecasts>& cuts, double level) {
  Calibration calibration;
  calibration.Learn(cuts, level);
  return calibration;
}

void Calibration::Learn(const std::vector<RollingForecasts>& cuts, double level) {
  std::vector<std::pair<double, double>> scores;  // with weight
  constexpr int kPriorPoints = 40;
  for (int i = 0; i < kPriorPoints; ++i)
    scores.emplace_back(NormalTwoSided((i + 0.5) / kPriorPoints) / NormalTwoSided(level),
                        kPriorForecasts / kPriorPoints);
  for (const RollingForecasts& cut : cuts) {
    std::vector<double> own;
    for (const TestPoint& test : cut) {
      const double error = std::log(test.actual / test.predicted);
      const double half =
          error > 0 ? std::log(test.hi / test.predicted) : std::log(test.predicted / test.lo);
      const double z = std::fabs(error) / half;
      if (test.reach > 1 && std::isfinite(z)) own.push_back(z / Growth(test.reach, half));
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

double Calibration::Growth(double reach, double half_width) const {
  const double grown = a_ + b_ * std::log(reach);
  return of_average_ ? std::hypot(1, grown / half_width) : grown;
}

double Calibration::Factor(double reach, double half_width) const {
  // An average over the profile errs by being too wide as well, so experience may narrow it.
  constexpr double kLeastOfAverages = 0.7;
  return reach > 1 + 1e-9
             ? std::max(of_average_ ? kLeastOfAverages : 1.0, Growth(reach, half_width) * q_)
             : 1;
}

void Calibration::Apply(double loss, double reach, Interval* interval) const {
  if (!std::isfinite(interval->lo) || !std::isfinite(interval->hi)) return;
  // A united interval can end on the forecast itself, or beyond it.
  constexpr double kNarrowest = 1e-6;
  const double below = std::max(std::log(loss / interval->lo), 0.0);
  const double above = std::max(std::log(interval->hi / loss), 0.0);
  const double down = Factor(reach, std::max(below, kNarrowest));
  const double up = Factor(reach, std::max(above, kNarrowest));
  const double factor = std::max(down, up);
  constexpr double kNotWorthSaying = 0.005;
  if (std::fabs(factor - 1) < kNotWorthSaying &&
      std::fabs(std::min(down, up) - 1) < kNotWorthSaying)
    return;
  interval->lo = loss * std::exp(-down * below);
  interval->hi = loss * std::exp(up * above);
  interval->method +=
      fmt::format(", {} {:.2f} times for reach ({})", factor < 1 ? "narrowed" : "widened", factor,
                  forecasts_ > 0 ? fmt::format("{} rolling forecasts", forecasts_)
                                 : "by the public benchmark: no rolling forecast of these runs");
}

}  // namespace fit
