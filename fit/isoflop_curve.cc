#include "fit/isoflop_curve.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "Eigen/Dense"

namespace fit {
namespace {

// Weighted least-squares parabola c0 + c1 u + c2 u^2 through orthogonal polynomials in
// u = (x - mean) / scale, so that no normal equations are formed.
struct Parabola {
  double mean = 0, scale = 1, c0 = 0, c1 = 0, c2 = 0;
  double At(double x) const {
    const double u = (x - mean) / scale;
    return c0 + u * (c1 + u * c2);
  }
};

Parabola FitParabola(const std::vector<double>& x, const std::vector<double>& y,
                     const std::vector<double>& w) {
  Parabola fit;
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += w[i], fit.mean += w[i] * x[i];
  fit.mean /= sum;
  double s2 = 0;
  for (size_t i = 0; i < x.size(); ++i) s2 += w[i] * (x[i] - fit.mean) * (x[i] - fit.mean);
  fit.scale = std::sqrt(s2 / sum);
  // p1 = u, p2 = u^2 - k u - 1 (u has mean 0 and mean square 1), k = mean u^3.
  double k = 0;
  for (size_t i = 0; i < x.size(); ++i) k += w[i] * std::pow((x[i] - fit.mean) / fit.scale, 3);
  k /= sum;
  double a0 = 0, a1 = 0, a2 = 0, q = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double u = (x[i] - fit.mean) / fit.scale, p2 = u * u - k * u - 1;
    a0 += w[i] * y[i];
    a1 += w[i] * y[i] * u;
    a2 += w[i] * y[i] * p2;
    q += w[i] * p2 * p2;
  }
  a0 /= sum, a1 /= sum, a2 = q > 0 ? a2 / q : 0;
  fit.c0 = a0 - a2;
  fit.c1 = a1 - a2 * k;
  fit.c2 = a2;
  return fit;
}

SizeCurve ParabolaCurve(const std::vector<double>& x, const std::vector<double>& y,
                        const std::vector<double>& w) {
  SizeCurve curve;
  const Parabola parabola = FitParabola(x, y, w);
  for (size_t i = 0; i < x.size(); ++i) {
    curve.fitted.push_back(parabola.At(x[i]));
    curve.residuals.push_back(y[i] - curve.fitted[i]);
  }
  curve.curvature = parabola.c2 / (parabola.scale * parabola.scale);
  // Rounding leaves a straight line a curvature of either sign, some 1e-16 of the loss.
  if (!(parabola.c2 > 1e-13 * std::fabs(parabola.c0))) return curve;
  curve.shape = CurveShape::kValley;
  curve.x = parabola.mean - parabola.scale * parabola.c1 / (2 * parabola.c2);
  curve.y = parabola.At(curve.x);
  return curve;
}

// c0 + c1 u + c2 u^2 + c3 u^3, u = (x - mean) / scale.
struct Cubic {
  double mean = 0, scale = 1;
  Eigen::Vector4d c = Eigen::Vector4d::Zero();
  double At(double x) const {
    const double u = (x - mean) / scale;
    return c(0) + u * (c(1) + u * (c(2) + u * c(3)));
  }
};

Cubic FitCubic(const std::vector<double>& x, const std::vector<double>& y,
               const std::vector<double>& w) {
  Cubic cubic;
  double sum = 0, square = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += w[i], cubic.mean += w[i] * x[i];
  cubic.mean /= sum;
  for (size_t i = 0; i < x.size(); ++i) square += w[i] * std::pow(x[i] - cubic.mean, 2);
  cubic.scale = std::sqrt(square / sum);
  const auto n = static_cast<Eigen::Index>(x.size());
  Eigen::MatrixXd columns(n, 4);
  Eigen::VectorXd target(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const auto k = static_cast<size_t>(i);
    const double root = std::sqrt(w[k]), u = (x[k] - cubic.mean) / cubic.scale;
    columns.row(i) << root, root * u, root * u * u, root * u * u * u;
    target(i) = root * y[k];
  }
  cubic.c = columns.colPivHouseholderQr().solve(target);
  return cubic;
}

SizeCurve CubicCurve(const std::vector<double>& x, const std::vector<double>& y,
                     const std::vector<double>& w) {
  SizeCurve curve;
  curve.coefficients = 4;
  const Cubic cubic = FitCubic(x, y, w);
  for (size_t i = 0; i < x.size(); ++i) {
    curve.fitted.push_back(cubic.At(x[i]));
    curve.residuals.push_back(y[i] - curve.fitted[i]);
  }
  // Where the slope c1 + 2 c2 u + 3 c3 u^2 goes through zero upwards; the form that loses no
  // digits.
  const double c1 = cubic.c(1), c2 = cubic.c(2), c3 = cubic.c(3);
  const double root = c2 * c2 - 3 * c1 * c3;
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const double first = cubic.At(*low), last = cubic.At(*high);
  curve.curvature = c2 / (cubic.scale * cubic.scale);
  if (root > 0) {
    const double s = std::sqrt(root);
    const double u = c2 > 0 ? -c1 / (c2 + s) : (s - c2) / (3 * c3);
    const double at = cubic.mean + cubic.scale * u;
    if (std::isfinite(at) && at >= *low && at <= *high && s > 1e-13 * std::fabs(cubic.c(0))) {
      curve.shape = CurveShape::kValley;
      curve.x = at, curve.y = cubic.At(at);
      curve.curvature = s / (cubic.scale * cubic.scale);
      return curve;
    }
  }
  // No valley among the data: lower at one end than anywhere between, or a hill.
  const double middle = cubic.At(0.5 * (*low + *high));
  if (first > middle && middle > last) curve.shape = CurveShape::kFalling;
  if (first < middle && middle < last) curve.shape = CurveShape::kRising;
  return curve;
}

class Akima {
 public:
  // Rising x, at least 5.
  Akima(std::vector<double> x, std::vector<double> y) : x_(std::move(x)), y_(std::move(y)) {
    const size_t n = x_.size();
    std::vector<double> m(n + 3);  // slopes, two more at either end
    for (size_t i = 0; i + 1 < n; ++i) m[i + 2] = (y_[i + 1] - y_[i]) / (x_[i + 1] - x_[i]);
    m[1] = 2 * m[2] - m[3], m[0] = 2 * m[1] - m[2];
    m[n + 1] = 2 * m[n] - m[n - 1], m[n + 2] = 2 * m[n + 1] - m[n];
    for (size_t i = 0; i < n; ++i) {
      const double left = std::fabs(m[i + 3] - m[i + 2]), right = std::fabs(m[i + 1] - m[i]);
      slope_.push_back(left + right > 1e-9 * (std::fabs(m[i + 1]) + std::fabs(m[i + 2]))
                           ? (left * m[i + 1] + right * m[i + 2]) / (left + right)
                           : 0.5 * (m[i + 1] + m[i + 2]));
    }
  }
  double At(double x) const {
    const auto right =
        static_cast<size_t>(std::lower_bound(x_.begin() + 1, x_.end() - 1, x) - x_.begin());
    const size_t left = right - 1;
    const double h = x_[right] - x_[left], t = (x - x_[left]) / h;
    return (1 + 2 * t) * (1 - t) * (1 - t) * y_[left] + t * (1 - t) * (1 - t) * h * slope_[left] +
           t * t * (3 - 2 * t) * y_[right] + t * t * (t - 1) * h * slope_[right];
  }

