#include "fit/profile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fit/stats.h"

namespace fit {

double ProfileCutoff(double objective, const std::vector<double>& residuals, int coordinates,
                     const LossSpec& loss, double level) {
  const int dof = static_cast<int>(residuals.size()) - coordinates;
  if (dof < 1) return std::numeric_limits<double>::infinity();
  const double t = StudentTwoSided(level, dof);  // t^2 is the quantile of F(1, dof)
  if (loss.kind == LossKind::kL2) return objective * (1 + t * t / dof);
  const bool l1 = loss.kind == LossKind::kL1;
  std::vector<double> sizes;
  for (const double r : residuals) sizes.push_back(std::fabs(r));
  double psi_squared = 0, slope = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const double side = residuals[i] > 0 ? loss.over : 1;
    const double psi = side * (l1 ? 1 : std::min(sizes[i], loss.delta));
    psi_squared += psi * psi;
    slope += !l1 && sizes[i] <= loss.delta ? side : 0;
  }
  // psi' is a spike where delta is far inside the noise: the share of residuals within delta is
  // then too few to be counted, and their density is read off a wider window.
  const double window = 0.5 * Quantile(sizes, 0.5);
  if ((l1 || loss.delta < window) && window > 0) {
    double within = 0;
    for (size_t i = 0; i < sizes.size(); ++i)
      within += sizes[i] <= window ? (residuals[i] > 0 ? loss.over : 1) : 0;
    slope = within / window * (l1 ? 1 : loss.delta);
  }
  if (!(slope > 0)) return objective;
  // psi_squared / dof over slope / n.
  const double scale = psi_squared / dof * static_cast<double>(residuals.size()) / slope;
  return objective + 0.5 * scale * t * t;
}

ProfileRange ProfileOf(const Equation& equation, const std::vector<FitPoint>& points,
                       const std::vector<double>& weights, const LossSpec& loss,
                       const std::vector<Coordinate>& box, const std::vector<double>& theta,
                       double objective, size_t coordinate, double cutoff) {
  ProfileRange range;
  double best = objective;
  const auto at = [&](double value, const std::vector<double>& start) {
    std::vector<Coordinate> held = box;
    held[coordinate].lower = held[coordinate].upper = value;
    EquationFit fit = FitEquation(equation, points, weights, loss, {start}, &held);
    if (fit.objective < best * (1 - 1e-7) - 1e-20) {
      best = fit.objective;
      range.found_better = true;
      range.better = fit.theta;
    }
    return fit;
  };
  const auto end = [&](int direction, double* value, bool* open, std::vector<double>* refitted) {
    constexpr int kDoublings = 60, kBisections = 26;
    const double bound = direction < 0 ? box[coordinate].lower : box[coordinate].upper;
    double inside = theta[coordinate];
    std::vector<double> warm = theta;
    double step = std::max(1e-4 * std::fabs(inside), 1e-6);
    double outside = bound;
    bool left = false;
    for (int i = 0; i < kDoublings && !left; ++i) {
      double next = inside + direction * step;
      const bool at_bound = direction < 0 ? next <= bound : next >= bound;
      if (at_bound) next = bound;
      const EquationFit fit = at(next, warm);
      if (!fit.theta.empty() && fit.objective <= cutoff) {
        inside = next;
        warm = fit.theta;
        if (at_bound) break;
        step *= 1.7;
      } else {
        outside = next;
        left = true;
      }
    }
    for (int i = 0; i < kBisections && left; ++i) {
      const double middle = 0.5 * (inside + outside);
      if (std::fabs(outside - inside) <= 1e-6 * (std::fabs(inside) + 1e-9)) break;
      const EquationFit fit = at(middle, warm);
      if (!fit.theta.empty() && fit.objective <= cutoff) {
        inside = middle;
        warm = fit.theta;
      } else {
        outside = middle;
      }
    }
    *value = inside;
    *open = !left;
    *refitted = warm;
  };
  end(-1, &range.lo, &range.lo_open, &range.theta_lo);
  end(+1, &range.hi, &range.hi_open, &range.theta_hi);
  return range;
}

}  // namespace fit
