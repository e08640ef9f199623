// Curves y = f(x) of one input, x[0]: the second step of a two-step forecast (two_step.h), from a
// soft metric (loss, bits per byte) to a hard one (accuracy, error).
#pragma once

#include "fit/equation.h"

namespace fit {

// y = a / (1 + exp(-k (x - x0))) + b
// b      y at small x, in [0, 1]: 1 for an accuracy that a perfect model reaches
// a      what is lost from there to chance, in [-1, 0]; b + a is the chance floor
// x0     the middle, where half of it is lost;  k   steepness there, in (0, 1e3]
// Solved in theta = (a, x0, ln k, b). Conditionally linear in (a, b).
// **Source:** Bhagia et al. 2024 (arXiv:2412.04403), eq. 3.
const Equation& SigmoidCurve();

// y = eps - k exp(-gamma x): the average error of tasks against loss.
// eps    error of a model that knows nothing, in [0, 10];  k > 0;  gamma in (0, 20]
// Solved in theta = (eps, ln k, gamma).
// **Source:** Gadre et al. 2024 (arXiv:2403.08540), eq. 5.
const Equation& ExponentialErrorCurve();

}  // namespace fit
