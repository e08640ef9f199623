// The database's tables and views, and how an older file becomes the current one.
#pragma once

#include "absl/status/status.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// Grows with every change of a table or view. 2: imports; views say conventions and schedule.
inline constexpr int kSchemaVersion = 2;

// Brings the file to kSchemaVersion in one transaction: tables are added, views made anew. A second
// call does nothing.
// FAILED_PRECONDITION for a file of a newer version, naming both versions and what to do.
absl::Status Migrate(Database* db);

// For read-only connections: OK, or FAILED_PRECONDITION naming both versions and what to do.
absl::Status CheckSchemaVersion(Database* db);

// The tables of version 1 and what version 2 adds (schema.cc), and the views (views.cc), as SQL.
extern const char kTablesSql[];
extern const char kImportTablesSql[];
extern const char kViewsSql[];

}  // namespace orchestrator
