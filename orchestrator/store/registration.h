// What may be registered as a forecast, and whether it is blind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/store/sqlite.h"
#include "sweep/v1/coordinator.pb.h"

namespace orchestrator {

// JSON of a request, its large numbers doubles again (a canonical text writes them as integers);
// null of "". INVALID_ARGUMENT naming `what`.
absl::StatusOr<core::Json> ParseOrNull(const std::string& text, const char* what);

// INVALID_ARGUMENT: not a forecast. FAILED_PRECONDITION: something of the cohort, or of one of the
// observations, is "unknown", the target lies within the fitted runs, or the loss of one can mean
// nothing (core/loss_doubt.h). Look at the request alone.
absl::Status CheckForecast(const sweep::v1::RegisterForecastRequest& request);
absl::Status CheckKnown(const std::string& name, const core::Json& cohort,
                        const core::Json& observations);
absl::Status CheckReach(const sweep::v1::RegisterForecastRequest& request,
                        const core::Json& observations);
absl::Status CheckLosses(const sweep::v1::RegisterForecastRequest& request,
                         const core::Json& observations);
// FAILED_PRECONDITION: the losses of the import are rescaled (outcome.h).
absl::Status CheckScale(Database* db, const sweep::v1::RegisterForecastRequest& request);

// What a forecast is about.
struct BlindTarget {
  std::optional<int64_t> key;  // a trial of ours, with its size
  core::Json size;
  std::optional<double> params, tokens;  // one that is trained elsewhere
  std::string seen;                      // an observation at its budget: not blind
};
// NOT_FOUND: no such target or import. FAILED_PRECONDITION: it has a primary forecast, its target
// an attempt, its runs a primary forecast at this budget under other labels (shared_runs.h), or, of
// an import, any import ever held a larger run that may be of the cohort.
absl::StatusOr<BlindTarget> TargetOf(Database* db,
                                     const sweep::v1::RegisterForecastRequest& request,
                                     const core::Json& cohort, const core::Json& observations);

}  // namespace orchestrator
