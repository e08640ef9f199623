#include "fit/farseer.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "fit/chinchilla.h"
#include "fit/equation_fit.h"
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
  // phi'' = sum of z^k / (k! (k+3)), by Horner's rule; from it the others without cancellation, by
  // z phi'' + 2 phi' = e^z and z phi' + phi = e^z.
  constexpr size_t kTerms = 15;
  static const auto series = [] {
    std::array<double, kTerms> c{};
    double factorial = 1;
    for (size_t k = 0; k < kTerms; ++k) {
      c[k] = 1 / (factorial * static_cast<double>(k + 3));
      factorial *= static_cast<double>(k + 1);
    }
    return c;
  }();
  double second = 0;
  for (size_t k = kTerms; k-- > 0;) second = second * z + series[k];
  const double e = std::exp(z), first = 0.5 * (e - z * second);
  return {e - z * first, first, second};
}
double PhiOf(double z) { return z == 0 ? 1 : std::expm1(z) / z; }
// level + slope (e^(q t) - 1)/q, t = ln(N/N0).
double PowerOf(const double* c, double t) { return c[2] + c[0] * (t * PhiOf(c[1] * t)); }

// A power's value, gradient and second derivatives by (slope, q, level); those not named are zero.
struct Power {
  double value, slope, q;  // d/dlevel is 1
  double slope_q, q_q;
};
Power PowerAt(const double* c, double t) {
  const std::array<double, 3> phi = Phi(c[1] * t);
  const double tt = t * t;
  return {c[2] + c[0] * t * phi[0], t * phi[0], c[0] * tt * phi[1], tt * phi[1],
          c[0] * tt * t * phi[2]};
}

// The lower triangle, row by row, of scale (w w' + second), second that of a power times `times`.
void Triangle(const std::array<double, 3>& w, const Power& power, double times, double scale,
              double* out) {
  out[0] = scale * w[0] * w[0];
  out[1] = scale * (w[1] * w[0] + times * power.slope_q);
  out[2] = scale * (w[1] * w[1] + times * power.q_q);
  out[3] = scale * w[2] * w[0];
  out[4] = scale * w[2] * w[1];
  out[5] = scale * w[2] * w[2];
}

// Everything at one point: the two terms share no constant.
struct Terms {
  double first, second;
  std::array<double, kFirst> first_g;
  std::array<double, kSecond> second_g;
  std::array<double, 6> first_h;
  std::array<double, 21> second_h;  // lower triangles, row by row
};
void TermsAt(const double* theta, double n, double d, Terms* out) {
  const double t = n - kLogN0;
  const Power s = PowerAt(theta, t), b = PowerAt(theta + kB0, t), a = PowerAt(theta + kA0, t);
  const double f = std::exp(s.value), x = -d * std::exp(a.value), u = std::exp(b.value + x);
  out->first = f, out->second = u;
  const std::array<double, 3> ws = {s.slope, s.q, 1};
  for (size_t i = 0; i < 3; ++i) out->first_g[i] = f * ws[i];
  Triangle(ws, s, 1, f, out->first_h.data());
  // ln of the second term is W = b - d e^a; of e^a the second derivatives are e^a (a_i a_j + a_ij).
  const std::array<double, 3> wb = {b.slope, b.q, 1}, wa = {x * a.slope, x * a.q, x};
  for (size_t i = 0; i < 3; ++i) out->second_g[i] = u * wb[i], out->second_g[3 + i] = u * wa[i];
  Triangle(wb, b, 1, u, out->second_h.data());
  size_t at = 6;
  const std::array<double, 3> ga = {a.slope, a.q, 1};
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) out->second_h[at++] = u * wa[i] * wb[j];
    for (size_t j = 0; j <= i; ++j) {
      const double own = i == 1 && j == 0 ? a.slope_q : i == 1 && j == 1 ? a.q_q : 0;
      out->second_h[at++] = u * (wa[i] * wa[j] + x * (ga[i] * ga[j] + own));
    }
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
    const double t = x[0] - kLogN0;
    return std::exp(PowerOf(theta, t)) +
           std::exp(PowerOf(theta + kB0, t) - std::exp(PowerOf(theta + kA0, t)) * x[1]);
  }
  double Derivatives(const double* theta, const Inputs& x, double* g, double* h) const override {
    std::fill(h, h + kCoordinates * kCoordinates, 0.0);
    Terms terms;
    TermsAt(theta, x[0], x[1], &terms);
    const auto store = [&](const double* gradient, const double* triangle, int offset, int size) {
      for (int i = 0; i < size; ++i) {
        g[offset + i] = gradient[i];
        for (int j = 0; j <= i; ++j)
          h[(offset + i) * kCoordinates + offset + j] =
              h[(offset + j) * kCoordinates + offset + i] = *triangle++;
      }
    };
    store(terms.first_g.data(), terms.first_h.data(), 0, kFirst);
    store(terms.second_g.data(), terms.second_h.data(), kFirst, kSecond);
    return terms.first + terms.second;
  }
  void DerivativesMany(const double* theta, const InputColumns& points,
                       DerivativeColumns* out) const override {
    const size_t n = points.size;
    out->value.resize(n);
    out->gradient.resize(kCoordinates);
    for (std::vector<double>& column : out->gradient) column.resize(n);
    out->hessian.assign(kCoordinates * (kCoordinates + 1) / 2, {});
    // Places of the two blocks in the whole triangle; what lies between them is zero.
    const auto place = [](int i, int j) { return static_cast<size_t>(i * (i + 1) / 2 + j); };
    for (int i = 0; i < kCoordinates; ++i)
      for (int j = i < kFirst ? 0 : kFirst; j <= i; ++j) out->hessian[place(i, j)].resize(n);
    Terms terms;
    for (size_t p = 0; p < n; ++p) {
      TermsAt(theta, points.x[0][p], points.x[1][p], &terms);
      out->value[p] = terms.first + terms.second;
      const double *first = terms.first_h.data(), *second = terms.second_h.data();
      for (int i = 0; i < kFirst; ++i) {
        out->gradient[static_cast<size_t>(i)][p] = terms.first_g[static_cast<size_t>(i)];
        for (int j = 0; j <= i; ++j) out->hessian[place(i, j)][p] = *first++;
      }
      for (int i = 0; i < kSecond; ++i) {
        out->gradient[static_cast<size_t>(kFirst + i)][p] = terms.second_g[static_cast<size_t>(i)];
        for (int j = 0; j <= i; ++j) out->hessian[place(kFirst + i, kFirst + j)][p] = *second++;
      }
    }
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
