#include "sweepctl/database.h"

#include "core/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "orchestrator/direct_write.h"

namespace sweepctl {

absl::StatusOr<std::unique_ptr<orchestrator::Reader>> OpenDatabase(const GlobalOptions& options) {
  auto reader = orchestrator::Reader::Open(options.db);
  if (absl::IsFailedPrecondition(reader.status())) {
    const auto version = orchestrator::SchemaVersionOf(options.db);
    if (version.ok() && *version > 0 && *version < orchestrator::kSchemaVersion)
      return absl::FailedPreconditionError(fmt::format(
          "database {} has schema version {}, this sweepctl reads {}; bring it up to date, which "
          "keeps a copy, with: {}",
          options.db, *version, orchestrator::kSchemaVersion,
          CommandLine(options, "serve --migrate-only")));
  }
  if (!absl::IsNotFound(reader.status())) return reader;
  return absl::NotFoundError(
      fmt::format("database {} does not exist; name another with --db, or make it with `sweepctl "
                  "launch SWEEP.yaml{}` or `sweepctl import --map NAME FILE{}`",
                  options.db, DbFlag(options), DbFlag(options)));
}

absl::Status BringUpToDate(const GlobalOptions& options) {
  const auto done = orchestrator::BringUpToDate(options.db);
  if (absl::IsNotFound(done.status())) return absl::OkStatus();
  RETURN_IF_ERROR(done.status());
  if (!done->backup.empty())
    Note(fmt::format("database {}: schema {} brought up to {}; the file as it was: {}", options.db,
                     done->from, orchestrator::kSchemaVersion, done->backup));
  return absl::OkStatus();
}

absl::StatusOr<orchestrator::SweepInfo> ChooseSweep(orchestrator::Reader& reader,
                                                    const std::string& name) {
  if (!name.empty()) return reader.Sweep(name);
  ASSIGN_OR_RETURN(std::vector<orchestrator::SweepInfo> sweeps, reader.Sweeps());
  if (sweeps.size() == 1) return std::move(sweeps[0]);
  if (sweeps.empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "database {} holds no sweep; start one with `sweepctl launch SWEEP.yaml{}`", reader.path(),
        reader.path() == GlobalOptions().db ? "" : Flag("--db", reader.path())));
  }
  std::vector<std::string> names;
  for (const orchestrator::SweepInfo& sweep : sweeps) names.push_back(sweep.sweep);
  return UsageError(fmt::format("the database holds {} sweeps, name one: {}", names.size(),
                                fmt::join(names, ", ")));
}

std::string DbFlag(const GlobalOptions& options) {
  return options.db == GlobalOptions().db ? "" : Flag("--db", options.db);
}

}  // namespace sweepctl
