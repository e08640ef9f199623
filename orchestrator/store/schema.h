// The database's tables and views, and how an older file becomes the current one.
#pragma once

#include "absl/status/status.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// Grows with every change of a table or view.
inline constexpr int kSchemaVersion = 1;

// Brings the file to kSchemaVersion in one transaction; a second call does nothing.
// FAILED_PRECONDITION for a file of a newer version, naming both versions and what to do.
absl::Status Migrate(Database* db);

// For read-only connections: OK, or FAILED_PRECONDITION naming both versions and what to do.
absl::Status CheckSchemaVersion(Database* db);

// The tables (schema.cc) and the views (views.cc) as SQL.
extern const char kTablesSql[];
extern const char kViewsSql[];

}  // namespace orchestrator
