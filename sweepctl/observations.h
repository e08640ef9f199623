// The rows of v_observations as the fitter sees them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/observation.h"
#include "orchestrator/reader.h"

namespace sweepctl {

struct SweepObservations {
  std::vector<fit::Observation> fitted;   // stage "fit"
  std::vector<fit::Observation> targets;  // completed targets: outcomes, never fitted by default
};

// Completed trials of a sweep (all sweeps when empty), with every cohort key filled in.
absl::StatusOr<SweepObservations> ObservationsOf(orchestrator::Reader& reader,
                                                 const std::string& sweep);

}  // namespace sweepctl
