// sweepctl launch: plan, price, run, register, score. A client: it starts a coordinator and workers
// as sessions of their own where none runs, and can be left at any time.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <optional>
#include <set>

#include "core/machine.h"
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "core/units.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "orchestrator/direct_write.h"
#include "orchestrator/launcher.h"
#include "sweepctl/calibrate.h"
#include "sweepctl/database.h"
#include "sweepctl/follow.h"
#include "sweepctl/plan_memory.h"
#include "sweepctl/plan_targets.h"
#include "sweepctl/submission.h"
#include "sweepctl/sweep_data.h"
#include "sweepctl/trial_rows.h"
#include "sweepctl/verbs.h"
#include "sweeps/estimate.h"
#include "sweeps/expand.h"
#include "worker/runtime/cuda/device_probe.h"

namespace sweepctl {
namespace {

struct LaunchArgs {
  std::string path, data_root, data_dir;
  int slots = 0, threads = 0;
  bool yes = false, detach = false, no_workers = false;
  double dollars_per_hour = 0;
};

std::string Absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

// What the database has of a sweep that need not run again; failed trials are still to be done.
struct Ended {
  std::set<std::string> trial_ids;  // of all sweeps
  std::set<double> targets_at;      // budgets of the sweep's targets
};

// Nothing without a database, or in an empty one; refuses a newer one and another program's.
absl::StatusOr<Ended> ReadEnded(const std::string& sweep, const GlobalOptions& global) {
  Ended ended;
  std::error_code ignored;
  const auto bytes = std::filesystem::file_size(global.db, ignored);
  if (ignored || bytes == 0) return ended;
  const auto version = orchestrator::SchemaVersionOf(global.db);
  RETURN_IF_ERROR(version.status());
  if (*version == 0) {
    ASSIGN_OR_RETURN(const auto db, orchestrator::Database::Open(
                                        global.db, orchestrator::Database::Mode::kReadOnly));
    ASSIGN_OR_RETURN(const int64_t tables, db->Int(0, "SELECT count(*) FROM sqlite_schema"));
    if (tables == 0) return ended;
    return absl::FailedPreconditionError(
        fmt::format("{} is a database of another program; name another with --db", global.db));
  }
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(global));
  ASSIGN_OR_RETURN(const auto rows,
                   reader->Rows("SELECT trial_id, budget_flops, stage='target' AND sweep=?1 AS "
                                "target FROM v_trials WHERE state IN "
                                "('COMPLETED', 'DIVERGED')",
                                sweep));
  for (const core::Json& row : rows) {
    ended.trial_ids.insert(row["trial_id"]);
    if (row["target"] != 0) ended.targets_at.insert(row["budget_flops"].get<double>());
  }
  return ended;
}

absl::StatusOr<int> RunLaunch(const LaunchArgs& args, const GlobalOptions& global) {
  const std::string db = Absolute(global.db);
  ASSIGN_OR_RETURN(const sweeps::SweepFile file, sweeps::LoadSweepFile(args.path));
  const std::string store = args.data_dir.empty() ? db + ".data" : Absolute(args.data_dir);
  const std::string folder = std::filesystem::path(db).parent_path().string();
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) {
    return absl::NotFoundError(fmt::format(
        "there is no folder {} for database {}; make it, or name another with --db", folder, db));
  }
  RETURN_IF_ERROR(BringUpToDate(global));
  // A limit that is not kept must not look as if it were.
  if (file.limit_gpu_hours > 0) {
    return file.Error("limits.gpu_hours", "not enforced yet; use limits.flops");
  }
  if (file.gpus.value_or(0) > 0 || file.time_limit_ms > 0) {
    return file.Error("resources",
                      "this version trains on the CPU and keeps no time limit; remove it");
  }
  const bool can_ask = isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0;
  if (!args.yes && !can_ask)
    return UsageError("there is no terminal to ask on; start it without a question with --yes");
  ASSIGN_OR_RETURN(const Ended ended, ReadEnded(file.name, global));
  ASSIGN_OR_RETURN(const SweepData data, PrepareSweepData(file, args.data_root, store));
  sweeps::ExpandOptions expand;
  expand.data = data.spec;
  ASSIGN_OR_RETURN(const std::vector<sweeps::PlannedTrial> trials, sweeps::Expand(file, expand));
  std::vector<const recipes::Plan*> plans;  // that are left to train
  for (const sweeps::PlannedTrial& trial : trials) {
    RETURN_IF_ERROR(CheckEpochs(file, trial.plan));
    if (ended.trial_ids.count(trial.trial_id) == 0) plans.push_back(&trial.plan);
  }
  // What the forecasts' targets will cost, by the prior; the fit decides their shape.
  std::vector<Target> targets;
  if (file.forecast_register) {
    ASSIGN_OR_RETURN(targets, PriorTargets(file, expand));
  }
  for (const Target& target : targets) RETURN_IF_ERROR(CheckEpochs(file, target.plan));
  RETURN_IF_ERROR(CheckLimit(file, trials, targets));
  std::erase_if(targets, [&](const Target& target) {
    return ended.targets_at.count(target.plan.budget.amount) > 0;
  });
  std::vector<const recipes::Plan*> all = plans;
  for (const Target& target : targets) all.push_back(&target.plan);
  const sweeps::Cost cost = sweeps::EstimateCost(all, 0, 0);
  const int cores = core::ReadMachine().cores;
  const bool cuda = file.trainer_command.empty() && trials[0].plan.numerics == "bf16-mixed";
  std::string why_no_gpu;
  const int gpus =
      cuda && !args.no_workers ? static_cast<int>(worker::ProbeDevices(&why_no_gpu).size()) : 0;
  const int slots_each = args.slots > 0 ? args.slots : cuda ? kTrialsPerGpu : cores;
  const int slots = slots_each * std::max(1, gpus);
  std::string estimate;
  std::optional<Calibration> measured;
  // Without trials that are left, the targets' rate is not worth measuring.
  if (gpus > 0 && !plans.empty()) {
    auto rates = CalibrateGpu(plans, data.data_dir, WorkerProgram() + "-cuda", db + ".worker",
                              slots_each, 2.0);
    if (rates.ok()) measured = *std::move(rates);
    if (!rates.ok()) Note(fmt::format("no estimate: {}", std::string(rates.status().message())));
  } else if (file.trainer_command.empty() && !cuda && !plans.empty()) {
    ASSIGN_OR_RETURN(measured, Calibrate(plans, data.data_dir, slots, 2.0));
  }
  if (measured.has_value()) {
    const Calibration& calibration = *measured;
    double seconds = EstimateWallSeconds(plans, calibration, slots);
    double target_seconds = 0;
    for (const Target& target : targets) {
      target_seconds +=
          calibration.setup_seconds + target.plan.model_flops / calibration.Rate(target.plan);
    }
    estimate = fmt::format(", about {} on {} at once", core::FormatDuration(seconds),
                           Counted(slots, "trial"));
    if (target_seconds > 0) {
      estimate +=
          fmt::format(" and at most {} for the targets", core::FormatDuration(target_seconds));
    }
    seconds += target_seconds;
    if (args.dollars_per_hour > 0) {
      estimate += fmt::format(", ${:.2f}", seconds / 3600 * args.dollars_per_hour);
    }
  }
  if (file.trainer_command.empty() && !args.no_workers && !all.empty())
    for (const MemoryWarning& warning : MemoryWarnings(trials, targets, DevicesHere()))
      Note("! " + warning.text);
  const bool quiet = global.Format() == OutputFormat::kJson;
  if (!quiet) std::fputs(TrialTable(trials).Text(false).c_str(), stderr);
  const size_t done = trials.size() - plans.size();
  Note(fmt::format("{}: {}{} and {}, {} FLOPs, {} tokens{}", file.name,
                   Counted(static_cast<int64_t>(plans.size()), "trial"),
                   done > 0 ? fmt::format(" left of {}", trials.size()) : "",
                   Counted(static_cast<int64_t>(targets.size()), "target"),
                   core::FormatFlops(cost.recipe_flops),
                   core::FormatCount(static_cast<double>(cost.tokens)), estimate));
  if (!args.yes && !all.empty()) {
    std::fputs("Proceed? [Y/n] ", stderr);
    std::string answer;
    const bool answered = static_cast<bool>(std::getline(std::cin, answer));
    if (!answered || (!answer.empty() && answer[0] != 'y' && answer[0] != 'Y')) {
      Note(answered ? "nothing was launched" : "\nnothing was launched");
      return kDone;
    }
  }

