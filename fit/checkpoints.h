// Rows that are checkpoints of one run. A checkpoint in the middle of a schedule is not a run of
// its own: only a run's last row is what its budget bought, the others say how it got there.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/observation.h"

namespace fit {

// One run: indices of its rows by rising tokens.
using RunRows = std::vector<size_t>;

// With `checkpoints`, rows of equal id, params and seed are one run; without, every row is one.
// Runs in the order of their first rows. INVALID_ARGUMENT when a checkpoint has no id.
absl::StatusOr<std::vector<RunRows>> GroupRuns(const std::vector<Observation>& observations,
                                               bool checkpoints);

// The last row of every run.
std::vector<Observation> LastRows(const std::vector<Observation>& observations,
                                  const std::vector<RunRows>& runs);

}  // namespace fit
