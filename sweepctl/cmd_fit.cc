// sweepctl fit: laws, intervals, backtest and forecasts from a sweep's database or a CSV file, and
// the model to train at a forecast's optimum.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "core/status_macros.h"
#include "core/units.h"
#include "fit/csv.h"
#include "fit/fit.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweepctl/database.h"
#include "sweepctl/fit_effects.h"
#include "sweepctl/fit_input.h"
#include "sweepctl/fit_options.h"
#include "sweepctl/forecasting.h"
#include "sweepctl/observations.h"
#include "sweepctl/trial_rows.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct Input {
  std::vector<fit::Observation> observations;
  std::vector<fit::Exclusion> excluded;
  double spent_flops = 0;  // 0: the sum over observations
  size_t targets = 0;      // completed targets among the observations
  size_t targets_left_out = 0;
  std::string sweep;  // or import; empty: from a file
  bool imported = false;
  std::string rescaled;                  // of an import: what it made of the losses of its file
  std::string metrics;                   // of an import that has several, none of them asked for
  std::optional<TargetChooser> chooser;  // only when the recipe is known
  std::string no_chooser;                // why not
};

absl::StatusOr<Input> FromCsv(const FitArgs& args) {
  if (!args.sweep.empty() || args.include_targets || !args.metric.empty())
    return UsageError(
        "--csv reads a file; --sweep, --metric and --include-targets belong to a database");
  fit::CsvOptions options;
  options.assume_6nd = args.assume_6nd;
  for (const std::string& text : args.columns) {
    ASSIGN_OR_RETURN(const auto pair, KeyValue(text, "--column"));
    options.columns[pair.first] = pair.second;
  }
  options.input = args.input;
  options.experiment = args.experiment;
  if (!args.soft.empty()) options.columns["loss"] = args.soft;
  if (!args.hard.empty()) options.columns["hard"] = args.hard;
  for (const std::string& text : args.where) {
    ASSIGN_OR_RETURN(options.where.emplace_back(), WhereOf(text));
  }
  ASSIGN_OR_RETURN(fit::CsvObservations read, fit::ReadObservationsCsv(args.csv, options));
  if (args.assume_6nd && args.input.empty())
    for (const fit::Observation& o : read.observations)
      if (std::fabs(o.flops / (6 * o.params * o.tokens) - 1) > 1e-6)
        return UsageError(fmt::format(
            "--assume-6nd: {} has a flops column, and it says otherwise (row {}: {:.4g} N D); "
            "leave the option out, the report says what C = 6 N D would change",
            args.csv, o.row, o.flops / (o.params * o.tokens)));
  if (!args.optima && std::any_of(read.observations.begin(), read.observations.end(),
                                  [](const fit::Observation& o) { return o.params_log_se > 0; }))
    return UsageError(
        "params_log_se weighs a table of optima: add --optima, or leave that column out with "
        "--column params_log_se=");
  Input input;
  input.observations = std::move(read.observations);
  input.excluded = std::move(read.excluded);
  return input;
}

// "loss is that of the file x 1.02" where the import made it so.
absl::StatusOr<std::string> Rescaled(orchestrator::Reader& reader, const std::string& import,
                                     const fit::Observation& fitted) {
  const auto metric = fitted.cohort.find("metric");
  if (metric == fitted.cohort.end()) return std::string();
  const std::string name = metric->second.substr(0, metric->second.rfind('/'));
  ASSIGN_OR_RETURN(const std::vector<Json> taken,
                   reader.Rows("SELECT t.value->>'$.field' AS field, t.value->>'$.scale' AS scale "
                               "FROM imports i, json_each(i.map_json, '$.taken') t WHERE i.name=?1 "
                               "AND t.value->>'$.rescaled'",
                               import));
  for (const Json& row : taken)
    if (row["field"] == name)
      return fmt::format("{} is that of the file x {}", name, row["scale"].get<double>());
  return std::string();
}

