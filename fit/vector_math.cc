#include "fit/vector_math.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

// Function multiversioning needs ifuncs, which the thread sanitizer's start-up does not survive.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define FIT_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FIT_CLONES
#endif
#define FIT_INLINE static inline __attribute__((always_inline))

namespace fit {
namespace {

using Four = double __attribute__((vector_size(32)));
using FourBits = uint64_t __attribute__((vector_size(32)));

// Through pointers: a vector passed by value would change its calling convention between clones.
FIT_INLINE void Load(const double* from, Four* to) { std::memcpy(to, from, sizeof(Four)); }
FIT_INLINE void Store(const Four& from, double* to) { std::memcpy(to, &from, sizeof(Four)); }

constexpr uint64_t Bits(double x) { return __builtin_bit_cast(uint64_t, x); }

// exp(x) = 2^k exp(r), |r| <= ln2/2, by its Taylor polynomial of degree 13.
FIT_INLINE void Exp(Four* x) {
  constexpr double kRound = 0x1.8p52;  // adding it leaves round(x) in the low bits
  constexpr double kLn2High = 0x1.62e42fefa0000p-1, kLn2Low = 0x1.cf79abc9e3b3ap-40;
  constexpr double kInverse[] = {1.0 / 6227020800,
                                 1.0 / 479001600,
                                 1.0 / 39916800,
                                 1.0 / 3628800,
                                 1.0 / 362880,
                                 1.0 / 40320,
                                 1.0 / 5040,
                                 1.0 / 720,
                                 1.0 / 120,
                                 1.0 / 24,
                                 1.0 / 6,
                                 0.5,
                                 1.0,
                                 1.0};
  Four v = *x;
  const Four low = Four{} - 700, high = Four{} + 700;
  v = v < low ? low : v;
  v = v > high ? high : v;
  const Four shifted = v * 1.4426950408889634 + kRound;
  FourBits k;
  std::memcpy(&k, &shifted, sizeof k);
  const Four whole = shifted - kRound;
  const Four r = (v - whole * kLn2High) - whole * kLn2Low;
  Four p = r * kInverse[0] + kInverse[1];
#pragma GCC unroll 12
  for (size_t i = 2; i < 14; ++i) p = p * r + kInverse[i];
  const FourBits power = (k << 52) + Bits(1.0);
  Four scale;
  std::memcpy(&scale, &power, sizeof scale);
  *x = p * scale;
}

// ln(2^k m) = k ln2 + 2 atanh((m - 1)/(m + 1)), m in [sqrt(1/2), sqrt(2)). Normal positive x only.
FIT_INLINE void Log(Four* x) {
  constexpr double kLn2High = 0x1.62e42fefa0000p-1, kLn2Low = 0x1.cf79abc9e3b3ap-40;
  const uint64_t root_half = Bits(0.70710678118654752);
  FourBits bits;
  std::memcpy(&bits, x, sizeof bits);
  const FourBits biased = (bits + (Bits(1.0) - root_half)) >> 52;
  const FourBits mantissa = bits - (biased << 52) + Bits(1.0);
  const FourBits counted = biased | Bits(0x1p52);
  Four m, k;
  std::memcpy(&m, &mantissa, sizeof m);
  std::memcpy(&k, &counted, sizeof k);
  k = k - 0x1p52 - 1023;
  const Four s = (m - 1) / (m + 1), z = s * s;
  Four p = z * (1.0 / 21) + 1.0 / 19;
#pragma GCC unroll 8
  for (int odd = 17; odd >= 3; odd -= 2) p = p * z + 1.0 / odd;
  const Four small = 2 * s + 2 * s * (z * p);
  *x = k * kLn2High + (small + k * kLn2Low);
}

}  // namespace

// Two chains at once hide the latency of the polynomial.
FIT_CLONES void ExpMany(const double* x, double* y, size_t n) {
  Four u, v;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    Load(x + i, &u);
    Load(x + i + 4, &v);
    Exp(&u);
    Exp(&v);
    Store(u, y + i);
    Store(v, y + i + 4);
  }
  for (; i < n; i += 4) {
    const size_t count = n - i < 4 ? n - i : 4;
    double rest[4] = {0, 0, 0, 0};
    for (size_t j = 0; j < count; ++j) rest[j] = x[i + j];
    Load(rest, &v);
    Exp(&v);
    Store(v, rest);
    for (size_t j = 0; j < count; ++j) y[i + j] = rest[j];
  }
}

