// How the reading verbs open the database and name what is in it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "orchestrator/reader.h"
#include "sweepctl/cli.h"

namespace sweepctl {

// The database of --db, read-only. NOT_FOUND (exit 65) says how to make one; FAILED_PRECONDITION of
// an older one names the command that brings it up to date.
absl::StatusOr<std::unique_ptr<orchestrator::Reader>> OpenDatabase(const GlobalOptions& options);

// For verbs that write, before anything else: an older database is brought to this program's schema
// and a line says so and names the copy. OK where there is none. Errors as
// orchestrator::BringUpToDate.
absl::Status BringUpToDate(const GlobalOptions& options);

// The sweep of that name, or with an empty name the only one. NOT_FOUND with "did you mean";
// UsageError listing the sweeps when there are several; FAILED_PRECONDITION when there is none.
absl::StatusOr<orchestrator::SweepInfo> ChooseSweep(orchestrator::Reader& reader,
                                                    const std::string& name);

// Enough of a trial's id to tell trials apart, and to type.
inline std::string ShortId(const std::string& trial_id) { return trial_id.substr(0, 12); }

// " --db FILE" when it is not the default, for commands that are printed.
std::string DbFlag(const GlobalOptions& options);

}  // namespace sweepctl
