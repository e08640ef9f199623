// Writing to a database that may have a coordinator or not: through the one that holds it, else by
// this process, which then holds the lock for the moment.
#pragma once

#include <string>

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

// What WriteImport would answer, but for how each score comes out, tried on a copy in the folder
// for temporary files: nothing is stored. NOT_FOUND without a database.
absl::StatusOr<sweep::v1::ImportResponse> TryImport(const std::string& db_path,
                                                    const sweep::v1::ImportRequest& request);

// The fit and the forecasts made from it, all or none.
absl::StatusOr<sweep::v1::RegisterForecastsResponse> WriteForecasts(
    const std::string& db_path, const sweep::v1::RegisterForecastsRequest& request);

// Of a file; NOT_FOUND without one, 0: not a database of ours.
absl::StatusOr<int64_t> SchemaVersionOf(const std::string& db_path);

// Brings an older file to this program's schema (store/schema.h). from == kSchemaVersion: nothing
// to do. NOT_FOUND without a file; FAILED_PRECONDITION when a coordinator of an older program has
// it, with how to stop that.
absl::StatusOr<Migration> BringUpToDate(const std::string& db_path);

}  // namespace orchestrator
