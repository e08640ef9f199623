// The few statistics the fits need. All pure and thread-safe.
#pragma once

#include <vector>

namespace fit {

// Quantile by linear interpolation between order statistics (Hyndman and Fan's type 7, the default
// of R and numpy). REQUIRES: values not empty, 0 <= q <= 1.
double Quantile(std::vector<double> values, double q);

double Mean(const std::vector<double>& values);            // REQUIRES: not empty
double RootMeanSquare(const std::vector<double>& values);  // 0 for an empty list

// Two-sided quantile of Student's t: P(|T| <= t) = level with `dof` degrees of freedom.
// REQUIRES: 0 < level < 1, dof >= 1. Accurate to about 1e-10.
double StudentTwoSided(double level, double dof);

}  // namespace fit
