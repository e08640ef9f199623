#include "fit/fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "core/clock.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fit/average.h"
#include "fit/checkpoints.h"
#include "fit/drift_law.h"
#include "fit/flops_check.h"
#include "fit/remarks.h"
#include "fit/stats.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

absl::Status CheckHeld(const std::vector<const Law*>& laws,
                       const std::map<std::string, double>& hold) {
  std::vector<std::string> known;
  for (const Law* law : laws)
    for (const std::string& letter : law->constants()) known.push_back(letter);
  if (!hold.empty() && known.empty())
    return absl::InvalidArgumentError(
        "these laws have no constant to hold: leave --hold out, or ask for a law of params and "
        "tokens");
  for (const auto& [letter, value] : hold) {
    if (std::find(known.begin(), known.end(), letter) == known.end())
      return absl::InvalidArgumentError(
          fmt::format("no constant '{}' to hold in these laws; there are: {}", letter,
                      fmt::join(std::set<std::string>(known.begin(), known.end()), ", ")));
    if (!std::isfinite(value))
      return absl::InvalidArgumentError(fmt::format("{} is held at {}", letter, value));
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const FitOptions& options) {
  const auto positive = [](std::string_view what, double value) {
    if (std::isfinite(value) && value > 0) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format("{} is {}, must be above 0", what, value));
  };
  for (const double target : options.predict) RETURN_IF_ERROR(positive("forecast target", target));
  for (const RunTarget& run : options.predict_runs) {
    if (run.flops != 0) RETURN_IF_ERROR(positive("FLOPs of a run to forecast", run.flops));
    RETURN_IF_ERROR(positive("params of a run to forecast", run.params));
    RETURN_IF_ERROR(positive("tokens of a run to forecast", run.tokens));
  }
  for (const double cut : options.backtest_options.cuts)
    RETURN_IF_ERROR(positive("backtest cut", cut));
  RETURN_IF_ERROR(positive("FLOPs per parameter and token", options.law.flops.limit));
  for (const KnownFlops& known : options.known_flops) {
    RETURN_IF_ERROR(positive("size of a known model", known.params));
    RETURN_IF_ERROR(positive("FLOPs per token of a known model", known.flops_per_token));
  }
  if (options.law.hold.count("E") > 0)
    return absl::InvalidArgumentError(
        "E is given by --pin-e, which every law knows and every forecast names, not by --hold E");
  if (options.law.loss.kind == LossKind::kHuber)
    RETURN_IF_ERROR(positive("Huber delta", options.law.loss.delta));
  RETURN_IF_ERROR(positive("weight of over-estimates", options.law.loss.over));
  const BootstrapOptions& bootstrap = options.law.bootstrap;
  if (!(bootstrap.level > 0 && bootstrap.level < 1))
    return absl::InvalidArgumentError(
        fmt::format("level is {}, must lie between 0 and 1", bootstrap.level));
  if (bootstrap.threads < 1 || bootstrap.threads > 256)
    return absl::InvalidArgumentError(
        fmt::format("{} threads, must be 1 to 256", bootstrap.threads));
  if (options.law.isoflop.window < 0 || !(options.law.isoflop.flat_tolerance >= 0))
    return absl::InvalidArgumentError(
        fmt::format("window {} and flat tolerance {} must be 0 or more", options.law.isoflop.window,
                    options.law.isoflop.flat_tolerance));
  if (bootstrap.resamples < 0 || bootstrap.resamples > 1'000'000)
    return absl::InvalidArgumentError(
        fmt::format("{} bootstrap resamples, must be 0 to 1000000", bootstrap.resamples));
  if (options.law.pinned_E.has_value() &&
      !(std::isfinite(*options.law.pinned_E) && *options.law.pinned_E >= 0))
    return absl::InvalidArgumentError(
        fmt::format("pinned E is {}, must be 0 or more", *options.law.pinned_E));
  return absl::OkStatus();
}

