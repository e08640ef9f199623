// The database's tables and views, and how an older file becomes the current one.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// Grows with every change of a table or view. 2: imports; views say conventions and schedule.
// 3: forecasts and fits of imports; crashes of a shared trainer are counted apart. 4: what became
// of a forecast is a link of the chain. 5: what imports ever held.
inline constexpr int kSchemaVersion = 5;

// What Migrate did. from == kSchemaVersion: nothing; 0: the file was new.
struct Migration {
  int64_t from = kSchemaVersion;
  std::string backup;  // the file as it was; empty where there was nothing to lose
};

// Brings the file to kSchemaVersion in one transaction: tables are added, views made anew. An older
// file is copied first, to `<db>.schema-<version>.bak` (or `.bak-2`, ...). A second call does
// nothing. RESOURCE_EXHAUSTED when the copy finds no room: then nothing has changed.
// FAILED_PRECONDITION for a file of a newer version, naming both versions and what to do, and for
// one of another program's (CheckOurs).
absl::StatusOr<Migration> Migrate(Database* db);

// FAILED_PRECONDITION for a file of another program's, which is left alone.
absl::Status CheckOurs(Database* db);

// For read-only connections: OK, or FAILED_PRECONDITION naming both versions and what to do.
absl::Status CheckSchemaVersion(Database* db);

// The tables of version 1, what versions 2 to 5 change (schema.cc), and the views (views.cc), as
// SQL.
extern const char kTablesSql[];
extern const char kImportTablesSql[];
extern const char kImportForecastsSql[];
extern const char kVerdictsSql[];
extern const char kImportHistorySql[];
extern const char kViewsSql[];

}  // namespace orchestrator
