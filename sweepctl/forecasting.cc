#include "sweepctl/forecasting.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "core/hash.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "core/version.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "orchestrator/direct_write.h"
#include "recipes/transformer_shape.h"
#include "sweepctl/cli.h"
#include "sweepctl/fit_input.h"
#include "sweepctl/observations.h"
#include "sweepctl/sweep_data.h"
#include "sweeps/expand.h"

namespace sweepctl {
namespace {

using core::Json;

const fit::Forecast* PrimaryAt(const fit::FitSummary& summary, double flops) {
  for (const fit::Forecast& forecast : summary.predictions) {
    if (forecast.primary && forecast.flops == flops) return &forecast;
  }
  return nullptr;
}

// "1e+13", "1.001e+16": every digit, so that two budgets never share a name.
std::string Shortest(double flops) {
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof(text), flops, std::chars_format::scientific).ptr;
  return std::string(text, end);
}

Json ObservationJson(const fit::Observation& o) {
  return {{"trial_id", o.id},   {"flops", o.flops},  {"params", o.params},
          {"tokens", o.tokens}, {"loss", o.loss},    {"budget_flops", o.budget_flops},
          {"clamps", o.clamps}, {"cohort", o.cohort}};
}

// Everything but the laws' data that decides the numbers: what a repetition needs.
Json OptionsJson(const fit::FitOptions& options, const fit::FitSummary& summary) {
  return {{"laws", options.laws},
          {"bootstrap", options.law.bootstrap.resamples},
          {"seed", options.law.bootstrap.seed},
          {"level", options.law.bootstrap.level},
          {"exponent_prior", options.law.exponent_prior},
          {"delta", options.law.loss.delta},
          {"n_convention", "params"},
          {"flops_relation",
           {{"limit", summary.flops.limit},
            {"slope", summary.flops.slope},
            {"gamma", summary.flops.gamma},
            {"source", summary.flops_source}}},
          {"spent_flops", options.spent_flops}};
}

// A forecast that its fit calls not determined says so in what is promised: it is no part of the
// record's coverage.
Json PromisedOptions(Json options, const fit::Forecast& forecast) {
  if (!forecast.determined) options["determined"] = false;
  return options;
}

Json SelectionJson(const Selection& selection, size_t runs) {
  Json left_out = Json::array();
  for (const fit::Exclusion& e : selection.left_out)
    left_out.push_back({{"reason", e.reason}, {"count", e.count}});
  return {{"where", selection.where}, {"runs", runs}, {"left_out", left_out}};
}

// FLOPs that the sweep has spent, failures included.
absl::StatusOr<double> SpentFlops(orchestrator::Reader& reader, const std::string& sweep) {
  ASSIGN_OR_RETURN(const orchestrator::SweepStatus status, reader.Status(sweep));
  return status.flops_spent;
}

// The plan of any trial of the sweep: all share its data and vocabulary.
absl::StatusOr<recipes::Plan> AnyPlan(orchestrator::Reader& reader, const std::string& sweep) {
  ASSIGN_OR_RETURN(const orchestrator::SweepStatus status, reader.Status(sweep));
  if (status.rows.empty()) {
    return absl::FailedPreconditionError(fmt::format("sweep '{}' has no trial", sweep));
  }
  ASSIGN_OR_RETURN(const std::string bytes, reader.Plan(status.rows.front().trial_id));
  return recipes::ParsePlan(bytes);
}

// A client that died between submitting a target and registering its forecast may have left one
// that the fit no longer chooses: it would stay HELD for ever.
absl::Status CancelOrphans(orchestrator::Client& client, orchestrator::Reader& reader,
                           const std::string& sweep,
                           const std::vector<RegisteredForecast>& chosen) {
  ASSIGN_OR_RETURN(const orchestrator::SweepStatus status, reader.Status(sweep));
  sweep::v1::ControlRequest control;
  control.set_sweep(sweep);
  control.set_action(sweep::v1::ControlRequest::CANCEL);
  for (const orchestrator::TrialRow& row : status.rows) {
    if (row.stage != "target" || row.state != "HELD") continue;
    if (std::any_of(chosen.begin(), chosen.end(), [&](const RegisteredForecast& entry) {
          return entry.target_trial_id == row.trial_id;
        })) {
      continue;
    }
    control.add_trial_ids(row.trial_id);
  }
  return control.trial_ids().empty() ? absl::OkStatus() : client.Control(control).status();
}

}  // namespace

