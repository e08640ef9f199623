// The record: registrations and verdicts chained by hash, and fits.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "core/canonical_json.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/store.h"
#include "orchestrator/store/verdicts.h"

namespace orchestrator {
namespace {

// A canonical text writes the double 1e18 as an integer; beyond 2^53 it was never anything else.
void RestoreDoubles(core::Json* json) {
  constexpr int64_t kExact = int64_t{1} << 53;
  if (json->is_number_integer() && std::abs(json->get<double>()) > kExact)
    *json = json->get<double>();
  if (json->is_structured())
    for (core::Json& item : *json) RestoreDoubles(&item);
}

absl::StatusOr<core::Json> ParseOr(const std::string& text, const char* what) {
  if (text.empty()) return core::Json(nullptr);
  ASSIGN_OR_RETURN(core::Json json, core::ParseJson(text, what));
  RestoreDoubles(&json);
  return json;
}

// Everything that was promised. The time of registration and the place in the chain are added by
// the caller.
absl::StatusOr<core::Json> Promise(const v1::RegisterForecastRequest& r,
                                   const std::string& observations_hash) {
  ASSIGN_OR_RETURN(const core::Json cohort, ParseOr(r.cohort_json(), "cohort of the forecast"));
  ASSIGN_OR_RETURN(const core::Json options, ParseOr(r.options_json(), "options of the forecast"));
  core::Json promise{{"name", r.name()},
                     {"sweep", r.sweep()},
                     {"target_trial_id", r.target_trial_id()},
                     {"law", r.law()},
                     {"primary", r.primary()},
                     {"budget_flops", r.budget_flops()},
                     {"metric", r.metric()},
                     {"loss", r.loss()},
                     {"interval",
                      {{"lo", r.interval_lo()},
                       {"hi", r.interval_hi()},
                       {"level", r.interval_level()},
                       {"kind", r.interval_kind()},
                       {"method", r.interval_method()}}},
                     {"cohort", cohort},
                     {"options", options},
                     {"observations_hash", observations_hash},
                     {"code_version", r.code_version()}};
  if (r.target_trial_id().empty())
    promise["target"] = {{"params", r.target_params()}, {"tokens", r.target_tokens()}};
  return promise;
}

// Keys of the cohort, of the forecast or of one of its observations, whose value nobody knows.
absl::Status CheckKnown(const std::string& name, const core::Json& cohort,
                        const core::Json& observations) {
  std::set<std::string> unknown;
  const auto look = [&](const core::Json& values) {
    if (!values.is_object()) return;
    for (const auto& [key, value] : values.items())
      if (value == "unknown") unknown.insert(key);
  };
  look(cohort);
  if (observations.is_array())
    for (const core::Json& row : observations)
      if (row.is_object() && row.contains("cohort")) look(row["cohort"]);
  if (unknown.empty()) return absl::OkStatus();
  std::string keys;
  for (const std::string& key : unknown) keys += (keys.empty() ? "" : ", ") + key;
  return absl::FailedPreconditionError(fmt::format(
      "forecast {}: {} of its observations {} unknown, so nobody could say later what was "
      "promised; import them again with --value {}=...",
      name, keys, unknown.size() == 1 ? "is" : "are", *unknown.begin()));
}

// What lies among the fitted runs is interpolated: any number of such targets would come out right.
absl::Status CheckReach(const v1::RegisterForecastRequest& request,
                        const core::Json& observations) {
  double largest = 0;
  if (observations.is_array())
    for (const core::Json& row : observations)
      if (row.is_object() && row.contains("flops") && row["flops"].is_number())
        largest = std::max(largest, row["flops"].get<double>());
  if (largest == 0 || request.budget_flops() > largest) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("forecast {}: a target of {:.6g} FLOPs does not reach beyond the fitted runs, "
                  "whose largest has {:.6g}, so it would be no forecast; name a larger one",
                  request.name(), request.budget_flops(), largest));
}

absl::Status CheckForecast(const v1::RegisterForecastRequest& r) {
  if (r.name().empty() || r.name().size() > 200)
    return absl::InvalidArgumentError("forecast: the name needs 1 to 200 characters");
  const bool elsewhere = r.target_trial_id().empty();
  if (elsewhere && !(r.target_params() > 0 && r.target_tokens() > 0)) {
    return absl::InvalidArgumentError(fmt::format(
        "forecast {}: it names no target: a trial, or params and tokens of one that is trained "
        "elsewhere",
        r.name()));
  }
  if (!elsewhere && r.metric() != "loss" && r.metric() != "bits_per_byte") {
    return absl::InvalidArgumentError(
        fmt::format("forecast {}: metric '{}'; use loss or bits_per_byte", r.name(), r.metric()));
  }
  if (!(std::isfinite(r.loss()) && std::isfinite(r.interval_lo()) &&
        std::isfinite(r.interval_hi()) && r.interval_lo() <= r.interval_hi() &&
        r.interval_level() > 0 && r.interval_level() < 1 && r.budget_flops() > 0)) {
    return absl::InvalidArgumentError(fmt::format(
        "forecast {}: loss {} with interval [{}, {}] at level {} for {} FLOPs is not a forecast",
        r.name(), r.loss(), r.interval_lo(), r.interval_hi(), r.interval_level(),
        r.budget_flops()));
  }
  return absl::OkStatus();
}

// What a forecast is about, checked to be blind.
struct BlindTarget {
  std::optional<int64_t> key;  // a trial of ours, with its size
  core::Json size;
  std::optional<double> params, tokens;  // one that is trained elsewhere
  std::string seen;                      // an observation at its budget: not blind
};

absl::StatusOr<BlindTarget> TargetHere(Database* db, const v1::RegisterForecastRequest& request) {
  BlindTarget target;
  double target_budget = 0;
  {
    ASSIGN_OR_RETURN(
        Statement row,
        db->Prepare("SELECT t.trial_key, t.budget_flops, t.params, t.tokens FROM trials t JOIN "
                    "sweep_trials st USING(trial_key) WHERE t.trial_id=?1 AND st.sweep=?2",
                    request.target_trial_id(), request.sweep()));
    ASSIGN_OR_RETURN(const bool found, row.Step());
    if (!found) {
      return absl::NotFoundError(
          fmt::format("forecast {}: sweep {} has no target {}; submit the target first",
                      request.name(), request.sweep(), request.target_trial_id()));
    }
    target.key = row.Int(0);
    target_budget = row.Double(1);
    target.size = {{"params", row.Int(2)}, {"tokens", row.Int(3)}};
  }
  if (std::abs(target_budget - request.budget_flops()) > kSameBudget * target_budget) {
    return absl::InvalidArgumentError(
        fmt::format("forecast {}: it speaks of {} FLOPs, its target {} spends {}", request.name(),
                    request.budget_flops(), request.target_trial_id(), target_budget));
  }
  ASSIGN_OR_RETURN(const int64_t attempts,
                   db->Int(0, "SELECT count(*) FROM attempts WHERE trial_key=?1", *target.key));
  if (attempts > 0) {
    return absl::FailedPreconditionError(fmt::format(
        "forecast {}: target {} already has {} attempt(s), so the forecast would not be blind",
        request.name(), request.target_trial_id(), attempts));
  }
  if (request.primary()) {
    ASSIGN_OR_RETURN(const std::string other,
                     db->Text("SELECT name FROM forecasts WHERE target_key=?1 AND sweep=?2 AND "
                              "primary_law=1",
                              *target.key, request.sweep()));
    if (!other.empty()) {
      return absl::FailedPreconditionError(
          fmt::format("forecast {}: target {} has its primary forecast already ({})",
                      request.name(), request.target_trial_id(), other));
    }
  }
  ASSIGN_OR_RETURN(const std::string seen,
                   db->Text(R"sql(SELECT o.trial_id FROM trials t JOIN trials o
            ON o.recipe=t.recipe AND o.recipe_version=t.recipe_version AND o.data=t.data
            AND o.tokenizer IS t.tokenizer AND o.eval_hash IS t.eval_hash AND o.seq_len=t.seq_len
            AND o.numerics IS t.numerics
          WHERE t.trial_key=?1 AND o.trial_key<>t.trial_key AND o.state='COMPLETED'
            AND abs(o.budget_flops-t.budget_flops) <= ?2*t.budget_flops LIMIT 1)sql",
                            *target.key, kSameBudget));
  if (!seen.empty()) target.seen = fmt::format("trial {} of the cohort", seen);
  return target;
}