  ASSIGN_OR_RETURN(const std::string endpoint,
                   orchestrator::EnsureCoordinator({.db_path = db, .sweepctl = core::SelfPath()}));
  const auto client = orchestrator::Client::Connect(endpoint);
  ASSIGN_OR_RETURN(const sweep::v1::SubmitSweepRequest request,
                   SubmissionOf(file, trials, data, db));
  ASSIGN_OR_RETURN(const sweep::v1::SubmitSweepResponse response, client->SubmitSweep(request));
  Note(fmt::format(
      "{}: {} added{}; coordinator at {}, database {}", file.name,
      Counted(response.trials_added(), "trial"),
      response.trials_shared() > 0
          ? fmt::format(", {} shared with earlier sweeps or launches ({} of them completed)",
                        response.trials_shared(), response.trials_completed())
          : "",
      endpoint, db));
  FollowOptions follow{.db_path = db,
                       .sweep = file.name,
                       .advance = true,
                       .cuda = cuda,
                       .slots = args.slots,
                       .threads = args.threads,
                       .start_workers = !args.no_workers,
                       .json = quiet};
  if (args.detach) {
    if (!args.no_workers) {
      ASSIGN_OR_RETURN(const auto reader, OpenDatabase(global));
      RETURN_IF_ERROR(EnsureWorkers(follow, endpoint, *reader).status());
    }
    Note("running in the background. next: " + CommandLine(global, "watch " + file.name));
    if (file.forecast_register && !file.forecast_at.empty())
      Note("  " + CommandLine(global, ResumeArguments(follow)) + "   (registers the forecast)");
    return kDone;
  }
  Note(fmt::format("Ctrl-C detaches, everything goes on; come back with: {}",
                   CommandLine(global, "watch " + file.name)));
  return FollowSweep(follow, global);
}

}  // namespace

void AddLaunchVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<LaunchArgs>();
  CLI::App* verb = app.add_subcommand(
      "launch", "prepare data, train the sweep, register its forecast, train and score the target");
  verb->add_option("FILE", args->path, "the sweep file (YAML)")->required();
  verb->add_option("--data-root", args->data_root,
                   "folder that the file's data paths are below; default: the file's own folder");
  verb->add_option("--data-dir", args->data_dir, "where prepared data are kept; default: DB.data");
  verb->add_option("--slots", args->slots, "trials at once on this host; default: one a core")
      ->check(CLI::Range(1, 1024));
  verb->add_option("--threads", args->threads,
                   "CPU threads of all slots together; default: all cores")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--dollars-per-hour", args->dollars_per_hour, "price of this host")
      ->check(CLI::NonNegativeNumber);
  verb->add_flag("-y,--yes", args->yes, "do not ask");
  verb->add_flag("--detach", args->detach, "return as soon as it runs");
  verb->add_flag("--no-workers", args->no_workers, "workers are started elsewhere");
  verb->footer(
      "Launching a file twice adds nothing; a larger sweep reuses what a smaller one finished.\n"
      "Example:  sweepctl launch isoflop.yaml --data-root ~/text");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunLaunch(*args, session.options); };
  });
}

}  // namespace sweepctl
