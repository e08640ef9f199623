// Writing to a database that may have a coordinator or not: through the one that holds it, else by
// this process, which then holds the lock for the moment.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "orchestrator/store/schema.h"
#include "sweep/v1/coordinator.pb.h"

namespace orchestrator {

// Errors of all: those of Store and Client; UNAVAILABLE when somebody holds the lock and gives no
// address for 15 seconds.

// Makes the database when there is none.
absl::StatusOr<sweep::v1::ImportResponse> WriteImport(const std::string& db_path,
                                                      const sweep::v1::ImportRequest& request);

// The fit and the forecasts made from it; the answers to the latter. What was registered before an
// error stands.
absl::StatusOr<std::vector<sweep::v1::RegisterForecastResponse>> WriteForecasts(
    const std::string& db_path, const sweep::v1::RecordFitRequest& fit,
    const std::vector<sweep::v1::RegisterForecastRequest>& forecasts);

// Of a file; NOT_FOUND without one, 0: not a database of ours.
absl::StatusOr<int64_t> SchemaVersionOf(const std::string& db_path);

// Brings an older file to this program's schema (store/schema.h). from == kSchemaVersion: nothing
// to do. NOT_FOUND without a file; FAILED_PRECONDITION when a coordinator of an older program has
// it, with how to stop that.
absl::StatusOr<Migration> BringUpToDate(const std::string& db_path);

}  // namespace orchestrator
