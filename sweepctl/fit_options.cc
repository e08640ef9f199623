#include "sweepctl/fit_options.h"

#include <algorithm>

#include "CLI/CLI.hpp"
#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweepctl/cli.h"
#include "sweepctl/fit_input.h"

namespace sweepctl {
namespace {

absl::StatusOr<double> NumberOf(const std::string& text, std::string_view option) {
  const auto number = core::ParseNumber(text);
  if (number.ok()) return *number;
  return UsageError(fmt::format("{} takes a number as 1e18, not '{}'", option, text));
}

// "7e9:4e12", whose FLOPs the runs' relation gives, or, with its own, "7e9:4e12:1.8e23".
absl::StatusOr<fit::TwoStepTarget> ModelOf(const std::string& text) {
  fit::TwoStepTarget model;
  const size_t first = text.find(':'), second = text.find(':', first + 1);
  if (first == std::string::npos)
    return UsageError(fmt::format("--model takes PARAMS:TOKENS[:FLOPS], not '{}'", text));
  ASSIGN_OR_RETURN(model.params, NumberOf(text.substr(0, first), "--model"));
  ASSIGN_OR_RETURN(model.tokens, NumberOf(text.substr(first + 1, second - first - 1), "--model"));
  const bool has_flops = second != std::string::npos;
  if (has_flops) {
    ASSIGN_OR_RETURN(model.flops, NumberOf(text.substr(second + 1), "--model"));
  }
  if (!(model.params > 0 && model.tokens > 0 && (model.flops > 0 || !has_flops)))
    return UsageError(fmt::format("--model {}: all numbers must be above 0", text));
  return model;
}

// What --hard and its company ask for.
absl::Status TwoStepOptionsOf(const FitArgs& args, fit::FitOptions& options) {
  const auto is_named = [](const std::vector<std::string>& list, std::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  };
  const bool two_step =
      !args.hard.empty() || is_named(args.laws, "two-step") || is_named(args.laws, "all");
  for (const char* option :
       {"--chance", "--soft-by", "--curve", "--no-perfect-model", "--beyond-middle"})
    if (!two_step && is_named(args.given, option))
      return UsageError(
          fmt::format("{} is of a benchmark's two steps: name its column with --hard", option));
  options.checkpoints = args.checkpoints;
  options.two_step.curve = args.curve;
  options.two_step.by_flops = args.soft_by == "flops";
  options.two_step.perfect_model = !args.no_perfect_model;
  options.two_step.beyond_middle = args.beyond_middle;
  if (!args.chance.empty()) {
    ASSIGN_OR_RETURN(options.two_step.chance, NumberOf(args.chance, "--chance"));
  }
  if (!args.input.empty() && !args.models.empty())
    return UsageError(fmt::format(
        "--model is a run of params and tokens, and with --x {0} rows have none: --predict takes "
        "values of {0}",
        args.input));
  for (const std::string& text : args.models) {
    ASSIGN_OR_RETURN(const fit::TwoStepTarget model, ModelOf(text));
    if (two_step)  // which leaves them to the other laws where there is no score
      options.models.push_back(model);
    else
      options.predict_runs.push_back({model.flops, model.params, model.tokens});
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

}  // namespace

void AddFitOptions(CLI::App* verb, FitArgs* args) {
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
          fmt::format("default (isoflop, frontier, chinchilla; where data repeat data-constrained "
                      "too), all, {}",
                      fmt::join(fit::LawNames(), ", ")))
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
  verb->add_option(
          "--curve", args->curve,
          "two-step's second step: sigmoid, log-sigmoid or, of an error, exponential-error")
      ->check(CLI::IsMember({"sigmoid", "log-sigmoid", "exponential-error"}))
      ->capture_default_str();
  verb->add_option("--chance", args->chance, "the score of a guess is given; else fitted")
      ->type_name("SHARE");
  verb->add_flag("--no-perfect-model", args->no_perfect_model,
                 "two-step: without the pair (loss 0, score 1)");
  verb->add_flag("--beyond-middle", args->beyond_middle,
                 "two-step: forecast the score also where no run has passed the middle of the "
                 "curve's rise");
  verb->add_option("--model", args->models,
                   "a run to forecast at its own size and tokens, over-trained or not; with --hard "
                   "its score; repeatable")
      ->type_name("PARAMS:TOKENS[:FLOPS]");
  verb->add_flag("--checkpoints", args->checkpoints, "rows of one id are checkpoints of one run");
  verb->add_flag("--optima", args->optima,
                 "rows are optima of budgets, one each, not runs: fits frontier");
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
  verb->add_option("--bootstrap", args->resamples, "resamples; 0: no intervals of single laws")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--seed", args->seed, "of the bootstrap")->capture_default_str()->type_name("S");
  verb->add_option("--level", args->level, "of the intervals (0.9)")->type_name("P");
  verb->add_option("--pin-e", args->pinned_E,
                   "the irreducible loss is given; the interval covers what E the runs allow")
      ->type_name("E");
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
  verb->add_option("--allow-mixed", args->allow_mixed,
                   "a cohort key, or a column of the file, that may differ; repeatable")
      ->type_name("KEY");
  verb->add_flag("--register", args->do_register,
                 "put the primary forecasts of an import on record, before their runs start "
                 "elsewhere (a sweep registers by itself)");
  verb->add_flag("--include-targets", args->include_targets, "completed targets join the fit");
  verb->add_flag("--no-backtest", args->no_backtest, "skip it");
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
  options.law.observations_are_optima = args.optima;
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

absl::Status CheckRegister(const FitArgs& args) {
  if (!args.do_register) return absl::OkStatus();
  if (args.predict.empty()) return UsageError("--register needs --predict C: what to promise");
  const std::vector<std::string> allowed = {"--sweep",   "--metric",    "--where",
                                            "--predict", "--bootstrap", "--register"};
  for (const std::string& option : args.given)
    if (std::find(allowed.begin(), allowed.end(), option) == allowed.end())
      return UsageError(fmt::format(
          "--register keeps to the default estimator on the runs of an import: leave out {}",
          option));
  return absl::OkStatus();
}

}  // namespace sweepctl
