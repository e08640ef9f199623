// Other people's SQL, read-only by construction and bounded in time and rows.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "sweep/v1/coordinator.pb.h"

namespace orchestrator {

// Opens the database read-only and runs one statement: query_only, an authorizer that passes only
// reading, an interrupt after timeout_ms. Errors as sqlite.h: PERMISSION_DENIED for anything that
// writes, attaches or sets; DEADLINE_EXCEEDED; INVALID_ARGUMENT for SQL that does not compile.
// Thread-safe (a connection of its own each time, about 0.2 ms).
absl::StatusOr<sweep::v1::QueryResponse> RunGuardedQuery(const std::string& path,
                                                         const sweep::v1::QueryRequest& request);

}  // namespace orchestrator
