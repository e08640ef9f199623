// Curves y = f(x) of one input, x[0]: the second step of a two-step forecast (two_step.h), from a
// soft metric (loss, bits per byte) to a hard one (accuracy, error).
#pragma once

#include "fit/equation.h"

namespace fit {

// y = a / (1 + exp(-k (x - x0))) + b
// b      y at small x, in [0, 1]: 1 for an accuracy that a perfect model reaches
// floor  y at large x, in [0, 1]: chance, where it is known (hold it by the box);  a = floor - b
// x0     the middle between them;  k   steepness there, in (0, 1e3]
// Solved in theta = (floor, x0, ln k, b). Conditionally linear in (floor, b).
// **Source:** Bhagia et al. 2024 (arXiv:2412.04403), eq. 3.
const Equation& SigmoidCurve();

// The same between the same levels, bent more on one side than on the other:
//   gompertz            y = a exp(-exp(-k (x - x0))) + b         steep below x0, slow above
//   reversed gompertz   y = a (1 - exp(-exp(k (x - x0)))) + b    the other way round
// Constants and theta as of the sigmoid, but x0 is where the share of a is 1/e and 1 - 1/e.
// **Source:** the log-log and complementary log-log links of McCullagh and Nelder 1989, section
// 4.3.
const Equation& GompertzCurve();
const Equation& ReversedGompertzCurve();

// y = max(floor, 1 - a ln(1 - 1/(1 + exp(-k (x - x0))))),   a <= 0
// a      points lost per e-fold beyond x0: the curve falls from 1 and then goes on falling linearly
// floor  chance, in [0, 1]; 0 unless it is held, because the published curve has none
// x0, k  as of the sigmoid
// Solved in theta = (floor, x0, ln k, a).
// **Source:** the log-sigmoid of allenai/OLMo-ladder, for the log-probability of the right choice
// (arXiv:2412.04403, appendix); the floor is ours: without it accuracies fall below chance.
const Equation& LogSigmoidCurve();

// y = E + A exp(-p x),   x = ln C: a loss along a series of budgets
// E    limit for unlimited compute, >= 0;  A > 0;  p in [0, 3]
// Solved in theta = (E, ln A, p). Conditionally linear in (E, A).
// **Source:** Marin's first step from compute to a soft metric (reference/delphi.md section 10).
const Equation& ComputeCurve();

// y = floor - k exp(-gamma x): the average error of tasks against loss.
// floor  error of a model that knows nothing, in [0, 1], the paper's eps
// k > 0;  gamma in (0, 20].  Below x = ln(k / floor) / gamma the curve is negative: no error at all
// Solved in theta = (floor, ln k, gamma). Conditionally linear in (floor, k).
// **Source:** Gadre et al. 2024 (arXiv:2403.08540), eq. 5.
const Equation& ExponentialErrorCurve();

}  // namespace fit
