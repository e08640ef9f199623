// The first joint law of parameters and data:
//   L(N, D) = [ (N_c / N)^(alpha_N / alpha_D) + D_c / D ]^alpha_D
// N_c, D_c   scales in parameters and tokens; > 0
// alpha_N, alpha_D   exponents in N (D unlimited) and D (N unlimited), in (0, 2]
// There is no irreducible loss: far out the law is optimistic wherever text has entropy, and the
// warning no-asymptote says so.
// Solved in theta = (ln N_c, ln D_c, alpha_N, alpha_D).
// **Source:** Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.5.
#pragma once

#include "fit/surface_law.h"

namespace fit {

const SurfaceLaw& KaplanLaw();

}  // namespace fit
