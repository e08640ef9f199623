#include "fit/data_constrained.h"

#include <cmath>

#include "fit/chinchilla.h"
#include "fit/jet.h"
#include "fit/linear_starts.h"

namespace fit {
namespace {

enum { kLnA, kLnB, kE, kAlpha, kBeta, kLnRD, kLnRN, kCoordinates };

// ln(1 + s (1 - exp(-r / s))) for r >= 0 repetitions and s = R*.
template <typename R, typename T>
T LogValueOfRepeats(const R& repeats, const T& scale) {
  return Log(1.0 + scale * (1.0 - Exp(-(repeats / scale))));
}

class DataConstrained final : public FromTemplate<DataConstrained, kCoordinates, SurfaceLaw> {
 public:
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    const double n = x[0], d = x[1], u = std::min(x[1], x[2]);
    T log_d = T(d);
    if (d > u) log_d = u + LogValueOfRepeats(T(std::expm1(d - u)), Exp(theta[kLnRD]));
    // alpha A N^-alpha = beta B U^-beta where N = N_opt(U).
    const T deserved =
        (Log(theta[kAlpha]) + theta[kLnA] - Log(theta[kBeta]) - theta[kLnB] + theta[kBeta] * u) /
        theta[kAlpha];
    T log_n = T(n);
    if (n > ValueOf(deserved))
      log_n = deserved + LogValueOfRepeats(Exp(n - deserved) - 1.0, Exp(theta[kLnRN]));
    return theta[kE] + Exp(theta[kLnA] - theta[kAlpha] * log_n) +
           Exp(theta[kLnB] - theta[kBeta] * log_d);
  }

  std::string_view name() const override { return "data-constrained"; }
  std::string_view equation() const override {
    return "L = E + A/N'^alpha + B/D'^beta, D' = U(1 + R_D*(1 - exp(-(D/U-1)/R_D*)))";
  }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"lnA", -50, 150, ""},
                                    {"lnB", -50, 150, ""},
                                    {"E", 0, 1e9, "asymptote-at-bound"},
                                    {"alpha", 1e-3, 5, "parameter-at-bound"},
                                    {"beta", 1e-3, 5, "parameter-at-bound"},
                                    {"lnR_D", std::log(1e-2), std::log(1e4), "parameter-at-bound"},
                                    {"lnR_N", std::log(1e-2), std::log(1e4), "parameter-at-bound"}};
    return *list;
  }

  // The base from the runs that repeat nothing where there are enough of them, times a grid of R*.
  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    constexpr size_t kEnough = 8;
    std::vector<double> fresh = weights;
    size_t left = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      if (points[i].x[2] < points[i].x[1] - 1e-9) fresh[i] = 0;
      if (fresh[i] > 0) ++left;
    }
    const auto bases = ChinchillaLaw().Starts(points, left >= kEnough ? fresh : weights, 4);
    std::vector<std::vector<double>> starts;
    const std::vector<double> grid = GeometricGrid(0.5, 150, 5);
    for (const std::vector<double>& base : bases)
      for (const double rd : grid)
        for (const double rn : grid) {
          if (static_cast<int>(starts.size()) >= std::max(count, 1)) return starts;
          std::vector<double> theta = base;
          theta[kAlpha] = std::max(theta[kAlpha], 1e-2),
          theta[kBeta] = std::max(theta[kBeta], 1e-2);
          theta.push_back(std::log(rd)), theta.push_back(std::log(rn));
          starts.push_back(std::move(theta));
        }
    return starts;
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"E", theta[kE]},
            {"A", std::exp(theta[kLnA])},
            {"B", std::exp(theta[kLnB])},
            {"alpha", theta[kAlpha]},
            {"beta", theta[kBeta]},
            {"R_D", std::exp(theta[kLnRD])},
            {"R_N", std::exp(theta[kLnRN])}};
  }
  double Asymptote(const std::vector<double>& theta) const override { return theta[kE]; }
  int asymptote_coordinate() const override { return kE; }
  bool knows_repetition() const override { return true; }
};

}  // namespace

const SurfaceLaw& DataConstrainedLaw() {
  static const auto* const law = new DataConstrained;
  return *law;
}

}  // namespace fit
