// sweepctl serve: the coordinator of one database.
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "orchestrator/direct_write.h"
#include "orchestrator/serve.h"
#include "sweepctl/database.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

struct ServeArgs {
  std::string listen = "127.0.0.1:0";
  bool exit_when_idle = false, migrate_only = false;
  int64_t idle_ms = 30'000;
  std::string lease = "30s";
};

absl::StatusOr<int> RunServe(const ServeArgs& args, const GlobalOptions& global) {
  ASSIGN_OR_RETURN(const int64_t lease_ms, core::ParseDurationMs(args.lease));
  if (lease_ms < 1000) return UsageError("--lease must be at least 1s");
  RETURN_IF_ERROR(BringUpToDate(global));
  if (args.migrate_only) {
    ASSIGN_OR_RETURN(const int64_t version, orchestrator::SchemaVersionOf(global.db));
    if (version == 0)
      return absl::FailedPreconditionError(
          fmt::format("{} is not a sweepctl database, and is left as it is; name another with --db",
                      global.db));
    if (version != orchestrator::kSchemaVersion) {
      return absl::FailedPreconditionError(
          fmt::format("database {} has schema version {}, this sweepctl knows versions up to {}",
                      global.db, version, orchestrator::kSchemaVersion));
    }
    Note(fmt::format("database {} has schema {}", global.db, version));
    return kDone;
  }
  orchestrator::ServeOptions options;
  options.db_path = global.db;
  options.listen = args.listen;
  options.exit_when_idle = args.exit_when_idle;
  options.idle_ms = args.idle_ms;
  options.lease_ms = lease_ms;
  options.on_ready = [&](const std::string& endpoint) {
    Note(fmt::format("coordinator of {} answers at {}", global.db, endpoint));
  };
  RETURN_IF_ERROR(orchestrator::Serve(options));
  return kDone;
}

}  // namespace

void AddServeVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<ServeArgs>();
  CLI::App* verb = app.add_subcommand("serve", "run the coordinator of a database");
  verb->add_option("--listen", args->listen, "HOST:PORT; port 0 picks one")->capture_default_str();
  verb->add_flag("--exit-when-idle", args->exit_when_idle,
                 "end when no trial is left and no client calls");
  verb->add_flag("--migrate-only", args->migrate_only,
                 "bring an older database up to date, keeping a copy, and end");
  verb->add_option("--idle-ms", args->idle_ms, "how long is idle, in milliseconds")
      ->capture_default_str();
  verb->add_option("--lease", args->lease, "lease of a trial; a lost worker is noticed after it")
      ->capture_default_str();
  verb->footer(
      "`launch` and `resume` start one by themselves. Ends with Ctrl-C or SIGTERM; trials that run "
      "go on\nand are found again by the next.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunServe(*args, session.options); };
  });
}

}  // namespace sweepctl
