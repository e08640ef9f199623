#include "fit/curve_family.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fit/curve.h"
#include "fit/stats.h"

namespace fit {
namespace {

constexpr LossSpec kLeastSquares{LossKind::kL2, 0, ResidualKind::kLinear};
constexpr int kStarts = 4;
constexpr double kWorse = 1.5;

}  // namespace

bool IsError(const std::vector<FitPoint>& pairs) {
  double x = 0, y = 0, xy = 0;
  for (const FitPoint& p : pairs) x += p.x[0], y += p.y;
  x /= static_cast<double>(pairs.size()), y /= static_cast<double>(pairs.size());
  for (const FitPoint& p : pairs) xy += (p.x[0] - x) * (p.y - y);
  return xy > 0;
}

std::vector<Coordinate> CurveBox(const Equation& curve, std::optional<double> chance) {
  std::vector<Coordinate> box = curve.coordinates();
  for (Coordinate& c : box)
    if (c.name == "floor" && chance.has_value()) c.lower = c.upper = *chance;
  return box;
}

CurveFamily CurveFamily::Fit(const Equation& chosen, const EquationFit& fit,
                             const std::vector<FitPoint>& pairs, std::optional<double> chance) {
  struct Tried {
    Member member;
    double rms = 0;
  };
  std::vector<Tried> tried;
  const std::vector<double> ones(pairs.size(), 1);
  std::vector<const Equation*> others = {&SigmoidCurve(), &GompertzCurve(),
                                         &ReversedGompertzCurve()};
  if (!IsError(pairs)) others.push_back(&LogSigmoidCurve());
  for (const Equation* curve : others) {
    if (curve == &chosen || pairs.size() < curve->coordinates().size()) continue;
    const std::vector<Coordinate> box = CurveBox(*curve, chance);
    const EquationFit one =
        FitEquation(*curve, pairs, ones, kLeastSquares, curve->Starts(pairs, ones, kStarts), &box);
    if (!one.theta.empty())
      tried.push_back(
          {{curve, one.theta, std::string(curve->name())}, RootMeanSquare(one.residuals)});
  }
  CurveFamily family;
  family.best_ = std::string(chosen.name());
  const double own = RootMeanSquare(fit.residuals);
  double least = own;
  for (const Tried& one : tried) {
    if (!(one.rms < least)) continue;
    least = one.rms;
    family.best_ = one.member.name;
  }
  // Errors this small are rounding of the hard metric, not shape.
  constexpr double kRounding = 1e-9;
  least = std::max(least, kRounding);
  family.worse_ = std::max(own / least, 1.0);
  for (Tried& one : tried)
    if (one.rms <= kWorse * least) family.members_.push_back(std::move(one.member));
  return family;
}

void CurveFamily::Add(const Equation& curve, std::vector<double> theta, std::string name) {
  members_.push_back({&curve, std::move(theta), std::move(name)});
}

std::optional<CurveFamily::Range> CurveFamily::At(double soft) const {
  std::optional<Range> range;
  for (const Member& member : members_) {
    const double hard = std::clamp(member.curve->Value(member.theta.data(), {soft}), 0.0, 1.0);
    if (!std::isfinite(hard)) continue;
    if (!range.has_value()) range = Range{hard, hard};
    range->lo = std::min(range->lo, hard), range->hi = std::max(range->hi, hard);
  }
  return range;
}

std::vector<std::string> CurveFamily::names() const {
  std::vector<std::string> names;
  for (const Member& member : members_) names.push_back(member.name);
  return names;
}

}  // namespace fit