// Nobody promised two things of one cohort: no key that both know has two values.
bool MayBeOneCohort(const core::Json& a, const core::Json& b) {
  if (!a.is_object() || !b.is_object()) return true;
  for (const auto& [key, value] : a.items())
    if (b.contains(key) && b[key] != value) return false;
  return true;
}

// The primary forecast that a run of this one's target would score too, whatever import it was made
// from; "" when there is none.
absl::StatusOr<std::string> PrimaryElsewhere(Database* db,
                                             const v1::RegisterForecastRequest& request,
                                             const core::Json& cohort) {
  // A run within 1 % of both budgets exists.
  constexpr double kOneTarget = (1 + kSameBudget) / (1 - kSameBudget) - 1;
  ASSIGN_OR_RETURN(
      Statement rows,
      db->Prepare("SELECT name, record_json->'$.cohort' FROM forecasts WHERE target_key IS NULL "
                  "AND metric=?1 AND primary_law=1 AND "
                  "abs(budget_flops-?2) <= ?3*min(budget_flops, ?2) ORDER BY forecast_id",
                  request.metric(), request.budget_flops(), kOneTarget));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) return std::string();
    ASSIGN_OR_RETURN(const core::Json other, ParseOr(rows.Text(1), "cohort of a forecast"));
    if (MayBeOneCohort(cohort, other)) return rows.Text(0);
  }
}

