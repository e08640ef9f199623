#include "orchestrator/store/verdicts.h"

#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace orchestrator {
std::string ChainHash(const std::string& previous, const std::string& record) {
  return core::Sha256Hex(previous + "\n" + record);
}

absl::StatusOr<ChainEnd> EndOfChain(Database* db) {
  ASSIGN_OR_RETURN(
      Statement row,
      db->Prepare("SELECT place, record_hash FROM (SELECT forecast_id AS place, record_hash FROM "
                  "forecasts UNION ALL SELECT place, record_hash FROM forecast_verdicts) "
                  "ORDER BY place DESC LIMIT 1"));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return ChainEnd();
  return ChainEnd{row.Int(0) + 1, row.Text(1)};
}

absl::Status AppendVerdict(Database* db, const Verdict& verdict, int64_t now_ms) {
  std::string name, sweep, trial;
  core::Json record;
  std::optional<double> error;
  std::optional<bool> inside;
  {
    ASSIGN_OR_RETURN(
        Statement row,
        db->Prepare("SELECT f.name, f.sweep, f.record_hash, f.loss, f.interval_lo, f.interval_hi, "
                    "coalesce(t.trial_id, '') FROM forecasts f LEFT JOIN trials t ON "
                    "t.trial_key=f.target_key WHERE f.forecast_id=?1",
                    verdict.forecast_id));
    ASSIGN_OR_RETURN(const bool found, row.Step());
    if (!found) return absl::InternalError(fmt::format("no forecast {}", verdict.forecast_id));
    name = row.Text(0), sweep = row.Text(1), trial = row.Text(6);
    if (verdict.outcome.has_value()) {
      error = (row.Double(3) - *verdict.outcome) / *verdict.outcome;
      inside = *verdict.outcome >= row.Double(4) && *verdict.outcome <= row.Double(5);
    }
    record = {{"forecast", row.Text(2)},      {"name", name},
              {"status", verdict.status},     {"reason", verdict.reason},
              {"decided_unix_ms", now_ms},    {"from", verdict.from},
              {"outcome_loss", core::Json()}, {"error_rel", core::Json()},
              {"inside", core::Json()}};
    if (verdict.outcome.has_value()) {
      record["outcome_loss"] = *verdict.outcome;
      record["error_rel"] = *error;
      record["inside"] = *inside;
    }
  }
  ASSIGN_OR_RETURN(const ChainEnd end, EndOfChain(db));
  record["sequence"] = end.place;
  ASSIGN_OR_RETURN(const std::string bytes, core::CanonicalJson(record));
  const std::string hash = ChainHash(end.previous, bytes);
  RETURN_IF_ERROR(db->Run(
      "INSERT INTO forecast_verdicts(place, forecast_id, record_json, previous_hash, record_hash) "
      "VALUES(?1,?2,?3,?4,?5)",
      end.place, verdict.forecast_id, bytes, end.previous, hash));
  RETURN_IF_ERROR(
      db->Run("UPDATE forecasts SET status=?2, status_reason=?3, outcome_loss=?4, error_rel=?5, "
              "inside=?6, scored_unix_ms=?7 WHERE forecast_id=?1",
              verdict.forecast_id, verdict.status, verdict.reason, verdict.outcome, error, inside,
              verdict.outcome.has_value() ? std::optional<int64_t>(now_ms) : std::nullopt));
  return db->Run(
      "INSERT INTO events(unix_ms, kind, sweep, trial_id, detail) VALUES(?1,?2,?3,nullif(?4, ''),"
      "?5)",
      now_ms, "forecast " + (verdict.status == "open" ? std::string("reopened") : verdict.status),
      sweep, trial, fmt::format("{}, record {}", name, hash));
}

absl::Status AdoptVerdicts(Database* db, int64_t now_ms) {
  struct Found {
    Verdict verdict;
    std::optional<int64_t> scored_ms;
    std::optional<double> error;
    std::optional<int64_t> inside;
  };
  std::vector<Found> all;
  {
    ASSIGN_OR_RETURN(
        Statement rows,
        db->Prepare("SELECT forecast_id, status, status_reason, outcome_loss, "
                    "scored_unix_ms, error_rel, inside FROM forecasts WHERE "
                    "status<>'open' OR outcome_loss IS NOT NULL ORDER BY forecast_id"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      Found& found = all.emplace_back();
      found.verdict = {rows.Int(0), rows.Text(1), rows.Text(2), std::nullopt, {{"adopted", true}}};
      if (!rows.IsNull(3)) found.verdict.outcome = rows.Double(3);
      if (!rows.IsNull(4)) found.scored_ms = rows.Int(4);
      if (!rows.IsNull(5)) found.error = rows.Double(5);
      if (!rows.IsNull(6)) found.inside = rows.Int(6);
    }
  }
  for (const Found& found : all) {
    RETURN_IF_ERROR(AppendVerdict(db, found.verdict, now_ms));
    // As it stood, right or wrong: what is wrong is said on reading.
    RETURN_IF_ERROR(
        db->Run("UPDATE forecasts SET scored_unix_ms=?2, error_rel=?3, inside=?4 WHERE "
                "forecast_id=?1",
                found.verdict.forecast_id, found.scored_ms, found.error, found.inside));
  }
  return absl::OkStatus();
}

}  // namespace orchestrator
