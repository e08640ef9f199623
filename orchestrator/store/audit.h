// Whether the record of forecasts agrees: with its hashes, with itself, with the evaluations and
// imports that its scores came from, and with the events of the day.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// What the data say of a forecast now, without its record having been changed.
struct ForecastRemark {
  std::string name;  // of the forecast
  std::string text;
};
struct ForecastAudit {
  // DATA_LOSS naming the first registration or verdict whose hash does not follow from its content
  // and its predecessor, whose columns say something else, whose score is not what the evaluation
  // of its target or the imported rows give, whose target was leased before it was registered,
  // whose fit was changed, or that only one of the events and the record knows. A record that
  // cannot be read at all is DATA_LOSS too.
  absl::Status agreement;
  std::vector<std::string> hashes;  // of the chain's links, up to the first that does not hold
  std::vector<ForecastRemark> remarks;
};
// Only reads; one state of the file. Errors: what passes (locked, no memory), never damage.
absl::StatusOr<ForecastAudit> AuditForecasts(Database* db);
// Its agreement.
absl::Status VerifyForecastChain(Database* db);

}  // namespace orchestrator
