// Fits an equation by a robust or squared loss: many starts, each followed to convergence by a
// box-constrained damped Newton method with exact second derivatives.
//
// Why not L-BFGS, as the published fits use: with delta = 1e-3 most residuals lie in the linear
// part of Huber's loss, its Hessian jumps, and quasi-Newton methods stop early
// (reference/fitting.md section 2.1: 29 % of analytic starts and 7 % of finite-difference starts
// converge). Here each start runs reweighted least squares until that gets slow, then Newton steps
// finish quadratically.
#pragma once

#include <optional>
#include <vector>

#include "fit/equation.h"
#include "fit/loss_spec.h"

namespace fit {

// Where some of the starts ended.
struct LocalOptimum {
  std::vector<double> theta;
  double objective = 0;
  int starts = 0;
};

struct EquationFit {
  std::vector<double> theta;  // in the law's coordinates
  double objective = 0;       // sum w rho(r), unscaled: the reference convention of loss_spec.h
  bool converged = false;
  int starts = 0;
  int starts_at_best = 0;        // within 1e-9 relative of the best objective
  double condition = 0;          // of J'J over the coordinates (E as lnE); infinity: singular
  std::vector<size_t> at_bound;  // indices of coordinates on their box
  // Other converged ends with an objective at most 1 % above the best, different from it and from
  // one another by more than 1e-3 of a coordinate; best first.
  std::vector<LocalOptimum> others;
  // Ends elsewhere in the same sense whose objective is the best one within 1e-9, converged or not:
  // a flat valley has many, and which of them is theta hangs on the last digits.
  std::vector<LocalOptimum> equals;
  std::vector<double> residuals;  // of the loss' kind, fitted minus measured, one a point
};

// Sum of w rho(r) at theta.
double FitObjective(const Equation& law, const std::vector<FitPoint>& points,
                    const std::vector<double>& weights, const LossSpec& loss,
                    const std::vector<double>& theta);

// Fits from every start given; theta is empty where none gives a finite objective. `weights` are
// multiplicities (1 each for a plain fit, counts for a bootstrap resample; 0 leaves a point out).
// Deterministic and thread-safe. `box` replaces the law's coordinates when given: equal bounds pin
// a value, and starts are moved into the box. REQUIRES: points, weights of equal non-zero size.
EquationFit FitEquation(const Equation& law, const std::vector<FitPoint>& points,
                        const std::vector<double>& weights, const LossSpec& loss,
                        const std::vector<std::vector<double>>& starts,
                        const std::vector<Coordinate>* box = nullptr);

// Only theta of the best start, empty when none is finite: what a bootstrap needs of each resample.
std::vector<double> Refit(const Equation& law, const std::vector<FitPoint>& points,
                          const std::vector<double>& weights, const LossSpec& loss,
                          const std::vector<std::vector<double>>& starts,
                          const std::vector<Coordinate>* box = nullptr);

// The same, and then restarts around the best optimum until a whole round of them finds nothing
// lower: robust losses with a small delta have many kinks close together, and a grid of starts can
// miss a narrow valley. The restarts count among `starts`. Deterministic.
// **Source:** basin hopping, Wales and Doye 1997, with descent steps only.
EquationFit FitGlobally(const Equation& law, const std::vector<FitPoint>& points,
                        const std::vector<double>& weights, const LossSpec& loss,
                        const std::vector<std::vector<double>>& starts,
                        const std::vector<Coordinate>* box = nullptr);

}  // namespace fit
