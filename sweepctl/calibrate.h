// How fast this machine trains a sweep's plans, measured in a few seconds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/plan.h"

namespace sweepctl {

// A GPU's agent starts with so many trials at once and measures whether more are worthwhile.
inline constexpr int kTrialsPerGpu = 4;

struct Calibration {
  // Model FLOPs a second of one slot when all are busy, by width; between widths linear in log
  // width.
  std::map<int64_t, double> flops_per_second;
  double setup_seconds = 0;  // that a trial takes besides its steps
  double Rate(const recipes::Plan& plan) const;
};

// Trains the smallest, the middle and the largest plan for a share of `seconds` each, `slots`
// copies at once with one thread each, on the prepared data; nothing is kept. REQUIRES: plans not
// empty, all on the data in data_dir.
absl::StatusOr<Calibration> Calibrate(const std::vector<const recipes::Plan*>& plans,
                                      const std::string& data_dir, int slots, double seconds);

// The same on the first GPU, by `program` (sweep-worker-cuda) with `slots` copies side by side. Its
// files, the table of algorithms among them, are in work_dir. FAILED_PRECONDITION with what the
// program said when it fails.
absl::StatusOr<Calibration> CalibrateGpu(const std::vector<const recipes::Plan*>& plans,
                                         const std::string& data_dir, const std::string& program,
                                         const std::string& work_dir, int slots, double seconds);

// Wall time of the plans on `slots` trials at once, longest first.
double EstimateWallSeconds(const std::vector<const recipes::Plan*>& plans,
                           const Calibration& calibration, int slots);

}  // namespace sweepctl
