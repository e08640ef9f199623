// Repeated data: a token seen again is worth less, and parameters beyond what the unique data can
// feed are worth less.
//   L = E + A / N'^alpha + B / D'^beta
//   D' = U_D (1 + R_D* (1 - exp(-R_D / R_D*))),   R_D = D / U_D - 1   repetitions of U_D tokens
//   N' = U_N (1 + R_N* (1 - exp(-R_N / R_N*))),   R_N = N / U_N - 1
//   U_N = min(N, N_opt(U_D)): the parameters that the unique tokens deserve by the law itself
// E, A, B, alpha, beta   as in chinchilla.h
// R_D*, R_N*   repetitions after which a further one adds little; in [1e-2, 1e4]. Their box is
//   finite because data often bound them from one side only: then the optimum sits on the box, or
//   the profile is open, and a warning says so.
// Where nothing is repeated and N <= N_opt it is the Chinchilla law. The optimum of a budget under
// a limit of unique tokens: SurfaceLaw::ComputeOptimalLimited. Solved in theta = (lnA, lnB, E,
// alpha, beta, lnR_D, lnR_N).
// **Source:** Muennighoff et al. 2023 (arXiv:2305.16264), eq. 5 to 9; the base constants held at a
// fit of unrepeated runs, as the paper does, with LawOptions::hold.
#pragma once

#include "fit/surface_law.h"

namespace fit {

const SurfaceLaw& DataConstrainedLaw();

}  // namespace fit
