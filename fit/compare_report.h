// A comparison for programs and for people.
#pragma once

#include <string>

#include "core/canonical_json.h"
#include "fit/compare.h"

namespace fit {

// `compare --json`: {"a","b","comparable","reasons","differences":[{"key","a","b"}],"factors",
// "laws":{law:weight},"multipliers":[{"budget_flops","loss","multiplier","interval",
// "equivalent_flops","reach_a","reach_b","by_law","warnings"}],"trend","crossover",
// "crossovers":[{"flops","extrapolated","share","better_below","better_above"}],"deciding_run",
// "warnings"}. "crossover" is the one to name first, "crossovers" are all. Intervals as in `fit
// --json`; an end at infinity, and a number that is missing, is null, and "open_hi" or "open_lo"
// says that it is the former. Half-widths in "deciding_run" are of ln CM, at its "level" and of its
// "kind"; where it is found, half_width_ln_after is at most "margin" times the distance of ln CM
// from 0.
core::Json CompareJson(const Comparison& comparison);

// For a terminal. Ends with a line end.
std::string CompareText(const Comparison& comparison);

}  // namespace fit
