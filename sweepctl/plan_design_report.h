// The answer of plan_design.h for programs and for people.
#pragma once

#include <string>
#include <vector>

#include "core/canonical_json.h"
#include "sweepctl/plan_design.h"

namespace sweepctl {

// {"target_width", "max_flops", "considered", "noise_floor", "design": {"budgets", "points",
// "seeds", "flops", "linear_half_width"}, "power": as PowerJson, "reached_half_width": of design or
// narrowest, "narrowest", "narrowest_power", "beyond", "needed_flops": of design or beyond, "why":
// without a design}; what there is none of is null.
core::Json DesignJson(const DesignAnswer& answer, const fit::Prior& prior,
                      const fit::PowerOptions& power, const std::vector<std::string>& caveats,
                      double width, double max_flops);

// Why there is no design, with the width that is reached and what would do: one line without its
// end. REQUIRES: !answer.design.
std::string NoDesign(const DesignAnswer& answer, double width, double max_flops);

// Ends with a line end.
std::string DesignText(const DesignAnswer& answer, const fit::Prior& prior,
                       const fit::PowerOptions& power, const std::vector<std::string>& caveats,
                       double width, double max_flops);

}  // namespace sweepctl
