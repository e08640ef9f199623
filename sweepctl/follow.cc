#include "sweepctl/follow.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "core/clock.h"
#include "core/machine.h"
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "core/units.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "orchestrator/launcher.h"
#include "orchestrator/lock_file.h"
#include "sweepctl/database.h"
#include "sweepctl/forecast_json.h"
#include "sweepctl/forecast_warnings.h"
#include "sweepctl/forecasting.h"
#include "sweepctl/next_step.h"
#include "worker/runtime/cuda/device_probe.h"

namespace sweepctl {
namespace {

using core::Json;

std::atomic<bool> g_interrupted{false};

void OnInterrupt(int) { g_interrupted = true; }

// Ctrl-C is "detach" while a sweep is followed.
class InterruptScope {
 public:
  InterruptScope() {
    struct sigaction action {};
    action.sa_handler = OnInterrupt;
    sigaction(SIGINT, &action, &previous_);
  }
  ~InterruptScope() { sigaction(SIGINT, &previous_, nullptr); }

 private:
  struct sigaction previous_ {};
};

bool Terminal(const std::string& state) {
  return state != "PENDING" && state != "LEASED" && state != "HELD";
}

int64_t CountRows(const orchestrator::SweepStatus& status, const std::string& stage,
                  bool terminal) {
  return std::count_if(status.rows.begin(), status.rows.end(), [&](const auto& row) {
    return row.stage == stage && Terminal(row.state) == terminal;
  });
}

int64_t FailedTrials(const orchestrator::SweepStatus& status) {
  return std::count_if(status.rows.begin(), status.rows.end(), [](const auto& row) {
    return Terminal(row.state) && row.state != "COMPLETED";
  });
}

// Which trials did not complete, and why, but those that were `told` of. A FAILED one is not tried
// again by itself.
void NoteFailures(const orchestrator::SweepStatus& status, const std::set<std::string>& told) {
  for (const orchestrator::TrialRow& row : status.rows) {
    if (!Terminal(row.state) || row.state == "COMPLETED" || told.count(row.trial_id) > 0) continue;
    Note(fmt::format("{} {} ({} width {}): {}{}{}", row.stage, row.trial_id.substr(0, 12),
                     core::FormatFlops(row.budget_flops), row.hidden, row.state,
                     row.detail.empty() ? "" : ": ", row.detail));
  }
}

constexpr int64_t kPatienceMs = 10'000;

// Why trials that could run do not and what to do about it; empty while they do.
absl::StatusOr<std::string> WhyStuck(orchestrator::Reader& reader,
                                     const orchestrator::SweepStatus& status,
                                     const GlobalOptions& global) {
  if (OpenTrials(status) == 0) return "";
  ASSIGN_OR_RETURN(const bool worker, HasWorker(reader));
  const bool coordinator = orchestrator::FindCoordinator(reader.path()).has_value();
  if (worker && coordinator && !status.paused) return "";
  ASSIGN_OR_RETURN(const ForecastCounts forecasts, CountForecasts(reader, status.sweep));
  const Next next = NextOf(status, coordinator, worker, forecasts, global);
  return fmt::format("{}; next: {}", next.why, next.command);
}

// Lines of a terminal that a text without newlines takes; an empty one takes none.
int WrappedLines(const std::string& text, int columns) {
  if (columns <= 0) return text.empty() ? 0 : 1;
  return static_cast<int>((text.size() + columns - 1) / columns);
}

// Prints over its own last lines on a terminal, and only new facts elsewhere.
class Display {
 public:
  Display() : live_(isatty(STDERR_FILENO) != 0) {}
  // `stuck`: why nothing moves and what to do about it, or empty.
  void Show(const orchestrator::SweepStatus& status, const std::string& stuck) {
    if (live_) {
      Clear();
      struct winsize window {};  // as it is now: it may have been resized
      ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
      const std::string text = StatusText(status, stuck, true, window.ws_col, window.ws_row);
      lines_ = std::count(text.begin(), text.end(), '\n');
      if (!stuck.empty()) lines_ += WrappedLines(stuck, window.ws_col) - 1;
      std::fputs(text.c_str(), stderr);
      std::fflush(stderr);
      return;
    }
    const bool first = !looked_;
    looked_ = true;
    for (const orchestrator::TrialRow& row : status.rows) {
      if (!Terminal(row.state) || !shown_.insert(row.trial_id).second) continue;
      if (first) continue;  // ended before we looked
      told_.insert(row.trial_id);
      Note(fmt::format("{} {} of {}: {} width {} on {} tokens{}", row.stage, ++ended_[row.stage],
                       CountRows(status, row.stage, true) + CountRows(status, row.stage, false),
                       core::FormatFlops(row.budget_flops), row.hidden,
                       core::FormatCount(static_cast<double>(row.tokens)),
                       row.loss.has_value() ? fmt::format(": loss {:.4f}", *row.loss)
                                            : fmt::format(": {} {}", row.state, row.detail)));
    }
    if (first && !shown_.empty()) {
      for (const orchestrator::TrialRow& row : status.rows)
        ended_[row.stage] += Terminal(row.state);
      Note(fmt::format("{} of {} trials had ended before", shown_.size(), status.rows.size()));
    }
    if (stuck != stuck_ && !stuck.empty()) Note(stuck);
    stuck_ = stuck;
  }
  // Trials whose end was printed to stay.
  const std::set<std::string>& told() const { return told_; }
  void Clear() {
    if (live_ && lines_ > 0) std::fprintf(stderr, "\033[%ldA\033[J", lines_);
    lines_ = 0;
  }

