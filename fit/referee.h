// An independent solver for the point estimate: Ceres' trust-region Levenberg-Marquardt with one
// robust residual block a run. It starts from the grid's best cell, not from our solution, so that
// a mistake in the Newton solver of equation_fit.h cannot hide; RunFit's laws report both.
//
// Why it is not the solver itself: a robust loss turns outer points' curvature off (Triggs'
// correction), so with delta = 1e-3 it converges linearly.
#pragma once

#include <vector>

#include "fit/equation_fit.h"

namespace fit {

struct RefereeResult {
  double objective = 0;  // in the reference convention of loss_spec.h; infinity when Ceres failed
  std::vector<double> theta;
  int iterations = 0;
};

// `weights` > 0. `box` replaces the law's coordinates (pinned values have lower == upper). For L1
// the referee minimises Huber's loss with delta 1e-6 and reports the L1 objective there.
RefereeResult CeresReferee(const Equation& law, const std::vector<Coordinate>& box,
                           const std::vector<FitPoint>& points, const std::vector<double>& weights,
                           const LossSpec& loss, const std::vector<double>& start);

}  // namespace fit