// Nobody but the user knows whether a run elsewhere has begun. What is known is what was imported.
absl::StatusOr<BlindTarget> TargetElsewhere(Database* db,
                                            const v1::RegisterForecastRequest& request,
                                            const core::Json& cohort) {
  BlindTarget target;
  target.params = request.target_params();
  target.tokens = request.target_tokens();
  ASSIGN_OR_RETURN(const int64_t import,
                   db->Int(0, "SELECT import_key FROM imports WHERE name=?1", request.sweep()));
  if (import == 0) {
    return absl::NotFoundError(
        fmt::format("forecast {}: there is no import {}, and a sweep's "
                    "forecast names its target trial",
                    request.name(), request.sweep()));
  }
  if (request.primary()) {
    ASSIGN_OR_RETURN(const std::string other, PrimaryElsewhere(db, request, cohort));
    if (!other.empty()) {
      return absl::FailedPreconditionError(
          fmt::format("forecast {}: its cohort has a primary forecast of {} at this budget already "
                      "({}); a registration is never changed, under whatever name its runs are "
                      "imported",
                      request.name(), request.metric(), other));
    }
  }
  ASSIGN_OR_RETURN(const std::string seen, db->Text(R"sql(SELECT i.name || '/' || o.run
          FROM imported_runs o JOIN imports i USING(import_key)
          WHERE (abs(o.flops-?2) <= ?3*?2 OR abs(o.budget_flops-?2) <= ?3*?2)
            AND EXISTS(SELECT 1 FROM imported_runs r WHERE r.import_key=?1
              AND r.recipe=o.recipe AND r.data=o.data AND r.tokenizer=o.tokenizer
              AND r.seq_len=o.seq_len AND r.numerics=o.numerics) LIMIT 1)sql",
                                                    import, request.budget_flops(), kSameBudget));
  if (!seen.empty()) target.seen = fmt::format("run {}", seen);
  return target;
}

}  // namespace

