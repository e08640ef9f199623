// Starting points by variable projection: most laws are linear in some constants once the exponents
// are fixed, so a grid over the exponents with non-negative least squares for the rest finds every
// valley that matters.
// **Source:** Golub and Pereyra 1973, as in arXiv:2603.22339.
#pragma once

#include <functional>
#include <vector>

#include "fit/equation.h"

namespace fit {

// min sum_i w_i (sum_j c_j columns[j][i] - y_i)^2 over c >= 0. Cost 2^columns small solves.
// REQUIRES: 1 to 6 columns of y's size; w >= 0.
struct NonNegativeFit {
  std::vector<double> coefficients;
  double rss = 0;
};
NonNegativeFit NonNegativeLeastSquares(const std::vector<std::vector<double>>& columns,
                                       const std::vector<double>& y, const std::vector<double>& w);

// One cell of a grid: the fit quality there and the start it stands for.
struct StartCell {
  double objective = 0;
  std::vector<double> theta;
};

// Half of `count` the best cells, the others spread evenly over the grid, the best first; moved
// into the box. Cells that are not finite are left out.
std::vector<std::vector<double>> ChooseStarts(std::vector<StartCell> cells, int count,
                                              const std::vector<Coordinate>& box);

// `count` values from low to high in equal ratios. REQUIRES: 0 < low < high, count >= 2.
std::vector<double> GeometricGrid(double low, double high, int count);

// Weighted mean of input `index`: centring on it keeps exponentials near 1.
double InputMean(const std::vector<FitPoint>& points, const std::vector<double>& weights,
                 size_t index);

}  // namespace fit
