// The rows of v_observations as the fitter sees them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/observation.h"
#include "fit/where.h"
#include "orchestrator/reader.h"

namespace sweepctl {

struct SweepObservations {
  std::vector<fit::Observation> fitted;   // stage "fit"
  std::vector<fit::Observation> targets;  // completed targets: outcomes, never fitted by default
};

// Completed trials of a sweep, or the runs of an import (all of them when empty), with every cohort
// key filled in. Of the clamps only those that distort a result (recipes/plan.h): the fit says what
// leaving such points out changes, and every small run has beta2_steps.
absl::StatusOr<SweepObservations> ObservationsOf(orchestrator::Reader& reader,
                                                 const std::string& sweep);

// Which observations a verb is about.
struct CohortChoice {
  std::string name;    // of a sweep or an import; empty: the only one there is
  std::string metric;  // of a sweep: loss (also when empty) or bits_per_byte; of an import: a loss
                       // that it has, the default one when empty
  std::string hard;    // of an import: the accuracy that two-step forecasts; empty: none
  // Keep what meets these, by cohort key, "id" or "seed": all must hold, of the texts that one key
  // may be one.
  std::vector<fit::Where> where;
};

struct ChosenCohort {
  std::string name;
  bool imported = false;
  std::string metrics;  // the import's other losses, for people; empty where there are none
  SweepObservations observations;
  std::vector<fit::Exclusion> excluded;  // by `where`, and runs without the metric
};

// NOT_FOUND with "did you mean" for a name; UsageError for a metric, a key, or several names to
// choose from; FAILED_PRECONDITION for an accuracy (no law here rises) and an empty database.
absl::StatusOr<ChosenCohort> ReadCohort(orchestrator::Reader& reader, const CohortChoice& choice);

}  // namespace sweepctl
