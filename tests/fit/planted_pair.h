// Two cohorts drawn from Chinchilla surfaces whose compute multiplier is known.
#pragma once

#include <cmath>
#include <utility>

#include "fit/compare.h"
#include "tests/fit/planted.h"

namespace fit {

struct PlantedPair {
  double multiplier = 1.3;    // CM at every C, unless one of the next three is set
  double cross_at = 0;        // > 0: B's exponents are 3 % larger, and the frontiers cross here
  double cross_again_at = 0;  // > cross_at: B's exponents are 30 % larger, its floor higher
  double floor_of_a = 0;      // added to A's irreducible loss
  double noise = 1e-3;
  int points = 8;

  Planted PlantedA() const {
    Planted a = Base();
    a.theta[2] += floor_of_a;
    return a;
  }
  Planted PlantedB() const {
    Planted b = Base();
    // L* = E + K C^-p: scaling A and B by s scales K by s.
    double scale = std::pow(multiplier, -Exponent(b));
    if (cross_again_at > 0) {
      b.theta[3] *= 1.3;
      b.theta[4] *= 1.3;
      const Planted a = PlantedA();
      scale = (a.Best(cross_at).loss - a.Best(cross_again_at).loss) /
              (b.Best(cross_at).loss - b.Best(cross_again_at).loss);
      const double above_floor = scale * (b.Best(cross_at).loss - b.theta[2]);
      b.theta[2] = a.Best(cross_at).loss - above_floor;
    } else if (cross_at > 0) {
      b.theta[3] *= 1.03;
      b.theta[4] *= 1.03;
      const double e = b.theta[2];
      scale = (Base().Best(cross_at).loss - e) / (b.Best(cross_at).loss - e);
    }
    b.theta[0] += std::log(scale);
    b.theta[1] += std::log(scale);
    return b;
  }
  ComparedCohort A(uint64_t seed) const { return Cohort("A", PlantedA(), seed); }
  ComparedCohort B(uint64_t seed) const { return Cohort("B", PlantedB(), seed); }

 private:
  static double Exponent(const Planted& p) {
    return p.theta[3] * p.theta[4] / (p.theta[3] + p.theta[4]);
  }
  Planted Base() const {
    Planted base;
    base.noise = noise;
    base.points = points;
    return base;
  }
  static ComparedCohort Cohort(const std::string& name, const Planted& planted, uint64_t seed) {
    ComparedCohort cohort;
    cohort.name = name;
    cohort.observations = planted.Draw(seed);
    for (Observation& o : cohort.observations) o.cohort["recipe"] = "recipe of " + name;
    return cohort;
  }
};

}  // namespace fit
