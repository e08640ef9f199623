#include "sweepctl/forecast_json.h"

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/forecast_warnings.h"

namespace sweepctl {

using core::Json;

namespace {

// What was promised of the fit; null where nothing is. "selection": under which conditions its runs
// were chosen. "determined": false where it called the forecast not determined.
Json OptionOf(const Json& row, const char* name) {
  if (!row["record_json"].is_string()) return Json();
  const auto record = core::ParseJson(row["record_json"].get<std::string>(), "registration");
  const Json::json_pointer path(std::string("/options/") + name);
  return record.ok() && record->contains(path) ? record->at(path) : Json();
}

// By place in the chain; without verdicts where their table is gone.
absl::StatusOr<std::vector<Json>> RecordRows(orchestrator::Reader& reader, const std::string& sweep,
                                             const absl::Status& agreement) {
  const std::string choice = " WHERE ?1='' OR sweep=?1 ORDER BY forecast_id";
  auto rows = reader.Rows("SELECT * FROM v_forecasts" + choice, sweep);
  if (rows.ok() || agreement.ok()) return rows;
  rows = reader.Rows(
      "SELECT f.*, f.primary_law AS \"primary\", t.trial_id AS target_trial_id, t.state AS "
      "target_state, NULL AS reach, NULL AS verdict_json FROM forecasts f LEFT JOIN trials t ON "
      "t.trial_key=f.target_key" +
          choice,
      sweep);
  return rows.ok() ? rows : std::vector<Json>();
}

}  // namespace

Json ForecastJson(const Json& row, const Json& warnings) {
  Json from, decided;
  if (row["verdict_json"].is_string()) {
    if (const auto verdict = core::ParseJson(row["verdict_json"].get<std::string>(), "verdict");
        verdict.ok() && verdict->is_object()) {
      from = verdict->value("from", Json());
      if (const Json at = verdict->value("decided_unix_ms", Json()); at.is_number_integer())
        decided = core::FormatUnixMs(at.get<int64_t>());
    }
  }
  return {{"name", row["name"]},
          {"sweep", row["sweep"]},
          {"status", row["status"]},
          {"status_reason", row["status_reason"]},
          {"registered_at", core::FormatUnixMs(row["registered_unix_ms"].get<int64_t>())},
          {"law", row["law"]},
          {"primary", row["primary"] != 0},
          {"target_trial_id", row["target_trial_id"]},
          {"target_state", row["target_state"]},
          {"target_params", row["target_params"]},
          {"target_tokens", row["target_tokens"]},
          {"budget_flops", row["budget_flops"]},
          {"metric", row["metric"]},
          {"loss", row["loss"]},
          {"interval",
           {{"lo", row["interval_lo"]},
            {"hi", row["interval_hi"]},
            {"level", row["interval_level"]},
            {"kind", row["interval_kind"]},
            {"method", row["interval_method"]}}},
          {"observations_hash", row["observations_hash"]},
          {"record_hash", row["record_hash"]},
          {"outcome_loss", row["outcome_loss"]},
          {"error_rel", row["error_rel"]},
          {"inside", row["inside"].is_null() ? Json() : Json(row["inside"] != 0)},
          {"outcome_from", from},
          {"decided_at", decided},
          {"reach", row["reach"]},
          {"selection", OptionOf(row, "selection")},
          {"determined", OptionOf(row, "determined") != Json(false)},
          {"warnings", warnings}};
}

absl::Status AgreementError(const absl::Status& agreement) {
  if (agreement.ok()) return agreement;
  return absl::DataLossError(
      fmt::format("chain broken: {}; compare with a backup or the anchored digest before trusting "
                  "this record",
                  std::string(agreement.message())));
}

absl::Status CheckRecord(orchestrator::Reader& reader) {
  ASSIGN_OR_RETURN(const orchestrator::ForecastAudit audit, reader.AuditForecasts());
  return AgreementError(audit.agreement);
}

absl::StatusOr<std::vector<Json>> ReadForecasts(orchestrator::Reader& reader,
                                                const std::string& sweep,
                                                const orchestrator::ForecastAudit& audit,
                                                Json* stored_fit) {
  ASSIGN_OR_RETURN(const std::vector<Json> rows, RecordRows(reader, sweep, audit.agreement));
  std::vector<Json> forecasts;
  for (const Json& row : rows) {
    ASSIGN_OR_RETURN(Json fit, StoredFit(reader, row));
    forecasts.push_back(ForecastJson(row, WarningsOf(fit, row)));
    Json& remarks = forecasts.back()["remarks"] = Json::array();
    for (const orchestrator::ForecastRemark& remark : audit.remarks)
      if (row["name"] == remark.name) remarks.push_back(remark.text);
    if (stored_fit != nullptr) *stored_fit = std::move(fit);
  }
  return forecasts;
}

}  // namespace sweepctl
