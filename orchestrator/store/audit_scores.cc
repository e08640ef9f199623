#include "orchestrator/store/audit_scores.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "orchestrator/store/outcome.h"

namespace orchestrator {
namespace {

bool Same(double a, double b) {
  return std::fabs(a - b) <= 1e-12 * std::max(std::fabs(a), std::fabs(b));
}
bool Same(const std::optional<double>& a, const std::optional<double>& b) {
  return a.has_value() == b.has_value() && (!a.has_value() || Same(*a, *b));
}

std::optional<double> NumberAt(const core::Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || !it->is_number() ? std::nullopt
                                                : std::optional<double>(it->get<double>());
}

std::string Shown(const std::optional<double>& value) {
  return value.has_value() ? fmt::format("{:.6g}", *value) : "none";
}

}  // namespace

std::string TextAt(const core::Json& object, const char* key, const char* none) {
  if (!object.is_object()) return none;
  const auto it = object.find(key);
  return it == object.end() || !it->is_string() ? none : it->get<std::string>();
}

int64_t IntAt(const core::Json& object, const char* key) {
  if (!object.is_object()) return 0;
  const auto it = object.find(key);
  return it == object.end() || !it->is_number_integer() ? 0 : it->get<int64_t>();
}

bool IsAdopted(const core::Json& verdict) {
  const auto from = verdict.find("from");
  return from != verdict.end() && from->is_object() && from->contains("adopted");
}

absl::Status Changed(const std::string& name, const std::string& what) {
  return absl::DataLossError(fmt::format("forecast '{}': {}", name, what));
}

absl::StatusOr<std::vector<ForecastRow>> ReadForecastRows(Database* db) {
  ASSIGN_OR_RETURN(Statement rows,
                   db->Prepare(R"sql(SELECT forecast_id, name, record_json, previous_hash,
          record_hash, observations_json, observations_hash, status, status_reason, outcome_loss,
          error_rel, inside, scored_unix_ms, target_key, loss, interval_lo, interval_hi,
          registered_unix_ms, metric, sweep,
          CASE WHEN json_valid(record_json) THEN
          name IS record_json->>'name' AND sweep IS record_json->>'sweep'
          AND law IS record_json->>'law' AND metric IS record_json->>'metric'
          AND loss = record_json->>'loss'
          AND budget_flops = CAST(record_json->>'budget_flops' AS REAL)
          AND interval_lo = json_extract(record_json, '$.interval.lo')
          AND interval_hi = json_extract(record_json, '$.interval.hi')
          AND interval_level = json_extract(record_json, '$.interval.level')
          AND interval_kind IS json_extract(record_json, '$.interval.kind')
          AND interval_method IS json_extract(record_json, '$.interval.method')
          AND observations_hash IS record_json->>'observations_hash'
          AND primary_law = json_extract(record_json, '$.primary')
          AND registered_unix_ms = json_extract(record_json, '$.registered_unix_ms')
          AND forecast_id = json_extract(record_json, '$.sequence')
          AND coalesce((SELECT trial_id FROM trials WHERE trial_key=target_key), '')
              IS record_json->>'target_trial_id'
          -- Of a trial of ours, older records do not say the size.
          AND (target_key IS NOT NULL AND record_json->'target' IS NULL OR
            coalesce(target_params, (SELECT params FROM trials WHERE trial_key=target_key))
              IS CAST(json_extract(record_json, '$.target.params') AS REAL)
            AND coalesce(target_tokens, (SELECT tokens FROM trials WHERE trial_key=target_key))
              IS CAST(json_extract(record_json, '$.target.tokens') AS REAL)) ELSE 0 END
        FROM forecasts ORDER BY forecast_id)sql"));
  std::vector<ForecastRow> result;
  const auto number = [&](int column) {
    return rows.IsNull(column) ? std::nullopt : std::optional<double>(rows.Double(column));
  };
  const auto integer = [&](int column) {
    return rows.IsNull(column) ? std::nullopt : std::optional<int64_t>(rows.Int(column));
  };
  while (true) {
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return result;
    ForecastRow& row = result.emplace_back();
    row.id = rows.Int(0), row.name = rows.Text(1), row.record_json = rows.Text(2);
    row.previous_hash = rows.Text(3), row.record_hash = rows.Text(4);
    row.observations_json = rows.Text(5), row.observations_hash = rows.Text(6);
    row.status = rows.Text(7), row.reason = rows.Text(8);
    row.outcome = number(9), row.error = number(10), row.inside = integer(11);
    row.scored_ms = integer(12), row.target_key = integer(13);
    row.loss = rows.Double(14), row.lo = rows.Double(15), row.hi = rows.Double(16);
    row.registered_ms = rows.Int(17), row.metric = rows.Text(18);
    row.sweep = rows.Text(19), row.repeats_record = rows.Int(20) != 0;
  }
}

absl::Status CheckVerdict(const ForecastRow& row, const core::Json& verdict) {
  const std::string status = TextAt(verdict, "status", "open");
  if (row.status != status)
    return Changed(row.name,
                   fmt::format("its status is {}, and the record says {}", row.status, status));
  if (const std::string reason = TextAt(verdict, "reason"); row.reason != reason)
    return Changed(row.name,
                   fmt::format("the reason of its status, '{}', is not the one on record, "
                               "'{}'",
                               row.reason, reason));
  const std::optional<double> outcome = NumberAt(verdict, "outcome_loss");
  if (!Same(row.outcome, outcome))
    return Changed(row.name, fmt::format("its outcome {} is not the one on record, {}",
                                         Shown(row.outcome), Shown(outcome)));
  const bool adopted = IsAdopted(verdict);
  const std::optional<double> decided =
      outcome.has_value() ? NumberAt(verdict, "decided_unix_ms") : std::nullopt;
  if (!adopted && (row.scored_ms.has_value() != decided.has_value() ||
                   (decided.has_value() && *decided != static_cast<double>(*row.scored_ms))))
    return Changed(row.name, "the time of its score is not the one on record");
  std::optional<double> error;
  std::optional<int64_t> inside;
  if (row.outcome.has_value()) {
    error = (row.loss - *row.outcome) / *row.outcome;
    inside = *row.outcome >= row.lo && *row.outcome <= row.hi;
  }
  if (!Same(row.error, error) || row.inside != inside)
    return Changed(row.name,
                   fmt::format("its error {} and whether the outcome is inside do not follow from "
                               "its loss {} and its outcome {}",
                               Shown(row.error), Shown(row.loss), Shown(row.outcome)));
  return absl::OkStatus();
}

absl::Status CheckTarget(Database* db, const ForecastRow& row, const core::Json& verdict) {
  ASSIGN_OR_RETURN(
      const int64_t leased,
      db->Int(0, "SELECT coalesce(min(leased_unix_ms), 0) FROM attempts WHERE trial_key=?1",
              *row.target_key));
  if (leased > 0 && leased < row.registered_ms)
    return Changed(row.name,
                   fmt::format("its target was leased at {}, before it was registered "
                               "at {}",
                               core::FormatUnixMs(leased), core::FormatUnixMs(row.registered_ms)));
  std::optional<double> outcome;
  core::Json now;
  {
    ASSIGN_OR_RETURN(Statement rows,
                     db->Prepare(R"sql(SELECT CASE ?2 WHEN 'loss' THEN sum_nats/scored_tokens
              ELSE sum_nats/(0.69314718055994530942*scored_bytes) END,
            eval_hash, step, epoch, sum_nats, scored_tokens, scored_bytes
          FROM evaluations WHERE trial_key=?1 AND final=1)sql",
                                 *row.target_key, row.metric));
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (found) {
      outcome = rows.Double(0);
      now = {{"eval_hash", rows.Text(1)},     {"step", rows.Int(2)},
             {"epoch", rows.Int(3)},          {"sum_nats", rows.Double(4)},
             {"scored_tokens", rows.Int(5)},  {"scored_bytes", rows.Int(6)},
             {"first_leased_unix_ms", leased}};
    }
  }
  if (!Same(row.outcome, outcome))
    return Changed(row.name, fmt::format("its outcome {} is not what the final evaluation of its "
                                         "target says, {}",
                                         Shown(row.outcome), Shown(outcome)));
  const core::Json from = verdict.value("from", core::Json());
  if (!outcome.has_value() || !from.is_object() || IsAdopted(verdict)) return absl::OkStatus();
  for (const auto& [key, value] : now.items()) {
    const core::Json stored = from.value(key, core::Json());
    if (value != stored)
      return Changed(row.name, fmt::format("{} of its target is {}, and was {} when it was scored",
                                           key, value.dump(), stored.dump()));
  }
  return absl::OkStatus();
}

absl::Status CheckRows(Database* db, const ForecastRow& row, const core::Json& verdict,
                       std::vector<ForecastRemark>* remarks) {
  ASSIGN_OR_RETURN(const ImportedOutcome now, OutcomeInImports(db, row.id));
  if (!row.outcome.has_value()) {
    if (row.status != "open") return absl::OkStatus();
    if (!now.doubt.empty()) {
      remarks->push_back({row.name, "not scored: " + now.doubt});
    } else if (!now.rows.empty()) {
      remarks->push_back({row.name, fmt::format("import {} holds its outcome, {}, and has not "
                                                "scored it: import it again",
                                                now.rows[0].import, Shown(now.value))});
    } else {
      for (const NearMiss& near : now.near) remarks->push_back({row.name, near.text});
    }
    return absl::OkStatus();
  }
  const core::Json from = verdict.value("from", core::Json());
  if (from.is_object() && from.contains("rows") && from["rows"].is_array()) {
    for (const core::Json& stored : from["rows"]) {
      const std::string import = TextAt(stored, "import");
      const std::string content_hash = TextAt(stored, "content_hash");
      const int64_t source_row = IntAt(stored, "source_row");
      const auto same = [&](const OutcomeRow& one) {
        return one.import == import && one.content_hash == content_hash &&
               one.source_row == source_row;
      };
      const auto found = std::find_if(now.rows.begin(), now.rows.end(), same);
      if (found != now.rows.end() && Same(found->value, NumberAt(stored, "value"))) continue;
      ASSIGN_OR_RETURN(const int64_t present,
                       db->Int(0, "SELECT count(*) FROM imports WHERE name=?1 AND content_hash=?2",
                               import, content_hash));
      if (present > 0)
        return Changed(row.name,
                       fmt::format("row {} of import {}, which scored it with {}, was changed",
                                   source_row, import, Shown(NumberAt(stored, "value"))));
    }
  }
  if (row.status == "scored" && !now.doubt.empty())
    remarks->push_back({row.name, "scored, and its outcome is in doubt: " + now.doubt});
  if (row.status == "scored" && !now.seen.empty())
    remarks->push_back({row.name, "scored, and not blind: " + now.seen});
  if (now.rows.empty()) {
    remarks->push_back({row.name, fmt::format("scored with {}, and no import holds that run now",
                                              Shown(row.outcome))});
  } else if (!Same(*row.outcome, now.value)) {
    remarks->push_back(
        {row.name,
         fmt::format("scored with {}; the imports say {} now ({} {}, {} .. {})", Shown(row.outcome),
                     Shown(now.value), now.rows.size(), now.rows.size() == 1 ? "row" : "rows",
                     Shown(now.lo), Shown(now.hi))});
  }
  return absl::OkStatus();
}

}  // namespace orchestrator
