// Whether two fits rest on the same runs, whatever the runs, their unit and their labels are
// called.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/canonical_json.h"

namespace orchestrator {

struct Sharing {
  double factor = 1;  // what the losses of `a` are of those of `b`
  size_t shared = 0;  // runs that both have
};

// What `a` and `b` share, where both are lists of observations ({"params","tokens","flops","loss"})
// that rest on the same runs; nullopt: they do not, or one is no such list. They do where half of
// the fewer, or more, are the same: one of params, tokens and flops within 1e-3 (the others may be
// counted otherwise, or scaled), and losses in one ratio, whose standard deviation of ln is below
// 1e-4. One constant is a unit or a scale; what is measured on another evaluation set, or by other
// runs of these sizes, stands in a ratio that varies. Losses of 3 decimals or fewer may be off by
// their rounding, where nine tenths of the fewer are the same and two counts agree. Fewer than 3,
// and losses that hardly differ among themselves, stand in some ratio anyway: their losses must be
// equal. Of several runs of one size (seeds), each is compared with the nearest loss at that ratio,
// the nearer the more could be it. Cannot fail.
std::optional<Sharing> SharedRuns(const core::Json& a, const core::Json& b);

// Which runs of `a` are in `b` too: a count within 1e-3 (two where losses have 3 decimals or fewer)
// and losses within 1e-6. By place in `a` without what is no run; empty where `a` is no list.
std::vector<bool> EqualRuns(const core::Json& a, const core::Json& b);

}  // namespace orchestrator
