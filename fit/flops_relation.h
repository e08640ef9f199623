// What a run of N parameters costs: C = k(N) N D. Recipes count attention and the head, so that k
// is no constant: small models spend more a parameter than large ones.
//   k(N) = limit + slope N^-gamma      between the smallest and the largest model that was counted;
//   below the smallest it stays what it is there, above the largest it follows the curve, whose
//   limit lies within a factor of 1.5 of the value at the largest.
// A law of (N, D) turns a budget into its optimum with it (surface_law.h), a law through optima
// finds with it the compute they follow (effective_compute.h).
#pragma once

#include <limits>
#include <vector>

#include "fit/observation.h"

namespace fit {

struct FlopsRelation {
  double limit = 6, slope = 0, gamma = 1;
  // Sizes between which k was counted. The default: everywhere (a convention, nothing counted).
  double params_lo = 0, params_hi = std::numeric_limits<double>::infinity();
  // Of the learned ones: how many runs or models were counted, and the relative root mean square
  // of C about the curve.
  int samples = 0;
  double scatter = 0;

  // k. REQUIRES: params > 0.
  double PerParamToken(double params) const;
  bool proportional() const { return slope == 0; }
  // Whether every run counted spends what the curve says, but for rounding.
  bool exact() const { return scatter < 2e-3; }
  // d ln k / d ln N. REQUIRES: params > 0.
  double LogSlope(double params) const;
  // ln D with k(N) N D = flops.
  double LogTokens(double log_params, double flops) const;
  // The same relation with k held at its value at the largest model counted from there on.
  FlopsRelation HeldBeyond() const;

  bool held = false;  // set by HeldBeyond
};

// C = k N D, k = 6 by convention.
FlopsRelation ProportionalFlops(double flops_per_param_token);

// One model whose training is known to cost this.
struct FlopsSample {
  double params = 0;
  double flops_per_param_token = 0;  // C / (N D)
};
std::vector<FlopsSample> FlopsOf(const std::vector<Observation>& observations);

// The curve through the samples, by least squares of relative residuals over a grid of gamma; a
// constant (their median) where there are fewer than 4 sizes or the curve describes them no better.
// Samples outside of what is possible (core/flops_doubt.h) are left out while others remain.
// REQUIRES: samples not empty, values > 0.
FlopsRelation LearnFlops(const std::vector<FlopsSample>& samples);

}  // namespace fit