FIT_CLONES void LogMany(const double* x, double* y, size_t n) {
  constexpr double kLeast = std::numeric_limits<double>::min();
  constexpr double kMost = std::numeric_limits<double>::max();
  size_t i = 0;
  Four u, v;
  for (; i + 8 <= n; i += 8) {
    Load(x + i, &u);
    Load(x + i + 4, &v);
    const auto normal = (u >= kLeast) & (u <= kMost) & (v >= kLeast) & (v <= kMost);
    if (!(normal[0] & normal[1] & normal[2] & normal[3])) {
      for (size_t j = i; j < i + 8; ++j) y[j] = std::log(x[j]);
      continue;
    }
    Log(&u);
    Log(&v);
    Store(u, y + i);
    Store(v, y + i + 4);
  }
  for (; i < n; ++i) y[i] = std::log(x[i]);
}

FIT_CLONES void NegatedProducts(const double* a, const double* b, double* y, size_t n) {
  size_t i = 0;
  Four u, v;
  for (; i + 4 <= n; i += 4) {
    Load(a + i, &u), Load(b + i, &v);
    Store(-u * v, y + i);
  }
  for (; i < n; ++i) y[i] = -a[i] * b[i];
}

// Four points of RobustFactors; adds their share of the objective to *total.
FIT_INLINE void RobustFour(const double* r, const double* w, const double* v, const Four& limit,
                           double* slope, double* reweight, double* second, Four* total) {
  const Four zero{}, one = zero + 1;
  Four residual, weight, value = one;
  Load(r, &residual);
  Load(w, &weight);
  if (v != nullptr) Load(v, &value);
  const Four size = residual < zero ? -residual : residual;
  const auto inside = size <= limit;
  const Four inverse = one / value, square = inverse * inverse;
  const Four clipped = inside ? residual : (residual < zero ? -limit : limit);
  const Four psi = weight * clipped;
  *total += weight * (inside ? 0.5 * residual * residual : limit * (size - 0.5 * limit));
  const Four steepness = weight * square;
  Store(psi * inverse, slope);
  Store(inside ? steepness : steepness * (limit / size), reweight);
  const Four flat = inside ? steepness : zero;
  Store(v != nullptr ? flat - psi * square : flat, second);
}

FIT_CLONES double RobustFactors(const double* r, const double* w, const double* v, double delta,
                                size_t n, double* slope, double* reweight, double* second) {
  const Four limit = Four{} + delta;
  Four total{};
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    RobustFour(r + i, w + i, v == nullptr ? v : v + i, limit, slope + i, reweight + i, second + i,
               &total);
  if (i < n) {
    // Points of weight 0 fill the last block.
    double in[3][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}, {1, 1, 1, 1}}, out[3][4];
    for (size_t j = i; j < n; ++j) {
      in[0][j - i] = r[j], in[1][j - i] = w[j];
      if (v != nullptr) in[2][j - i] = v[j];
    }
    RobustFour(in[0], in[1], v == nullptr ? v : in[2], limit, out[0], out[1], out[2], &total);
    for (size_t j = i; j < n; ++j)
      slope[j] = out[0][j - i], reweight[j] = out[1][j - i], second[j] = out[2][j - i];
  }
  return (total[0] + total[1]) + (total[2] + total[3]);
}

FIT_CLONES double Dot(const double* a, const double* b, size_t n) {
  Four s{}, t{}, u, v;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    Load(a + i, &u), Load(b + i, &v);
    s += u * v;
    Load(a + i + 4, &u), Load(b + i + 4, &v);
    t += u * v;
  }
  s += t;
  double sum = (s[0] + s[1]) + (s[2] + s[3]);
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

FIT_CLONES double Dot(const double* a, const double* b, const double* c, size_t n) {
  Four s{}, t{}, u, v, w;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    Load(a + i, &u), Load(b + i, &v), Load(c + i, &w);
    s += u * v * w;
    Load(a + i + 4, &u), Load(b + i + 4, &v), Load(c + i + 4, &w);
    t += u * v * w;
  }
  s += t;
  double sum = (s[0] + s[1]) + (s[2] + s[3]);
  for (; i < n; ++i) sum += a[i] * b[i] * c[i];
  return sum;
}

}  // namespace fit
