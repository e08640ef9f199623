// Over-training at a fixed number of tokens per parameter M = D / N:
//   L(C, M) = E + (a M^eta + b M^-eta) C^-eta,   C = 6 N D
// E     nats; irreducible loss, >= 0
// a     what too many tokens per parameter (a small model) costs, b what too few cost
// eta   exponent in compute, in [0, 2.5]; loss curves of different M are parallel in log-log
// It is the Chinchilla law with alpha = beta = 2 eta: a = A 6^eta, b = B 6^eta.
// Optimum of C = k N D: M* = (b / a)^(1 / (2 eta)) at every budget.
// Solved in theta = (ln a, ln b, E, eta).
// **Source:** Gadre et al. 2024 (arXiv:2403.08540), eq. 4.
#pragma once

#include "fit/surface_law.h"

namespace fit {

const SurfaceLaw& OvertrainLaw();

}  // namespace fit
