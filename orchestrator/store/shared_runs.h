// Whether two fits rest on the same runs, whatever the runs, their unit and their labels are
// called.
#pragma once

#include <optional>

#include "core/canonical_json.h"

namespace orchestrator {

// By what factor the losses of `a` are those of `b`, where both are lists of observations
// ({"params","tokens","flops","loss"}) that rest on the same runs; nullopt: they do not, or one is
// no such list. They do where half of the fewer, or more, are the same: two of params, tokens and
// flops within 1e-3 (the third may be counted otherwise), and losses in one ratio, whose standard
// deviation of ln is below 1e-4. One constant is a unit or a scale; what is measured on another
// evaluation set, or by other runs of these sizes, stands in a ratio that varies. Fewer than 3, and
// losses that hardly differ among themselves, stand in some ratio anyway: their losses must be
// equal. Of several runs of one size (seeds), each is compared with the nearest loss at that ratio,
// the nearer the more there are. Cannot fail.
std::optional<double> SharedRuns(const core::Json& a, const core::Json& b);

}  // namespace orchestrator