absl::Status CheckOptima(const std::vector<Observation>& observations) {
  // Closer than this in C, two rows are runs of one budget, not two budgets' optima.
  constexpr double kApart = 1.1;
  std::vector<std::pair<double, int64_t>> rows;
  for (const Observation& o : observations) rows.emplace_back(o.budget_flops, o.row);
  std::sort(rows.begin(), rows.end());
  for (size_t i = 1; i < rows.size(); ++i)
    if (rows[i].first > rows[i - 1].first && rows[i].first < kApart * rows[i - 1].first)
      return absl::InvalidArgumentError(
          fmt::format("rows {} and {} have {} and {} FLOPs, less than 10 % apart: where rows are "
                      "optima, each is of a budget of its own; leave one "
                      "out, or --optima",
                      rows[i - 1].second, rows[i].second, core::FormatFlops(rows[i - 1].first),
                      core::FormatFlops(rows[i].first)));
  for (const IsoflopGroup& group : GroupByBudget(observations).groups)
    if (group.members.size() > 1)
      return absl::InvalidArgumentError(
          fmt::format("row {}: {} rows have the budget {}; where rows are optima, a budget has "
                      "one; leave the others "
                      "out, or --optima",
                      observations[group.members[1]].row, group.members.size(),
                      core::FormatFlops(group.budget_flops)));
  return absl::OkStatus();
}

absl::Status UseNoEmbedding(std::vector<Observation>& observations) {
  for (Observation& o : observations) {
    if (!(o.params_no_embedding > 0))
      return absl::InvalidArgumentError(fmt::format(
          "row {}: no params_no_embedding, which the N convention no-embedding needs", o.row));
    o.params = o.params_no_embedding;
    if (const auto said = o.cohort.find("n_convention"); said != o.cohort.end())
      said->second = "no-embedding";
  }
  return absl::OkStatus();
}

// What a budget buys. A given relation is compared with the runs, a learned one with itself: the
// optimum of a surface is only as good as it.
void RelateFlops(const std::vector<Observation>& observations, const FitOptions& options,
                 FitSummary& summary) {
  std::vector<FlopsSample> samples = FlopsOf(observations);
  summary.flops = options.law.flops;
  summary.flops_source = "given";
  if (options.learn_flops) {
    for (const KnownFlops& known : options.known_flops) {
      const double params = options.n_convention == NConvention::kNoEmbedding
                                ? known.params_no_embedding
                                : known.params;
      if (params > 0) samples.push_back({params, known.flops_per_token / params});
    }
    summary.flops = LearnFlops(samples);
    summary.flops_source =
        samples.size() > observations.size() ? "of the runs and their recipe" : "of the runs";
  }
  std::vector<double> off;
  for (const FlopsSample& s : FlopsOf(observations))
    off.push_back(s.flops_per_param_token / summary.flops.PerParamToken(s.params) - 1);
  constexpr double kTolerated = 0.05;
  if (const double rms = RootMeanSquare(off); rms > kTolerated)
    summary.warnings.push_back(Warn(
        kFlopConvention,
        fmt::format("C / (N D) of the runs is {:.3g} % (rms; {:+.3g} .. {:+.3g} %) off what is "
                    "taken for it ({}): the sizes that surfaces derive from C are as uncertain",
                    100 * rms, 100 * Quantile(off, 0), 100 * Quantile(off, 1),
                    summary.flops_source)));
}

