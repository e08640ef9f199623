// How fast this machine trains a sweep's plans, measured in about two seconds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/plan.h"

namespace sweepctl {

struct Calibration {
  // Model FLOPs a second of one trial on one thread, by width; between widths linear in log width.
  std::map<int64_t, double> flops_per_second;
  double Rate(const recipes::Plan& plan) const;
};

// Trains the smallest, the middle and the largest plan for a share of `seconds` each, `slots`
// copies at once with one thread each, on the prepared data; nothing is kept. REQUIRES: plans not
// empty, all on the data in data_dir.
absl::StatusOr<Calibration> Calibrate(const std::vector<const recipes::Plan*>& plans,
                                      const std::string& data_dir, int slots, double seconds);

// Wall time of the plans on `slots` trials at once, longest first, one thread each.
double EstimateWallSeconds(const std::vector<const recipes::Plan*>& plans,
                           const Calibration& calibration, int slots);

}  // namespace sweepctl