absl::StatusOr<Input> FromDatabase(const FitArgs& args, const GlobalOptions& global) {
  if (!args.columns.empty() || args.assume_6nd || !args.input.empty() || !args.experiment.empty())
    return UsageError("--column, --assume-6nd, --experiment and --x belong to --csv FILE");
  if (!args.soft.empty() && !args.metric.empty() && args.soft != args.metric)
    return UsageError("--soft and --metric name one thing: the loss that is fitted");
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(global));
  CohortChoice choice{args.sweep, args.soft.empty() ? args.metric : args.soft, args.hard, {}};
  for (const std::string& text : args.where) {
    ASSIGN_OR_RETURN(choice.where.emplace_back(), WhereOf(text));
  }
  ASSIGN_OR_RETURN(ChosenCohort read, ReadCohort(*reader, choice));
  Input input;
  input.sweep = read.name;
  input.imported = read.imported;
  input.excluded = read.excluded;
  input.metrics = choice.metric.empty() ? read.metrics : "";
  input.observations = std::move(read.observations.fitted);
  if (args.include_targets) {
    input.targets = read.observations.targets.size();
    for (fit::Observation& target : read.observations.targets)
      input.observations.push_back(std::move(target));
  } else {
    input.targets_left_out = read.observations.targets.size();
  }
  if (input.observations.empty()) {
    std::string why;
    for (const fit::Exclusion& e : input.excluded) why += fmt::format("; {} {}", e.count, e.reason);
    if (read.imported || !why.empty())
      return absl::FailedPreconditionError(fmt::format("nothing to fit in {}{}", read.name, why));
    return absl::FailedPreconditionError(
        fmt::format("sweep {} has no completed fit trial yet; `sweepctl status {}{}` says how far "
                    "it is",
                    read.name, read.name, DbFlag(global)));
  }
  if (read.imported) {
    ASSIGN_OR_RETURN(input.rescaled, Rescaled(*reader, read.name, input.observations.front()));
    input.no_chooser = "imported runs have no recipe here";
    return input;
  }
  ASSIGN_OR_RETURN(input.spent_flops, SpentFlops(*reader, read.name, args.include_targets));
  ASSIGN_OR_RETURN(const orchestrator::SweepInfo sweep, reader->Sweep(read.name));
  auto chooser = TargetChooserOf(*reader, sweep);
  if (chooser.ok())
    input.chooser = *std::move(chooser);
  else
    input.no_chooser = std::string(chooser.status().message());
  return input;
}

// The plan of every prediction, in their order; an error where the recipe has none.
std::vector<absl::StatusOr<recipes::Plan>> PlansOf(const fit::FitSummary& summary,
                                                   const Input& input) {
  std::vector<absl::StatusOr<recipes::Plan>> plans;
  for (const fit::Forecast& forecast : summary.predictions) {
    plans.push_back(
        input.chooser.has_value()
            ? input.chooser->Choose(forecast.flops, forecast.tokens)
            : absl::StatusOr<recipes::Plan>(absl::FailedPreconditionError(input.no_chooser)));
  }
  return plans;
}

Json PlanJson(const recipes::Plan& plan) {
  const auto id = recipes::TrialId(plan);
  return TrialJson({plan, id.ok() ? *id : ""});
}

// The primary forecast of the plan itself, which need not lie on the optimum; nullopt where the
// fit's N is another one than the plan's.
std::optional<fit::Forecast> ForecastOf(const recipes::Plan& plan, const fit::FitSummary& summary,
                                        const fit::FitOptions& options) {
  if (options.n_convention != fit::NConvention::kParams) return std::nullopt;
  const auto forecasts = fit::ForecastsOf(
      summary,
      {plan.recipe_flops, static_cast<double>(plan.params), static_cast<double>(plan.tokens)});
  if (forecasts.empty() || !forecasts[0].primary) return std::nullopt;
  return forecasts[0];
}

// For people, of the primary law; the others stand in JSON.
std::string WhatToTrain(const fit::Forecast& forecast, const absl::StatusOr<recipes::Plan>& plan,
                        const fit::FitSummary& summary, const fit::FitOptions& options) {
  const std::string budget = core::FormatFlops(forecast.flops);
  if (!plan.ok())
    return fmt::format("\nwhat to train at {} FLOPs: unknown, {}\n", budget,
                       std::string(plan.status().message()));
  const Json row = PlanJson(*plan);
  std::string text =
      fmt::format("\nwhat to train at {} FLOPs ({} {}, candidate for D* {})\n", budget,
                  plan->recipe, plan->recipe_version, core::FormatCount(forecast.tokens));
  text += fmt::format(
      "  width {}, layers {}, heads {}, params {}, tokens {} ({:.3g} a param)\n",
      row.value("hidden", Json()).dump(), row.value("layers", Json()).dump(),
      row.value("heads", Json()).dump(), core::FormatCount(static_cast<double>(plan->params)),
      core::FormatCount(static_cast<double>(plan->tokens)), row["tokens_per_param"].get<double>());
  text +=
      fmt::format("  batch {} x {} tokens, {} steps, ", plan->batch, plan->seq_len, plan->steps);
  if (row.contains("lr")) text += fmt::format("lr {:.4g}, ", row["lr"].get<double>());
  if (row.contains("adam_lr"))
    text += fmt::format("adam lr {:.4g}, ", row["adam_lr"].get<double>());
  text += fmt::format("{} FLOPs\n", core::FormatFlops(plan->recipe_flops));
  if (const auto own = ForecastOf(*plan, summary, options))
    text += fmt::format(
        "  forecast of this run: {:.4f}, {:g} % prediction interval {:.4f} .. {:.4f}; {:+.2f} % "
        "against "
        "the optimum's loss by its shape\n",
        own->loss, 100 * own->interval.level, own->interval.lo, own->interval.hi,
        100 * own->off_optimum);
  if (!plan->clamps.empty())
    text += fmt::format("  ! limits of the recipe that bit: {}\n", fmt::join(plan->clamps, ", "));
  return text;
}

