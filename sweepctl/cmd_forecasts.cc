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

// Scored primary forecasts, which are the blind ones, whose reach lies in one class. Those that
// were registered as not determined promised nothing and do not count.
struct Coverage {
  double from = 1, to = HUGE_VAL;  // from < reach <= to
  int64_t scored = 0, inside = 0;
  double sum_absolute_error = 0;
  void Add(const Json& forecast) {
    ++scored;
    if (forecast["inside"].get<bool>()) ++inside;
    sum_absolute_error += std::fabs(forecast["error_rel"].get<double>());
  }
  Json ToJson() const {
    return {{"reach_above", from},
            {"reach_to", std::isfinite(to) ? Json(to) : Json()},
            {"scored", scored},
            {"inside", inside},
            {"mean_absolute_error", scored > 0 ? Json(sum_absolute_error / scored) : Json()}};
  }
};

struct Record {
  std::vector<Json> forecasts;  // by place in the chain
  std::map<std::string, int64_t> counts = {
      {"open", 0}, {"scored", 0}, {"abandoned", 0}, {"void", 0}};
  Coverage total = {0};
  std::vector<Coverage> by_reach = {{0, 1}, {1, 10}, {10, 30}, {30, 100}, {100, 300}, {300}};
  int64_t undetermined = 0;   // scored primary ones that do not count
  int64_t unknown_reach = 0;  // scored primary ones that do not say their runs' FLOPs
  orchestrator::ForecastAudit audit;
  std::string head;  // hash of the newest link of the chain that holds
};

