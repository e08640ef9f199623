// plan --target-width W --max-flops X: the cheapest IsoFLOP design whose expected half-width at
// every target is W or less.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/power.h"
#include "sweeps/expand.h"

namespace sweepctl {

struct DesignCandidate {
  std::vector<double> budgets;  // rising
  int64_t points = 0, seeds = 1;
  std::vector<fit::PlannedRun> runs;
  double flops = 0;
  double linear_half_width = 0;  // the widest over the targets
};

struct DesignAnswer {
  std::optional<DesignCandidate> design;  // the cheapest that reaches the width within the limit
  fit::Power power;                       // of that design, simulated anew
  // Without one: the narrowest within the limit, and the cheapest beyond it that reaches the width.
  std::optional<DesignCandidate> narrowest, beyond;
  fit::Power narrowest_power;
  double half_width = 0;  // of `power`, or of `narrowest_power`: the widest over the targets
  double floor = 0;       // half-width that the scatter of the target's own run alone leaves
  size_t considered = 0;
};

// Designs: 3 to 7 budgets in equal ratios from 2 to 10, the largest one of 1, 1.5, 2, 3, 5, 7 times
// a power of ten below the smallest target, 4 to 12 neighbouring candidates each, 1 to 3 seeds, as
// `file` with those keys replaced would expand. Linear theory (fit/design.h) leaves, for each
// number of budgets, those that no cheaper one beats; of them the cheapest whose simulated
// half-width reaches the width is found by bisection with `options.simulations` each, and confirmed
// by four times as many with another seed. It is the cheapest among these designs within about
// a tenth and up to the chance of the simulations; widths that rise with cost are not expected.
// Cost: seconds to half a minute. REQUIRES: width > 0, max_flops > 0, targets not empty. Errors of
// the recipe pass through.
absl::StatusOr<DesignAnswer> CheapestDesign(const sweeps::SweepFile& file,
                                            const sweeps::ExpandOptions& expand,
                                            const fit::Prior& prior,
                                            const std::vector<fit::PowerTarget>& targets,
                                            const fit::PowerOptions& options, double width,
                                            double max_flops);

// The file with the design in it, under another name.
sweeps::SweepFile FileOf(const sweeps::SweepFile& file, const DesignCandidate& design);

}  // namespace sweepctl