 private:
  std::vector<double> x_, y_, slope_;
};

SizeCurve AkimaCurve(const std::vector<double>& x, const std::vector<double>& y,
                     const std::vector<double>& w) {
  constexpr int kPerInterval = 25;
  constexpr double kSameSize = 1e-3;
  std::map<double, std::pair<double, double>> by_size;
  for (size_t i = 0; i < x.size(); ++i)
    by_size[x[i]].first += w[i] * std::log(y[i]), by_size[x[i]].second += w[i];
  std::vector<double> sizes, logs, counts;
  for (const auto& [size, sum] : by_size) {
    if (!sizes.empty() && size - sizes.back() <= kSameSize) {
      logs.back() += sum.first, counts.back() += sum.second;
      continue;
    }
    sizes.push_back(size), logs.push_back(sum.first), counts.push_back(sum.second);
  }
  for (size_t i = 0; i < sizes.size(); ++i) logs[i] /= counts[i];
  const Akima akima(sizes, logs);
  SizeCurve curve;
  const SizeCurve cubic = CubicCurve(x, y, w);
  curve.residuals = cubic.residuals;
  curve.coefficients = cubic.coefficients;
  curve.fitted = y;
  const double low = sizes.front(), high = sizes.back();
  const int steps = kPerInterval * static_cast<int>(sizes.size() - 1);
  const auto place = [&](double i) { return low + (high - low) * i / steps; };
  int best = 0;
  for (int i = 1; i <= steps; ++i)
    if (akima.At(place(i)) < akima.At(place(best))) best = i;
  if (best == 0 || best == steps) {
    curve.shape = best == 0 ? CurveShape::kRising : CurveShape::kFalling;
    return curve;
  }
  constexpr double kGolden = 0.6180339887498949;
  double from = place(best - 1), to = place(best + 1);
  for (int i = 0; i < 60; ++i) {
    const double a = to - kGolden * (to - from), b = from + kGolden * (to - from);
    (akima.At(a) < akima.At(b) ? to : from) = akima.At(a) < akima.At(b) ? b : a;
  }
  curve.shape = CurveShape::kValley;
  curve.x = 0.5 * (from + to);
  curve.y = std::exp(akima.At(curve.x));
  // Over one interval on either side, so that a kink of the interpolation does not decide.
  const double h = std::min(
      {(high - low) / static_cast<double>(sizes.size() - 1), curve.x - low, high - curve.x});
  curve.curvature =
      std::max((std::exp(akima.At(curve.x + h)) + std::exp(akima.At(curve.x - h)) - 2 * curve.y) /
                   (2 * h * h),
               1e-12);
  return curve;
}

}  // namespace

std::string_view Text(IsoflopCurve curve) {
  switch (curve) {
    case IsoflopCurve::kCubic:
      return "cubic";
    case IsoflopCurve::kAkima:
      return "akima";
    case IsoflopCurve::kParabola:
      break;
  }
  return "parabola";
}

size_t FewestSizes(IsoflopCurve curve) {
  return curve == IsoflopCurve::kParabola ? 3 : curve == IsoflopCurve::kCubic ? 4 : 5;
}

SizeCurve FitSizeCurve(IsoflopCurve curve, const std::vector<double>& x,
                       const std::vector<double>& y, const std::vector<double>& w) {
  switch (curve) {
    case IsoflopCurve::kCubic:
      return CubicCurve(x, y, w);
    case IsoflopCurve::kAkima:
      return AkimaCurve(x, y, w);
    case IsoflopCurve::kParabola:
      break;
  }
  return ParabolaCurve(x, y, w);
}

}  // namespace fit
