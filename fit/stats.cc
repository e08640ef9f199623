#include "fit/stats.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace fit {
namespace {

// Regularised incomplete beta function by Lentz's continued fraction (DLMF 8.17.22).
double IncompleteBeta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - IncompleteBeta(b, a, 1 - x);
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x)) /
                       a;
  constexpr double kTiny = 1e-300;
  double f = 1, c = 1, d = 0;
  for (int i = 0; i <= 500; ++i) {
    const int m = i / 2;
    double numerator = 1;
    if (i > 0 && i % 2 == 0) {
      numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    } else if (i > 0) {
      numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    }
    d = 1 + numerator * d;
    if (std::fabs(d) < kTiny) d = kTiny;
    d = 1 / d;
    c = 1 + numerator / c;
    if (std::fabs(c) < kTiny) c = kTiny;
    f *= c * d;
    if (std::fabs(1 - c * d) < 1e-15) break;
  }
  return front * (f - 1);
}

}  // namespace

double Quantile(std::vector<double> values, double q) {
  SWEEP_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const double position = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

double Mean(const std::vector<double>& values) {
  SWEEP_CHECK(!values.empty());
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

double RootMeanSquare(const std::vector<double>& values) {
  if (values.empty()) return 0;
  double sum = 0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

double StudentTwoSided(double level, double dof) {
  SWEEP_CHECK(level > 0 && level < 1 && dof >= 1);
  // P(|T| > t) = I_{dof/(dof+t^2)}(dof/2, 1/2); bisection on t.
  double low = 0, high = 1;
  const auto inside = [&](double t) {
    return 1 - IncompleteBeta(dof / 2, 0.5, dof / (dof + t * t));
  };
  while (inside(high) < level && high < 1e12) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (inside(middle) < level ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace fit
