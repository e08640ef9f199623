#include "fit/chinchilla.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "Eigen/Dense"
#include "fit/linear_starts.h"
#include "fit/vector_math.h"

namespace fit {
namespace {

enum { kLnA, kLnB, kE, kAlpha, kBeta, kCoordinates };

// min |M c - y|^2 over c >= 0 for three columns with unit diagonal of M'M: the optimum is the least
// squares solution of one of the eight subsets of columns, so all are tried.
Eigen::Vector3d NonNegativeLeastSquares3(const Eigen::Matrix3d& gram, const Eigen::Vector3d& moment,
                                         double* gain) {
  Eigen::Vector3d best = Eigen::Vector3d::Zero();
  *gain = 0;
  for (int subset = 1; subset < 8; ++subset) {
    std::array<int, 3> index{};
    int size = 0;
    for (int i = 0; i < 3; ++i)
      if (subset >> i & 1) index[size++] = i;
    Eigen::MatrixXd g(size, size);
    Eigen::VectorXd m(size);
    for (int i = 0; i < size; ++i) {
      m(i) = moment(index[i]);
      for (int j = 0; j < size; ++j) g(i, j) = gram(index[i], index[j]);
    }
    const Eigen::VectorXd c = g.ldlt().solve(m);
    if (!c.allFinite() || c.minCoeff() < 0) continue;
    const double g_gain = m.dot(c);  // what the subset takes off the sum of squares
    if (g_gain > *gain) {
      *gain = g_gain;
      best.setZero();
      for (int i = 0; i < size; ++i) best(index[i]) = c(i);
    }
  }
  return best;
}

class Chinchilla final : public SurfaceLaw {
 public:
  std::string_view name() const override { return "chinchilla"; }
  std::string_view equation() const override { return "L = E + A/N^alpha + B/D^beta"; }

  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"lnA", -50, 150, ""},
                                    {"lnB", -50, 150, ""},
                                    {"E", 0, 1e9, "asymptote-at-bound"},
                                    {"alpha", 0, 5, "parameter-at-bound"},
                                    {"beta", 0, 5, "parameter-at-bound"}};
    return *list;
  }

  double Value(const double* theta, const Inputs& x) const override {
    return std::exp(theta[kLnA] - theta[kAlpha] * x[0]) +
           std::exp(theta[kLnB] - theta[kBeta] * x[1]) + theta[kE];
  }

  double Derivatives(const double* theta, const Inputs& x, double* g, double* h) const override {
    const double n = x[0], d = x[1];
    const double u = std::exp(theta[kLnA] - theta[kAlpha] * n);
    const double v = std::exp(theta[kLnB] - theta[kBeta] * d);
    g[kLnA] = u, g[kLnB] = v, g[kE] = 1, g[kAlpha] = -n * u, g[kBeta] = -d * v;
    std::fill(h, h + kCoordinates * kCoordinates, 0.0);
    const auto at = [h](int i, int j) -> double& { return h[i * kCoordinates + j]; };
    at(kLnA, kLnA) = u, at(kLnA, kAlpha) = at(kAlpha, kLnA) = -n * u,
             at(kAlpha, kAlpha) = n * n * u;
    at(kLnB, kLnB) = v, at(kLnB, kBeta) = at(kBeta, kLnB) = -d * v, at(kBeta, kBeta) = d * d * v;
    return u + v + theta[kE];
  }

  void DerivativesMany(const double* theta, const InputColumns& points,
                       DerivativeColumns* out) const override {
    const size_t n = points.size;
    out->value.resize(n);
    out->gradient.resize(kCoordinates);
    for (std::vector<double>& column : out->gradient) column.resize(n);
    out->hessian.resize(kCoordinates * (kCoordinates + 1) / 2);
    // Only (A, A), (A, alpha), (alpha, alpha) and the same of B are not zero.
    const auto at = [out](size_t i, size_t j) -> std::vector<double>& {
      return out->hessian[i * (i + 1) / 2 + j];
    };
    std::vector<double>&u = out->gradient[kLnA], &v = out->gradient[kLnB];
    std::vector<double>&uu = at(kLnA, kLnA), &un = at(kAlpha, kLnA), &unn = at(kAlpha, kAlpha);
    std::vector<double>&vv = at(kLnB, kLnB), &vd = at(kBeta, kLnB), &vdd = at(kBeta, kBeta);
    for (std::vector<double>* column : {&uu, &un, &unn, &vv, &vd, &vdd}) column->resize(n);
    std::vector<double>&da = out->gradient[kAlpha], &db = out->gradient[kBeta];
    std::fill(out->gradient[kE].begin(), out->gradient[kE].end(), 1.0);
    for (size_t p = 0; p < n; ++p) {
      u[p] = theta[kLnA] - theta[kAlpha] * points.x[0][p];
      v[p] = theta[kLnB] - theta[kBeta] * points.x[1][p];
    }
    ExpMany(u.data(), u.data(), n);
    ExpMany(v.data(), v.data(), n);
    for (size_t p = 0; p < n; ++p) out->value[p] = u[p] + v[p] + theta[kE];
    const double *x = points.x[0].data(), *d = points.x[1].data();
    uu = u, vv = v;
    NegatedProducts(x, u.data(), da.data(), n);
    NegatedProducts(d, v.data(), db.data(), n);
    un = da, vd = db;
    NegatedProducts(x, da.data(), unn.data(), n);
    NegatedProducts(d, db.data(), vdd.data(), n);
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override;

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"E", theta[kE]},
            {"A", std::exp(theta[kLnA])},
            {"B", std::exp(theta[kLnB])},
            {"alpha", theta[kAlpha]},
            {"beta", theta[kBeta]}};
  }

  double Asymptote(const std::vector<double>& theta) const override { return theta[kE]; }
  int asymptote_coordinate() const override { return kE; }

  Optimum ComputeOptimal(const std::vector<double>& theta, double flops,
                         double flops_per_param_token) const override {
    const double alpha = theta[kAlpha], beta = theta[kBeta];
    Optimum optimum;
    if (!(alpha > 0) || !(beta > 0)) return optimum;
    const double log_g = (std::log(alpha / beta) + theta[kLnA] - theta[kLnB]) / (alpha + beta);
    const double log_nd = std::log(flops / flops_per_param_token);
    const double log_n = log_g + beta / (alpha + beta) * log_nd;
    const double log_d = -log_g + alpha / (alpha + beta) * log_nd;
    optimum.params = std::exp(log_n);
    optimum.tokens = std::exp(log_d);
    optimum.loss = Loss(theta.data(), log_n, log_d);
    optimum.found = std::isfinite(optimum.params) && std::isfinite(optimum.tokens);
    return optimum;
  }
};

