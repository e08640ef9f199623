// sweepctl status: every sweep and import in a line, or one with its trials, and what to do next.
// Reads the file, so it works without a coordinator.
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "orchestrator/lock_file.h"
#include "sweepctl/database.h"
#include "sweepctl/forecast_json.h"
#include "sweepctl/next_step.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;
using orchestrator::Reader;
using orchestrator::SweepStatus;
using orchestrator::TrialRow;
using Coordinator = std::optional<orchestrator::CoordinatorAddress>;

Json CoordinatorJson(const Coordinator& coordinator) {
  if (!coordinator.has_value()) return {{"running", false}};
  return {{"running", true},
          {"endpoint", coordinator->endpoint},
          {"pid", coordinator->pid},
          {"version", coordinator->version},
          {"started_at", core::FormatUnixMs(coordinator->started_unix_ms)}};
}

std::string CoordinatorText(const Coordinator& coordinator) {
  if (!coordinator.has_value()) return "no coordinator is running";
  return fmt::format("coordinator at {}, pid {}",
                     coordinator->endpoint.empty() ? "(starting)" : coordinator->endpoint,
                     coordinator->pid);
}

// Recipe FLOPs that are wanted: cancelled trials are not.
double WantedFlops(const SweepStatus& status) {
  double flops = 0;
  for (const TrialRow& row : status.rows)
    if (row.state != "CANCELLED") flops += row.recipe_flops;
  return flops;
}

double PercentDone(const SweepStatus& status) {
  const double wanted = WantedFlops(status);
  return wanted > 0 ? std::min(100.0, 100 * status.flops_done / wanted) : 0;
}

Json SweepJson(const SweepStatus& status, const ForecastCounts& forecasts, const Next& next) {
  return {{"sweep", status.sweep},
          {"paused", status.paused},
          {"created_at", core::FormatUnixMs(status.created_unix_ms)},
          {"trials", status.trials},
          {"counts", status.counts},
          {"flops_planned", status.flops_planned},
          {"flops_wanted", WantedFlops(status)},
          {"done_percent", PercentDone(status)},
          {"flops_done", status.flops_done},
          {"flops_spent", status.flops_spent},
          {"flops_wasted", status.flops_wasted},
          {"trainer_seconds", status.trainer_seconds},
          {"flops_per_second", status.flops_per_second},
          {"eta_seconds", status.eta_seconds.has_value() ? Json(*status.eta_seconds) : Json()},
          {"waiting_for_registration", status.waiting_for_registration},
          {"forecasts", forecasts},
          {"next", {{"why", next.why}, {"command", next.command}}}};
}

std::string CountsText(const SweepStatus& status) {
  std::string text;
  for (const auto& [state, count] : status.counts)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, state);
  return text.empty() ? "no trials" : text;
}

std::string ForecastsText(const ForecastCounts& counts) {
  int64_t total = 0;
  std::string text;
  for (const char* status : {"scored", "open", "abandoned", "void"}) {
    total += counts.at(status);
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", counts.at(status), status);
  }
  return total == 0 ? "none registered" : fmt::format("{} registered: {}", total, text);
}

Cell Optional(const std::optional<double>& value) {
  return {value.has_value() ? Json(*value) : Json(),
          value.has_value() ? fmt::format("{:.4f}", *value) : ""};
}

Table TrialsTable(const SweepStatus& status) {
  Table table({{"trial_id", "trial", true},
               {"stage", "stage", true},
               {"budget_flops", "budget"},
               {"hidden", "width"},
               {"layers", ""},
               {"params", "params"},
               {"tokens", "tokens"},
               {"batch", ""},
               {"seq_len", ""},
               {"steps", ""},
               {"step", ""},
               {"recipe_flops", ""},
               {"state", "state", true},
               {"waiting_for", ""},
               {"progress", "done"},
               {"tokens_per_s", "tok/s"},
               {"train_loss", "train loss"},
               {"loss", "loss"},
               {"bits_per_byte", ""},
               {"attempts", "tries"},
               {"worker_id", ""},
               {"detail", ""}});
  for (const TrialRow& row : status.rows) {
    const double progress =
        row.steps > 0 ? static_cast<double>(row.step) / static_cast<double>(row.steps) : 0;
    table.AddRow(
        {{row.trial_id, ShortId(row.trial_id)},
         {row.stage, ""},
         {row.budget_flops, core::FormatFlops(row.budget_flops)},
         {row.hidden, ""},
         {row.layers, ""},
         {row.params, core::FormatCount(static_cast<double>(row.params))},
         {row.tokens, core::FormatCount(static_cast<double>(row.tokens))},
         {row.batch, ""},
         {row.seq_len, ""},
         {row.steps, ""},
         {row.step, ""},
         {row.recipe_flops, ""},
         {row.state, row.waiting_for.empty() ? row.state : row.state + ": " + row.waiting_for},
         {row.waiting_for, ""},
         {progress, fmt::format("{:.0f} %", 100 * progress)},
         {row.tokens_per_s, row.state == "LEASED" ? core::FormatCount(row.tokens_per_s) : "-"},
         Optional(row.train_loss),
         Optional(row.loss),
         Optional(row.bits_per_byte),
         {row.attempts, ""},
         {row.worker_id, ""},
         {row.detail, ""}});
  }
  return table;
}

