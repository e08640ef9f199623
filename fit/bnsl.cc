#include "fit/bnsl.h"

#include <algorithm>
#include <cmath>

#include "fit/jet.h"
#include "fit/linear_starts.h"

namespace fit {
namespace {

enum { kA, kLnB, kC0, kC1, kLnD1, kLnF1, kCoordinates };

class Bnsl final : public FromTemplate<Bnsl, kCoordinates, SurfaceLaw> {
 public:
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    const T f = Exp(theta[kLnF1]);
    const T bend = f * Softplus((x[0] - theta[kLnD1]) / f);
    return theta[kA] + Exp(theta[kLnB] - theta[kC0] * x[0] - theta[kC1] * bend);
  }

  std::string_view name() const override { return "bnsl"; }
  std::string_view equation() const override {
    return "L = a + b C^-c0 (1 + (C/d1)^(1/f1))^(-c1 f1)";
  }
  bool in_compute() const override { return true; }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"a", 0, 1e9, "asymptote-at-bound"},
                                    {"lnb", -100, 400, ""},
                                    {"c0", -1, 5, "parameter-at-bound"},
                                    {"c1", -10, 10, "parameter-at-bound"},
                                    {"lnd1", -50, 200, "parameter-at-bound"},
                                    {"lnf1", std::log(.005), std::log(5), "parameter-at-bound"}};
    return *list;
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    double low = HUGE_VAL, high = -HUGE_VAL;
    std::vector<double> y, w;
    for (size_t i = 0; i < points.size(); ++i) {
      y.push_back(points[i].y);
      w.push_back(weights[i] / (points[i].y * points[i].y));
      if (weights[i] > 0)
        low = std::min(low, points[i].x[0]), high = std::max(high, points[i].x[0]);
    }
    const double centre = InputMean(points, weights, 0), width = std::max(high - low, 1e-3);
    std::vector<StartCell> cells;
    std::vector<std::vector<double>> columns(2, std::vector<double>(points.size(), 1));
    for (int place = 0; place <= 12; ++place)
      for (const double f : {.03, .1, .3, 1.})
        for (const double c0 : {0., .03, .1, .3, .8})
          for (const double c1 : {-.2, .1, .4, 1.2, 3.5, 7.}) {
            const double d1 = low + width * (place - 1) / 10;
            const auto log_shape = [&](double x) {
              return -c0 * (x - centre) - c1 * f * Softplus((x - d1) / f);
            };
            const double scale = log_shape(low);  // keeps the column near 1
            for (size_t i = 0; i < points.size(); ++i)
              columns[1][i] = std::exp(log_shape(points[i].x[0]) - scale);
            const NonNegativeFit fit = NonNegativeLeastSquares(columns, y, w);
            const double log_b =
                std::log(std::max(fit.coefficients[1], 1e-9)) - scale + c0 * centre;
            cells.push_back({fit.rss, {fit.coefficients[0], log_b, c0, c1, d1, std::log(f)}});
          }
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"a", theta[kA]},   {"b", std::exp(theta[kLnB])},   {"c0", theta[kC0]},
            {"c1", theta[kC1]}, {"d1", std::exp(theta[kLnD1])}, {"f1", std::exp(theta[kLnF1])}};
  }
  double Asymptote(const std::vector<double>& theta) const override { return theta[kA]; }
  int asymptote_coordinate() const override { return kA; }
};

}  // namespace

const SurfaceLaw& BnslLaw() {
  static const auto* const law = new Bnsl;
  return *law;
}

}  // namespace fit
