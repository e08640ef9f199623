// Exact first and second derivatives by forward accumulation: an equation written once over a
// number type T gives its value with T = double and its gradient and Hessian with T = Jet<K>.
//   c = f(a):     c' = f' a',            c'' = f' a'' + f'' a' a'^T
//   c = a b:      c' = a b' + b a',      c'' = a b'' + b a'' + a' b'^T + b' a'^T
// **Source:** Griewank and Walther, Evaluating Derivatives, 2nd ed. 2008, chapter 3.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "fit/equation.h"

namespace fit {

// Value, gradient and lower triangle (row by row) of the Hessian with respect to K variables.
template <int K>
struct Jet {
  static constexpr int kTriangle = K * (K + 1) / 2;
  double v = 0;
  std::array<double, K> g{};
  std::array<double, kTriangle> h{};

  Jet() = default;
  Jet(double constant) : v(constant) {}  // NOLINT: numbers mix freely with jets
  static Jet Variable(double value, int index) {
    Jet jet(value);
    jet.g[static_cast<size_t>(index)] = 1;
    return jet;
  }

  // f(a) from f, f' and f'' at a.v.
  static Jet Chain(const Jet& a, double f, double first, double second) {
    Jet c(f);
    size_t t = 0;
    for (size_t i = 0; i < K; ++i) {
      c.g[i] = first * a.g[i];
      for (size_t j = 0; j <= i; ++j, ++t) c.h[t] = first * a.h[t] + second * a.g[i] * a.g[j];
    }
    return c;
  }
};

template <int K>
Jet<K> operator+(const Jet<K>& a, const Jet<K>& b) {
  Jet<K> c(a.v + b.v);
  for (size_t i = 0; i < K; ++i) c.g[i] = a.g[i] + b.g[i];
  for (size_t t = 0; t < c.h.size(); ++t) c.h[t] = a.h[t] + b.h[t];
  return c;
}
template <int K>
Jet<K> operator*(const Jet<K>& a, const Jet<K>& b) {
  Jet<K> c(a.v * b.v);
  size_t t = 0;
  for (size_t i = 0; i < K; ++i) {
    c.g[i] = a.v * b.g[i] + b.v * a.g[i];
    for (size_t j = 0; j <= i; ++j, ++t)
      c.h[t] = a.v * b.h[t] + b.v * a.h[t] + a.g[i] * b.g[j] + a.g[j] * b.g[i];
  }
  return c;
}
template <int K>
Jet<K> operator*(const Jet<K>& a, double b) {
  return Jet<K>::Chain(a, a.v * b, b, 0);
}
template <int K>
Jet<K> operator*(double a, const Jet<K>& b) {
  return b * a;
}
template <int K>
Jet<K> operator+(const Jet<K>& a, double b) {
  Jet<K> c = a;
  c.v += b;
  return c;
}
template <int K>
Jet<K> operator+(double a, const Jet<K>& b) {
  return b + a;
}
template <int K>
Jet<K> operator-(const Jet<K>& a) {
  return a * -1.0;
}
template <int K>
Jet<K> operator-(const Jet<K>& a, const Jet<K>& b) {
  return a + -b;
}
template <int K>
Jet<K> operator-(const Jet<K>& a, double b) {
  return a + -b;
}
template <int K>
Jet<K> operator-(double a, const Jet<K>& b) {
  return -b + a;
}
template <int K>
Jet<K> Inverse(const Jet<K>& a) {
  const double f = 1 / a.v;
  return Jet<K>::Chain(a, f, -f * f, 2 * f * f * f);
}
template <int K>
Jet<K> operator/(const Jet<K>& a, const Jet<K>& b) {
  return a * Inverse(b);
}
template <int K>
Jet<K> operator/(double a, const Jet<K>& b) {
  return Inverse(b) * a;
}
template <int K>
Jet<K> operator/(const Jet<K>& a, double b) {
  return a * (1 / b);
}

// The functions equations are made of, for doubles and jets alike.
inline double Exp(double a) { return std::exp(a); }
inline double Log(double a) { return std::log(a); }
inline double ValueOf(double a) { return a; }
template <int K>
Jet<K> Exp(const Jet<K>& a) {
  const double f = std::exp(a.v);
  return Jet<K>::Chain(a, f, f, f);
}
template <int K>
Jet<K> Log(const Jet<K>& a) {
  return Jet<K>::Chain(a, std::log(a.v), 1 / a.v, -1 / (a.v * a.v));
}
template <int K>
double ValueOf(const Jet<K>& a) {
  return a.v;
}
// ln(1 + e^a) without overflow.
inline double Softplus(double a) { return std::max(a, 0.0) + std::log1p(std::exp(-std::fabs(a))); }
template <int K>
Jet<K> Softplus(const Jet<K>& a) {
  const double s = 1 / (1 + std::exp(-a.v));
  return Jet<K>::Chain(a, Softplus(a.v), s, s * (1 - s));
}

// Implements Value and Derivatives of `Base` (an Equation) from Law::At<T>(const T* theta, x), a
// static member template; K is the number of coordinates.
template <typename Law, int K, typename Base>
class FromTemplate : public Base {
 public:
  double Value(const double* theta, const Inputs& x) const final {
    return Law::template At<double>(theta, x);
  }
  double Derivatives(const double* theta, const Inputs& x, double* gradient,
                     double* hessian) const final {
    std::array<Jet<K>, K> variables;
    for (int i = 0; i < K; ++i) variables[static_cast<size_t>(i)] = Jet<K>::Variable(theta[i], i);
    const Jet<K> value = Law::template At<Jet<K>>(variables.data(), x);
    size_t t = 0;
    for (int i = 0; i < K; ++i) {
      gradient[i] = value.g[static_cast<size_t>(i)];
      for (int j = 0; j <= i; ++j, ++t) hessian[i * K + j] = hessian[j * K + i] = value.h[t];
    }
    return value.v;
  }
};

}  // namespace fit
