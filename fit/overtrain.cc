#include "fit/overtrain.h"

#include <cmath>

#include "fit/jet.h"
#include "fit/linear_starts.h"

namespace fit {
namespace {

enum { kLnA, kLnB, kE, kEta, kCoordinates };
const double kLnSix = std::log(6.0);

class Overtrain final : public FromTemplate<Overtrain, kCoordinates, SurfaceLaw> {
 public:
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    const double log_m = x[1] - x[0], log_c = kLnSix + x[0] + x[1];
    return theta[kE] + Exp(theta[kLnA] + theta[kEta] * (log_m - log_c)) +
           Exp(theta[kLnB] - theta[kEta] * (log_m + log_c));
  }

  std::string_view name() const override { return "overtrain"; }
  std::string_view equation() const override {
    return "L = E + (a M^eta + b M^-eta) C^-eta, M = D/N, C = 6 N D";
  }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"lna", -50, 150, ""},
                                    {"lnb", -50, 150, ""},
                                    {"E", 0, 1e9, "asymptote-at-bound"},
                                    {"eta", 0, 2.5, "parameter-at-bound"}};
    return *list;
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    const double n0 = InputMean(points, weights, 0), d0 = InputMean(points, weights, 1);
    std::vector<double> y, w;
    for (size_t i = 0; i < points.size(); ++i) {
      y.push_back(points[i].y);
      w.push_back(weights[i] / (points[i].y * points[i].y));
    }
    std::vector<StartCell> cells;
    for (const double eta : GeometricGrid(0.01, 1.2, 64)) {
      // M^eta C^-eta falls with N alone, M^-eta C^-eta with D alone.
      std::vector<std::vector<double>> columns(3, std::vector<double>(points.size(), 1));
      for (size_t i = 0; i < points.size(); ++i) {
        columns[1][i] = std::exp(-2 * eta * (points[i].x[0] - n0));
        columns[2][i] = std::exp(-2 * eta * (points[i].x[1] - d0));
      }
      const NonNegativeFit fit = NonNegativeLeastSquares(columns, y, w);
      // A vanished term starts small, not absent, so that the solver may bring it back.
      const auto log_of = [](double c) { return std::log(std::max(c, 1e-4)); };
      cells.push_back(
          {fit.rss,
           {log_of(fit.coefficients[1]) + 2 * eta * n0 + eta * kLnSix,
            log_of(fit.coefficients[2]) + 2 * eta * d0 + eta * kLnSix, fit.coefficients[0], eta}});
    }
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"E", theta[kE]},
            {"a", std::exp(theta[kLnA])},
            {"b", std::exp(theta[kLnB])},
            {"eta", theta[kEta]}};
  }
  double Asymptote(const std::vector<double>& theta) const override { return theta[kE]; }
  int asymptote_coordinate() const override { return kE; }

  Optimum ComputeOptimal(const std::vector<double>& theta, double flops,
                         double flops_per_param_token) const override {
    Optimum optimum;
    if (!(theta[kEta] > 0)) return optimum;
    const double log_m = (theta[kLnB] - theta[kLnA]) / (2 * theta[kEta]);
    const double log_nd = std::log(flops / flops_per_param_token);
    const double n = 0.5 * (log_nd - log_m), d = 0.5 * (log_nd + log_m);
    optimum.params = std::exp(n);
    optimum.tokens = std::exp(d);
    optimum.loss = Loss(theta.data(), n, d);
    optimum.found = std::isfinite(optimum.params) && std::isfinite(optimum.tokens);
    return optimum;
  }
};

}  // namespace

const SurfaceLaw& OvertrainLaw() {
  static const auto* const law = new Overtrain;
  return *law;
}

}  // namespace fit