// What can be done with an import: a fit, and a forecast on record once everything is known.
Next NextOf(const orchestrator::ImportInfo& import, const GlobalOptions& options) {
  return {import.unknown.empty()
              ? "complete: a forecast from it can be registered"
              : fmt::format("{} unknown: it can be fitted, and no forecast from it registered; "
                            "import again with --replace and --value KEY=TEXT",
                            import.unknown),
          CommandLine(options, "fit --sweep " + import.name)};
}

absl::StatusOr<Json> ImportJson(Reader& reader, const orchestrator::ImportInfo& import,
                                const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const ForecastCounts forecasts, CountForecasts(reader, import.name));
  const Next next = NextOf(import, options);
  return Json{
      {"name", import.name},       {"source", import.source},
      {"map", import.map},         {"runs", import.runs},
      {"metrics", import.metrics}, {"unknown", import.unknown},
      {"forecasts", forecasts},    {"next", {{"why", next.why}, {"command", next.command}}}};
}

absl::StatusOr<int> RunImport(Reader& reader, const orchestrator::ImportInfo& import,
                              const GlobalOptions& options) {
  if (options.Format() == OutputFormat::kCsv || options.Format() == OutputFormat::kJsonLines)
    return UsageError("an import has no trials; `sweepctl export --sweep NAME` writes its runs");
  ASSIGN_OR_RETURN(const Json json, ImportJson(reader, import, options));
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson(json));
    return kDone;
  }
  const Next next = NextOf(import, options);
  RETURN_IF_ERROR(Print(fmt::format(
      "{}: {} imported runs of {}, through map {}\nmetrics: {}\nunknown: {}\nforecasts: {}\n",
      import.name, import.runs, import.source, import.map, fmt::join(import.metrics, ", "),
      import.unknown.empty() ? "nothing" : import.unknown,
      ForecastsText(json["forecasts"].get<ForecastCounts>()))));
  Note(fmt::format("{}; next: {}", next.why, next.command));
  return kDone;
}

absl::StatusOr<int> RunOne(Reader& reader, const std::string& sweep, const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader.Imports());
  for (const orchestrator::ImportInfo& import : imports)
    if (import.name == sweep) return RunImport(reader, import, options);
  ASSIGN_OR_RETURN(SweepStatus status, reader.Status(sweep));
  ASSIGN_OR_RETURN(const ForecastCounts forecasts, CountForecasts(reader, sweep));
  const Coordinator coordinator = orchestrator::FindCoordinator(options.db);
  ASSIGN_OR_RETURN(const bool worker, HasWorker(reader));
  if (!worker) status.eta_seconds.reset();  // leases that nobody works on
  const Next next = NextOf(status, coordinator.has_value(), worker, forecasts, options);
  const Table trials = TrialsTable(status);
  if (options.Format() == OutputFormat::kJson) {
    Json out = SweepJson(status, forecasts, next);
    out["coordinator"] = CoordinatorJson(coordinator);
    out["rows"] = trials.Rows();
    RETURN_IF_ERROR(PrintJson(out));
    return kDone;
  }
  if (options.Format() != OutputFormat::kTable) {
    RETURN_IF_ERROR(trials.Print(options));
    return kDone;
  }
  std::string text =
      fmt::format("{}{}: {} trials: {}\n", status.sweep, status.paused ? " (paused)" : "",
                  status.trials, CountsText(status));
  text += fmt::format("{:.1f} % of {} FLOPs done; {} spent, {} of them wasted, {} of training\n",
                      PercentDone(status), core::FormatFlops(WantedFlops(status)),
                      core::FormatFlops(status.flops_spent), core::FormatFlops(status.flops_wasted),
                      core::FormatDuration(status.trainer_seconds));
  if (status.eta_seconds.has_value()) {
    text += fmt::format("about {} left at {} FLOPs a second\n",
                        core::FormatDuration(*status.eta_seconds),
                        core::FormatFlops(status.flops_per_second));
  }
  text +=
      fmt::format("forecasts: {}\n{}\n\n", ForecastsText(forecasts), CoordinatorText(coordinator));
  RETURN_IF_ERROR(Print(text + trials.Text(options.Color())));
  for (const TrialRow& row : status.rows) {
    if (row.detail.empty() || row.state == "COMPLETED" || row.state == "LEASED") continue;
    RETURN_IF_ERROR(Print(fmt::format("  {} {}: {}\n", ShortId(row.trial_id), row.state,
                                      row.detail.substr(0, row.detail.find('\n')))));
  }
  Note(fmt::format("{}; next: {}", next.why, next.command));
  return kDone;
}

