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

// Completed trials of a sweep (all sweeps when empty), with every cohort key filled in. Of the
// clamps only those that distort a result (recipes/plan.h): the fit says what leaving such points
// out changes, and every small run has beta2_steps.
absl::StatusOr<SweepObservations> ObservationsOf(orchestrator::Reader& reader,
                                                 const std::string& sweep);

}  // namespace sweepctl
