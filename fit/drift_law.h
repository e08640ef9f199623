// Laws that also say what their forecast is when it is averaged over the profile of their constants
// (drift.h). All else, their own forecast included, stays as it is: a registered or published law
// must not change, an average wants the better forecast.
//   frontier     minima of the budgets, or ready-made optima;   p about 0.16 (standard deviation of
//                ln p 1), s0 0.5 %
//   chinchilla   runs, weighed by how far they lie off the law's own Huber fit;   alpha and beta
//   about 0.35 (0.6), s0 1 %
// Where C / (N D) bends, a frontier's optima follow 6 N* D* (effective_compute.h) if the law is one
// of the N that is counted, and C alone if it is not: what bends may be the count. Unless N is
// known to count every parameter (cohort key n_convention), the forecast is the mixture of both in
// equal parts. The priors are weak: one standard deviation is a factor of e, and 1.8. Hoffmann et
// al. 2022 have alpha .34, beta .28, Besiroglu et al. 2024 .348 and .366, Muennighoff et al. 2023
// .353 for both; p = alpha beta / (alpha + beta) is .154 to .178. LawOptions::exponent_prior
// switches them off. No average over the profile without IsUsualEstimator, or where data repeat,
// where both laws are known to be wrong and not by a drift in C.
#pragma once

#include <memory>

#include "fit/law.h"

namespace fit {

enum class DriftKind { kFrontier, kSurface };

// Whether nobody has chosen another loss, weights, or the value of a constant, E among them.
bool IsUsualEstimator(const LawOptions& options);

// `law` with ProfileAverage in its forecasts and tests. REQUIRES: frontier.h's law, or one of the
// form E + A N^-alpha + B D^-beta.
std::unique_ptr<Law> WithProfileAverage(std::unique_ptr<Law> law, DriftKind kind);

}  // namespace fit
