#include "fit/kaplan.h"

#include <cmath>

#include "fit/jet.h"
#include "fit/linear_starts.h"

namespace fit {
namespace {

enum { kLnNc, kLnDc, kAlphaN, kAlphaD, kCoordinates };

class Kaplan final : public FromTemplate<Kaplan, kCoordinates, SurfaceLaw> {
 public:
  // alpha_D ln(e^u + e^v) = alpha_D (v + softplus(u - v)): no overflow for small alpha_D.
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    const T u = theta[kAlphaN] / theta[kAlphaD] * (theta[kLnNc] - x[0]);
    const T v = theta[kLnDc] - x[1];
    return Exp(theta[kAlphaD] * (v + Softplus(u - v)));
  }

  std::string_view name() const override { return "kaplan"; }
  std::string_view equation() const override {
    return "L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D";
  }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"lnN_c", -300, 1000, "parameter-at-bound"},
                                    {"lnD_c", -300, 1000, "parameter-at-bound"},
                                    {"alpha_N", 1e-4, 2, "parameter-at-bound"},
                                    {"alpha_D", 1e-4, 2, "parameter-at-bound"}};
    return *list;
  }

  // L^(1/alpha_D) is linear in two positive coefficients; an error of ln L is 1/alpha_D times as
  // large there.
  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    const double n0 = InputMean(points, weights, 0), d0 = InputMean(points, weights, 1);
    std::vector<StartCell> cells;
    std::vector<double> y(points.size()), w(points.size());
    std::vector<std::vector<double>> columns(2, std::vector<double>(points.size()));
    for (const double alpha_d : GeometricGrid(0.02, 1.2, 20)) {
      for (size_t i = 0; i < points.size(); ++i) {
        y[i] = std::exp(points[i].log_y / alpha_d);
        w[i] = weights[i] * alpha_d * alpha_d / (y[i] * y[i]);
        columns[1][i] = std::exp(-(points[i].x[1] - d0));
      }
      for (const double alpha_n : GeometricGrid(0.02, 1.2, 20)) {
        const double ratio = alpha_n / alpha_d;
        for (size_t i = 0; i < points.size(); ++i)
          columns[0][i] = std::exp(-ratio * (points[i].x[0] - n0));
        const NonNegativeFit fit = NonNegativeLeastSquares(columns, y, w);
        const auto log_of = [](double c) { return std::log(std::max(c, 1e-12)); };
        cells.push_back({fit.rss,
                         {log_of(fit.coefficients[0]) / ratio + n0,
                          log_of(fit.coefficients[1]) + d0, alpha_n, alpha_d}});
      }
    }
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"N_c", std::exp(theta[kLnNc])},
            {"D_c", std::exp(theta[kLnDc])},
            {"alpha_N", theta[kAlphaN]},
            {"alpha_D", theta[kAlphaD]}};
  }
  double Asymptote(const std::vector<double>&) const override { return 0; }
};

}  // namespace

const SurfaceLaw& KaplanLaw() {
  static const auto* const law = new Kaplan;
  return *law;
}

}  // namespace fit