void WarnOfTargets(size_t targets, fit::FitSummary& summary) {
  if (targets == 0) return;
  const fit::Warning warning = fit::Warn(
      fit::kTargetsIncluded,
      fmt::format("{} completed targets joined the fit: a forecast at or below their budgets is no "
                  "forecast",
                  targets));
  summary.warnings.push_back(warning);
  for (fit::Forecast& forecast : summary.predictions) forecast.warnings.push_back(warning);
}

void WarnOfScale(const std::string& rescaled, fit::FitSummary& summary) {
  if (rescaled.empty()) return;
  const fit::Warning warning = fit::Warn(
      fit::kRescaledLoss, fmt::format("{}: every number here is of the scaled losses", rescaled));
  summary.registration_blocked.push_back(fmt::format(
      "{}: {}; import it again without the scale, with --replace", fit::kRescaledLoss, rescaled));
  summary.warnings.push_back(warning);
  for (fit::Forecast& forecast : summary.predictions) forecast.warnings.push_back(warning);
}

Json RegisteredJson(const std::vector<ImportForecast>& registered) {
  Json list = Json::array();
  for (const ImportForecast& entry : registered)
    list.push_back({{"name", entry.name},
                    {"status", entry.status},
                    {"already_registered", entry.already_registered},
                    {"budget_flops", entry.forecast.flops},
                    {"params", entry.forecast.params},
                    {"tokens", entry.forecast.tokens},
                    {"record_hash", entry.record_hash}});
  return list;
}

void NoteRegistered(const std::vector<ImportForecast>& registered, const std::string& import,
                    const GlobalOptions& global) {
  for (const ImportForecast& entry : registered)
    Note(fmt::format(
        "{} {}: {} params on {} tokens will reach {:.4f}, {:.10g} % prediction interval {:.4f} .. "
        "{:.4f} ({}{}); record {}{}",
        entry.already_registered ? "registered before" : "registered", entry.name,
        core::FormatCount(entry.forecast.params), core::FormatCount(entry.forecast.tokens),
        entry.forecast.loss, 100 * entry.forecast.interval.level, entry.forecast.interval.lo,
        entry.forecast.interval.hi, entry.forecast.law,
        entry.forecast.determined ? "" : ", NOT DETERMINED: it counts in no coverage",
        entry.record_hash.substr(0, 12),
        entry.status == "void" ? "; void: a run at this budget was imported already" : ""));
  const bool waits = std::any_of(registered.begin(), registered.end(),
                                 [](const auto& entry) { return entry.status == "open"; });
  Note(fmt::format(
      "{}next: {}",
      waits ? "its outcome is a run within 1 % of the budget (the run's nominal one where it names "
              "one, else its FLOPs) and 25 % of the params in a later import of this cohort, from "
              "a file that nobody imported before, whatever its name. "
            : "",
      CommandLine(global, "forecasts --sweep " + import)));
}

