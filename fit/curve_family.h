// The curves of curve.h that pairs of a soft and a hard metric do not tell apart. Beyond the pairs
// they part, and which of them goes on is not known: what an interval must cover.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fit/equation_fit.h"

namespace fit {

class CurveFamily {
 public:
  // Beside `chosen`, fitted to `pairs` (soft in x[0], hard in y), the sigmoid, both Gompertz
  // curves and, of an accuracy, the log-sigmoid are; those stay whose root mean square error is at
  // most 1.5 times the least of all. `chance`: holds the floors. REQUIRES: pairs not empty.
  static CurveFamily Fit(const Equation& chosen, const EquationFit& fit,
                         const std::vector<FitPoint>& pairs, std::optional<double> chance);

  // One more that stays, under a name of its own.
  void Add(const Equation& curve, std::vector<double> theta, std::string name);

  // Lowest and highest value of those that stay, `chosen` apart; nothing where none does.
  struct Range {
    double lo = 0, hi = 0;
  };
  std::optional<Range> At(double soft) const;

  std::vector<std::string> names() const;  // of those that stay, `chosen` apart
  // How many times the chosen curve's error is that of the best one; at least 1.
  double worse() const { return worse_; }
  const std::string& best() const { return best_; }

 private:
  struct Member {
    const Equation* curve = nullptr;
    std::vector<double> theta;
    std::string name;
  };
  std::vector<Member> members_;
  double worse_ = 1;
  std::string best_;
};

// Whether the hard metric falls as the soft one falls, as an error does.
bool IsError(const std::vector<FitPoint>& pairs);

// The curve's coordinates, with the floor held where `chance` is given.
std::vector<Coordinate> CurveBox(const Equation& curve, std::optional<double> chance);

}  // namespace fit