absl::StatusOr<v1::RegisterForecastResponse> Store::RegisterForecast(
    const v1::RegisterForecastRequest& request, int64_t now_ms) {
  RETURN_IF_ERROR(CheckForecast(request));
  ASSIGN_OR_RETURN(const core::Json observations,
                   ParseOr(request.observations_json(), "observations of the forecast"));
  ASSIGN_OR_RETURN(const std::string observations_bytes, core::CanonicalJson(observations));
  const std::string observations_hash = core::Sha256Hex(observations_bytes);
  ASSIGN_OR_RETURN(core::Json record, Promise(request, observations_hash));
  RETURN_IF_ERROR(CheckKnown(request.name(), record["cohort"], observations));

  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  v1::RegisterForecastResponse response;
  {
    ASSIGN_OR_RETURN(
        Statement row,
        db_->Prepare("SELECT record_json, record_hash, status FROM forecasts WHERE name=?1",
                     request.name()));
    ASSIGN_OR_RETURN(const bool found, row.Step());
    if (found) {
      ASSIGN_OR_RETURN(core::Json stored, core::ParseJson(row.Text(0), "stored registration"));
      stored.erase("registered_unix_ms");
      stored.erase("sequence");
      // The trial's id says its size; older records do not repeat it.
      if (!request.target_trial_id().empty()) stored.erase("target");
      if (stored != record) {
        return absl::FailedPreconditionError(
            fmt::format("forecast {} is registered already and says something else; a "
                        "registration cannot be changed, give the new one another name",
                        request.name()));
      }
      response.set_record_hash(row.Text(1));
      response.set_already_registered(true);
      response.set_status(row.Text(2));
      return response;
    }
  }
  RETURN_IF_ERROR(CheckReach(request, observations));
  ASSIGN_OR_RETURN(const BlindTarget target,
                   request.target_trial_id().empty()
                       ? TargetElsewhere(db_.get(), request, record["cohort"])
                       : TargetHere(db_.get(), request));
  // Somebody has seen a result at this budget in this cohort: the forecast is recorded, not blind.
  const std::string status = target.seen.empty() ? "open" : "void";
  const std::string reason =
      target.seen.empty() ? "" : fmt::format("{} was observed at this budget", target.seen);

  ASSIGN_OR_RETURN(const ChainEnd end, EndOfChain(db_.get()));
  if (target.key.has_value()) record["target"] = target.size;
  record["registered_unix_ms"] = now_ms;
  record["sequence"] = end.place;
  ASSIGN_OR_RETURN(const std::string record_bytes, core::CanonicalJson(record));
  const std::string record_hash = ChainHash(end.previous, record_bytes);
  RETURN_IF_ERROR(db_->Run(
      R"sql(INSERT INTO forecasts(forecast_id, name, sweep, target_key, law, primary_law,
        budget_flops, metric, loss, interval_lo, interval_hi, interval_level, interval_kind,
        interval_method, observations_json, observations_hash, registered_unix_ms, record_json,
        previous_hash, record_hash, status, status_reason, target_params, target_tokens)
      VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,
        ?24))sql",
      end.place, request.name(), request.sweep(), target.key, request.law(), request.primary(),
      request.budget_flops(), request.metric(), request.loss(), request.interval_lo(),
      request.interval_hi(), request.interval_level(), request.interval_kind(),
      request.interval_method(), observations_bytes, observations_hash, now_ms, record_bytes,
      end.previous, record_hash, "open", "", target.params, target.tokens));
  if (target.key.has_value()) {
    RETURN_IF_ERROR(db_->Run("UPDATE sweep_trials SET released=1 WHERE sweep=?1 AND trial_key=?2",
                             request.sweep(), *target.key));
    RETURN_IF_ERROR(SettleWaiting(*target.key, now_ms));
  }
  RETURN_IF_ERROR(AddEvent(now_ms, "forecast registered", request.sweep(),
                           request.target_trial_id(), "",
                           fmt::format("{} ({}), record {}", request.name(), status, record_hash)));
  if (!reason.empty())
    RETURN_IF_ERROR(
        AppendVerdict(db_.get(), {end.place, status, reason, std::nullopt, core::Json()}, now_ms));
  RETURN_IF_ERROR(transaction.Commit());
  response.set_record_hash(record_hash);
  response.set_status(status);
  return response;
}

// A void forecast gets its outcome too, and stays void.
absl::Status Store::ScoreForecasts(int64_t key, int64_t now_ms) {
  std::vector<Verdict> verdicts;
  {
    ASSIGN_OR_RETURN(Statement rows,
                     db_->Prepare(R"sql(SELECT f.forecast_id, f.status, f.status_reason,
            CASE f.metric WHEN 'loss' THEN v.sum_nats/v.scored_tokens
              ELSE v.sum_nats/(0.69314718055994530942*v.scored_bytes) END,
            t.trial_id, a.attempt, v.epoch, v.eval_hash, v.step, v.sum_nats, v.scored_tokens,
            v.scored_bytes,
            (SELECT min(leased_unix_ms) FROM attempts l WHERE l.trial_key=f.target_key)
          FROM forecasts f JOIN evaluations v ON v.trial_key=f.target_key AND v.final=1
          JOIN trials t ON t.trial_key=f.target_key
          LEFT JOIN attempts a ON a.trial_key=v.trial_key AND a.epoch=v.epoch
          WHERE f.target_key=?1 AND f.outcome_loss IS NULL ORDER BY f.forecast_id)sql",
                                  key));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      const bool is_void = rows.Text(1) == "void";
      verdicts.push_back({rows.Int(0),
                          is_void ? "void" : "scored",
                          is_void ? rows.Text(2) : "",
                          rows.Double(3),
                          {{"trial_id", rows.Text(4)},
                           {"attempt", rows.Int(5)},
                           {"epoch", rows.Int(6)},
                           {"eval_hash", rows.Text(7)},
                           {"step", rows.Int(8)},
                           {"sum_nats", rows.Double(9)},
                           {"scored_tokens", rows.Int(10)},
                           {"scored_bytes", rows.Int(11)},
                           {"first_leased_unix_ms", rows.Int(12)}}});
    }
  }
  for (const Verdict& verdict : verdicts)
    RETURN_IF_ERROR(AppendVerdict(db_.get(), verdict, now_ms));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Store::ScoreImportedForecasts(const std::string& import, int64_t now_ms) {
  struct Waiting {
    int64_t id = 0;
    std::string status, reason;
  };
  std::vector<Waiting> waiting;
  {
    ASSIGN_OR_RETURN(Statement rows,
                     db_->Prepare("SELECT forecast_id, status, status_reason FROM forecasts WHERE "
                                  "target_key IS NULL AND outcome_loss IS NULL ORDER BY "
                                  "forecast_id"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      waiting.push_back({rows.Int(0), rows.Text(1), rows.Text(2)});
    }
  }
  int64_t scored = 0;
  for (const Waiting& forecast : waiting) {
    ASSIGN_OR_RETURN(const ImportedOutcome outcome, OutcomeInImports(db_.get(), forecast.id));
    if (std::none_of(outcome.rows.begin(), outcome.rows.end(),
                     [&](const OutcomeRow& row) { return row.import == import; }))
      continue;
    const bool is_void = forecast.status == "void";
    RETURN_IF_ERROR(AppendVerdict(db_.get(),
                                  {forecast.id, is_void ? "void" : "scored",
                                   is_void ? forecast.reason : "", outcome.value, outcome.ToJson()},
                                  now_ms));
    ++scored;
  }
  return scored;
}

absl::Status Store::ChangeForecasts(int64_t key, const char* from, const char* to,
                                    std::string_view why, int64_t now_ms) {
  std::vector<int64_t> ids;
  {
    ASSIGN_OR_RETURN(Statement rows,
                     db_->Prepare("SELECT forecast_id FROM forecasts WHERE target_key=?1 AND "
                                  "status=?2 ORDER BY forecast_id",
                                  key, from));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      ids.push_back(rows.Int(0));
    }
  }
  for (const int64_t id : ids)
    RETURN_IF_ERROR(
        AppendVerdict(db_.get(), {id, to, std::string(why), std::nullopt, core::Json()}, now_ms));
  return absl::OkStatus();
}

