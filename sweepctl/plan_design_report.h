// The answer of plan_design.h for programs and for people.
#pragma once

#include <string>
#include <vector>

#include "core/canonical_json.h"
#include "sweepctl/plan_design.h"

namespace sweepctl {

// {"target_width", "max_flops", "considered", "noise_floor", "design": {"budgets", "points",
// "seeds", "flops", "linear_half_width"}, "power": as PowerJson, "narrowest", "narrowest_power",
// "beyond"}; what there is none of is null.
core::Json DesignJson(const DesignAnswer& answer, const fit::Prior& prior,
                      const fit::PowerOptions& power, const std::vector<std::string>& caveats,
                      double width, double max_flops);

// Ends with a line end.
std::string DesignText(const DesignAnswer& answer, const fit::Prior& prior,
                       const fit::PowerOptions& power, const std::vector<std::string>& caveats,
                       double width, double max_flops);

}  // namespace sweepctl
