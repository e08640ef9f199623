// sweepctl fit: laws, intervals, backtest and forecasts from a sweep's database or a CSV file, and
// the model to train at a forecast's optimum.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fit/csv.h"
#include "fit/fit.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweepctl/database.h"
#include "sweepctl/fit_input.h"
#include "sweepctl/forecasting.h"
#include "sweepctl/observations.h"
#include "sweepctl/trial_rows.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct FitArgs {
  std::string sweep, csv, metric, n_convention = "params";
  std::vector<std::string> columns, where, laws = {"default"}, predict, allow_mixed;
  std::vector<std::string> hold;
  std::string loss = "huber", residual = "log", delta, pinned_E, level, unique_tokens;
  std::string input, experiment, soft, hard, curve = "sigmoid", chance, soft_by = "params-tokens";
  std::vector<std::string> models;
  bool checkpoints = false, no_perfect_model = false, weigh_budgets = false;
  std::string isoflop_curve = "parabola";
  int isoflop_window = 0;
  std::string asymmetry, within;
  bool noise_by_flops = false;
  bool no_exponent_prior = false;
  int resamples = fit::BootstrapOptions().resamples;
  uint64_t seed = 0;
  bool assume_6nd = false, include_targets = false, no_backtest = false;
  bool do_register = false;
  std::vector<std::string> given;  // options of the command line
};

// A registration is by the default estimator, so that nobody searches for a pleasant one.
absl::Status CheckRegister(const FitArgs& args) {
  if (!args.do_register) return absl::OkStatus();
  if (args.predict.empty()) return UsageError("--register needs --predict C: what to promise");
  const std::vector<std::string> allowed = {"--sweep",     "--metric", "--where", "--predict",
                                            "--bootstrap", "--seed",   "--level", "--register"};
  for (const std::string& option : args.given)
    if (std::find(allowed.begin(), allowed.end(), option) == allowed.end())
      return UsageError(fmt::format(
          "--register keeps to the default estimator on the runs of an import: leave out {}",
          option));
  return absl::OkStatus();
}

struct Input {
  std::vector<fit::Observation> observations;
  std::vector<fit::Exclusion> excluded;
  double spent_flops = 0;  // 0: the sum over observations
  size_t targets = 0;      // completed targets among the observations
  size_t targets_left_out = 0;
  std::string sweep;  // or import; empty: from a file
  bool imported = false;
  std::string metrics;                   // of an import that has several, none of them asked for
  std::optional<TargetChooser> chooser;  // only when the recipe is known
  std::string no_chooser;                // why not
};

absl::StatusOr<double> NumberOf(const std::string& text, std::string_view option) {
  const auto number = core::ParseNumber(text);
  if (number.ok()) return *number;
  return UsageError(fmt::format("{} takes a number as 1e18, not '{}'", option, text));
}

// "7e9:4e12" or, with its own FLOPs, "7e9:4e12:1.8e23".
absl::StatusOr<fit::TwoStepTarget> ModelOf(const std::string& text) {
  fit::TwoStepTarget model;
  const size_t first = text.find(':'), second = text.find(':', first + 1);
  if (first == std::string::npos)
    return UsageError(fmt::format("--model takes PARAMS:TOKENS[:FLOPS], not '{}'", text));
  ASSIGN_OR_RETURN(model.params, NumberOf(text.substr(0, first), "--model"));
  ASSIGN_OR_RETURN(model.tokens, NumberOf(text.substr(first + 1, second - first - 1), "--model"));
  model.flops = 6 * model.params * model.tokens;
  if (second != std::string::npos) {
    ASSIGN_OR_RETURN(model.flops, NumberOf(text.substr(second + 1), "--model"));
  }
  if (!(model.params > 0 && model.tokens > 0 && model.flops > 0))
    return UsageError(fmt::format("--model {}: all numbers must be above 0", text));
  return model;
}

