#include "orchestrator/store/audit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/canonical_json.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "orchestrator/store/verdicts.h"

namespace orchestrator {
namespace {

// What a forecast's columns say of it.
struct Row {
  int64_t id = 0;
  std::string name, record_json, previous_hash, record_hash, observations_json, observations_hash;
  bool repeats_record = false;  // every column that the record holds too
  std::string status, reason, metric;
  std::optional<double> outcome, error;
  std::optional<int64_t> inside, scored_ms, target_key;
  double loss = 0, lo = 0, hi = 0;
  int64_t registered_ms = 0;
};

struct Link {
  int64_t forecast_id = 0;
  std::string record_json, previous_hash, record_hash;
};

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

absl::Status Changed(const std::string& name, const std::string& what) {
  return absl::DataLossError(fmt::format("forecast '{}': {}", name, what));
}

absl::StatusOr<std::vector<Row>> ReadForecasts(Database* db) {
  ASSIGN_OR_RETURN(Statement rows,
                   db->Prepare(R"sql(SELECT forecast_id, name, record_json, previous_hash,
          record_hash, observations_json, observations_hash, status, status_reason, outcome_loss,
          error_rel, inside, scored_unix_ms, target_key, loss, interval_lo, interval_hi,
          registered_unix_ms, metric,
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
              IS CAST(json_extract(record_json, '$.target.tokens') AS REAL))
        FROM forecasts ORDER BY forecast_id)sql"));
  std::vector<Row> result;
  const auto number = [&](int column) {
    return rows.IsNull(column) ? std::nullopt : std::optional<double>(rows.Double(column));
  };
  const auto integer = [&](int column) {
    return rows.IsNull(column) ? std::nullopt : std::optional<int64_t>(rows.Int(column));
  };
  while (true) {
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return result;
    Row& row = result.emplace_back();
    row.id = rows.Int(0), row.name = rows.Text(1), row.record_json = rows.Text(2);
    row.previous_hash = rows.Text(3), row.record_hash = rows.Text(4);
    row.observations_json = rows.Text(5), row.observations_hash = rows.Text(6);
    row.status = rows.Text(7), row.reason = rows.Text(8);
    row.outcome = number(9), row.error = number(10), row.inside = integer(11);
    row.scored_ms = integer(12), row.target_key = integer(13);
    row.loss = rows.Double(14), row.lo = rows.Double(15), row.hi = rows.Double(16);
    row.registered_ms = rows.Int(17), row.metric = rows.Text(18);
    row.repeats_record = rows.Int(19) != 0;
  }
}

absl::StatusOr<std::map<int64_t, Link>> ReadVerdicts(Database* db) {
  ASSIGN_OR_RETURN(Statement rows,
                   db->Prepare("SELECT place, forecast_id, record_json, previous_hash, record_hash "
                               "FROM forecast_verdicts ORDER BY place"));
  std::map<int64_t, Link> result;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return result;
    result[rows.Int(0)] = {rows.Int(1), rows.Text(2), rows.Text(3), rows.Text(4)};
  }
}

// Both kinds of links by their places. The hashes seen, in order, are left in `hashes`.
absl::Status WalkChain(const std::vector<Row>& rows, const std::map<int64_t, Link>& verdicts,
                       std::vector<std::string>* hashes) {
  std::map<int64_t, const Row*> by_id;
  for (const Row& row : rows) by_id[row.id] = &row;
  std::string previous;
  auto registration = rows.begin();
  auto verdict = verdicts.begin();
  while (registration != rows.end() || verdict != verdicts.end()) {
    const bool registers = verdict == verdicts.end() ||
                           (registration != rows.end() && registration->id <= verdict->first);
    if (registers) {
      const Row& row = *registration++;
      const bool observed = row.observations_hash == core::Sha256Hex(row.observations_json) &&
                            row.record_json.find(row.observations_hash) != std::string::npos;
      if (row.previous_hash != previous || !row.repeats_record || !observed ||
          row.record_hash != ChainHash(previous, row.record_json)) {
        return absl::DataLossError(fmt::format(
            "registration '{}' was changed after it was stored: its {} no longer fits its hash",
            row.name, !observed ? "list of observations" : "record"));
      }
      previous = row.record_hash;
    } else {
      const auto& [place, link] = *verdict++;
      const auto of = by_id.find(link.forecast_id);
      const auto record = core::ParseJson(link.record_json, "verdict");
      if (of == by_id.end() || !record.ok() || link.previous_hash != previous ||
          link.record_hash != ChainHash(previous, link.record_json) ||
          record->value("sequence", int64_t{0}) != place ||
          record->value("forecast", "") != of->second->record_hash) {
        return absl::DataLossError(
            fmt::format("the verdict at place {} of the chain{} was changed after it was stored",
                        place, of == by_id.end() ? "" : ", of '" + of->second->name + "',"));
      }
      previous = link.record_hash;
    }
    hashes->push_back(previous);
  }
  return absl::OkStatus();
}

// The columns that change, against the newest verdict; none: it is open.
absl::Status CheckVerdict(const Row& row, const core::Json& verdict) {
  const std::string status = verdict.value("status", "open");
  if (row.status != status || row.reason != verdict.value("reason", ""))
    return Changed(row.name,
                   fmt::format("its status is {}, and the record says {}", row.status, status));
  const std::optional<double> outcome = NumberAt(verdict, "outcome_loss");
  if (!Same(row.outcome, outcome))
    return Changed(row.name, fmt::format("its outcome {} is not the one on record, {}",
                                         Shown(row.outcome), Shown(outcome)));
  const bool adopted = verdict.contains("from") && verdict["from"].contains("adopted");
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

// Against the target's attempts and its final evaluation.
absl::Status CheckTarget(Database* db, const Row& row, const core::Json& verdict) {
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
  if (!outcome.has_value() || !from.is_object() || from.contains("adopted"))
    return absl::OkStatus();
  for (const auto& [key, value] : now.items()) {
    const core::Json stored = from.value(key, core::Json());
    if (value != stored)
      return Changed(row.name, fmt::format("{} of its target is {}, and was {} when it was scored",
                                           key, value.dump(), stored.dump()));
  }
  return absl::OkStatus();
}

// Against the rows of the imports. An import that was replaced since is a remark, not a change.
absl::Status CheckRows(Database* db, const Row& row, const core::Json& verdict,
                       std::vector<ForecastRemark>* remarks) {
  ASSIGN_OR_RETURN(const ImportedOutcome now, OutcomeInImports(db, row.id));
  if (!row.outcome.has_value()) {
    if (!now.rows.empty() && row.status == "open")
      remarks->push_back({row.name, fmt::format("import {} holds its outcome, {}, and has not "
                                                "scored it",
                                                now.rows[0].import, Shown(now.value))});
    return absl::OkStatus();
  }
  const core::Json from = verdict.value("from", core::Json());
  if (from.is_object() && from.contains("rows") && from["rows"].is_array()) {
    for (const core::Json& stored : from["rows"]) {
      const auto same = [&](const OutcomeRow& one) {
        return one.import == stored.value("import", "") &&
               one.content_hash == stored.value("content_hash", "") &&
               one.source_row == stored.value("source_row", int64_t{0});
      };
      const auto found = std::find_if(now.rows.begin(), now.rows.end(), same);
      if (found != now.rows.end() && Same(found->value, NumberAt(stored, "value"))) continue;
      ASSIGN_OR_RETURN(const int64_t present,
                       db->Int(0, "SELECT count(*) FROM imports WHERE name=?1 AND content_hash=?2",
                               stored.value("import", ""), stored.value("content_hash", "")));
      if (present > 0)
        return Changed(row.name,
                       fmt::format("row {} of import {}, which scored it with {}, was changed",
                                   stored.value("source_row", int64_t{0}),
                                   stored.value("import", ""), Shown(NumberAt(stored, "value"))));
    }
  }
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

// Events name the hash of every link that was ever made.
absl::Status CheckEvents(Database* db, const std::vector<std::string>& hashes) {
  const std::set<std::string> known(hashes.begin(), hashes.end());
  ASSIGN_OR_RETURN(Statement rows,
                   db->Prepare("SELECT unix_ms, kind, detail FROM events WHERE kind LIKE "
                               "'forecast %' AND detail LIKE '%, record %' ORDER BY event_id"));
  constexpr size_t kHash = 64;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return absl::OkStatus();
    const std::string detail = rows.Text(2);
    if (detail.size() < kHash || known.count(detail.substr(detail.size() - kHash)) > 0) continue;
    return absl::DataLossError(
        fmt::format("the events say '{}' at {}: {}; the record holds no such link", rows.Text(1),
                    core::FormatUnixMs(rows.Int(0)), detail));
  }
}

absl::StatusOr<ForecastAudit> Audit(Database* db) {
  ForecastAudit audit;
  ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadForecasts(db));
  ASSIGN_OR_RETURN(const auto verdicts, ReadVerdicts(db));
  std::map<int64_t, core::Json> newest;
  for (const auto& [place, link] : verdicts) {
    auto record = core::ParseJson(link.record_json, "verdict");
    newest[link.forecast_id] = record.ok() && record->is_object() ? *record : core::Json::object();
  }
  const auto check = [&]() -> absl::Status {
    RETURN_IF_ERROR(WalkChain(rows, verdicts, &audit.hashes));
    for (const Row& row : rows) {
      const auto found = newest.find(row.id);
      const core::Json verdict = found == newest.end() ? core::Json::object() : found->second;
      RETURN_IF_ERROR(CheckVerdict(row, verdict));
      RETURN_IF_ERROR(row.target_key.has_value() ? CheckTarget(db, row, verdict)
                                                 : CheckRows(db, row, verdict, &audit.remarks));
      const core::Json from = verdict.value("from", core::Json());
      if (row.outcome.has_value() && from.is_object() && from.contains("adopted"))
        audit.remarks.push_back({row.name, "scored before outcomes were chained"});
    }
    return CheckEvents(db, audit.hashes);
  };
  audit.agreement = check();
  if (!audit.agreement.ok() && !absl::IsDataLoss(audit.agreement)) return audit.agreement;
  return audit;
}

}  // namespace

absl::StatusOr<ForecastAudit> AuditForecasts(Database* db) {
  if (db->InTransaction()) return Audit(db);
  // One state of the file for all of its queries.
  RETURN_IF_ERROR(db->Execute("BEGIN"));
  absl::StatusOr<ForecastAudit> audit = Audit(db);
  RETURN_IF_ERROR(db->Execute("ROLLBACK"));
  return audit;
}

absl::Status VerifyForecastChain(Database* db) {
  ASSIGN_OR_RETURN(const ForecastAudit audit, AuditForecasts(db));
  return audit.agreement;
}

}  // namespace orchestrator
