#include "orchestrator/store/registration.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/loss_doubt.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "orchestrator/store/history.h"
#include "orchestrator/store/outcome.h"
#include "orchestrator/store/shared_runs.h"

namespace orchestrator {

namespace v1 = ::sweep::v1;

namespace {

// A canonical text writes the double 1e18 as an integer; beyond 2^53 it was never anything else.
void RestoreDoubles(core::Json* json) {
  constexpr int64_t kExact = int64_t{1} << 53;
  if (json->is_number_integer() && std::abs(json->get<double>()) > kExact)
    *json = json->get<double>();
  if (json->is_structured())
    for (core::Json& item : *json) RestoreDoubles(&item);
}

}  // namespace

absl::StatusOr<core::Json> ParseOrNull(const std::string& text, const char* what) {
  if (text.empty()) return core::Json(nullptr);
  ASSIGN_OR_RETURN(core::Json json, core::ParseJson(text, what));
  RestoreDoubles(&json);
  return json;
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

namespace {

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

// Nobody promised two things of one cohort: no key that both know has two values. What a metric is
// called says nothing: its unit and its evaluation set do.
bool MayBeOneCohort(const core::Json& a, const core::Json& b) {
  if (!a.is_object() || !b.is_object()) return true;
  for (const auto& [key, value] : a.items())
    if (key != "metric" && b.contains(key) && b[key] != value) return false;
  return true;
}

// "nats_per_token" of "c4/nats_per_token".
std::string UnitOf(const std::string& metric) { return metric.substr(metric.rfind('/') + 1); }

// The primary forecast that is this one again, whatever import it was made from: a run of this
// one's target would score it too, or its runs are this one's under other labels, in another unit
// or scale; or half of its runs are those of several such together.
struct OtherPrimary {
  std::string name;  // "" when there is none; of several that have its runs, all
  std::optional<Sharing> sharing;
  bool same_cohort = false;  // the very labels, but for what the metric is called
};
absl::StatusOr<OtherPrimary> PrimaryElsewhere(Database* db,
                                              const v1::RegisterForecastRequest& request,
                                              const core::Json& cohort,
                                              const core::Json& observations) {
  // A run within 1 % of both budgets exists.
  constexpr double kOneTarget = (1 + kSameBudget) / (1 - kSameBudget) - 1;
  ASSIGN_OR_RETURN(
      Statement rows,
      db->Prepare("SELECT name, record_json->'$.cohort', metric, observations_json FROM forecasts "
                  "WHERE target_key IS "
                  "NULL AND primary_law=1 AND "
                  "abs(budget_flops-?1) <= ?2*min(budget_flops, ?1) ORDER BY forecast_id",
                  request.budget_flops(), kOneTarget));
  std::vector<bool> taken;
  std::vector<std::string> from;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) break;
    ASSIGN_OR_RETURN(const core::Json other, ParseOrNull(rows.Text(1), "cohort of a forecast"));
    if (UnitOf(rows.Text(2)) == UnitOf(request.metric()) && MayBeOneCohort(cohort, other))
      return OtherPrimary{rows.Text(0), std::nullopt};
    ASSIGN_OR_RETURN(const core::Json runs, ParseOrNull(rows.Text(3), "runs of a forecast"));
    if (const auto sharing = SharedRuns(observations, runs); sharing.has_value())
      return OtherPrimary{rows.Text(0), sharing, MayBeOneCohort(cohort, other)};
    const std::vector<bool> equal = EqualRuns(observations, runs);
    taken.resize(equal.size());
    if (std::find(equal.begin(), equal.end(), true) != equal.end()) from.push_back(rows.Text(0));
    for (size_t i = 0; i < equal.size(); ++i) taken[i] = taken[i] || equal[i];
  }
  const auto shared = static_cast<size_t>(std::count(taken.begin(), taken.end(), true));
  if (shared == 0 || 2 * shared < taken.size()) return OtherPrimary();
  return OtherPrimary{fmt::format("{}", fmt::join(from, " and ")), Sharing{1, shared}};
}

// Nobody but the user knows whether a run elsewhere has begun. What is known is what was imported.
absl::StatusOr<BlindTarget> TargetElsewhere(Database* db,
                                            const v1::RegisterForecastRequest& request,
                                            const core::Json& cohort,
                                            const core::Json& observations) {
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
    ASSIGN_OR_RETURN(const OtherPrimary other, PrimaryElsewhere(db, request, cohort, observations));
    if (other.sharing.has_value()) {
      const double factor = other.sharing->factor;
      const std::string scale =
          factor == 1 ? "" : fmt::format(" with losses that are {:.8g} times its own", factor);
      return absl::FailedPreconditionError(fmt::format(
          "forecast {}: {} of its {} runs are those of the primary forecast {} at this budget{}, "
          "and one set of runs makes one: {}",
          request.name(), other.sharing->shared, observations.size(), other.name,
          other.same_cohort ? scale : " under other labels" + (scale.empty() ? "" : " and" + scale),
          other.same_cohort
              ? "that one stands for them, whatever the unit"
              : "which of the labels is right stands before the outcome, not after; correct the "
                "import, or forecast from runs of which fewer than half are in it"));
    }
    if (!other.name.empty()) {
      return absl::FailedPreconditionError(
          fmt::format("forecast {}: its cohort has a primary forecast of {} at this budget already "
                      "({}); a registration is never changed, under whatever name its runs are "
                      "imported or its metric is called",
                      request.name(), request.metric(), other.name));
    }
  }
  ASSIGN_OR_RETURN(const auto largest, LargestRun(db, cohort, request.budget_flops()));
  if (largest.has_value() && largest->flops > request.budget_flops() * (1 - kSameBudget))
    return absl::FailedPreconditionError(fmt::format(
        "forecast {}: a target of {:.6g} FLOPs does not reach beyond {}, which has "
        "{:.6g} and may be of its cohort, so it would be no forecast; name a larger one",
        request.name(), request.budget_flops(), largest->Text(), largest->flops));
  ASSIGN_OR_RETURN(const auto seen, SeenRun(db, cohort, request.budget_flops()));
  if (seen.has_value()) target.seen = seen->Text();
  return target;
}

}  // namespace