absl::StatusOr<std::vector<RegisteredForecast>> RegisterForecasts(
    orchestrator::Client& client, orchestrator::Reader& reader, const orchestrator::SweepInfo& info,
    const sweeps::SweepFile& file, fit::FitSummary* summary) {
  ASSIGN_OR_RETURN(const SweepObservations observations, ObservationsOf(reader, info.sweep));
  fit::FitOptions options;
  ASSIGN_OR_RETURN(options.spent_flops, SpentFlops(reader, info.sweep));
  options.predict = file.forecast_at;
  ASSIGN_OR_RETURN(const recipes::Recipe* recipe, recipes::FindRecipe(file.recipe));
  sweeps::ExpandOptions expand;
  ASSIGN_OR_RETURN(const recipes::Plan any, AnyPlan(reader, info.sweep));
  expand.data = any.data;
  recipes::Setting setting = sweeps::SettingOf(file, expand);
  if (setting.vocab == 0) {  // of a tokenizer by path; the stored file does not say it
    ASSIGN_OR_RETURN(const recipes::TransformerShape shape, recipes::ShapeOf(any.model));
    setting.vocab = shape.vocab;
  }
  double smallest = HUGE_VAL, largest = 0;
  for (const fit::Observation& o : observations.fitted) smallest = std::min(smallest, o.flops);
  for (const double flops : file.forecast_at) largest = std::max(largest, flops);
  options.known_flops = KnownFlopsOf(*recipe, setting, std::min(smallest, largest), largest);
  ASSIGN_OR_RETURN(const fit::FitSummary nominal, fit::RunFit(observations.fitted, options));
  if (!nominal.registration_blocked.empty())
    return absl::FailedPreconditionError(
        fmt::format("no forecast of sweep '{}' can be registered: {}", info.sweep,
                    fmt::join(nominal.registration_blocked, "; ")));

  // Targets from the allocation at the nominal budgets, then losses at what the targets will spend.
  ASSIGN_OR_RETURN(const auto existing,
                   reader.Rows("SELECT name FROM v_forecasts WHERE sweep=?1", info.sweep));
  std::vector<RegisteredForecast> registered;
  fit::FitOptions exact = options;
  exact.predict.clear();
  for (double flops : file.forecast_at) {
    const std::string name = fmt::format("{}/{}", info.sweep, Shortest(flops));
    if (std::any_of(existing.begin(), existing.end(),
                    [&](const Json& row) { return row["name"] == name; })) {
      continue;  // registered before an interruption; it stands
    }
    const fit::Forecast* primary = PrimaryAt(nominal, flops);
    if (primary == nullptr) {
      return absl::FailedPreconditionError(
          fmt::format("no law of sweep '{}' forecasts a loss at {} FLOPs; look at `sweepctl fit "
                      "--sweep {}` for the reasons",
                      info.sweep, core::FormatFlops(flops), info.sweep));
    }
    ASSIGN_OR_RETURN(recipes::Plan plan,
                     sweeps::ChooseTarget(*recipe, flops, primary->tokens, setting));
    RETURN_IF_ERROR(CheckEpochs(file, plan));
    exact.predict_runs.push_back(
        {plan.recipe_flops, static_cast<double>(plan.params), static_cast<double>(plan.tokens)});
    RegisteredForecast entry;
    entry.name = name;
    if (!(plan.recipe_flops > nominal.largest_flops))
      return absl::FailedPreconditionError(fmt::format(
          "the target at {} FLOPs does not reach beyond the fitted trials of sweep '{}', whose "
          "largest has {}: it would be no forecast, and is not registered",
          core::FormatFlops(flops), info.sweep, core::FormatFlops(nominal.largest_flops)));
    entry.target = std::move(plan);
    registered.push_back(std::move(entry));
  }
  ASSIGN_OR_RETURN(*summary, fit::RunFit(observations.fitted, exact));

  Json rows = Json::array();
  for (const fit::Observation& o : observations.fitted) rows.push_back(ObservationJson(o));
  ASSIGN_OR_RETURN(const std::string observations_json, core::CanonicalJson(rows));
  for (RegisteredForecast& entry : registered) {
    const fit::Forecast* forecast = PrimaryAt(*summary, entry.target.recipe_flops);
    if (forecast == nullptr || !(forecast->interval.lo < forecast->interval.hi)) {
      return absl::FailedPreconditionError(fmt::format(
          "the forecast for {} has no prediction interval, and without one it is not registered; "
          "`sweepctl fit --sweep {}` says why",
          entry.name, info.sweep));
    }
    entry.forecast = *forecast;
    ASSIGN_OR_RETURN(const std::string bytes, recipes::PlanBytes(entry.target));
    entry.target_trial_id = core::Sha256Hex(bytes);
    sweep::v1::SubmitTargetRequest target;
    target.set_sweep(info.sweep);
    target.mutable_trial()->set_trial_id(entry.target_trial_id);
    target.mutable_trial()->set_plan(bytes);
    ASSIGN_OR_RETURN(const auto submitted, client.SubmitTarget(target));
    (void)submitted;
  }
  RETURN_IF_ERROR(CancelOrphans(client, reader, info.sweep, registered));
  sweep::v1::RecordFitRequest record;
  record.set_sweep(info.sweep);
  record.set_fit_json(fit::FitJson(*summary).dump());
  record.set_observations_hash(core::Sha256Hex(observations_json));
  ASSIGN_OR_RETURN(const auto recorded, client.RecordFit(record));
  (void)recorded;
  for (RegisteredForecast& entry : registered) {
    sweep::v1::RegisterForecastRequest request;
    request.set_sweep(info.sweep);
    request.set_name(entry.name);
    request.set_target_trial_id(entry.target_trial_id);
    request.set_law(entry.forecast.law);
    request.set_primary(true);
    request.set_budget_flops(entry.target.recipe_flops);
    request.set_metric("loss");
    request.set_loss(entry.forecast.loss);
    request.set_interval_lo(entry.forecast.interval.lo);
    request.set_interval_hi(entry.forecast.interval.hi);
    request.set_interval_level(entry.forecast.interval.level);
    request.set_interval_kind(std::string(fit::Name(entry.forecast.interval.kind)));
    request.set_interval_method(entry.forecast.interval.method);
    request.set_cohort_json(Json(summary->cohort.values).dump());
    request.set_options_json(PromisedOptions(OptionsJson(exact, *summary), entry.forecast).dump());
    request.set_fit_hash(core::Sha256Hex(record.fit_json()));
    request.set_observations_json(observations_json);
    request.set_code_version(fmt::format("{} {}", core::Version(), core::Commit()));
    ASSIGN_OR_RETURN(const auto response, client.RegisterForecast(request));
    entry.record_hash = response.record_hash();
  }
  return registered;
}

