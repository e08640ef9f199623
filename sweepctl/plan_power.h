// What a sweep is expected to forecast (fit/power.h), as `plan` tells it.
#pragma once

#include <string>
#include <vector>

#include "core/canonical_json.h"
#include "fit/power.h"

namespace sweepctl {

// {"prior": {"name", "law", "params", "draws", "source"}, "noise": {"shape", "seed", "source"},
//  "simulations", "failed", "level", "kind", "method", "condition", "caveats",
//  "targets": [{"budget_flops", "reach", "law", "loss", "half_width", "half_width_range", "error",
//  "close", "chance_close", "covered", "asymptote_within", "asymptote_identified",
//  "asymptote_half_range", "asymptote_warned", "no_interval"}]}
core::Json PowerJson(const fit::Prior& prior, const fit::Power& power,
                     const fit::PowerOptions& options, const std::vector<std::string>& caveats);

// A table with what it rests on above and below it; ends with a line end.
std::string PowerText(const fit::Prior& prior, const fit::Power& power,
                      const fit::PowerOptions& options, const std::vector<std::string>& caveats);

// "E 1.817, A 482, ..." and "0.59 % a run (0.1 % of it the seed's): source".
std::string PriorLine(const fit::Prior& prior);
std::string NoiseLine(const fit::Prior& prior);

}  // namespace sweepctl