bool WantsTwoStep(const std::vector<std::string>& names,
                  const std::vector<Observation>& observations) {
  const auto named = [&](std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return named(kTwoStep) ||
         (named("all") && std::any_of(observations.begin(), observations.end(),
                                      [](const Observation& o) { return o.hard.has_value(); }));
}

absl::StatusOr<TwoStepSummary> TwoStepOf(const std::vector<Observation>& observations,
                                         const std::vector<RunRows>& runs,
                                         const FitOptions& options, const FlopsRelation& flops) {
  std::vector<TwoStepTarget> targets;
  for (const double flops : options.predict) targets.push_back({flops, 0, 0});
  targets.insert(targets.end(), options.models.begin(), options.models.end());
  TwoStepOptions steps;
  steps.soft = options.law.loss;
  steps.bootstrap = options.law.bootstrap;
  TwoStepRequest request = options.two_step;
  if (!options.backtest) request.backtest_cuts = 0;
  return RunTwoStep(observations, runs, request, steps, flops, targets);
}

// Why a law says nothing of a run at its own N and D.
constexpr char kNoRuns[] = "cannot forecast a run away from the optimum";

// The laws that know what a run loses by its N and D decide alone; who cannot says so.
absl::Status RemarkOnRuns(const std::vector<const Law*>& laws, bool observations_are_optima,
                          FitSummary& summary) {
  if (laws.empty()) return absl::OkStatus();  // two-step alone
  if (observations_are_optima)
    return absl::InvalidArgumentError(fmt::format(
        "rows are optima, one a budget: laws of them {}; --predict forecasts a budget", kNoRuns));
  std::vector<std::string> in_compute;
  bool any = false;
  for (const Law* law : laws) {
    any = any || law->forecasts_runs();
    if (!law->forecasts_runs() && law->name() != "isoflop") in_compute.emplace_back(law->name());
  }
  const bool several = in_compute.size() > 1;
  const std::string why =
      in_compute.empty()
          ? "isoflop forecasts no loss"
          : fmt::format("{} {} in C: {} {}", fmt::join(in_compute, " and "),
                        several ? "are laws" : "is a law", several ? "they" : "it", kNoRuns);
  if (!any)
    return absl::InvalidArgumentError(
        fmt::format("{}; --law chinchilla and frontier can (and the other laws of params and "
                    "tokens)",
                    why));
  if (!in_compute.empty()) summary.warnings.push_back(Warn(kNoForecast, why));
  return absl::OkStatus();
}

}  // namespace

Scale ScaleOf(const FitSummary& summary) {
  const auto metric = summary.cohort.values.find("metric");
  return {summary.smallest_flops,
          summary.largest_flops,
          summary.spent_flops,
          metric == summary.cohort.values.end() ? "loss" : metric->second,
          summary.one_law,
          summary.fewest_tokens_per_param,
          summary.most_tokens_per_param};
}

std::vector<Forecast> ForecastsOf(const FitSummary& summary, const RunTarget& target) {
  std::vector<const FittedLaw*> laws;
  for (const auto& law : summary.laws) laws.push_back(law.get());
  Beside beside;
  if (summary.weighed != nullptr) beside.weighed = ForecastsOf(*summary.weighed, target);
  if (summary.unpinned != nullptr) {
    beside.unpinned = ForecastsOf(*summary.unpinned, target);
    beside.pinned_E = *summary.pinned_E;
  }
  return ForecastAt(laws, target, ScaleOf(summary), summary.backtest, beside);
}

