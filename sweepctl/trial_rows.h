// A plan as the fields other programs rely on (DESIGN.md, section 5, `plan --json`), and as a table
// row for people.
#pragma once

#include <vector>

#include "core/canonical_json.h"
#include "sweepctl/table.h"
#include "sweeps/expand.h"

namespace sweepctl {

// lr is the peak of the group that holds the MLP matrices (AdamH's in delphi), adam_lr of the group
// that holds the embedding. trial_id and epochs are null until data are prepared; source_epochs
// says how often the plan passes over each source, epochs is the most of them.
core::Json TrialJson(const sweeps::PlannedTrial& trial);

// One row a trial.
Table TrialTable(const std::vector<sweeps::PlannedTrial>& trials);

}  // namespace sweepctl
