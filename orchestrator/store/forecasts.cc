// The record: registrations and verdicts chained by hash, and fits.
#include <optional>

#include "core/canonical_json.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/registration.h"
#include "orchestrator/store/store.h"
#include "orchestrator/store/verdicts.h"

namespace orchestrator {
namespace {

// Everything that was promised. The time of registration and the place in the chain are added by
// the caller.
absl::StatusOr<core::Json> Promise(const v1::RegisterForecastRequest& r,
                                   const std::string& observations_hash) {
  ASSIGN_OR_RETURN(const core::Json cohort, ParseOrNull(r.cohort_json(), "cohort of the forecast"));
  ASSIGN_OR_RETURN(const core::Json options,
                   ParseOrNull(r.options_json(), "options of the forecast"));
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
  if (!r.fit_hash().empty()) promise["fit_hash"] = r.fit_hash();
  if (r.target_trial_id().empty())
    promise["target"] = {{"params", r.target_params()}, {"tokens", r.target_tokens()}};
  return promise;
}

// The fit whose hash is promised is stored.
absl::Status CheckFit(Database* db, const v1::RegisterForecastRequest& r) {
  if (r.fit_hash().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int64_t stored,
                   db->Int(0, "SELECT count(*) FROM fits WHERE sweep=?1 AND fit_hash=?2", r.sweep(),
                           r.fit_hash()));
  if (stored > 0) return absl::OkStatus();
  return absl::NotFoundError(
      fmt::format("forecast {}: no fit {} of {} is stored; record the fit first", r.name(),
                  r.fit_hash(), r.sweep()));
}

}  // namespace

absl::StatusOr<v1::RegisterForecastResponse> Store::RegisterForecast(
    const v1::RegisterForecastRequest& request, int64_t now_ms) {
  RETURN_IF_ERROR(CheckForecast(request));
  ASSIGN_OR_RETURN(const core::Json observations,
                   ParseOrNull(request.observations_json(), "observations of the forecast"));
  ASSIGN_OR_RETURN(const std::string observations_bytes, core::CanonicalJson(observations));
  const std::string observations_hash = core::Sha256Hex(observations_bytes);
  ASSIGN_OR_RETURN(core::Json record, Promise(request, observations_hash));
  RETURN_IF_ERROR(CheckKnown(request.name(), record["cohort"], observations));

  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  if (const absl::Status intact = VerifyForecastChain(); !intact.ok())
    return absl::Status(intact.code(),
                        fmt::format("forecast {}: nothing is registered onto a broken chain: {}; "
                                    "compare with a backup",
                                    request.name(), std::string(intact.message())));
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
      // The same promise, made by a fit that was asked for other targets too.
      stored.erase("fit_hash"), record.erase("fit_hash");
      // The trial's id says its size; older records do not repeat it.
      if (!request.target_trial_id().empty()) stored.erase("target");
      if (stored != record) {
        return absl::FailedPreconditionError(
            fmt::format("forecast {} is registered already and says something else; a "
                        "registration cannot be changed: it stands as it was made, and "
                        "`sweepctl forecasts` shows it",
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
                   TargetOf(db_.get(), request, record["cohort"], observations));
  RETURN_IF_ERROR(CheckFit(db_.get(), request));
  RETURN_IF_ERROR(CheckLosses(request, observations));
  RETURN_IF_ERROR(CheckScale(db_.get(), request));
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
