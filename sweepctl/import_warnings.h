// What must be said of an import beside its rows: nothing here refuses it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "maps/apply.h"
#include "orchestrator/reader.h"

namespace sweepctl {

struct ImportWarning {
  std::string code, text;
};

// duplicate-rows, one-run-many-rows: rows that are one run, or look like it. Cannot fail.
std::vector<ImportWarning> WarnOfRepeats(const maps::Imported& imported);

// other-columns: a number that other columns of the file, which the map names for it too, tell
// otherwise. Cannot fail.
std::vector<ImportWarning> WarnOfColumns(const maps::Imported& imported);

// impossible-loss: values that can be no losses in the unit of their metric. Cannot fail.
std::vector<ImportWarning> WarnOfLosses(const maps::Imported& imported);

// copies: runs that another import of the database than `name` holds already.
absl::StatusOr<std::vector<ImportWarning>> WarnOfCopies(const maps::Imported& imported,
                                                        const std::string& name,
                                                        orchestrator::Reader& reader);

}  // namespace sweepctl
