// A broken power law with one break, for curves that bend: loss against compute, data or anything
// else that grows.
//   y = a + b x^-c0 (1 + (x / d1)^(1/f1))^(-c1 f1)
// a    limit for unlimited x, >= 0;  b > 0
// c0   exponent before the break, in [-1, 5]: below 0 the curve first rises
// c1   what the break adds to it, in [-10, 10]
// d1   where it breaks;  f1   how gradually, in [0.005, 5], small is sharp
// As a law of sweepctl x is C, and the points are the lower envelope of the runs: it forecasts
// losses, no allocation. Six constants want a dozen points. Solved in theta = (a, ln b, c0, c1, ln
// d1, ln f1). Conditionally linear in (a, b).
// **Source:** Caballero et al. 2023 (arXiv:2210.14891), eq. 1 with n = 1.
#pragma once

#include "fit/surface_law.h"

namespace fit {

const SurfaceLaw& BnslLaw();

}  // namespace fit