 private:
  const bool live_;
  long lines_ = 0;
  bool looked_ = false;
  std::string stuck_;
  std::set<std::string> shown_, told_;
  std::map<std::string, int64_t> ended_;  // by stage
};

// With the warnings of each but those in `explained`, whose fit is printed beside them.
std::string ForecastText(const std::vector<Json>& forecasts,
                         const std::set<std::string>& explained) {
  std::string text;
  for (const Json& f : forecasts) {
    const Json& interval = f["interval"];
    text += fmt::format(
        "forecast {} ({}): {:.4f}, {:.0f} % {} interval {:.4f} .. {:.4f}, "
        "registered {} before the target ran\n",
        f["name"].get<std::string>(), f["law"].get<std::string>(), f["loss"].get<double>(),
        100 * interval["level"].get<double>(), interval["kind"].get<std::string>(),
        interval["lo"].get<double>(), interval["hi"].get<double>(),
        f["registered_at"].get<std::string>());
    if (f["outcome_loss"].is_number()) {
      text += fmt::format("  outcome {:.4f}: forecast off by {:+.2f} %, {} the interval\n",
                          f["outcome_loss"].get<double>(), 100 * f["error_rel"].get<double>(),
                          f["inside"].get<bool>() ? "inside" : "OUTSIDE");
    } else {
      text += fmt::format("  status {}: no outcome yet\n", f["status"].get<std::string>());
    }
    if (explained.count(f["name"]) == 0) text += WarningLines(f["warnings"]);
  }
  return text;
}

}  // namespace

std::string WorkerProgram() {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(core::SelfPath()).parent_path();
  std::error_code ignored;
  if (fs::exists(folder / "sweep-worker", ignored)) return (folder / "sweep-worker").string();
  return "sweep-worker";
}

std::string ResumeArguments(const FollowOptions& options) {
  return fmt::format("resume {}{}{}{}", options.sweep,
                     options.slots > 0 ? fmt::format(" --slots {}", options.slots) : "",
                     options.threads > 0 ? fmt::format(" --threads {}", options.threads) : "",
                     options.start_workers ? "" : " --no-workers");
}

std::string StatusText(const orchestrator::SweepStatus& status, const std::string& stuck,
                       bool color, int columns, int lines) {
  // A line that fills the last column wraps on some terminals.
  const auto cut = [&](const std::string& line) {
    return columns > 0 ? line.substr(0, columns - 1) : line;
  };
  std::string head = status.sweep;
  for (const auto& [state, count] : status.counts) head += fmt::format("  {} {}", state, count);
  head += fmt::format("  |  {:.0f} % of {} FLOPs",
                      status.flops_planned > 0 ? 100 * status.flops_done / status.flops_planned : 0,
                      core::FormatFlops(status.flops_planned));
  if (status.eta_seconds.has_value()) {
    head += fmt::format(", about {} left", core::FormatDuration(*status.eta_seconds));
  }
  if (status.flops_per_second > 0) {
    head += fmt::format(", {:.3g} GFLOP/s", status.flops_per_second / 1e9);
  }
  head = cut(head);
  if (color)
    head.insert(std::min(head.size(), status.sweep.size()), "\033[0m").insert(0, "\033[1m");
  std::vector<std::string> rows;
  const int bar = columns > 0 ? std::clamp(columns - 73, 4, 20) : 20;
  for (const orchestrator::TrialRow& row : status.rows) {
    if (row.state != "LEASED") continue;
    const double share = row.steps > 0 ? static_cast<double>(row.step) / row.steps : 0;
    const int filled = static_cast<int>(bar * share);
    rows.push_back(cut(
        fmt::format("  {} {:<6} {:>7} width {:<4} [{}{}] {:>3.0f} %  {:>7} tok/s  loss {}",
                    row.trial_id.substr(0, 8), row.stage, core::FormatFlops(row.budget_flops),
                    row.hidden, std::string(filled, '='), std::string(bar - filled, ' '),
                    100 * share, row.tokens_per_s > 0 ? core::FormatCount(row.tokens_per_s) : "-",
                    row.train_loss.has_value() ? fmt::format("{:.3f}", *row.train_loss) : "-")));
  }
  // Beside the rows: the head, `stuck`, and the line that the cursor is left on.
  const size_t room =
      lines > 0 ? std::max(1, lines - 2 - WrappedLines(stuck, columns)) : rows.size();
  if (rows.size() > room) {
    const size_t more = rows.size() - (room - 1);
    rows.resize(room - 1);
    rows.push_back(cut(fmt::format("  and {} more running", more)));
  }
  std::string text = head + "\n";
  for (const std::string& row : rows) text += row + "\n";
  if (!stuck.empty()) text += stuck + "\n";
  return text;
}

absl::StatusOr<int> EnsureWorkers(const FollowOptions& options, const std::string& endpoint,
                                  orchestrator::Reader& reader) {
  ASSIGN_OR_RETURN(const bool there, HasWorker(reader));
  if (there) return 0;
  orchestrator::WorkerOptions workers;
  workers.db_path = options.db_path;
  workers.sweep_worker = WorkerProgram();
  // No endpoint: agents look it up beside the database, so they find a coordinator that restarted.
  workers.count = 1;
  const int cores = core::ReadMachine().cores;
  workers.slots = options.slots > 0 ? options.slots : cores;
  if (options.cuda) {
    std::string why;
    workers.cuda = true;
    workers.count = static_cast<int>(worker::ProbeDevices(&why).size());
    workers.slots = options.slots;
    if (workers.count == 0) {
      return absl::FailedPreconditionError(fmt::format(
          "the sweep computes in bf16-mixed, which needs a GPU, and this host has none ({}); start "
          "`sweepctl worker --cuda 0 --coordinator {}` on a host with one and launch with "
          "--no-workers, or write `numerics: f32`",
          why, endpoint));
    }
  }
  workers.threads = options.threads > 0 ? options.threads : cores;
  workers.work_dir = options.db_path + ".worker";
  ASSIGN_OR_RETURN(const auto pids, orchestrator::StartLocalWorkers(workers));
  return static_cast<int>(pids.size());
}

absl::StatusOr<int> FollowSweep(const FollowOptions& given, const GlobalOptions& global) {
  FollowOptions options = given;
  InterruptScope interrupt;
  Display display;
  std::unique_ptr<orchestrator::Client> client;
  std::string endpoint;
  auto connect = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(endpoint, orchestrator::EnsureCoordinator(
                                   {.db_path = options.db_path, .sweepctl = core::SelfPath()}));
    client = orchestrator::Client::Connect(endpoint);
    return absl::OkStatus();
  };
  if (options.advance) RETURN_IF_ERROR(connect());
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(global));
  ASSIGN_OR_RETURN(const orchestrator::SweepInfo info, reader->Sweep(options.sweep));
  ASSIGN_OR_RETURN(const sweeps::SweepFile file,
                   sweeps::ParseSweepFile(info.sweep_file, options.sweep));
  ASSIGN_OR_RETURN(const core::Json on_gpu,
                   reader->Rows("SELECT count(*) AS n FROM v_trials WHERE numerics='bf16-mixed'"
                                " AND sweep=?1",
                                options.sweep));
  options.cuda = file.trainer_command.empty() && on_gpu[0]["n"].get<int64_t>() > 0;
  fit::FitSummary summary;
  std::set<std::string> registered_here;  // by `summary`
  int64_t last_look_ms = 0;
  std::string notice;  // the coordinator's, as last shown
  int64_t moving_ms = core::SystemClock().MonotonicMs();
  while (true) {
    ASSIGN_OR_RETURN(orchestrator::SweepStatus status, reader->Status(options.sweep));
    ASSIGN_OR_RETURN(const std::string stands, WhyStuck(*reader, status, global));
    const int64_t now = core::SystemClock().MonotonicMs();
    if (stands.empty()) moving_ms = now;
    if (!stands.empty()) status.eta_seconds.reset();  // leases that nobody works on
    // What is missing is started below; that may take a moment.
    display.Show(status, options.advance && now - moving_ms < kPatienceMs ? "" : stands);
    const int64_t open_fit = CountRows(status, "fit", false);
    const int64_t open_targets = CountRows(status, "target", false);
    ASSIGN_OR_RETURN(const ForecastCounts forecasts, CountForecasts(*reader, options.sweep));
    int64_t on_record = 0;
    for (const auto& [state, count] : forecasts) on_record += count;
    const bool wants_forecasts = file.forecast_register && !file.forecast_at.empty();
    const bool registered = on_record >= static_cast<int64_t>(file.forecast_at.size());
    if (g_interrupted.exchange(false)) {
      display.Clear();
      Note(fmt::format("detached: '{}' goes on. Come back with: {}", options.sweep,
                       CommandLine(global, "watch " + options.sweep)));
      if (options.advance && wants_forecasts && !registered) {
        Note(fmt::format("or, to register the forecast when the fit stage is done, with: {}",
                         CommandLine(global, ResumeArguments(options))));
      }
      return kInterrupted;
    }
    if (open_fit == 0 && wants_forecasts && !registered) {
      if (!options.advance) {
        display.Clear();
        Note(fmt::format("waiting for registration: run {}",
                         CommandLine(global, ResumeArguments(options))));
        return kDone;
      }
      display.Clear();
      if (const int64_t failed = FailedTrials(status); failed > 0) {
        Note(fmt::format("{} of {} fit trials did not complete and are not in the fit", failed,
                         CountRows(status, "fit", true)));
      }
      ASSIGN_OR_RETURN(const auto entries,
                       RegisterForecasts(*client, *reader, info, file, &summary));
      if (entries.empty()) {
        return absl::InternalError(fmt::format(
            "sweep '{}' has {} forecasts registered and wants {}, but none could be added",
            options.sweep, on_record, file.forecast_at.size()));
      }
      for (const RegisteredForecast& entry : entries) {
        registered_here.insert(entry.name);
        Note(fmt::format(
            "registered {}: {} params on {} tokens will reach {:.4f}, {:.0f} % {} interval "
            "{:.4f} .. {:.4f} ({}{}); record {}; the target is released",
            entry.name, core::FormatCount(static_cast<double>(entry.target.params)),
            core::FormatCount(static_cast<double>(entry.target.tokens)), entry.forecast.loss,
            100 * entry.forecast.interval.level, fit::Name(entry.forecast.interval.kind),
            entry.forecast.interval.lo, entry.forecast.interval.hi, entry.forecast.law,
            entry.forecast.determined ? "" : ", NOT DETERMINED: it counts in no coverage",
            entry.record_hash.substr(0, 12)));
        std::fputs(WarningLines(WarningsOf(fit::FitJson(summary),
                                           {{"law", entry.forecast.law},
                                            {"budget_flops", entry.target.recipe_flops}}))
                       .c_str(),
                   stderr);
      }
      continue;
    }
    if (open_fit == 0 && open_targets == 0) {
      display.Clear();
      const int64_t failed = FailedTrials(status);
      NoteFailures(status, display.told());
      Json stored;  // the newest forecast's
      ASSIGN_OR_RETURN(const orchestrator::ForecastAudit audit, reader->AuditForecasts());
      ASSIGN_OR_RETURN(const std::vector<Json> record,
                       ReadForecasts(*reader, options.sweep, audit, &stored));
      if (global.Format() == OutputFormat::kJson) {
        Json out = {{"sweep", options.sweep},
                    {"counts", status.counts},
                    {"forecasts", record},
                    {"flops_spent", status.flops_spent},
                    {"trainer_seconds", status.trainer_seconds}};
        if (!stored.is_null()) out["fit"] = stored;
        RETURN_IF_ERROR(PrintJson(out));
      } else {
        std::string text = registered_here.empty() ? "" : fit::FitText(summary) + "\n";
        text += fmt::format("{}: {} trials completed, {} not; {} FLOPs in {} of training\n",
                            options.sweep, status.rows.size() - failed, failed,
                            core::FormatFlops(status.flops_spent),
                            core::FormatDuration(status.trainer_seconds));
        text += ForecastText(record, registered_here);
        RETURN_IF_ERROR(Print(text));
        // Nobody waits: coordinator and workers are out of the question.
        const Next next = NextOf(status, true, true, forecasts, global);
        Note(fmt::format("{}; next: {}", next.why, next.command));
      }
      RETURN_IF_ERROR(AgreementError(audit.agreement));
      return failed > 0 ? kFailedTrials : kDone;
    }
    if (options.advance && now - last_look_ms > 5'000) {
      last_look_ms = now;
      auto seen = client->Info();
      if (absl::IsUnavailable(seen.status())) {
        RETURN_IF_ERROR(connect());  // the coordinator ended or was restarted
        seen = client->Info();
      }
      if (seen.ok() && seen->notice() != notice) {
        notice = seen->notice();
        display.Clear();
        Note(notice.empty() ? "leasing goes on" : notice);
      }
      if (options.start_workers && !status.paused) {
        const absl::Status started = EnsureWorkers(options, endpoint, *reader).status();
        // A coordinator that just ended or is slow (a full disk) is asked again in five seconds.
        const bool passing = absl::IsUnavailable(started) || absl::IsDeadlineExceeded(started) ||
                             absl::IsResourceExhausted(started);
        if (!passing) RETURN_IF_ERROR(started);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(isatty(STDERR_FILENO) ? 500 : 250));
  }
}

}  // namespace sweepctl