absl::StatusOr<int> RunAll(Reader& reader, const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<orchestrator::SweepInfo> sweeps, reader.Sweeps());
  const Coordinator coordinator = orchestrator::FindCoordinator(options.db);
  ASSIGN_OR_RETURN(const bool worker, HasWorker(reader));
  Table table({{"sweep", "sweep", true},
               {"trials", "trials"},
               {"done_percent", "done"},
               {"flops_wanted", "wanted"},
               {"flops_spent", "spent"},
               {"flops_wasted", "wasted"},
               {"eta_seconds", "left"},
               {"counts", "states", true},
               {"next", "next", true}});
  Json list = Json::array();
  for (const orchestrator::SweepInfo& info : sweeps) {
    ASSIGN_OR_RETURN(SweepStatus status, reader.Status(info.sweep));
    if (!worker) status.eta_seconds.reset();  // leases that nobody works on
    ASSIGN_OR_RETURN(const ForecastCounts forecasts, CountForecasts(reader, info.sweep));
    const Next next = NextOf(status, coordinator.has_value(), worker, forecasts, options);
    list.push_back(SweepJson(status, forecasts, next));
    table.AddRow({{status.sweep, ""},
                  {status.trials, ""},
                  {PercentDone(status), fmt::format("{:.1f} %", PercentDone(status))},
                  {WantedFlops(status), core::FormatFlops(WantedFlops(status))},
                  {status.flops_spent, core::FormatFlops(status.flops_spent)},
                  {status.flops_wasted, core::FormatFlops(status.flops_wasted)},
                  {status.eta_seconds.has_value() ? Json(*status.eta_seconds) : Json(),
                   status.eta_seconds.has_value() ? core::FormatDuration(*status.eta_seconds) : ""},
                  {status.counts, CountsText(status)},
                  {next.command, ""}});
  }
  ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader.Imports());
  Table import_table({{"name", "import", true},
                      {"runs", "runs"},
                      {"metrics", "metrics", true},
                      {"unknown", "unknown", true},
                      {"source", "from", true},
                      {"next", "next", true}});
  Json import_list = Json::array();
  for (const orchestrator::ImportInfo& import : imports) {
    ASSIGN_OR_RETURN(import_list.emplace_back(), ImportJson(reader, import, options));
    // Somebody's table may have dozens of metrics.
    std::string metrics = import.metrics.front();
    if (import.metrics.size() > 1)
      metrics += fmt::format(" and {} more", import.metrics.size() - 1);
    import_table.AddRow({{import.name, ""},
                         {import.runs, ""},
                         {import.metrics, metrics},
                         {import.unknown, import.unknown.empty() ? "-" : import.unknown},
                         {import.source, ""},
                         {NextOf(import, options).command, ""}});
  }
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson({{"sweeps", list},
                               {"imports", import_list},
                               {"coordinator", CoordinatorJson(coordinator)}}));
    return kDone;
  }
  if (options.Format() != OutputFormat::kTable) {
    RETURN_IF_ERROR(table.Print(options));  // rows of one kind: sweeps
    return kDone;
  }
  if (!sweeps.empty() || imports.empty()) RETURN_IF_ERROR(table.Print(options));
  if (!imports.empty())
    RETURN_IF_ERROR(
        Print((sweeps.empty() ? "" : "\n") + import_table.Text(options.Color()) + "\n"));
  RETURN_IF_ERROR(Print(CoordinatorText(coordinator) + "\n"));
  Note("next: " + (sweeps.empty() && imports.empty() ? CommandLine(options, "launch SWEEP.yaml")
                   : sweeps.empty()                  ? NextOf(imports.back(), options).command
                                    : CommandLine(options, "status " + sweeps.back().sweep)));
  return kDone;
}

}  // namespace

void AddStatusVerb(CLI::App& app, Session& session) {
  auto sweep = std::make_shared<std::string>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand(
      "status", "every sweep and import in a line, or one sweep with its trials");
  verb->add_option("NAME", *sweep, "a sweep or import; without it all of them");
  verb->footer(
      "Examples:  sweepctl status\n"
      "           sweepctl status isoflop --json | jq '.counts'\n"
      "Reads the database file; no coordinator is needed.");
  verb->callback([sweep, &session] {
    session.action = [sweep, &session]() -> absl::StatusOr<int> {
      ASSIGN_OR_RETURN(const auto reader, OpenDatabase(session.options));
      ASSIGN_OR_RETURN(const int code, sweep->empty() ? RunAll(*reader, session.options)
                                                      : RunOne(*reader, *sweep, session.options));
      // Its counts are those of a record that agrees.
      RETURN_IF_ERROR(CheckRecord(*reader));
      return code;
    };
  });
}

}  // namespace sweepctl
