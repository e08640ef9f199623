#include "fit/farseer.h"

#include <algorithm>
#include <cmath>

#include "fit/chinchilla.h"
#include "fit/equation_fit.h"
#include "fit/jet.h"
#include "fit/linear_starts.h"

namespace fit {
namespace {

enum { kS0, kQ, kLogS, kB0, kB, kLogQ, kA0, kA, kLogE, kCoordinates };
// The first term knows the first three coordinates, the second one the other six.
constexpr int kFirst = 3, kSecond = 6;
const double kLogN0 = std::log(1e9);

// (e^z - 1) / z with its first two derivatives; their closed forms cancel near 0.
std::array<double, 3> Phi(double z) {
  constexpr double kSmall = 0.5;
  if (std::fabs(z) > kSmall) {
    const double e = std::exp(z), f = std::expm1(z) / z, first = (e - f) / z;
    return {f, first, (e - 2 * first) / z};
  }
  // z^k / (k+1)!, k z^(k-1) / (k+1)! and k (k-1) z^(k-2) / (k+1)!, by Horner's rule.
  constexpr size_t kTerms = 16;
  static const auto series = [] {
    std::array<std::array<double, 3>, kTerms> c{};
    double factorial = 1;
    for (size_t k = 0; k < kTerms; ++k) {
      const auto i = static_cast<double>(k);
      factorial *= i + 1;  // (k+1)!
      c[k][0] = 1 / factorial;
      c[k][1] = (i + 1) / (factorial * (i + 2));
      c[k][2] = (i + 2) * (i + 1) / (factorial * (i + 2) * (i + 3));
    }
    return c;
  }();
  std::array<double, 3> sum{};
  for (size_t k = kTerms; k-- > 0;)
    for (size_t j = 0; j < 3; ++j) sum[j] = sum[j] * z + series[k][j];
  return sum;
}
double PhiOf(double z) { return Phi(z)[0]; }
template <int K>
Jet<K> PhiOf(const Jet<K>& z) {
  const std::array<double, 3> f = Phi(z.v);
  return Jet<K>::Chain(z, f[0], f[1], f[2]);
}

// level + slope (e^(q t) - 1)/q, t = ln(N/N0).
template <typename T>
T PowerOf(const T& slope, const T& q, const T& level, double t) {
  return level + slope * (t * PhiOf(q * t));
}
template <typename T>
T FirstTerm(const T* c, double n) {
  return Exp(PowerOf(c[0], c[1], c[2], n - kLogN0));
}
template <typename T>
T SecondTerm(const T* c, double n, double d) {
  const T exponent = Exp(PowerOf(c[3], c[4], c[5], n - kLogN0));
  return Exp(PowerOf(c[0], c[1], c[2], n - kLogN0) - exponent * d);
}

template <int K>
std::array<Jet<K>, K> Variables(const double* theta) {
  std::array<Jet<K>, K> variables;
  for (int i = 0; i < K; ++i) variables[static_cast<size_t>(i)] = Jet<K>::Variable(theta[i], i);
  return variables;
}
template <int K>
void Store(const Jet<K>& jet, int offset, double* gradient, double* hessian) {
  size_t t = 0;
  for (int i = 0; i < K; ++i) {
    gradient[offset + i] = jet.g[static_cast<size_t>(i)];
    for (int j = 0; j <= i; ++j, ++t)
      hessian[(offset + i) * kCoordinates + offset + j] =
          hessian[(offset + j) * kCoordinates + offset + i] = jet.h[t];
  }
}

class Farseer final : public SurfaceLaw {
 public:
  std::string_view name() const override { return "farseer"; }
  std::string_view equation() const override {
    return "L = exp(s N^q + S) + exp(B N^b + Q) D^-exp(A N^a + E)";
  }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"s0", -5, 1, "parameter-at-bound"},
                                    {"q", -1.5, 1.5, "parameter-at-bound"},
                                    {"S0", -20, 20, ""},
                                    {"B0", -40, 40, "parameter-at-bound"},
                                    {"b", -1.5, 1.5, "parameter-at-bound"},
                                    {"Q0", -50, 150, ""},
                                    {"A0", -5, 5, "parameter-at-bound"},
                                    {"a", -1.5, 1.5, "parameter-at-bound"},
                                    {"E0", -6, 1.6, "parameter-at-bound"}};
    return *list;
  }

  double Value(const double* theta, const Inputs& x) const override {
    return FirstTerm(theta, x[0]) + SecondTerm(theta + kFirst, x[0], x[1]);
  }
  double Derivatives(const double* theta, const Inputs& x, double* g, double* h) const override {
    std::fill(h, h + kCoordinates * kCoordinates, 0.0);
    const auto first = FirstTerm(Variables<kFirst>(theta).data(), x[0]);
    const auto second = SecondTerm(Variables<kSecond>(theta + kFirst).data(), x[0], x[1]);
    Store(first, 0, g, h);
    Store(second, kFirst, g, h);
    return first.v + second.v;
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    const EquationFit base = FitEquation(ChinchillaLaw(), points, weights, {},
                                         ChinchillaLaw().Starts(points, weights, 4));
    if (base.theta.empty()) return {};
    const double log_a = base.theta[0], log_b = base.theta[1], e = base.theta[2];
    const double alpha = std::max(base.theta[3], 1e-3), beta = std::max(base.theta[4], 1e-3);
    const double n = InputMean(points, weights, 0), d = InputMean(points, weights, 1);
    const double t = n - kLogN0;
    // Value, slope and curvature of ln(E + A N^-alpha) at the centre of the data.
    const double part = std::exp(log_a - alpha * n), value = e + part;
    const double slope = -alpha * part / value;
    const double curvature = alpha * alpha * part / value * (e / value);
    // {slope, q, level} of the power through a value and slope at the centre, with exponent q.
    const auto through = [&](double level, double gradient, double q, double* out) {
      out[0] = gradient * std::exp(-q * t);
      out[1] = q;
      out[2] = level - out[0] * t * PhiOf(q * t);
    };
    std::vector<StartCell> cells;
    for (const double q : {curvature / slope, -.3, .15})
      for (const double coupling : {0., -.03, .03, -.1, .1})
        for (const double extra : {0., -.1, .1})
          for (const double b : {-.15, .15})
            for (const double a : {-.15, .15}) {
              StartCell cell;
              cell.theta.assign(kCoordinates, 0);
              through(std::log(value), slope, q, &cell.theta[kS0]);
              through(std::log(beta), coupling, a, &cell.theta[kA0]);
              // What the exponent takes at the centre of D, the coefficient gives back.
              through(log_b, beta * coupling * d + extra, b, &cell.theta[kB0]);
              for (size_t i = 0; i < points.size(); ++i) {
                const double r = std::log(Value(cell.theta.data(), points[i].x)) - points[i].log_y;
                cell.objective += weights[i] * std::fabs(r);
              }
              cells.push_back(std::move(cell));
            }
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& c) const override {
    const auto slope = [&](int i) { return c[i] / c[i + 1] * std::exp(-c[i + 1] * kLogN0); };
    const auto level = [&](int i) { return c[i + 2] - c[i] / c[i + 1]; };
    return {{"s", slope(kS0)}, {"q", c[kQ]}, {"S", level(kS0)},
            {"B", slope(kB0)}, {"b", c[kB]}, {"Q", level(kB0)},
            {"A", slope(kA0)}, {"a", c[kA]}, {"E", level(kA0)}};
  }
  // Unlimited data, then unlimited N.
  double Asymptote(const std::vector<double>& theta) const override {
    return theta[kQ] < 0 ? std::exp(theta[kLogS] - theta[kS0] / theta[kQ]) : 0;
  }
};

}  // namespace

const SurfaceLaw& FarseerLaw() {
  static const auto* const law = new Farseer;
  return *law;
}

}  // namespace fit