absl::StatusOr<FitSummary> RunFit(const std::vector<Observation>& given, const FitOptions& options,
                                  const std::vector<Exclusion>& excluded) {
  const int64_t started_ms = core::SystemClock().MonotonicMs();
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(const std::vector<const Law*> laws,
                   ChooseLaws(options.laws, UsualLaws(given, options.law.observations_are_optima)));
  RETURN_IF_ERROR(CheckHeld(laws, options.law.hold));
  if (given.empty()) return absl::InvalidArgumentError("no observations to fit");
  std::vector<Observation> observations = given;
  for (const Observation& o : observations) RETURN_IF_ERROR(Validate(o, "observations"));

  FitSummary summary;
  summary.input = options.input;
  if (options.input != "FLOPs")
    for (const Law* law : laws)
      if (!law->in_compute())
        return absl::InvalidArgumentError(fmt::format(
            "{} is a law of params and tokens, and rows of {} have none; --law bnsl fits a curve",
            law->name(), options.input));
  ASSIGN_OR_RETURN(summary.cohort, CheckCohort(observations, options.allow_mixed));
  std::vector<std::string> mixed;
  for (const auto& [key, shares] : summary.cohort.mixed)
    mixed.push_back(fmt::format("{} ({})", key, shares));
  if (!mixed.empty())
    summary.warnings.push_back(
        Warn(kMixedCohort, fmt::format("observations differ in {}; every number here mixes them",
                                       fmt::join(mixed, ", "))));
  std::vector<std::string> unknown;
  for (const auto& [key, value] : summary.cohort.values)
    if (value == kUnknownValue) unknown.push_back(key);
  if (!unknown.empty())
    summary.warnings.push_back(
        Warn(kUnknownCohort,
             fmt::format("nobody has said the {} of these runs: they may not measure the same "
                         "thing, and no forecast from them can be registered",
                         fmt::join(unknown, ", "))));
  for (const std::string& key : unknown)
    summary.registration_blocked.push_back(fmt::format("{}: {}", kUnknownCohort, key));
  summary.excluded = excluded;
  if (const int64_t copies = RemoveExactDuplicates(observations); copies > 0)
    summary.excluded.push_back({"exact duplicate of another row", copies});
  for (const Exclusion& e : summary.excluded)
    summary.warnings.push_back(
        Warn(kDroppedRows, fmt::format("{} rows left out: {}", e.count, e.reason)));
  if (options.input == "FLOPs") {
    if (const std::string doubt = FlopsDoubt(observations); !doubt.empty()) {
      summary.warnings.push_back(Warn(kFlopConvention, doubt));
      summary.registration_blocked.push_back(fmt::format("{}: {}", kFlopConvention, doubt));
    } else if (const std::string odd = FlopsRemark(observations); !odd.empty()) {
      summary.warnings.push_back(Warn(kFlopConvention, odd));
    }
  }
  if (const std::string doubt = LossDoubt(observations); !doubt.empty()) {
    summary.warnings.push_back(Warn(kImpossibleLoss, doubt));
    summary.registration_blocked.push_back(fmt::format("{}: {}", kImpossibleLoss, doubt));
  } else if (const std::string odd = LossRemark(observations);
             !odd.empty() && options.input == "FLOPs") {
    summary.warnings.push_back(Warn(kImpossibleLoss, odd));
  }
  if (options.n_convention == NConvention::kNoEmbedding)
    RETURN_IF_ERROR(UseNoEmbedding(observations));
  LawOptions law_options = options.law;
  law_options.checkpoints = options.checkpoints;
  law_options.rows_are_curve = options.input != "FLOPs";
  if (!law_options.rows_are_curve) {
    RelateFlops(observations, options, summary);
    law_options.flops = summary.flops;
  }
  // A table of optima, or of points of a curve, has one row a budget, whatever the values: no
  // buckets.
  if (options.law.observations_are_optima || options.input != "FLOPs")
    for (Observation& o : observations)
      if (o.budget_flops == 0) o.budget_flops = o.flops;
  if (options.law.observations_are_optima) RETURN_IF_ERROR(CheckOptima(observations));

  ASSIGN_OR_RETURN(const std::vector<RunRows> runs, GroupRuns(observations, options.checkpoints));
  absl::Status failure;
  const bool two_step = WantsTwoStep(options.laws, observations);
  if (two_step) {
    auto one = TwoStepOf(observations, runs, options, law_options.flops);
    if (one.ok()) {
      summary.two_step = *std::move(one);
    } else {
      failure = one.status();
      summary.warnings.push_back(Warn(kNotFitted, std::string(failure.message())));
    }
  }
  std::vector<RunTarget> wanted = options.predict_runs;
  if (!summary.two_step.has_value())
    for (const TwoStepTarget& model : options.models)
      wanted.push_back({model.flops, model.params, model.tokens});
  if (!wanted.empty())
    RETURN_IF_ERROR(RemarkOnRuns(laws, options.law.observations_are_optima, summary));
  const std::vector<Observation> rows = observations;  // with every checkpoint
  if (runs.size() < observations.size()) {
    summary.warnings.push_back(Warn(
        kCheckpoints, fmt::format("{} rows are checkpoints of {} runs: laws of final losses see "
                                  "the last of each",
                                  observations.size(), runs.size())));
    observations = LastRows(observations, runs);
  }
  summary.observations = observations.size();
  RETURN_IF_ERROR(
      RemarkOnLabels(observations, options.allow_mixed, options.experiment_option, summary));
  RemarkOnRepeatedIds(observations, summary);
  const IsoflopGroups groups = GroupByBudget(observations);
  summary.grouping = groups.grouping;
  summary.smallest_flops = groups.groups.front().budget_flops;
  summary.largest_flops = groups.groups.back().budget_flops;
  summary.fewest_tokens_per_param = HUGE_VAL;
  // What a table of optima cost to find is not in it.
  for (const Observation& o : observations) {
    if (!options.law.observations_are_optima) summary.spent_flops += o.flops;
    const double ratio = o.tokens / o.params;
    summary.fewest_tokens_per_param = std::min(summary.fewest_tokens_per_param, ratio);
    summary.most_tokens_per_param = std::max(summary.most_tokens_per_param, ratio);
  }
  if (options.spent_flops > 0) summary.spent_flops = options.spent_flops;
  const auto is_set = [](const std::string& name) { return name == "default" || name == "all"; };
  summary.one_law = std::none_of(options.laws.begin(), options.laws.end(), is_set) &&
                    std::count_if(laws.begin(), laws.end(),
                                  [](const Law* law) { return law->name() != "isoflop"; }) == 1;

  std::vector<std::shared_ptr<const FittedLaw>>& fitted = summary.laws;
  const auto say = [&](const Law* law, std::string_view what) {
    if (options.progress) options.progress(fmt::format("{}: {}", law->name(), what));
  };
  for (const Law* law : laws) {
    say(law, "fit and intervals");
    auto one = law_options.observations_are_optima && law->surface() != nullptr
                   ? absl::FailedPreconditionError(fmt::format(
                         "{}: rows are optima, whose N and D follow C: they determine no surface; "
                         "--law frontier fits them",
                         law->name()))
                   : law->Fit(law->uses_checkpoints() ? rows : observations, law_options);
    if (one.ok() && !std::isfinite((*one)->fit().objective))
      one = absl::FailedPreconditionError(
          fmt::format("{}: its objective is no finite number; check the data for extreme values{}",
                      law->name(), MostExtreme(observations)));
    if (one.ok()) {
      fitted.push_back(*std::move(one));
    } else if (one.status().code() == absl::StatusCode::kInvalidArgument) {
      return one.status();
    } else {
      if (failure.ok()) failure = one.status();
      summary.warnings.push_back(Warn(kNotFitted, std::string(one.status().message())));
    }
  }
  if (options.law.pinned_E.has_value() && !observations.empty()) {
    const double lowest =
        std::min_element(observations.begin(), observations.end(),
                         [](const auto& a, const auto& b) { return a.loss < b.loss; })
            ->loss;
    if (*options.law.pinned_E >= lowest)
      return absl::InvalidArgumentError(
          fmt::format("pinned E = {:.4g} is not below every loss: a run has reached {:.4g}; give "
                      "less with --pin-e, or correct that run",
                      *options.law.pinned_E, lowest));
  }
  if (fitted.empty() && !summary.two_step.has_value()) return failure;
  if (options.law.pinned_E.has_value()) {
    FitOptions at = options;
    at.law.pinned_E.reset();
    at.predict.clear(), at.predict_runs.clear(), at.models.clear();
    at.sensitivity = false;
    summary.pinned_E = options.law.pinned_E;
    if (auto unpinned = RunFit(given, at, excluded); unpinned.ok())
      summary.unpinned = std::make_shared<const FitSummary>(*std::move(unpinned));
  }
  std::vector<const FittedLaw*> views;
  for (const auto& law : fitted) {
    views.push_back(law.get());
    summary.fits.push_back(law->fit());
    LawFit& fit = summary.fits.back();
    for (const auto& [name, value] : fit.params)
      if (!std::isfinite(value))
        fit.warnings.push_back(
            Warn(kOverflow, fmt::format("{} is too large for a number: the data span too little or "
                                        "are far from any scaling law",
                                        name)));
    RemarkOnConstants(fit);
  }
  if (options.backtest)
    for (const Law* law : laws) {
      say(law, "backtest");
      for (BacktestRow& row : Backtest(*law, law->uses_checkpoints() ? rows : observations,
                                       law_options, options.backtest_options))
        summary.backtest.push_back(std::move(row));
    }
  if (PrimaryLaw(views, summary.one_law) == "average") {
    const double level = options.law.bootstrap.level;
    if (level != kWeighingLevel) {
      FitOptions at = options;
      at.law.bootstrap.level = kWeighingLevel;
      at.predict.clear(), at.predict_runs.clear(), at.models.clear();
      at.sensitivity = false;
      ASSIGN_OR_RETURN(FitSummary weighed, RunFit(given, at, excluded));
      summary.weighed = std::make_shared<const FitSummary>(std::move(weighed));
    }
    const FitSummary& weighed = summary.weighed == nullptr ? summary : *summary.weighed;
    std::vector<BacktestRow> rows =
        AverageBacktest(summary.backtest, weighed.backtest, LawsOfAverage(views), level);
    for (BacktestRow& row : rows) summary.backtest.push_back(std::move(row));
  }
  std::vector<RunTarget> targets;
  for (const double flops : options.predict) targets.push_back({flops});
  std::vector<std::string> doubts(targets.size());  // of each target's FLOPs
  for (RunTarget run : wanted) {
    doubts.push_back(run.flops == 0 ? ""
                                    : TargetFlopsDoubt(observations, law_options.flops, run.flops,
                                                       run.params, run.tokens));
    if (run.flops == 0)
      run.flops = law_options.flops.PerParamToken(run.params) * run.params * run.tokens;
    targets.push_back(run);
  }
  const bool any_surface = std::any_of(laws.begin(), laws.end(),
                                       [](const Law* law) { return law->surface() != nullptr; });
  for (size_t i = 0; i < targets.size(); ++i) {
    const RunTarget& target = targets[i];
    std::vector<Forecast> forecasts = ForecastsOf(summary, target);
    if (!doubts[i].empty())
      for (Forecast& forecast : forecasts)
        forecast.warnings.push_back(Warn(kFlopConvention, doubts[i]));
    // Two steps alone forecast elsewhere.
    if (forecasts.empty() && !fitted.empty())
      summary.warnings.push_back(Warn(
          kNoForecast,
          target.params > 0
              ? fmt::format("no law here can say anything about a run of N {}, D {}: {}",
                            core::FormatCount(target.params), core::FormatCount(target.tokens),
                            any_surface ? "the losses do not fall with size and data, or these "
                                          "are beyond what can be computed"
                                        : "it lies far from the optima that they know; --law "
                                          "chinchilla may")
              : fmt::format("no law here can say anything about {} FLOPs: the losses do not "
                            "fall with compute, or the laws asked for know no loss",
                            core::FormatFlops(target.flops))));
    for (Forecast& forecast : forecasts) summary.predictions.push_back(std::move(forecast));
  }
  if (options.progress && options.sensitivity) options.progress("refits under changes");
  if (options.sensitivity)
    summary.sensitivities =
        Sensitivities(laws, views, observations, law_options, targets, summary.predictions);
  RemarkOnClamps(observations, summary);
  if (!law_options.rows_are_curve && !law_options.observations_are_optima)
    RemarkOnOutliers(observations, summary);
  if (options.sensitivity && !summary.one_law)
    RemarkOnRicherLaws(observations, law_options, summary);
  RemarkOnRepeats(observations, options.law, summary);
  RemarkOnLevel(options.law.bootstrap, summary);
  RemarkOnCoverage(options.law.bootstrap.level, summary);
  std::vector<std::string> forecasting;
  for (const LawFit& fit : summary.fits) forecasting.push_back(fit.law);
  const bool averages = PrimaryLaw(views, summary.one_law) == "average";
  if (averages) forecasting.emplace_back("average");
  const bool usual = IsUsualEstimator(options.law);
  summary.coverage =
      CoverageByReach(summary.backtest, forecasting, options.law.bootstrap.level, usual);
  if (averages && !usual)
    for (Forecast& forecast : summary.predictions)
      if (forecast.primary)
        forecast.warnings.push_back(
            Warn(kOtherEstimator,
                 "with another loss, weights or a given constant the laws are not averaged over "
                 "their profiles: this is not the default forecast, and what the benchmark says of "
                 "that is not said of this"));
  for (Forecast& forecast : summary.predictions)
    for (const Warning& warning : summary.warnings)
      if (warning.code == kMixedCohort || warning.code == kUnknownCohort ||
          warning.code == kMixedColumns || warning.code == kClampedPoints ||
          warning.code == kOutliers || warning.code == kOneRunManyRows ||
          warning.code == kRicherLaw)
        forecast.warnings.push_back(warning);
  summary.elapsed_s = static_cast<double>(core::SystemClock().MonotonicMs() - started_ms) / 1e3;
  return summary;
}

}  // namespace fit
