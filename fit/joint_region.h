// Where (N*, D*, L*) lie together: marginal intervals hide that a larger optimum comes with fewer
// tokens, or with a lower loss. The region is the share `level` of the draws that lie deepest, by
// Mahalanobis distance in (ln N, ln D, ln L); directions in which the draws do not vary (C = k N D
// holds N and D together) are left out of the distance. It is about the law's own optimum: not
// widened for reach, and without the scatter of single runs.
// **Source:** the ellipsoidal bootstrap confidence region, Efron and Tibshirani 1993, chapter 13.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fit/bootstrap.h"

namespace fit {

struct JointRegion {
  double level = 0;
  IntervalKind kind = IntervalKind::kMean;
  std::string method;  // "joint region of the case bootstrap's draws"
  size_t draws = 0;
  // Of the logarithms; NaN where one of the two does not vary.
  double correlation_nd = 0, correlation_nl = 0, correlation_dl = 0;
  // Extents of the region.
  double params_lo = 0, params_hi = 0, tokens_lo = 0, tokens_hi = 0, loss_lo = 0, loss_hi = 0;
};

// `method`: what drew them, one draw for each of `tried` resamples that gave one. nullopt where
// those are not EnoughResamples. REQUIRES: equal lengths, values > 0.
std::optional<JointRegion> JointRegionOf(const std::vector<double>& params,
                                         const std::vector<double>& tokens,
                                         const std::vector<double>& loss, size_t tried,
                                         double level, std::string_view method);

}  // namespace fit