// What --hard and its company ask for.
absl::Status TwoStepOptionsOf(const FitArgs& args, fit::FitOptions& options) {
  options.checkpoints = args.checkpoints;
  options.two_step.curve = args.curve;
  options.two_step.by_flops = args.soft_by == "flops";
  options.two_step.perfect_model = !args.no_perfect_model;
  if (!args.chance.empty()) {
    ASSIGN_OR_RETURN(options.two_step.chance, NumberOf(args.chance, "--chance"));
  }
  for (const std::string& text : args.models) {
    ASSIGN_OR_RETURN(options.models.emplace_back(), ModelOf(text));
  }
  if (!args.input.empty()) {
    options.input = args.input;
    if (args.laws == std::vector<std::string>{"default"}) options.laws = {"bnsl"};
  }
  // A benchmark is asked for where its column is named.
  if (!args.hard.empty() && args.laws == std::vector<std::string>{"default"})
    options.laws = {"two-step"};
  return absl::OkStatus();
}

absl::StatusOr<fit::FitOptions> OptionsOf(const FitArgs& args) {
  fit::FitOptions options;
  std::vector<std::string> known = fit::LawNames();
  known.emplace_back("default");
  known.emplace_back("all");
  for (const std::string& law : args.laws) {
    if (std::find(known.begin(), known.end(), law) == known.end())
      return UsageError(fmt::format("--law {}: no such law{}; the laws are: {}", law,
                                    core::DidYouMean(law, known), fmt::join(known, ", ")));
  }
  options.laws = args.laws;
  options.law.loss.kind = args.loss == "l1"   ? fit::LossKind::kL1
                          : args.loss == "l2" ? fit::LossKind::kL2
                                              : fit::LossKind::kHuber;
  options.law.loss.residual =
      args.residual == "linear" ? fit::ResidualKind::kLinear : fit::ResidualKind::kLog;
  if (!args.delta.empty()) {
    ASSIGN_OR_RETURN(options.law.loss.delta, NumberOf(args.delta, "--delta"));
    if (options.law.loss.delta <= 0) return UsageError("--delta must be above 0");
  }
  if (!args.asymmetry.empty()) {
    ASSIGN_OR_RETURN(options.law.loss.over, NumberOf(args.asymmetry, "--asymmetry"));
    if (options.law.loss.over <= 0) return UsageError("--asymmetry must be above 0");
  }
  if (!args.within.empty()) {
    const auto within = core::ParseFraction(args.within);
    if (!within.ok() || *within <= 0 || *within >= 1)
      return UsageError(
          fmt::format("--within is a share of the loss as 0.1%, not '{}'", args.within));
    options.law.isoflop.flat_tolerance = *within;
  }
  options.law.noise_by_flops = args.noise_by_flops;
  options.law.exponent_prior = !args.no_exponent_prior;
  if (!args.pinned_E.empty()) {
    ASSIGN_OR_RETURN(options.law.pinned_E, NumberOf(args.pinned_E, "--pin-e"));
    if (*options.law.pinned_E < 0) return UsageError("--pin-e must be 0 or more");
  }
  for (const std::string& text : args.hold) {
    ASSIGN_OR_RETURN(const auto pair, KeyValue(text, "--hold"));
    ASSIGN_OR_RETURN(options.law.hold[pair.first], NumberOf(pair.second, "--hold"));
  }
  if (!args.unique_tokens.empty()) {
    ASSIGN_OR_RETURN(options.law.unique_tokens, NumberOf(args.unique_tokens, "--unique-tokens"));
    if (options.law.unique_tokens <= 0) return UsageError("--unique-tokens must be above 0");
  }
  if (!args.level.empty()) {
    const auto level = core::ParseFraction(args.level);
    if (!level.ok() || *level <= 0 || *level >= 1)
      return UsageError(fmt::format("--level lies between 0 and 1, not '{}'", args.level));
    options.law.bootstrap.level = *level;
  }
  options.law.isoflop.curve = args.isoflop_curve == "cubic"   ? fit::IsoflopCurve::kCubic
                              : args.isoflop_curve == "akima" ? fit::IsoflopCurve::kAkima
                                                              : fit::IsoflopCurve::kParabola;
  options.law.isoflop.window = args.isoflop_window;
  options.law.weigh_budgets = args.weigh_budgets;
  options.law.bootstrap.resamples = args.resamples;
  options.law.bootstrap.seed = args.seed;
  for (const std::string& text : args.predict) {
    ASSIGN_OR_RETURN(const double flops, NumberOf(text, "--predict"));
    if (flops <= 0) return UsageError("--predict takes FLOPs above 0");
    options.predict.push_back(flops);
  }
  if (args.n_convention == "no-embedding") options.n_convention = fit::NConvention::kNoEmbedding;
  options.allow_mixed = args.allow_mixed;
  options.backtest = !args.no_backtest;
  RETURN_IF_ERROR(TwoStepOptionsOf(args, options));
  return options;
}

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
  Input input;
  input.observations = std::move(read.observations);
  input.excluded = std::move(read.excluded);
  return input;
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
  std::vector<const fit::FittedLaw*> laws;
  for (const auto& law : summary.laws) laws.push_back(law.get());
  const auto forecasts = fit::ForecastAt(
      laws, {plan.recipe_flops, static_cast<double>(plan.params), static_cast<double>(plan.tokens)},
      fit::ScaleOf(summary), summary.backtest);
  if (forecasts.empty()) return std::nullopt;
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
        "  forecast of this run: {:.4f}, {:g} % prediction interval {:.4f} .. {:.4f}; {:+.2f} % of "
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
        "{} {}: {} params on {} tokens will reach {:.4f}, {:.0f} % prediction interval {:.4f} .. "
        "{:.4f} ({}); record {}{}",
        entry.already_registered ? "registered before" : "registered", entry.name,
        core::FormatCount(entry.forecast.params), core::FormatCount(entry.forecast.tokens),
        entry.forecast.loss, 100 * entry.forecast.interval.level, entry.forecast.interval.lo,
        entry.forecast.interval.hi, entry.forecast.law, entry.record_hash.substr(0, 12),
        entry.status == "void" ? "; void: a run at this budget was imported already" : ""));
  Note(
      fmt::format("its outcome is a run within 1 % of the FLOPs and 25 % of the params, imported "
                  "again as {} with --replace. next: {}",
                  import, CommandLine(global, "forecasts --sweep " + import)));
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
  const auto plans = PlansOf(summary, input);
  std::vector<ImportForecast> registered;
  if (args.do_register) {
    ASSIGN_OR_RETURN(registered, RegisterImportForecasts(global.db, input.sweep, input.observations,
                                                         options, summary));
  }
  if (global.Format() == OutputFormat::kJson) {
    Json out = fit::FitJson(summary);
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
  if (args.predict.empty() && args.models.empty()) {
    // What was typed selects and maps the runs; --db is in it.
    Note(fmt::format("next: {} {} --predict {}", ProgramWord("sweepctl"), global.typed,
                     core::FormatFlops(10 * summary.largest_flops)));
  } else if (args.do_register) {
    NoteRegistered(registered, input.sweep, global);
  } else if (input.imported) {
    Note("add --register to put this on record before the run starts elsewhere");
  } else if (!input.sweep.empty()) {
    Note("a forecast is blind only when registered first: forecast: {at: [...]} in the sweep file");
  }
  return kDone;
}

}  // namespace

void AddFitVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<FitArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("fit", "fit scaling laws and forecast larger runs");
  verb->add_option("--sweep", args->sweep, "the sweep or import of --db; the only one by default")
      ->type_name("NAME");
  verb->add_option("--metric", args->metric,
                   "of a sweep: loss or bits_per_byte; of an import: one of its losses")
      ->type_name("NAME");
  verb->add_option("--csv", args->csv,
                   "read observations from this file (CSV or JSON Lines): flops, params, tokens, "
                   "loss")
      ->type_name("FILE");
  verb->add_option("--column", args->columns, "which column holds a field; may be repeated")
      ->type_name("FIELD=COLUMN");
  verb->add_option("--where", args->where,
                   "keep rows whose column (of a database: cohort key, id or seed) is this, is not "
                   "(!=), or is <, <=, >, >= a number; = repeated for one column: one of these")
      ->type_name("COLUMN=TEXT");
  verb->add_option("--experiment", args->experiment,
                   "the column that tells experiments apart: a mixture of them is refused")
      ->type_name("COLUMN");
  verb->add_flag("--assume-6nd", args->assume_6nd, "without a flops column: C = 6 N D");
  verb->add_option(
          "--law", args->laws,
          "default (isoflop, frontier, chinchilla), envelope, overtrain, data-constrained, kaplan, "
          "farseer, bnsl, two-step, all")
      ->delimiter(',')
      ->type_name("LAW,...");
  verb->add_option("--x", args->input, "a curve's input, of any unit, instead of flops: --law bnsl")
      ->type_name("COLUMN");
  verb->add_option("--hard", args->hard,
                   "a benchmark's score (0 to 1; of an import: one of its accuracies): two-step "
                   "forecasts it through the loss")
      ->type_name("COLUMN");
  verb->add_option(
          "--soft", args->soft,
          "the loss that the score follows; as --column loss=COLUMN, of an import as --metric")
      ->type_name("COLUMN");
  verb->add_option("--soft-by", args->soft_by, "two-step's first step: params-tokens or flops")
      ->check(CLI::IsMember({"params-tokens", "flops"}))
      ->capture_default_str();
  verb->add_option("--curve", args->curve, "two-step's second step: sigmoid or log-sigmoid")
      ->check(CLI::IsMember({"sigmoid", "log-sigmoid"}))
      ->capture_default_str();
  verb->add_option("--chance", args->chance, "the score of a guess is given; else fitted")
      ->type_name("SHARE");
  verb->add_flag("--no-perfect-model", args->no_perfect_model,
                 "two-step: without the pair (loss 0, score 1)");
  verb->add_option("--model", args->models, "two-step: a model to forecast; repeatable")
      ->type_name("PARAMS:TOKENS[:FLOPS]");
  verb->add_flag("--checkpoints", args->checkpoints, "rows of one id are checkpoints of one run");
  verb->add_option("--predict", args->predict, "training FLOPs to forecast at")
      ->delimiter(',')
      ->type_name("C,...");
  verb->add_option("--loss", args->loss, "huber, l1 or l2, of surface laws")
      ->check(CLI::IsMember({"huber", "l1", "l2"}))
      ->capture_default_str();
  verb->add_option("--delta", args->delta, "Huber's delta (1e-3)")->type_name("X");
  verb->add_option("--residual", args->residual, "log or linear")
      ->check(CLI::IsMember({"log", "linear"}))
      ->capture_default_str();
  verb->add_option("--asymmetry", args->asymmetry,
                   "weight of runs below the law; 10 leans to the lower envelope (1)")
      ->type_name("W");
  verb->add_flag("--noise-by-flops", args->noise_by_flops,
                 "surface laws: runs weigh by a noise that is a power of C, fitted and reported");
  verb->add_flag("--no-exponent-prior", args->no_exponent_prior,
                 "the average over laws: exponents without the weak prior from published fits");
  verb->add_option("--within", args->within,
                   "sizes as good as the optimum: within this loss (0.1%)")
      ->type_name("SHARE");
  verb->add_option("--bootstrap", args->resamples, "resamples; 0: no intervals")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--seed", args->seed, "of the bootstrap")->capture_default_str()->type_name("S");
  verb->add_option("--level", args->level, "of the intervals (0.9)")->type_name("P");
  verb->add_option("--pin-e", args->pinned_E, "the irreducible loss is given")->type_name("E");
  verb->add_option("--hold", args->hold, "a constant that is given, of surface laws; repeatable")
      ->delimiter(',')
      ->type_name("LETTER=VALUE,...");
  verb->add_option("--unique-tokens", args->unique_tokens,
                   "different tokens there are: data-constrained forecasts repeat them")
      ->type_name("U");
  verb->add_option("--isoflop-curve", args->isoflop_curve,
                   "minimum of a budget by parabola, cubic or akima")
      ->check(CLI::IsMember({"parabola", "cubic", "akima"}))
      ->capture_default_str();
  verb->add_option("--isoflop-window", args->isoflop_window,
                   "sizes on each side of the lowest that the curve sees; 0: all")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str()
      ->type_name("K");
  verb->add_flag("--weigh-budgets", args->weigh_budgets,
                 "power laws of N* and D* weigh budgets by their resampled spread");
  verb->add_option("--n-convention", args->n_convention, "params or no-embedding")
      ->check(CLI::IsMember({"params", "no-embedding"}))
      ->capture_default_str();
  verb->add_option("--allow-mixed", args->allow_mixed, "a cohort key that may differ; repeatable")
      ->type_name("KEY");
  verb->add_flag("--register", args->do_register,
                 "put the primary forecasts of an import on record, before their runs start "
                 "elsewhere (a sweep registers by itself)");
  verb->add_flag("--include-targets", args->include_targets, "completed targets join the fit");
  verb->add_flag("--no-backtest", args->no_backtest, "skip it");
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
