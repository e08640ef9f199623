// sweepctl forecasts: the whole record of registered forecasts, counted before any error is shown,
// and its hash chain verified.
#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/database.h"
#include "sweepctl/forecast_json.h"
#include "sweepctl/forecast_warnings.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct Record {
  std::vector<Json> forecasts;  // by place in the chain
  std::map<std::string, int64_t> counts = {
      {"open", 0}, {"scored", 0}, {"abandoned", 0}, {"void", 0}};
  // Of scored primary forecasts, which are the blind ones.
  int64_t primary_scored = 0, primary_inside = 0;
  double sum_absolute_error = 0;
  orchestrator::ForecastAudit audit;
  std::string head;  // hash of the newest link of the chain that holds
};

absl::StatusOr<Record> ReadRecord(orchestrator::Reader& reader, const std::string& sweep) {
  Record record;
  ASSIGN_OR_RETURN(record.forecasts, ReadForecasts(reader, sweep));
  for (const Json& f : record.forecasts) {
    ++record.counts[f["status"]];
    if (f["status"] != "scored" || !f["primary"].get<bool>()) continue;
    ++record.primary_scored;
    if (f["inside"].get<bool>()) ++record.primary_inside;
    record.sum_absolute_error += std::fabs(f["error_rel"].get<double>());
  }
  ASSIGN_OR_RETURN(record.audit, reader.AuditForecasts());
  for (Json& f : record.forecasts) {
    f["remarks"] = Json::array();
    for (const orchestrator::ForecastRemark& remark : record.audit.remarks)
      if (f["name"] == remark.name) f["remarks"].push_back(remark.text);
  }
  if (!record.audit.hashes.empty()) record.head = record.audit.hashes.back();
  return record;
}

std::string CountsText(const Record& record) {
  return fmt::format("{} registered: {} scored, {} open, {} abandoned, {} void",
                     record.forecasts.size(), record.counts.at("scored"), record.counts.at("open"),
                     record.counts.at("abandoned"), record.counts.at("void"));
}

std::string Number(const Json& value, int digits) {
  return value.is_null() ? "-" : fmt::format("{:.{}f}", value.get<double>(), digits);
}

// The codes of warnings, for a cell; null when they are unknown.
Json Codes(const Json& warnings) {
  if (warnings.is_null()) return Json();
  std::string codes;
  for (const Json& warning : warnings)
    codes += (codes.empty() ? "" : ";") + warning.value("code", "");
  return codes;
}

Table RecordTable(const Record& record) {
  Table table({{"name", "name", true},
               {"sweep", ""},
               {"status", "status", true},
               {"status_reason", ""},
               {"registered_at", "registered", true},
               {"law", "law", true},
               {"primary", ""},
               {"target_trial_id", ""},
               {"budget_flops", "budget"},
               {"metric", ""},
               {"loss", "forecast"},
               {"interval_lo", "lo"},
               {"interval_hi", "hi"},
               {"interval_level", "level"},
               {"interval_kind", ""},
               {"interval_method", ""},
               {"outcome_loss", "outcome"},
               {"error_rel", "error"},
               {"inside", "inside", true},
               {"warnings", ""},
               {"observations_hash", ""},
               {"record_hash", ""}});
  for (const Json& f : record.forecasts) {
    const Json& interval = f["interval"];
    const std::string law = f["law"];
    table.AddRow(
        {{f["name"], ""},
         {f["sweep"], ""},
         {f["status"], ""},
         {f["status_reason"], ""},
         {f["registered_at"], ""},
         {law, f["primary"].get<bool>() ? law : law + " (beside)"},
         {f["primary"], ""},
         {f["target_trial_id"], ""},
         {f["budget_flops"], core::FormatFlops(f["budget_flops"])},
         {f["metric"], ""},
         {f["loss"], Number(f["loss"], 4)},
         {interval["lo"], Number(interval["lo"], 4)},
         {interval["hi"], Number(interval["hi"], 4)},
         {interval["level"], fmt::format("{:.0f} %", 100 * interval["level"].get<double>())},
         {interval["kind"], ""},
         {interval["method"], ""},
         {f["outcome_loss"], Number(f["outcome_loss"], 4)},
         {f["error_rel"], f["error_rel"].is_null()
                              ? "-"
                              : fmt::format("{:+.2f} %", 100 * f["error_rel"].get<double>())},
         {f["inside"], f["inside"].is_null() ? "-"
                       : f["inside"]         ? "yes"
                                             : "no"},
         {Codes(f["warnings"]), ""},
         {f["observations_hash"], ""},
         {f["record_hash"], ""}});
  }
  return table;
}

