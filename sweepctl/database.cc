#include "sweepctl/database.h"

#include "core/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace sweepctl {

absl::StatusOr<std::unique_ptr<orchestrator::Reader>> OpenDatabase(const GlobalOptions& options) {
  auto reader = orchestrator::Reader::Open(options.db);
  if (!absl::IsNotFound(reader.status())) return reader;
  return absl::NotFoundError(
      fmt::format("database {} does not exist; name another with --db, or make it with `sweepctl "
                  "launch SWEEP.yaml{}`",
                  options.db, DbFlag(options)));
}

absl::StatusOr<orchestrator::SweepInfo> ChooseSweep(orchestrator::Reader& reader,
                                                    const std::string& name) {
  if (!name.empty()) return reader.Sweep(name);
  ASSIGN_OR_RETURN(std::vector<orchestrator::SweepInfo> sweeps, reader.Sweeps());
  if (sweeps.size() == 1) return std::move(sweeps[0]);
  if (sweeps.empty()) {
    return absl::FailedPreconditionError(
        "the database holds no sweep; start one with `sweepctl launch SWEEP.yaml`");
  }
  std::vector<std::string> names;
  for (const orchestrator::SweepInfo& sweep : sweeps) names.push_back(sweep.sweep);
  return UsageError(fmt::format("the database holds {} sweeps, name one: {}", names.size(),
                                fmt::join(names, ", ")));
}

std::string DbFlag(const GlobalOptions& options) {
  return options.db == GlobalOptions().db ? "" : " --db " + options.db;
}

}  // namespace sweepctl
