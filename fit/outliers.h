// Runs whose loss lies far from all others: diverged, cut short, or in another unit.
#pragma once

#include <string>
#include <vector>

#include "fit/observation.h"

namespace fit {

struct Outlier {
  size_t index = 0;     // among the observations
  double residual = 0;  // ln L less the surface's, of a fit that hardly heeds single runs
  double sigmas = 0;    // |residual| over the runs' robust scatter about that fit
};

// Runs more than 8 robust standard deviations (1.4826 x the median absolute residual) and more than
// 2 % of the loss off a Chinchilla surface (of repeated data, its data-constrained form) fitted by
// Huber's loss at delta 1e-3; largest first. None where fewer than 12 runs, or where more than a
// tenth of them lie so far off: then the surface is wrong, and not they. Deterministic; cost: one
// fit without bootstrap.
std::vector<Outlier> FindOutliers(const std::vector<Observation>& observations);

// "row 9 (run-a): loss +25.1 %"; at most five of them, and how many more.
std::string OutlierText(const std::vector<Observation>& observations,
                        const std::vector<Outlier>& outliers);

}  // namespace fit
