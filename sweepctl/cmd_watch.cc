// sweepctl watch and sweepctl resume: come back to a sweep.
#include <filesystem>

#include "core/status_macros.h"
#include "core/subprocess.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "orchestrator/launcher.h"
#include "sweepctl/database.h"
#include "sweepctl/follow.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

struct WatchArgs {
  std::string name;
  int slots = 0, threads = 0;
  bool no_workers = false;
};

std::string Database(const GlobalOptions& global) {
  return std::filesystem::absolute(global.db).lexically_normal().string();
}

absl::StatusOr<int> RunWatch(const WatchArgs& args, const GlobalOptions& global) {
  FollowOptions follow{.db_path = Database(global), .sweep = args.name, .advance = false};
  return FollowSweep(follow, global);
}

absl::StatusOr<int> RunResume(const WatchArgs& args, const GlobalOptions& global) {
  const std::string db = Database(global);
  RETURN_IF_ERROR(BringUpToDate(global));
  bool was_paused = false;
  {
    // Fails clearly, before anything is started, when there is no such sweep.
    ASSIGN_OR_RETURN(const auto reader, OpenDatabase(global));
    ASSIGN_OR_RETURN(const auto sweep, reader->Sweep(args.name));
    was_paused = sweep.paused;
  }
  ASSIGN_OR_RETURN(const std::string endpoint,
                   orchestrator::EnsureCoordinator({.db_path = db, .sweepctl = core::SelfPath()}));
  sweep::v1::ControlRequest control;
  control.set_sweep(args.name);
  control.set_action(sweep::v1::ControlRequest::RESUME);
  ASSIGN_OR_RETURN(const auto changed, orchestrator::Client::Connect(endpoint)->Control(control));
  if (was_paused) Note(args.name + " is no longer paused");
  // The sweep itself counts as one.
  if (const int64_t trials = changed.trials_changed() - (was_paused ? 1 : 0); trials > 0)
    Note(fmt::format("{} taken up again", Counted(trials, "cancelled trial")));
  FollowOptions follow{.db_path = db,
                       .sweep = args.name,
                       .advance = true,
                       .slots = args.slots,
                       .threads = args.threads,
                       .start_workers = !args.no_workers};
  return FollowSweep(follow, global);
}

}  // namespace

void AddWatchVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<WatchArgs>();
  CLI::App* verb = app.add_subcommand("watch", "follow a sweep: progress, rates, time left");
  verb->add_option("NAME", args->name, "the sweep")->required();
  verb->footer("Only looks. Ctrl-C leaves; nothing is stopped.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunWatch(*args, session.options); };
  });
}

void AddResumeVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<WatchArgs>();
  CLI::App* verb = app.add_subcommand(
      "resume", "go on with a sweep: start what is missing, register its forecast, follow it");
  verb->add_option("NAME", args->name, "the sweep")->required();
  verb->add_option("--slots", args->slots, "trials at once on this host; default: one a core")
      ->check(CLI::Range(1, 1024));
  verb->add_option("--threads", args->threads, "CPU threads of all slots together")
      ->check(CLI::Range(1, 4096));
  verb->add_flag("--no-workers", args->no_workers, "workers are started elsewhere");
  verb->footer("Ctrl-C detaches, everything goes on. Takes up what was paused or cancelled.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunResume(*args, session.options); };
  });
}

}  // namespace sweepctl