absl::StatusOr<Record> ReadRecord(orchestrator::Reader& reader, const std::string& sweep) {
  Record record;
  ASSIGN_OR_RETURN(record.audit, reader.AuditForecasts());
  ASSIGN_OR_RETURN(record.forecasts, ReadForecasts(reader, sweep, record.audit));
  for (const Json& f : record.forecasts) {
    ++record.counts[f["status"]];
    if (f["status"] != "scored" || !f["primary"].get<bool>() || f["inside"].is_null() ||
        f["error_rel"].is_null())
      continue;
    if (!f["determined"].get<bool>()) {
      ++record.undetermined;
      continue;
    }
    record.total.Add(f);
    if (f["reach"].is_null()) {
      ++record.unknown_reach;
      continue;
    }
    const double reach = f["reach"];
    for (Coverage& c : record.by_reach)
      if (reach > c.from && reach <= c.to) c.Add(f);
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
               {"determined", ""},
               {"target_trial_id", ""},
               {"budget_flops", "budget"},
               {"reach", "reach"},
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
    const bool determined = f["determined"];
    table.AddRow(
        {{f["name"], ""},
         {f["sweep"], ""},
         {f["status"], ""},
         {f["status_reason"], ""},
         {f["registered_at"], ""},
         {law, fmt::format("{}{}{}", law, f["primary"].get<bool>() ? "" : " (beside)",
                           determined ? "" : " (not determined)")},
         {f["primary"], ""},
         {determined, ""},
         {f["target_trial_id"], ""},
         {f["budget_flops"],
          f["budget_flops"].is_null() ? "-" : core::FormatFlops(f["budget_flops"])},
         {f["reach"], f["reach"].is_null() ? "-" : fmt::format("{:.3g}", f["reach"].get<double>())},
         {f["metric"], ""},
         {f["loss"], Number(f["loss"], 4)},
         {interval["lo"], Number(interval["lo"], 4)},
         {interval["hi"], Number(interval["hi"], 4)},
         {interval["level"], interval["level"].is_null()
                                 ? "-"
                                 : fmt::format("{:.0f} %", 100 * interval["level"].get<double>())},
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

// Which runs the fit was made from, where it was not all of them; "" where it was.
std::string SelectionText(const Json& forecast) {
  const Json& selection = forecast["selection"];
  if (!selection.is_object() || !selection.contains("where") || !selection["where"].is_array())
    return "";
  std::string conditions;
  for (const Json& where : selection["where"])
    if (where.is_string())
      conditions += (conditions.empty() ? "" : ", ") + where.get<std::string>();
  if (conditions.empty()) return "";
  return fmt::format("  {} is made from the runs where {}\n", forecast["name"].get<std::string>(),
                     conditions);
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
  for (const Json& f : record.forecasts) text += SelectionText(f);
  text += "\n";
  for (const Json& f : record.forecasts)
    text += f["name"].get<std::string>() + "\n" + WarningLines(f["warnings"]);
  if (record.total.scored > 0) {
    text += fmt::format(
        "\n{} of {} scored primary forecasts inside their interval, mean absolute "
        "error {:.2f} %\n",
        record.total.inside, record.total.scored,
        100 * record.total.sum_absolute_error / record.total.scored);
    for (const Coverage& c : record.by_reach)
      if (c.scored > 0)
        text += fmt::format("  reach {}: {} of {} inside, mean absolute error {:.2f} %\n",
                            !std::isfinite(c.to) ? fmt::format("above {:.0f}", c.from)
                            : c.to == 1          ? "to 1 (interpolated)"
                                                 : fmt::format("to {:.0f}", c.to),
                            c.inside, c.scored, 100 * c.sum_absolute_error / c.scored);
    if (record.unknown_reach > 0)
      text += fmt::format("  reach unknown: {}\n", record.unknown_reach);
  }
  if (record.undetermined > 0)
    text += fmt::format("{} scored that {} registered as not determined, not counted\n",
                        record.undetermined, record.undetermined == 1 ? "was" : "were");
  if (record.audit.agreement.ok())
    text += fmt::format(
        "chain intact, {} links, head {}\n"
        "rows cut off its end show only against a digest kept elsewhere: publish the head (a "
        "signed "
        "tag, a mail), and check it later with --expect HEAD\n",
        record.audit.hashes.size(), record.head);
  return text;
}

constexpr size_t kHashDigits = 64;

// How many links follow the anchored one; DATA_LOSS when the chain does not hold it.
absl::StatusOr<int64_t> Extends(const Record& record, const std::string& expected) {
  const std::vector<std::string>& hashes = record.audit.hashes;
  const auto found = std::find(hashes.begin(), hashes.end(), expected);
  if (found != hashes.end()) return hashes.end() - found - 1;
  return absl::DataLossError(
      fmt::format("the chain does not hold the anchored head {}: links that were there are gone or "
                  "changed, or it is the head of another database; compare with a backup",
                  expected));
}

// `expects`: --expect was given, be it empty.
absl::StatusOr<int> RunForecasts(const std::string& sweep, bool expects,
                                 const std::string& expected, const GlobalOptions& options) {
  if (expects && (expected.size() != kHashDigits ||
                  expected.find_first_not_of("0123456789abcdef") != std::string::npos))
    return UsageError(
        "--expect takes a head as `forecasts` prints it: 64 digits, 0 to 9 and a to f");
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  if (!sweep.empty()) {
    ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader->Imports());
    if (std::none_of(imports.begin(), imports.end(),
                     [&](const auto& import) { return import.name == sweep; }))
      RETURN_IF_ERROR(reader->Sweep(sweep).status());
  }
  ASSIGN_OR_RETURN(const Record record, ReadRecord(*reader, sweep));
  const absl::StatusOr<int64_t> extends = expects ? Extends(record, expected) : 0;
  if (options.Format() == OutputFormat::kJson) {
    Json coverage = Json::array();
    for (const Coverage& c : record.by_reach) coverage.push_back(c.ToJson());
    Json counts = record.counts;
    counts["registered"] = record.forecasts.size();
    RETURN_IF_ERROR(PrintJson(
        {{"summary", counts},
         {"forecasts", record.forecasts},
         {"coverage", record.total.ToJson()},
         {"scored_undetermined", record.undetermined},
         {"coverage_by_reach", coverage},
         {"chain",
          {{"intact", record.audit.agreement.ok()},
           {"links", record.audit.hashes.size()},
           {"extends_expected_by", !expects || !extends.ok() ? Json() : Json(*extends)},
           {"expect_error", extends.ok() ? Json() : Json(std::string(extends.status().message()))},
           {"head", record.head.empty() ? Json() : Json(record.head)},
           {"error", record.audit.agreement.ok()
                         ? Json()
                         : Json(std::string(record.audit.agreement.message()))}}}}));
  } else if (options.Format() == OutputFormat::kTable) {
    RETURN_IF_ERROR(Print(RecordText(record, options.Color())));
    if (record.forecasts.empty() && record.audit.agreement.ok())
      Note("a sweep file with forecast: {at: [...]} registers them: sweepctl launch SWEEP.yaml");
  } else {
    RETURN_IF_ERROR(RecordTable(record).Print(options));
  }
  RETURN_IF_ERROR(AgreementError(record.audit.agreement));
  RETURN_IF_ERROR(extends.status());
  if (expects)
    Note(*extends == 0 ? "the head is the expected one"
                       : "the chain extends the expected head by " + Counted(*extends, "record"));
  return kDone;
}

}  // namespace

void AddForecastsVerb(CLI::App& app, Session& session) {
  auto sweep = std::make_shared<std::string>();  // shared by the parser and the callback
  auto expected = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand(
      "forecasts", "every registered forecast: open, scored, abandoned and void");
  verb->add_option("--sweep", *sweep, "only those of this sweep or import")->type_name("NAME");
  const CLI::Option* expect =
      verb->add_option(
              "--expect", *expected,
              "a head of the chain that was kept elsewhere: exits 65 unless it is still in it")
          ->type_name("HEAD");
  verb->footer(
      "Examples:  sweepctl forecasts\n"
      "           sweepctl forecasts --json | jq '.forecasts[] | select(.status==\"scored\")'\n"
      "error is forecast / outcome - 1, reach target / largest fitted FLOPs. The chain of hashes "
      "is\n"
      "verified over the whole database, whatever --sweep selects, and every score is computed "
      "again\n"
      "from the evaluation or the imported rows it came from; what disagrees exits 65.");
  verb->callback([sweep, expected, expect, &session] {
    session.action = [sweep, expected, expects = expect->count() > 0, &session] {
      return RunForecasts(*sweep, expects, *expected, session.options);
    };
  });
}

}  // namespace sweepctl
