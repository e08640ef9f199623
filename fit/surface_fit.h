// Fits a surface law by a robust or squared loss: many starts, each followed to convergence by a
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

#include "fit/loss_spec.h"
#include "fit/observation.h"
#include "fit/surface_law.h"

namespace fit {

// REQUIRES: valid observations (fit::Validate).
std::vector<SurfacePoint> SurfacePoints(const std::vector<Observation>& observations);

struct SurfaceFit {
  std::vector<double> theta;  // in the law's coordinates
  double objective = 0;       // sum w rho(r), unscaled: the reference convention of loss_spec.h
  bool converged = false;
  int starts = 0;
  int starts_at_best = 0;             // within 1e-9 relative of the best objective
  double condition = 0;               // of J'J over the coordinates (E as lnE); infinity: singular
  std::vector<size_t> at_bound;       // indices of coordinates on their box
  std::vector<double> log_residuals;  // ln Lhat - ln L, one a point
};

// Sum of w rho(r) at theta.
double SurfaceObjective(const SurfaceLaw& law, const std::vector<SurfacePoint>& points,
                        const std::vector<double>& weights, const LossSpec& loss,
                        const std::vector<double>& theta);

// Fits from every start given. `weights` are multiplicities (1 each for a plain fit, counts for a
// bootstrap resample; 0 leaves a point out). Deterministic and thread-safe.
// `box` replaces the law's coordinates when given: equal bounds pin a value, and starts are moved
// into the box.
// REQUIRES: points, weights of equal non-zero size, starts not empty.
SurfaceFit FitSurface(const SurfaceLaw& law, const std::vector<SurfacePoint>& points,
                      const std::vector<double>& weights, const LossSpec& loss,
                      const std::vector<std::vector<double>>& starts,
                      const std::vector<Coordinate>* box = nullptr);

}  // namespace fit
