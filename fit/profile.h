// Profile likelihood: the values of one coordinate that the data do not exclude, all other
// coordinates refitted at each. Where the bootstrap asks how the estimate scatters, the profile
// asks what else fits as well; on a ridge the two differ, and the profile is the one that shows it.
//
// The set is {t : Q(t) <= Q_min + s F/2}, Q the objective, F the quantile of Fisher's F(1, n - k)
// at the level, and s the scale that turns differences of Q into a likelihood ratio: mean psi^2
// over mean psi', with n - k in the denominators. Under least squares that is RSS <= RSS_min (1 +
// F/(n-k)). Huber's loss with a delta far inside the noise, and L1, have s = E|psi|^2 over twice
// the density of the residuals at zero, here the share of residuals within a window of half their
// median size.
// **Source:** Venzon and Moolgavkar 1988; the likelihood-ratio type test of M-estimators, Hampel et
// al. 1986, section 7.2.
#pragma once

#include <vector>

#include "fit/equation_fit.h"

namespace fit {

// The objective above which a value is excluded; infinity without degrees of freedom.
// `coordinates`: number of fitted ones. `residuals` as in EquationFit, of the residual kind of
// `loss`; `weights` all counted as runs.
double ProfileCutoff(double objective, const std::vector<double>& residuals, int coordinates,
                     const LossSpec& loss, double level);

struct ProfileRange {
  double lo = 0, hi = 0;  // of the coordinate
  // The set reaches the end of the coordinate's box: there is no bound on that side.
  bool lo_open = false, hi_open = false;
  std::vector<double> theta_lo, theta_hi;  // refitted at the ends
  // An objective below the fit's was met on the way: the fit was no global optimum.
  bool found_better = false;
  std::vector<double> better;
};

// Follows the profile from the optimum outwards, each refit started from its neighbour.
// REQUIRES: theta is a converged fit in `box`; the coordinate is not pinned.
ProfileRange ProfileOf(const Equation& equation, const std::vector<FitPoint>& points,
                       const std::vector<double>& weights, const LossSpec& loss,
                       const std::vector<Coordinate>& box, const std::vector<double>& theta,
                       double objective, size_t coordinate, double cutoff);

}  // namespace fit
