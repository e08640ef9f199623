// The request that submits a sweep to its coordinator: the plans' bytes and everything beside them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sweep/v1/coordinator.pb.h"
#include "sweepctl/sweep_data.h"
#include "sweeps/expand.h"

namespace sweepctl {

// REQUIRES: `trials` expanded on `data`. `db_path`, absolute, names the folder of checkpoints.
absl::StatusOr<sweep::v1::SubmitSweepRequest> SubmissionOf(
    const sweeps::SweepFile& file, const std::vector<sweeps::PlannedTrial>& trials,
    const SweepData& data, const std::string& db_path);

}  // namespace sweepctl
