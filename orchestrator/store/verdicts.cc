#include "orchestrator/store/verdicts.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace orchestrator {
namespace {

// A run elsewhere is the target of a forecast when its size is within this factor of the optimum
// that was forecast; the loss of such a model is flat.
constexpr double kSameSize = 1.25;
// Sizes within this ratio are one model.
constexpr double kSameModel = 0.01;

// Which rows the score rests on. REQUIRES: rows not empty, values > 0.
void Count(double promised_params, ImportedOutcome& found) {
  const bool targets = std::any_of(found.rows.begin(), found.rows.end(),
                                   [](const OutcomeRow& row) { return row.outcome; });
  const auto off = [&](const OutcomeRow& row) {
    return std::fabs(std::log(row.params / promised_params));
  };
  const OutcomeRow* nearest = nullptr;
  for (const OutcomeRow& row : found.rows)
    if (row.outcome == targets && (nearest == nullptr || off(row) < off(*nearest))) nearest = &row;
  const double params = nearest->params;
  std::set<std::tuple<double, double, double, double>> seen;  // one run under several names
  double sum = 0;
  found.lo = found.hi = found.rows.front().value;
  for (OutcomeRow& row : found.rows) {
    found.lo = std::min(found.lo, row.value);
    found.hi = std::max(found.hi, row.value);
    if (row.outcome != targets || std::fabs(row.params / params - 1) > kSameModel) continue;
    row.counted = seen.emplace(row.flops, row.params, row.tokens, row.value).second;
    if (row.counted) sum += std::log(row.value);
  }
  // One run's value stays what it is, to the last digit.
  found.value = seen.size() == 1 ? std::get<3>(*seen.begin())
                                 : std::exp(sum / static_cast<double>(seen.size()));
}

}  // namespace

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

core::Json ImportedOutcome::ToJson() const {
  core::Json list = core::Json::array();
  for (const OutcomeRow& row : rows)
    list.push_back({{"import", row.import},
                    {"source_hash", row.source_hash},
                    {"content_hash", row.content_hash},
                    {"source_row", row.source_row},
                    {"run", row.run},
                    {"flops", row.flops},
                    {"params", row.params},
                    {"tokens", row.tokens},
                    {"value", row.value},
                    {"counted", row.counted}});
  return {{"rows", list}, {"spread", {{"lo", lo}, {"hi", hi}}}};
}

absl::StatusOr<ImportedOutcome> OutcomeInImports(Database* db, int64_t forecast_id) {
  ImportedOutcome found;
  ASSIGN_OR_RETURN(
      Statement rows,
      db->Prepare(R"sql(SELECT i.name, i.source_hash, i.content_hash, r.run, r.source_row, r.flops,
          r.params, r.tokens, v.value, r.stage='target', f.target_params
        FROM forecasts f CROSS JOIN imported_runs r JOIN imports i USING(import_key)
        JOIN imported_values v USING(import_key, source_row)
        JOIN imported_metrics m ON m.import_key=v.import_key AND m.metric=v.metric
        WHERE f.forecast_id=?1 AND f.target_key IS NULL
          AND f.metric=m.metric || '/' || m.unit AND v.value > 0
          AND abs(r.flops-f.budget_flops) <= ?2*f.budget_flops
          AND r.params BETWEEN f.target_params/?3 AND f.target_params*?3
          AND NOT EXISTS(SELECT 1 FROM json_each(f.record_json, '$.cohort') c WHERE
            (c.key='recipe' AND c.value<>r.recipe) OR (c.key='data' AND c.value<>r.data) OR
            (c.key='tokenizer' AND c.value<>r.tokenizer) OR
            (c.key='seq_len' AND c.value<>r.seq_len) OR
            (c.key='numerics' AND c.value<>r.numerics) OR
            (c.key='eval' AND c.value<>m.eval) OR
            (c.key='schedule' AND c.value<>r.schedule) OR
            (c.key='flop_convention' AND c.value<>r.flop_convention) OR
            (c.key='n_convention' AND c.value<>r.n_convention))
        ORDER BY i.name, r.source_row)sql",
                  forecast_id, kSameBudget, kSameSize));
  double promised = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) break;
    OutcomeRow& out = found.rows.emplace_back();
    out.import = rows.Text(0), out.source_hash = rows.Text(1), out.content_hash = rows.Text(2);
    out.run = rows.Text(3), out.source_row = rows.Int(4);
    out.flops = rows.Double(5), out.params = rows.Double(6), out.tokens = rows.Double(7);
    out.value = rows.Double(8), out.outcome = rows.Int(9) != 0;
    promised = rows.Double(10);
  }
  if (!found.rows.empty()) Count(promised, found);
  return found;
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