std::string RecordText(const Record& record, bool color) {
  std::string text = CountsText(record) + "\n";
  if (record.forecasts.empty()) return text;
  text += "\n" + RecordTable(record).Text(color);
  for (const Json& f : record.forecasts) {
    if (const std::string reason = f["status_reason"]; !reason.empty()) {
      text += fmt::format("  {} is {}: {}\n", f["name"].get<std::string>(),
                          f["status"].get<std::string>(), reason);
    }
  }
  for (const Json& f : record.forecasts)
    for (const orchestrator::ForecastRemark& remark : record.audit.remarks)
      if (f["name"] == remark.name) text += fmt::format("  {}: {}\n", remark.name, remark.text);
  text += "\n";
  for (const Json& f : record.forecasts)
    text += f["name"].get<std::string>() + "\n" + WarningLines(f["warnings"]);
  if (record.primary_scored > 0) {
    text += fmt::format(
        "\n{} of {} scored primary forecasts inside their interval, mean absolute "
        "error {:.2f} %\n",
        record.primary_inside, record.primary_scored,
        100 * record.sum_absolute_error / record.primary_scored);
  }
  if (record.audit.agreement.ok()) text += fmt::format("chain intact, head {}\n", record.head);
  return text;
}

absl::StatusOr<int> RunForecasts(const std::string& sweep, const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  if (!sweep.empty()) {
    ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader->Imports());
    if (std::none_of(imports.begin(), imports.end(),
                     [&](const auto& import) { return import.name == sweep; }))
      RETURN_IF_ERROR(reader->Sweep(sweep).status());
  }
  ASSIGN_OR_RETURN(const Record record, ReadRecord(*reader, sweep));
  if (options.Format() == OutputFormat::kJson) {
    Json counts = record.counts;
    counts["registered"] = record.forecasts.size();
    RETURN_IF_ERROR(
        PrintJson({{"summary", counts},
                   {"forecasts", record.forecasts},
                   {"chain",
                    {{"intact", record.audit.agreement.ok()},
                     {"head", record.head.empty() ? Json() : Json(record.head)},
                     {"error", record.audit.agreement.ok()
                                   ? Json()
                                   : Json(std::string(record.audit.agreement.message()))}}}}));
  } else if (options.Format() == OutputFormat::kTable) {
    RETURN_IF_ERROR(Print(RecordText(record, options.Color())));
    if (record.forecasts.empty())
      Note("a sweep file with forecast: {at: [...]} registers them: sweepctl launch SWEEP.yaml");
  } else {
    RETURN_IF_ERROR(RecordTable(record).Print(options));
  }
  RETURN_IF_ERROR(AgreementError(record.audit.agreement));
  return kDone;
}

}  // namespace

void AddForecastsVerb(CLI::App& app, Session& session) {
  auto sweep = std::make_shared<std::string>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand(
      "forecasts", "every registered forecast: open, scored, abandoned and void");
  verb->add_option("--sweep", *sweep, "only those of this sweep or import")->type_name("NAME");
  verb->footer(
      "Examples:  sweepctl forecasts\n"
      "           sweepctl forecasts --json | jq '.forecasts[] | select(.status==\"scored\")'\n"
      "error is forecast / outcome - 1. The chain of hashes is verified over the whole database,\n"
      "whatever --sweep selects; a broken one exits 65.");
  verb->callback([sweep, &session] {
    session.action = [sweep, &session] { return RunForecasts(*sweep, session.options); };
  });
}

}  // namespace sweepctl
