// sweepctl logs: what happened to a trial or a sweep, the newest metrics, and where the logs of the
// programs lie.
#include <algorithm>
#include <filesystem>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/database.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct LogsArgs {
  std::string trial, sweep;
  int64_t lines = 20;
};

// Logs that launch and serve write beside the database: `<db>.coordinator.log`, `<db>.worker-N.log`
// (orchestrator/launcher.h).
std::vector<std::string> LogFiles(const std::string& db) {
  const std::filesystem::path path(db);
  std::filesystem::path folder = path.parent_path();
  if (folder.empty()) folder = ".";
  const std::string prefix = path.filename().string() + ".";
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(prefix, 0) == 0 && entry.path().extension() == ".log")
      files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

Table EventsTable(const std::vector<Json>& events) {
  Table table({{"event_id", ""},
               {"unix_ms", "time", true},
               {"kind", "event", true},
               {"sweep", ""},
               {"trial_id", "trial", true},
               {"worker_id", "worker", true},
               {"detail", "detail", true}});
  for (const Json& e : events) {
    const std::string trial = e["trial_id"];
    table.AddRow({{e["event_id"], ""},
                  {e["unix_ms"], core::FormatUnixMs(e["unix_ms"].get<int64_t>())},
                  {e["kind"], ""},
                  {e["sweep"], ""},
                  {trial, trial.empty() ? "-" : ShortId(trial)},
                  {e["worker_id"], e["worker_id"] == "" ? "-" : ""},
                  {e["detail"], ""}});
  }
  return table;
}

Table MetricsTable(const std::vector<Json>& metrics) {
  Table table(
      {{"name", "metric", true}, {"step", "step"}, {"value", "value"}, {"unix_ms", "time", true}});
  for (const Json& m : metrics) {
    table.AddRow(
        {{m["name"], ""},
         {m["step"], ""},
         {m["value"],
          m["value"].is_null() ? "not finite" : fmt::format("{:.6g}", m["value"].get<double>())},
         {m["unix_ms"], core::FormatUnixMs(m["unix_ms"].get<int64_t>())}});
  }
  return table;
}

absl::StatusOr<int> RunLogs(const LogsArgs& args, const GlobalOptions& options) {
  if (!args.trial.empty() && !args.sweep.empty())
    return UsageError("give a TRIAL or --sweep NAME, not both");
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  std::string column = "sweep", key = args.sweep;
  bool imported = false;  // nothing ran here
  std::vector<Json> metrics, attempts;
  if (!args.trial.empty()) {
    column = "trial_id";
    ASSIGN_OR_RETURN(key, reader->ResolveTrial(args.trial));
    ASSIGN_OR_RETURN(
        metrics,
        reader->Rows(
            fmt::format("SELECT name, step, value, unix_ms FROM (SELECT *, row_number() "
                        "OVER (PARTITION BY name ORDER BY step DESC) AS age FROM v_metrics "
                        "WHERE trial_id=?1) WHERE age<={} ORDER BY name, step",
                        args.lines),
            key));
  } else {
    ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader->Imports());
    imported = std::any_of(imports.begin(), imports.end(),
                           [&](const auto& import) { return import.name == key; });
    if (!imported) {
      ASSIGN_OR_RETURN(const orchestrator::SweepInfo sweep, ChooseSweep(*reader, args.sweep));
      key = sweep.sweep;
    }
  }
  ASSIGN_OR_RETURN(
      const std::vector<Json> events,
      reader->Rows(
          fmt::format("SELECT * FROM (SELECT event_id, unix_ms, kind, coalesce(sweep,'') AS sweep, "
                      "coalesce(trial_id,'') AS trial_id, coalesce(worker_id,'') AS worker_id, "
                      "detail FROM events WHERE {}=?1 ORDER BY event_id DESC LIMIT {}) ORDER BY "
                      "event_id",
                      column, args.lines),
          key));
  const std::vector<std::string> files = LogFiles(options.db);
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson({{column, key},
                               {"events", EventsTable(events).Rows()},
                               {"metrics", MetricsTable(metrics).Rows()},
                               {"log_files", files}}));
    return kDone;
  }
  RETURN_IF_ERROR(EventsTable(events).Print(options));
  if (options.Format() != OutputFormat::kTable) return kDone;
  if (!metrics.empty()) {
    RETURN_IF_ERROR(Print("\n" + MetricsTable(metrics).Text(options.Color())));
  }
  if (imported) {
    Note("next: " + CommandLine(options, "status " + key));
    return kDone;
  }
  if (files.empty()) {
    Note(
        fmt::format("no log file lies beside {}; workers started elsewhere log where they were "
                    "started",
                    options.db));
  }
  for (const std::string& file : files) Note("log: " + file);
  if (args.trial.empty() && !events.empty())
    Note(fmt::format("next: {} or {}", CommandLine(options, "logs TRIAL"),
                     CommandLine(options, "status " + key)));
  return kDone;
}

}  // namespace

void AddLogsVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<LogsArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("logs", "events and newest metrics of a trial or a sweep");
  verb->add_option("TRIAL", args->trial, "a trial's id, or at least 4 characters of it");
  verb->add_option("--sweep", args->sweep,
                   "events of a whole sweep or import; the only sweep by default")
      ->type_name("NAME");
  verb->add_option("-n,--lines", args->lines, "newest events, and points of each metric")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str()
      ->type_name("N");
  verb->footer(
      "Examples:  sweepctl logs --sweep isoflop -n 50\n"
      "           sweepctl logs 3fa9\n"
      "Log files of coordinator and workers are named on stderr.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunLogs(*args, session.options); };
  });
}

}  // namespace sweepctl
