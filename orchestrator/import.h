// One import, written by the one who may write: the database's coordinator where one runs, else
// this process, which holds the lock of a coordinator (lock_file.h) for as long as it takes.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "sweep/v1/coordinator.pb.h"

namespace orchestrator {

// Makes the database where there is none. Errors of Store::Import and Store::Open; UNAVAILABLE when
// a coordinator holds the database and does not answer. Idempotent, so it may be repeated.
absl::StatusOr<sweep::v1::ImportResponse> WriteImport(const std::string& db_path,
                                                      const sweep::v1::ImportRequest& request);

}  // namespace orchestrator