absl::Status CheckAllKnown(const std::string& import,
                           const std::vector<fit::Observation>& observations) {
  std::set<std::string> unknown;
  for (const fit::Observation& o : observations)
    for (const auto& [key, value] : o.cohort)
      if (value == fit::kUnknownValue) unknown.insert(key);
  if (unknown.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "no forecast of import {} can be registered: {} of its runs {} unknown, so nobody "
      "could say later what was promised; import them again with --replace --value {}=...",
      import, fmt::join(unknown, ", "), unknown.size() == 1 ? "is" : "are",
      fmt::join(unknown, "=... --value ")));
}

absl::StatusOr<std::vector<ImportForecast>> RegisterImportForecasts(
    const std::string& db_path, const std::string& import,
    const std::vector<fit::Observation>& observations, const Selection& selection,
    const fit::FitOptions& options, const fit::FitSummary& summary) {
  RETURN_IF_ERROR(CheckAllKnown(import, observations));
  if (const int usual = fit::BootstrapOptions().resamples; options.law.bootstrap.resamples != usual)
    return UsageError(fmt::format(
        "--register keeps to the default estimator, {} resamples: leave out --bootstrap", usual));
  if (!summary.registration_blocked.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("forecasts from '{}' cannot be registered: {}", import,
                    fmt::join(summary.registration_blocked, "; ")));
  }
  Json rows = Json::array();
  for (const fit::Observation& o : observations) rows.push_back(ObservationJson(o));
  ASSIGN_OR_RETURN(const std::string observations_json, core::CanonicalJson(rows));
  const std::string metric = observations.front().cohort.at("metric");
  Json promised_options = OptionsJson(options, summary);
  promised_options["selection"] = SelectionJson(selection, observations.size());
  std::vector<ImportForecast> entries;
  sweep::v1::RegisterForecastsRequest all;
  sweep::v1::RecordFitRequest& record = *all.mutable_fit();
  record.set_sweep(import);
  record.set_fit_json(fit::FitJson(summary).dump());
  record.set_observations_hash(core::Sha256Hex(observations_json));
  const std::string fit_hash = core::Sha256Hex(record.fit_json());
  for (const double flops : options.predict) {
    const fit::Forecast* forecast = PrimaryAt(summary, flops);
    if (forecast == nullptr || !(forecast->interval.lo < forecast->interval.hi) ||
        !(forecast->params > 0 && forecast->tokens > 0)) {
      return absl::FailedPreconditionError(fmt::format(
          "the forecast at {} FLOPs has no prediction interval or no optimal model, and "
          "without them it is not registered; the report without --register says why",
          core::FormatFlops(flops)));
    }
    ImportForecast entry;
    entry.name = fmt::format("{}/{}/{}", import, metric, Shortest(flops));
    entry.forecast = *forecast;
    sweep::v1::RegisterForecastRequest& request = *all.add_forecasts();
    request.set_sweep(import);
    request.set_name(entry.name);
    request.set_target_params(forecast->params);
    request.set_target_tokens(forecast->tokens);
    request.set_law(forecast->law);
    request.set_primary(true);
    request.set_budget_flops(flops);
    request.set_metric(metric);
    request.set_loss(forecast->loss);
    request.set_interval_lo(forecast->interval.lo);
    request.set_interval_hi(forecast->interval.hi);
    request.set_interval_level(forecast->interval.level);
    request.set_interval_kind(std::string(fit::Name(forecast->interval.kind)));
    request.set_interval_method(forecast->interval.method);
    request.set_cohort_json(Json(summary.cohort.values).dump());
    request.set_options_json(PromisedOptions(promised_options, *forecast).dump());
    request.set_fit_hash(fit_hash);
    request.set_observations_json(observations_json);
    request.set_code_version(fmt::format("{} {}", core::Version(), core::Commit()));
    entries.push_back(std::move(entry));
  }
  ASSIGN_OR_RETURN(const auto answers, orchestrator::WriteForecasts(db_path, all));
  for (size_t i = 0; i < entries.size(); ++i) {
    const sweep::v1::RegisterForecastResponse& answer = answers.forecasts(static_cast<int>(i));
    entries[i].record_hash = answer.record_hash();
    entries[i].status = answer.status();
    entries[i].already_registered = answer.already_registered();
  }
  return entries;
}

}  // namespace sweepctl
