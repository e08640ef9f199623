// The optima of budgets where a run of N costs k(N) N D FLOPs and k bends (flops_relation.h): they
// are no power laws of C. Let L = E + A / N^a + B / D^b, x = N D, and g = 1 + d ln k / d ln N, the
// price of a larger model beside its size. The optimum of a budget has a A / N^a = g b B / D^b, and
//   N* g^h = G x^alpha            alpha = b / (a+b), h = 1 / (a+b) = alpha (1 - alpha) / p
//   L*     = E + K F x^-p         p = a b / (a+b), F = alpha g^(1-alpha) + (1-alpha) g^-alpha
// exactly. Where k is constant, g and F are 1 and x is C / k: the power laws of C that approach 2
// takes them for.
// **Source:** derived here from the law of Hoffmann et al. 2022 (arXiv:2203.15556), eq. 10, with
// the budget k(N) N D = C in place of 6 N D = C.
#pragma once

#include <optional>
#include <vector>

#include "fit/flops_relation.h"

namespace fit {

struct EffectiveCompute {
  double flops = 0;   // 6 x; C itself where the relation is proportional
  double excess = 1;  // F
};

// At the optimum `params` of the budget `flops`; `alpha` as above.
// REQUIRES: flops, params > 0.
EffectiveCompute EffectiveComputeAt(const FlopsRelation& relation, double flops, double params,
                                    double alpha);

struct OptimalSizes {
  double log_G = 0, alpha = 0, h = 0;  // G in params per (6 x)^alpha
  // N*, between 1 and 1e18.
  double At(const FlopsRelation& relation, double flops) const;
};

// Least squares of ln N* by budget, `h` given; weights as of FitPowerLaw. alpha is held to
// [.05, .95]. nullopt with fewer than 2 different flops. REQUIRES: all values > 0.
std::optional<OptimalSizes> FitOptimalSizes(const FlopsRelation& relation,
                                            const std::vector<double>& flops,
                                            const std::vector<double>& params, double h,
                                            const std::vector<double>& weights = {});

// h of the two exponents, held to [0, 4]: a and b are above .1 in every published fit.
double PricePower(double alpha, double p);

}  // namespace fit
