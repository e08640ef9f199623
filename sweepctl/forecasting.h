// From the finished fit stage of a sweep to its registered forecasts.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/fit.h"
#include "orchestrator/client.h"
#include "orchestrator/reader.h"
#include "recipes/plan.h"
#include "sweeps/sweep_file.h"

namespace sweepctl {

// A registered forecast with its target, as printed after registration.
struct RegisteredForecast {
  std::string name;
  recipes::Plan target;
  std::string target_trial_id;
  fit::Forecast forecast;
  std::string record_hash;
};

// Fits the completed fit-stage trials of `info` and, for each of `file.forecast_at`: lets the
// primary law choose the target (its D*, the recipe's nearest candidate), forecasts that very run
// (its own N, D and FLOPs, which need not be the optimum), submits the target HELD, registers the
// forecast, which releases it. Those registered before an interruption stand and are left out of
// the result. All are made from one fit before the first target is released. That fit, at the FLOPs
// the forecasts are made for, is stored with them and returned in *summary for printing.
// FAILED_PRECONDITION when no law can be fitted or the primary law has no prediction interval.
absl::StatusOr<std::vector<RegisteredForecast>> RegisterForecasts(
    orchestrator::Client& client, orchestrator::Reader& reader, const orchestrator::SweepInfo& info,
    const sweeps::SweepFile& file, fit::FitSummary* summary);

// FAILED_PRECONDITION naming the cohort keys that nobody has said of some of an import's runs.
absl::Status CheckAllKnown(const std::string& import,
                           const std::vector<fit::Observation>& observations);

// A forecast of imported runs, whose target is trained elsewhere.
struct ImportForecast {
  std::string name;  // "<import>/<metric>/<budget>"
  fit::Forecast forecast;
  std::string record_hash, status;
  bool already_registered = false;
};

// Which runs of an import were fitted: the conditions as typed, and how many each of them, and what
// else is told of runs, left out.
struct Selection {
  std::vector<std::string> where;
  std::vector<fit::Exclusion> left_out;
};

// Registers the primary forecast at each of options.predict, made from `observations` of `import`
// by `summary`, with that fit and the selection on record: all or none. A later import of the
// cohort holding the target's run scores it. FAILED_PRECONDITION: CheckAllKnown, no prediction
// interval, a target within the fitted runs, registered before as something else. A usage error:
// another estimator than the default one. REQUIRES: observations not empty.
absl::StatusOr<std::vector<ImportForecast>> RegisterImportForecasts(
    const std::string& db_path, const std::string& import,
    const std::vector<fit::Observation>& observations, const Selection& selection,
    const fit::FitOptions& options, const fit::FitSummary& summary);

}  // namespace sweepctl
