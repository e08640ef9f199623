#include "fit/data_constrained.h"

#include <algorithm>
#include <array>
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

// ln of the data that repetitions are worth, by lnR_D alone.
template <typename T>
T LogTokensWorth(const T& log_rd, double d, double u) {
  if (d <= u) return T(d);
  return u + LogValueOfRepeats(std::expm1(d - u), Exp(log_rd));
}

// The params term where the model is larger than U deserves, by (lnA, lnB, alpha, beta, lnR_N).
template <typename T>
T Deserved(const T* c, double u) {
  return (Log(c[2]) + c[0] - Log(c[3]) - c[1] + c[3] * u) / c[2];
}
template <typename T>
T ExcessTerm(const T* c, double n, double u) {
  const T deserved = Deserved(c, u);
  const T log_n = deserved + LogValueOfRepeats(Exp(n - deserved) - 1.0, Exp(c[4]));
  return Exp(c[0] - c[2] * log_n);
}

class DataConstrained final : public SurfaceLaw {
 public:
  double Value(const double* theta, const Inputs& x) const override {
    const double n = x[0], d = x[1], u = std::min(x[1], x[2]);
    const double own[] = {theta[kLnA], theta[kLnB], theta[kAlpha], theta[kBeta], theta[kLnRN]};
    const double params =
        n > Deserved(own, u) ? ExcessTerm(own, n, u) : std::exp(theta[kLnA] - theta[kAlpha] * n);
    return theta[kE] + params +
           std::exp(theta[kLnB] - theta[kBeta] * LogTokensWorth(theta[kLnRD], d, u));
  }

  // Term by term, each by the constants it knows: most runs need no derivative of a repetition.
  double Derivatives(const double* theta, const Inputs& x, double* g, double* h) const override {
    std::fill(g, g + kCoordinates, 0.0);
    std::fill(h, h + kCoordinates * kCoordinates, 0.0);
    const double n = x[0], d = x[1], u = std::min(x[1], x[2]);
    const auto add = [&](int i, int j, double value) {
      h[i * kCoordinates + j] += value;
      if (i != j) h[j * kCoordinates + i] += value;
    };
    g[kE] = 1;
    const Jet<1> worth = LogTokensWorth(Jet<1>::Variable(theta[kLnRD], 0), d, u);
    const double v = std::exp(theta[kLnB] - theta[kBeta] * worth.v);
    const int of_tokens[] = {kLnB, kBeta, kLnRD};
    const double w[] = {1, -worth.v, -theta[kBeta] * worth.g[0]};
    for (int i = 0; i < 3; ++i) {
      g[of_tokens[i]] += v * w[i];
      for (int j = 0; j <= i; ++j) add(of_tokens[i], of_tokens[j], v * w[i] * w[j]);
    }
    add(kLnRD, kBeta, -v * worth.g[0]);
    add(kLnRD, kLnRD, -v * theta[kBeta] * worth.h[0]);

    const int of_params[] = {kLnA, kLnB, kAlpha, kBeta, kLnRN};
    const double own[] = {theta[kLnA], theta[kLnB], theta[kAlpha], theta[kBeta], theta[kLnRN]};
    if (!(n > Deserved(own, u))) {
      const double p = std::exp(theta[kLnA] - theta[kAlpha] * n);
      g[kLnA] += p, g[kAlpha] -= p * n;
      add(kLnA, kLnA, p), add(kAlpha, kLnA, -p * n), add(kAlpha, kAlpha, p * n * n);
      return theta[kE] + p + v;
    }
    std::array<Jet<5>, 5> variables;
    for (int i = 0; i < 5; ++i) variables[static_cast<size_t>(i)] = Jet<5>::Variable(own[i], i);
    const Jet<5> p = ExcessTerm(variables.data(), n, u);
    size_t t = 0;
    for (int i = 0; i < 5; ++i) {
      g[of_params[i]] += p.g[static_cast<size_t>(i)];
      for (int j = 0; j <= i; ++j, ++t) add(of_params[i], of_params[j], p.h[t]);
    }
    return theta[kE] + p.v + v;
  }

  std::string_view name() const override { return "data-constrained"; }
  std::string_view equation() const override {
    return "L = E + A/N'^alpha + B/D'^beta, D' = U(1 + R_D*(1 - exp(-(D/U-1)/R_D*))), "
           "N' = U_N(1 + R_N*(1 - exp(-(N/U_N-1)/R_N*))), U_N = min(N, the N that U deserves)";
  }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"lnA", -50, 150, ""},
                                    {"lnB", -50, 150, ""},
                                    {"E", 0, 1e9, "asymptote-at-bound"},
                                    {"alpha", 1e-3, 5, "parameter-at-bound"},
                                    {"beta", 1e-3, 5, "parameter-at-bound"},
                                    {"lnR_D", std::log(1e-2), std::log(1e4), "decay-at-bound"},
                                    {"lnR_N", std::log(1e-2), std::log(1e4), "decay-at-bound"}};
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
