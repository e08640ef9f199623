#include "orchestrator/store/audit.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/canonical_json.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "orchestrator/store/audit_scores.h"
#include "orchestrator/store/verdicts.h"

namespace orchestrator {
namespace {

struct Link {
  int64_t forecast_id = 0;
  std::string record_json, previous_hash, record_hash;
};

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

// What a verdict must be to be read: an object that names its place, its forecast and a status.
bool IsVerdict(const core::Json& record, int64_t place, const std::string& forecast) {
  static const std::set<std::string> kStatuses = {"open", "scored", "abandoned", "void"};
  return record.is_object() && IntAt(record, "sequence") == place &&
         TextAt(record, "forecast") == forecast && kStatuses.count(TextAt(record, "status")) > 0;
}

// One link, as the audit needs it after its hash has been checked.
struct Walked {
  std::string name, hash;  // of its forecast; its own
  int64_t unix_ms = 0;
  bool adopted = false;
};

// Both kinds of links by their places, up to the first that does not hold.
absl::Status WalkChain(const std::vector<ForecastRow>& rows,
                       const std::map<int64_t, Link>& verdicts, std::vector<Walked>* links) {
  std::map<int64_t, const ForecastRow*> by_id;
  for (const ForecastRow& row : rows) by_id[row.id] = &row;
  std::string previous;
  auto registration = rows.begin();
  auto verdict = verdicts.begin();
  while (registration != rows.end() || verdict != verdicts.end()) {
    const bool registers = verdict == verdicts.end() ||
                           (registration != rows.end() && registration->id <= verdict->first);
    if (registers) {
      const ForecastRow& row = *registration++;
      const bool observed = row.observations_hash == core::Sha256Hex(row.observations_json);
      if (row.previous_hash != previous || !row.repeats_record || !observed ||
          row.record_hash != ChainHash(previous, row.record_json)) {
        return absl::DataLossError(fmt::format(
            "registration '{}' was changed after it was stored: its {} no longer fits its hash",
            row.name, !observed ? "list of observations" : "record"));
      }
      previous = row.record_hash;
      links->push_back({row.name, previous, row.registered_ms, false});
    } else {
      const auto& [place, link] = *verdict++;
      const auto of = by_id.find(link.forecast_id);
      const auto record = core::ParseJson(link.record_json, "verdict");
      if (of == by_id.end() || !record.ok() || link.previous_hash != previous ||
          link.record_hash != ChainHash(previous, link.record_json) ||
          !IsVerdict(*record, place, of->second->record_hash)) {
        return absl::DataLossError(
            fmt::format("the verdict at place {} of the chain{} was changed after it was stored",
                        place, of == by_id.end() ? "" : ", of '" + of->second->name + "',"));
      }
      previous = link.record_hash;
      links->push_back(
          {of->second->name, previous, IntAt(*record, "decided_unix_ms"), IsAdopted(*record)});
    }
  }
  return absl::OkStatus();
}

// Events and links name each other: an event the hash of every link that was ever made. Before the
// first link that an event names, none did.
absl::Status CheckEvents(Database* db, const std::vector<Walked>& links) {
  std::set<std::string> known, named;
  for (const Walked& link : links) known.insert(link.hash);
  constexpr size_t kHash = 64;
  {
    ASSIGN_OR_RETURN(Statement rows,
                     db->Prepare("SELECT unix_ms, kind, detail FROM events WHERE kind LIKE "
                                 "'forecast %' AND detail LIKE '%, record %' ORDER BY event_id"));
    while (true) {
      ASSIGN_OR_RETURN(const bool found, rows.Step());
      if (!found) break;
      const std::string detail = rows.Text(2);
      if (detail.size() < kHash) continue;
      const std::string hash = detail.substr(detail.size() - kHash);
      named.insert(hash);
      if (known.count(hash) > 0) continue;
      return absl::DataLossError(
          fmt::format("the events say '{}' at {}: {}; the record holds no such link", rows.Text(1),
                      core::FormatUnixMs(rows.Int(0)), detail));
    }
  }
  bool since = false;
  for (size_t i = 0; i < links.size(); ++i) {
    const bool has_event = named.count(links[i].hash) > 0;
    since = since || has_event;
    if (since && !has_event && !links[i].adopted)
      return Changed(links[i].name, fmt::format("link {} of the chain is about it, and no event "
                                                "says that it was made: it was added by hand",
                                                i + 1));
  }
  return absl::OkStatus();
}

// The clock may step, and a record that was added later tells a time that is over.
void RemarkTimes(const std::vector<Walked>& links, std::vector<ForecastRemark>* remarks) {
  constexpr int64_t kStepMs = 60'000;
  int64_t latest = 0;
  for (size_t i = 0; i < links.size(); ++i) {
    if (links[i].unix_ms < latest - kStepMs)
      remarks->push_back(
          {links[i].name,
           fmt::format("link {} of the chain is of {}, and one before it of {}: a clock stepped "
                       "back, or it was added later",
                       i + 1, core::FormatUnixMs(links[i].unix_ms), core::FormatUnixMs(latest))});
    latest = std::max(latest, links[i].unix_ms);
  }
}

// The fits that say with which warnings it was made.
absl::Status CheckFits(Database* db, const ForecastRow& row) {
  const auto record = core::ParseJson(row.record_json, "registration");
  const std::string promised = record.ok() ? TextAt(*record, "fit_hash") : "";
  bool found_promised = promised.empty();
  ASSIGN_OR_RETURN(Statement fits, db->Prepare("SELECT fit_json, fit_hash FROM fits WHERE sweep=?1 "
                                               "AND observations_hash=?2",
                                               row.sweep, row.observations_hash));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, fits.Step());
    if (!found) break;
    if (core::Sha256Hex(fits.Text(0)) != fits.Text(1))
      return Changed(row.name,
                     "a fit of its observations, with its warnings, was changed after it "
                     "was stored");
    found_promised = found_promised || fits.Text(1) == promised;
  }
  return found_promised ? absl::OkStatus()
                        : Changed(row.name, "the fit it was made by, with its warnings, is gone");
}

bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status) || absl::IsPermissionDenied(status);
}

absl::Status CheckAll(Database* db, ForecastAudit* audit) {
  ASSIGN_OR_RETURN(const std::vector<ForecastRow> rows, ReadForecastRows(db));
  ASSIGN_OR_RETURN(const auto verdicts, ReadVerdicts(db));
  std::map<int64_t, core::Json> newest;
  for (const auto& [place, link] : verdicts) {
    auto record = core::ParseJson(link.record_json, "verdict");
    newest[link.forecast_id] = record.ok() && record->is_object() ? *record : core::Json::object();
  }
  std::vector<Walked> links;
  const absl::Status walked = WalkChain(rows, verdicts, &links);
  for (const Walked& link : links) audit->hashes.push_back(link.hash);
  RETURN_IF_ERROR(walked);
  RemarkTimes(links, &audit->remarks);
  for (const ForecastRow& row : rows) {
    const auto found = newest.find(row.id);
    const core::Json verdict = found == newest.end() ? core::Json::object() : found->second;
    RETURN_IF_ERROR(CheckVerdict(row, verdict));
    RETURN_IF_ERROR(row.target_key.has_value() ? CheckTarget(db, row, verdict)
                                               : CheckRows(db, row, verdict, &audit->remarks));
    RETURN_IF_ERROR(CheckFits(db, row));
    if (row.outcome.has_value() && IsAdopted(verdict))
      audit->remarks.push_back({row.name, "scored before outcomes were chained"});
  }
  return CheckEvents(db, links);
}

absl::StatusOr<ForecastAudit> Audit(Database* db) {
  ForecastAudit audit;
  audit.agreement = CheckAll(db, &audit);
  if (MayPass(audit.agreement)) return audit.agreement;
  // A table that is gone, or a text that is no JSON: damage, whatever SQLite calls it.
  if (!audit.agreement.ok() && !absl::IsDataLoss(audit.agreement))
    audit.agreement = absl::DataLossError(
        fmt::format("the record cannot be read: {}", std::string(audit.agreement.message())));
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
