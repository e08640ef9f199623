// Exponentials, logarithms and sums of products over arrays, four at a time: where a bootstrap
// spends its time. Compiled for AVX2 with FMA and for any x86-64, chosen when the program starts,
// so the last bit of a result may differ between machines, not between runs on one.
#pragma once

#include <cstddef>

namespace fit {

// y[i] = exp(x[i]), relative error below 4e-16 for |x| <= 700; beyond, 1e-304 and 1e304 (never 0 or
// infinity). NaN stays NaN. x and y may be the same array.
void ExpMany(const double* x, double* y, size_t n);

// y[i] = ln(x[i]), error below 4e-16 relative or 1e-17 absolute; as std::log for 0, negative,
// infinite, subnormal and NaN. x and y may be the same array.
void LogMany(const double* x, double* y, size_t n);

// y[i] = -a[i] b[i].
void NegatedProducts(const double* a, const double* b, double* y, size_t n);

// The three factors of a robust objective's derivatives, and the objective (loss_spec.h) itself:
//   r_i residual, w_i weight, v_i value (log residuals: r = ln v - ln y; null for linear ones)
//   psi = clip(r, +-delta) w,   slope = psi / v,   reweight = psi / r / v^2,
//   second = (w where |r| <= delta, else 0) / v^2 - (log residuals: psi / v^2)
// delta infinity is least squares. Where r = 0, psi / r is w.
double RobustFactors(const double* r, const double* w, const double* v, double delta, size_t n,
                     double* slope, double* reweight, double* second);

// Sum of a[i] b[i], and of a[i] b[i] c[i].
double Dot(const double* a, const double* b, size_t n);
double Dot(const double* a, const double* b, const double* c, size_t n);

}  // namespace fit
