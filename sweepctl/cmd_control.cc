// sweepctl cancel, pause, retry: ask the database's coordinator, and start one when none runs.
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "orchestrator/launcher.h"
#include "sweepctl/database.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using Action = ::sweep::v1::ControlRequest::Action;

struct ControlArgs {
  std::string sweep;
  std::vector<std::string> trials;  // as typed
  bool failed = false, oom = false;
};

// Trials of `sweep` in one of these states.
std::vector<std::string> InState(const orchestrator::SweepStatus& status,
                                 const std::vector<std::string>& states) {
  std::vector<std::string> ids;
  for (const orchestrator::TrialRow& row : status.rows) {
    if (std::find(states.begin(), states.end(), row.state) != states.end())
      ids.push_back(row.trial_id);
  }
  return ids;
}

// What an action is asked for, read before anything is started: a misspelt sweep or trial must not
// start a coordinator, nor must a request that changes nothing.
absl::StatusOr<std::vector<std::string>> Affected(orchestrator::Reader& reader, Action action,
                                                  const ControlArgs& args) {
  ASSIGN_OR_RETURN(const orchestrator::SweepStatus status, reader.Status(args.sweep));
  std::vector<std::string> states = {"HELD", "PENDING", "LEASED"};
  if (action == sweep::v1::ControlRequest::RETRY) {
    states.clear();
    if (args.failed || !args.oom) states.push_back("FAILED");
    if (args.oom || !args.failed) states.push_back("OUT_OF_MEMORY");
  }
  const std::vector<std::string> eligible = InState(status, states);
  if (args.trials.empty()) return eligible;
  std::vector<std::string> ids;
  for (const std::string& prefix : args.trials) {
    ASSIGN_OR_RETURN(const std::string id, reader.ResolveTrial(prefix));
    std::string state;
    for (const orchestrator::TrialRow& row : status.rows)
      if (row.trial_id == id) state = row.state;
    if (state.empty()) {
      return absl::NotFoundError(fmt::format(
          "sweep {} has no trial {}; `sweepctl status {}` lists them", args.sweep, id, args.sweep));
    }
    if (std::find(eligible.begin(), eligible.end(), id) == eligible.end())
      Note(fmt::format("trial {} is {}: left as it is", ShortId(id), state));
    else
      ids.push_back(id);
  }
  return ids;
}

absl::StatusOr<int64_t> Control(const ControlArgs& args, Action action,
                                const std::vector<std::string>& ids, const GlobalOptions& options) {
  orchestrator::EnsureOptions ensure;
  ensure.db_path = options.db;
  ensure.sweepctl = core::SelfPath();
  ASSIGN_OR_RETURN(const std::string endpoint, orchestrator::EnsureCoordinator(ensure));
  sweep::v1::ControlRequest request;
  request.set_sweep(args.sweep);
  request.set_action(action);
  for (const std::string& id : ids) request.add_trial_ids(id);
  ASSIGN_OR_RETURN(const sweep::v1::ControlResponse response,
                   orchestrator::Client::Connect(endpoint)->Control(request));
  return response.trials_changed();
}

// What to say when it is done: `verb` in the past, and the next command.
struct Wording {
  std::string verb, done, next;
};

absl::StatusOr<int> RunControl(const ControlArgs& args, Action action, const Wording& wording,
                               const GlobalOptions& options) {
  RETURN_IF_ERROR(BringUpToDate(options));
  int64_t changed = 0;
  bool was_paused = false;
  {
    ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
    ASSIGN_OR_RETURN(const orchestrator::SweepInfo info, reader->Sweep(args.sweep));
    was_paused = info.paused;
    ASSIGN_OR_RETURN(std::vector<std::string> ids, Affected(*reader, action, args));
    const bool pausing = action == sweep::v1::ControlRequest::PAUSE;
    if (pausing ? !was_paused : !ids.empty()) {
      // The coordinator decides in its own transaction; a whole sweep is asked for as a whole.
      if (action == sweep::v1::ControlRequest::CANCEL && args.trials.empty()) ids.clear();
      if (pausing) ids.clear();
      ASSIGN_OR_RETURN(changed, Control(args, action, ids, options));
      if (pausing && changed > 0) --changed;  // the sweep itself counts as one
    }
  }
  const std::string next = CommandLine(options, wording.next + " " + args.sweep);
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson({{"sweep", args.sweep},
                               {"action", wording.verb},
                               {"trials_changed", changed},
                               {"next", next}}));
    return kDone;
  }
  const bool pausing = action == sweep::v1::ControlRequest::PAUSE;
  if (pausing && was_paused) {
    RETURN_IF_ERROR(Print(fmt::format("{} was paused already\n", args.sweep)));
  } else if (!pausing && changed == 0) {
    RETURN_IF_ERROR(Print(fmt::format("{}: no trial to {}\n", args.sweep, wording.verb)));
  } else {
    RETURN_IF_ERROR(Print(fmt::format("{}: {} {}\n", args.sweep, changed, wording.done)));
  }
  Note("next: " + next);
  return kDone;
}

}  // namespace

void AddCancelVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<ControlArgs>();  // shared by the parser and the callback
  CLI::App* verb =
      app.add_subcommand("cancel", "stop a sweep's unfinished trials, or some of them");
  verb->add_option("NAME", args->sweep, "the sweep")->required();
  verb->add_option("--trial", args->trials, "only this trial; may be repeated")->type_name("ID");
  verb->footer(
      "Running trials write a checkpoint first; `sweepctl resume NAME` takes them up again.");
  verb->callback([args, &session] {
    session.action = [args, &session] {
      return RunControl(
          *args, sweep::v1::ControlRequest::CANCEL,
          {"cancel", "trials cancelled; running ones stop with a checkpoint", "status"},
          session.options);
    };
  });
}

void AddPauseVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<ControlArgs>();  // shared by the parser and the callback
  CLI::App* verb =
      app.add_subcommand("pause", "start no more trials of a sweep, stop running ones");
  verb->add_option("NAME", args->sweep, "the sweep")->required();
  verb->footer("Running trials write a checkpoint and wait; `sweepctl resume NAME` goes on.");
  verb->callback([args, &session] {
    session.action = [args, &session] {
      return RunControl(*args, sweep::v1::ControlRequest::PAUSE,
                        {"pause", "running trials stop with a checkpoint; paused", "resume"},
                        session.options);
    };
  });
}

void AddRetryVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<ControlArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("retry", "try failed trials again, with fresh retry counts");
  verb->add_option("NAME", args->sweep, "the sweep")->required();
  verb->add_flag("--failed", args->failed, "only those that failed");
  verb->add_flag("--oom", args->oom, "only those that ran out of memory");
  verb->add_option("--trial", args->trials, "only this trial; may be repeated")->type_name("ID");
  verb->footer("Without options both kinds. Diverged trials are results and are not tried again.");
  verb->callback([args, &session] {
    session.action = [args, &session] {
      return RunControl(*args, sweep::v1::ControlRequest::RETRY,
                        {"retry", "trials wait to be tried again", "resume"}, session.options);
    };
  });
}

}  // namespace sweepctl
