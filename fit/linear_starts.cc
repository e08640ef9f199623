#include "fit/linear_starts.h"

#include <algorithm>
#include <cmath>

#include "Eigen/Dense"
#include "core/check.h"

namespace fit {

NonNegativeFit NonNegativeLeastSquares(const std::vector<std::vector<double>>& columns,
                                       const std::vector<double>& y, const std::vector<double>& w) {
  const int k = static_cast<int>(columns.size());
  SWEEP_CHECK(k >= 1 && k <= 6);
  const auto n = static_cast<Eigen::Index>(y.size());
  Eigen::MatrixXd m(n, k);
  Eigen::VectorXd target(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const double root = std::sqrt(w[i]);
    target(i) = root * y[i];
    for (int j = 0; j < k; ++j) m(i, j) = root * columns[j][i];
  }
  // Unit columns, so that the normal equations are as well conditioned as they can be.
  Eigen::VectorXd norm(k);
  for (int j = 0; j < k; ++j) {
    norm(j) = std::max(m.col(j).norm(), 1e-300);
    m.col(j) /= norm(j);
  }
  const Eigen::MatrixXd gram = m.transpose() * m;
  const Eigen::VectorXd moment = m.transpose() * target;
  NonNegativeFit best;
  best.coefficients.assign(columns.size(), 0);
  double best_gain = 0;
  // The optimum is the plain least-squares solution of one subset of the columns.
  for (int subset = 1; subset < 1 << k; ++subset) {
    std::vector<int> index;
    for (int j = 0; j < k; ++j)
      if (subset >> j & 1) index.push_back(j);
    const auto size = static_cast<Eigen::Index>(index.size());
    Eigen::MatrixXd g(size, size);
    Eigen::VectorXd b(size);
    for (Eigen::Index i = 0; i < size; ++i) {
      b(i) = moment(index[i]);
      for (Eigen::Index j = 0; j < size; ++j) g(i, j) = gram(index[i], index[j]);
    }
    const Eigen::VectorXd c = g.ldlt().solve(b);
    if (!c.allFinite() || c.minCoeff() < 0) continue;
    const double gain = b.dot(c);
    if (!(gain > best_gain)) continue;
    best_gain = gain;
    std::fill(best.coefficients.begin(), best.coefficients.end(), 0.0);
    for (Eigen::Index i = 0; i < size; ++i) best.coefficients[index[i]] = c(i) / norm(index[i]);
  }
  best.rss = std::max(target.squaredNorm() - best_gain, 0.0);
  return best;
}

std::vector<std::vector<double>> ChooseStarts(std::vector<StartCell> cells, int count,
                                              const std::vector<Coordinate>& box) {
  std::erase_if(cells, [](const StartCell& cell) {
    return !std::isfinite(cell.objective) ||
           !std::all_of(cell.theta.begin(), cell.theta.end(),
                        [](double v) { return std::isfinite(v); });
  });
  std::vector<size_t> order(cells.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return cells[a].objective < cells[b].objective; });
  const size_t wanted = std::min<size_t>(static_cast<size_t>(std::max(count, 1)), cells.size());
  const size_t best = std::min(std::max<size_t>((wanted + 1) / 2, 1), wanted);
  std::vector<std::vector<double>> starts;
  for (size_t i = 0; i < best; ++i) starts.push_back(cells[order[i]].theta);
  const size_t rest = wanted - best;
  for (size_t i = 0; i < rest; ++i) {
    // Multiples of the golden ratio cover any grid evenly, whatever its row length.
    const double place = std::fmod(0.5 + 0.6180339887498949 * static_cast<double>(i), 1.0);
    starts.push_back(cells[static_cast<size_t>(place * static_cast<double>(cells.size()))].theta);
  }
  for (std::vector<double>& theta : starts)
    for (size_t k = 0; k < theta.size(); ++k)
      theta[k] = std::clamp(theta[k], box[k].lower, box[k].upper);
  return starts;
}

std::vector<double> GeometricGrid(double low, double high, int count) {
  std::vector<double> grid;
  for (int i = 0; i < count; ++i) grid.push_back(low * std::pow(high / low, i / (count - 1.0)));
  return grid;
}

double InputMean(const std::vector<FitPoint>& points, const std::vector<double>& weights,
                 size_t index) {
  double sum = 0, total = 0;
  for (size_t i = 0; i < points.size(); ++i)
    sum += weights[i] * points[i].x[index], total += weights[i];
  return sum / total;
}

}  // namespace fit