// Grid over (alpha, beta), fine enough that neighbours lie in one basin; relative least squares,
// because 1/L weights make linear residuals equal log residuals to first order.
std::vector<std::vector<double>> Chinchilla::Starts(const std::vector<FitPoint>& points,
                                                    const std::vector<double>& weights,
                                                    int count) const {
  constexpr int kGrid = 28;
  const auto exponent = [](int i) {
    return 0.03 * std::exp(std::log(4.0 / 0.03) * i / (kGrid - 1));
  };
  const auto n = static_cast<Eigen::Index>(points.size());
  // Columns relative to the geometric centre of the data keep the exponentials near 1.
  double n0 = 0, d0 = 0, weight_sum = 0;
  for (Eigen::Index i = 0; i < n; ++i) {
    n0 += weights[i] * points[i].x[0];
    d0 += weights[i] * points[i].x[1];
    weight_sum += weights[i];
  }
  n0 /= weight_sum, d0 /= weight_sum;
  Eigen::MatrixXd nn(n, kGrid), dd(n, kGrid);
  Eigen::VectorXd one(n), y(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const double root = std::sqrt(weights[i]), scale = root / points[i].y;
    one(i) = scale;
    y(i) = root;
    for (int k = 0; k < kGrid; ++k) {
      nn(i, k) = scale * std::exp(-exponent(k) * (points[i].x[0] - n0));
      dd(i, k) = scale * std::exp(-exponent(k) * (points[i].x[1] - d0));
    }
  }
  const double norm_one = one.norm(), y_one = one.dot(y) / norm_one, yy = y.squaredNorm();
  std::vector<StartCell> cells;
  for (int i = 0; i < kGrid; ++i) {
    const double norm_n = nn.col(i).norm();
    for (int j = 0; j < kGrid; ++j) {
      const double norm_d = dd.col(j).norm();
      Eigen::Matrix3d gram = Eigen::Matrix3d::Identity();
      gram(0, 1) = gram(1, 0) = one.dot(nn.col(i)) / (norm_one * norm_n);
      gram(0, 2) = gram(2, 0) = one.dot(dd.col(j)) / (norm_one * norm_d);
      gram(1, 2) = gram(2, 1) = nn.col(i).dot(dd.col(j)) / (norm_n * norm_d);
      const Eigen::Vector3d moment(y_one, nn.col(i).dot(y) / norm_n, dd.col(j).dot(y) / norm_d);
      double gain = 0;
      const Eigen::Vector3d c = NonNegativeLeastSquares3(gram, moment, &gain);
      // A vanished term starts small, not absent, so that the solver may bring it back.
      const double a = std::max(c(1) / norm_n, 1e-4), b = std::max(c(2) / norm_d, 1e-4);
      const double alpha = exponent(i), beta = exponent(j);
      cells.push_back(
          {yy - gain,
           {std::log(a) + alpha * n0, std::log(b) + beta * d0, c(0) / norm_one, alpha, beta}});
    }
  }
  return ChooseStarts(std::move(cells), count, coordinates());
}

}  // namespace

const SurfaceLaw& ChinchillaLaw() {
  static const auto* const law = new Chinchilla;
  return *law;
}

}  // namespace fit