absl::StatusOr<int> RunFitVerb(const FitArgs& args, const GlobalOptions& global) {
  if (global.Format() == OutputFormat::kCsv || global.Format() == OutputFormat::kJsonLines)
    return UsageError("fit prints a report, or one JSON object with --json");
  RETURN_IF_ERROR(CheckRegister(args));
  if (args.do_register) RETURN_IF_ERROR(BringUpToDate(global));
  ASSIGN_OR_RETURN(fit::FitOptions options, OptionsOf(args));
  ASSIGN_OR_RETURN(const Input input,
                   args.csv.empty() ? FromDatabase(args, global) : FromCsv(args));
  if (args.do_register) {
    if (!input.imported)
      return UsageError(fmt::format(
          "--register is for imports; a sweep registers what its file says, forecast: {{at: [C], "
          "register: true}}, and `{}` makes it so",
          CommandLine(global, "resume " + input.sweep)));
    RETURN_IF_ERROR(CheckAllKnown(input.sweep, input.observations));
  }
  options.spent_flops = input.spent_flops;
  if (input.chooser.has_value()) {
    double smallest = HUGE_VAL, largest = 0;
    for (const fit::Observation& o : input.observations)
      smallest = std::min(smallest, o.flops), largest = std::max(largest, o.flops);
    for (const double flops : options.predict) largest = std::max(largest, flops);
    options.known_flops =
        KnownFlopsOf(*input.chooser->recipe, input.chooser->setting, smallest, largest);
  }
  // One line on a terminal, gone when the report comes.
  const bool live = isatty(STDERR_FILENO) != 0;
  if (live)
    options.progress = [](const std::string& step) { fmt::print(stderr, "\r\x1b[K{} ...", step); };
  auto fitted = fit::RunFit(input.observations, options, input.excluded);
  if (live) fmt::print(stderr, "\r\x1b[K");
  RETURN_IF_ERROR(fitted.status());
  fit::FitSummary summary = *std::move(fitted);
  WarnOfTargets(input.targets, summary);
  WarnOfScale(input.rescaled, summary);
  const std::vector<fit::Warning> idle = OptionsWithoutEffect(args, options, summary);
  for (const fit::Warning& warning : idle) Note(warning.text);
  const auto plans = PlansOf(summary, input);
  std::vector<ImportForecast> registered;
  if (args.do_register) {
    ASSIGN_OR_RETURN(registered,
                     RegisterImportForecasts(global.db, input.sweep, input.observations,
                                             {args.where, input.excluded}, options, summary));
  }
  if (global.Format() == OutputFormat::kJson) {
    fit::FitSummary told = summary;
    told.warnings.insert(told.warnings.end(), idle.begin(), idle.end());
    Json out = fit::FitJson(told);
    if (!input.sweep.empty()) {
      out["sweep"] = input.sweep;
      for (size_t i = 0; i < plans.size(); ++i)
        out["predictions"][i]["plan"] = plans[i].ok() ? PlanJson(*plans[i]) : Json();
    }
    if (args.do_register) out["registered"] = RegisteredJson(registered);
    RETURN_IF_ERROR(PrintJson(out));
    return kDone;
  }
  std::string text = fit::FitText(summary);
  for (size_t i = 0; i < plans.size() && !input.sweep.empty() && !input.imported; ++i) {
    if (summary.predictions[i].primary)
      text += WhatToTrain(summary.predictions[i], plans[i], summary, options);
  }
  RETURN_IF_ERROR(Print(text));
  if (!input.metrics.empty())
    Note(fmt::format("this is the first metric of {}; --metric takes another loss: {}", input.sweep,
                     input.metrics));
  if (input.targets_left_out > 0) {
    Note(
        fmt::format("{} completed targets are outcomes and did not join the fit; "
                    "--include-targets adds them",
                    input.targets_left_out));
  }
  const bool no_loss = std::all_of(summary.fits.begin(), summary.fits.end(),
                                   [](const auto& fit) { return fit.law == "isoflop"; });
  if (args.predict.empty() && args.models.empty() && no_loss) {
    Note("isoflop knows N* and D*; --law isoflop,frontier --predict C forecasts the loss too");
  } else if (args.predict.empty() && args.models.empty()) {
    // What was typed selects and maps the runs; --db is in it.
    Note(fmt::format("next: {} {} --predict {}", ProgramWord("sweepctl"), global.typed,
                     core::FormatFlops(10 * summary.largest_flops)));
  } else if (args.do_register) {
    NoteRegistered(registered, input.sweep, global);
  } else if (input.imported && !args.predict.empty() && summary.registration_blocked.empty()) {
    Note("add --register to put this on record before the run starts elsewhere");
  } else if (!input.sweep.empty() && !input.imported) {
    Note("a forecast is blind only when registered first: forecast: {at: [...]} in the sweep file");
  }
  return kDone;
}

}  // namespace

void AddFitVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<FitArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("fit", "fit scaling laws and forecast larger runs");
  AddFitOptions(verb, args.get());
  verb->footer(
      "Examples:  sweepctl fit --predict 1e16,1e17\n"
      "           sweepctl fit --csv runs.csv --column loss=loss_c4_val --where experiment=main\n"
      "           sweepctl fit --law chinchilla --loss l1 --bootstrap 2000 --json\n"
      "           sweepctl fit --sweep IMPORT --predict 1e23 --register");
  verb->callback([args, verb, &session] {
    for (const CLI::Option* option : verb->get_options())
      if (option->count() > 0) args->given.push_back(option->get_name());
    session.action = [args, &session] { return RunFitVerb(*args, session.options); };
  });
}

}  // namespace sweepctl
