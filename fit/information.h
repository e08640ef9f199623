// Akaike's information criterion with the small-sample correction, so that a law with more
// constants must earn them:
//   AICc = -2 ln(likelihood) + 2 k + 2 k (k + 1) / (n - k - 1),   k constants and the scale
// The likelihood matches the loss that was minimised: Gaussian residuals of ln L under least
// squares, Laplace's under L1 and under Huber's loss (whose delta lies far inside the noise). Only
// laws fitted to the same runs by the same loss compare; a difference of 10 leaves the higher no
// support.
// **Source:** Hurvich and Tsai 1989; Burnham and Anderson 2002, section 2.6.
#pragma once

#include <cstddef>
#include <vector>

#include "fit/loss_spec.h"

namespace fit {

// `residuals` of ln L, one a run. NaN without enough runs, infinitely low (-infinity) for a perfect
// fit.
double Aicc(const std::vector<double>& residuals, int constants, LossKind loss);

// What AICc adds to the deviance; NaN without enough runs.
double AiccPenalty(size_t runs, int constants);

}  // namespace fit