absl::StatusOr<BlindTarget> TargetOf(Database* db, const v1::RegisterForecastRequest& request,
                                     const core::Json& cohort, const core::Json& observations) {
  return request.target_trial_id().empty() ? TargetElsewhere(db, request, cohort, observations)
                                           : TargetHere(db, request);
}

absl::Status CheckScale(Database* db, const v1::RegisterForecastRequest& request) {
  if (!request.target_trial_id().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(
      const std::string rescaled,
      RescaledLoss(db, request.sweep(), request.metric().substr(0, request.metric().rfind('/'))));
  if (rescaled.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("forecast {}: of its observations, {}, so no outcome could be held against it; "
                  "import them again without the scale, with --replace",
                  request.name(), rescaled));
}

// As where FLOPs cannot mean what they are called: no forecast rests on such runs.
absl::Status CheckLosses(const v1::RegisterForecastRequest& request,
                         const core::Json& observations) {
  if (!request.target_trial_id().empty() || !observations.is_array()) return absl::OkStatus();
  for (const core::Json& row : observations) {
    if (!row.is_object() || !row.contains("loss") || !row["loss"].is_number()) continue;
    const std::string doubt = core::LossDoubt(row["loss"].get<double>(), UnitOf(request.metric()));
    if (doubt.empty()) continue;
    const std::string id = row.contains("trial_id") ? row["trial_id"].dump() : "";
    return absl::FailedPreconditionError(
        fmt::format("forecast {}: of its observations{} {}; import the natural logarithm, or under "
                    "the right unit, with --replace",
                    request.name(), id.empty() ? "" : fmt::format(", {}:", id), doubt));
  }
  return absl::OkStatus();
}

}  // namespace orchestrator