absl::Status Store::AbandonForecasts(int64_t key, std::string_view why, int64_t now_ms) {
  return ChangeForecasts(key, "open", "abandoned", why, now_ms);
}

absl::Status Store::ReopenForecasts(int64_t key, int64_t now_ms) {
  return ChangeForecasts(key, "abandoned", "open", "", now_ms);
}

absl::StatusOr<v1::RegisterForecastsResponse> Store::RegisterForecasts(
    const v1::RegisterForecastsRequest& request, int64_t now_ms) {
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  RETURN_IF_ERROR(RecordFit(request.fit(), now_ms).status());
  v1::RegisterForecastsResponse response;
  for (const v1::RegisterForecastRequest& forecast : request.forecasts()) {
    const auto registered = RegisterForecast(forecast, now_ms);
    if (!registered.ok() && request.forecasts_size() > 1)
      return absl::Status(
          registered.status().code(),
          fmt::format("{}; none of the {} forecasts was registered",
                      std::string(registered.status().message()), request.forecasts_size()));
    ASSIGN_OR_RETURN(*response.add_forecasts(), registered);
  }
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

absl::StatusOr<v1::RecordFitResponse> Store::RecordFit(const v1::RecordFitRequest& request,
                                                       int64_t now_ms) {
  ASSIGN_OR_RETURN(const core::Json fit,
                   core::ParseJson(request.fit_json(), "fit of sweep " + request.sweep()));
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  ASSIGN_OR_RETURN(const int64_t known,
                   db_->Int(0,
                            "SELECT 1 FROM sweeps WHERE sweep=?1 UNION ALL SELECT 1 FROM imports "
                            "WHERE name=?1",
                            request.sweep()));
  if (known == 0) {
    return absl::NotFoundError(fmt::format("fit: no sweep or import {} exists", request.sweep()));
  }
  const std::string hash = core::Sha256Hex(request.fit_json());
  RETURN_IF_ERROR(
      db_->Run("INSERT INTO fits(sweep, fit_json, fit_hash, observations_hash, created_unix_ms) "
               "VALUES(?1,?2,?3,?4,?5) ON CONFLICT DO NOTHING",
               request.sweep(), request.fit_json(), hash, request.observations_hash(), now_ms));
  v1::RecordFitResponse response;
  ASSIGN_OR_RETURN(
      const int64_t id,
      db_->Int(0, "SELECT fit_id FROM fits WHERE sweep=?1 AND fit_hash=?2 AND observations_hash=?3",
               request.sweep(), hash, request.observations_hash()));
  response.set_fit_id(id);
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

}  // namespace orchestrator
