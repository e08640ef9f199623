#include "sweepctl/plan_next.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/fit_input.h"
#include "sweepctl/observations.h"
#include "sweepctl/plan_power.h"
#include "sweepctl/plan_targets.h"
#include "sweepctl/power_input.h"
#include "sweepctl/table.h"
#include "sweeps/expand.h"

namespace sweepctl {
namespace {

using core::Json;

constexpr int kPriorDraws = 24;                 // beside the best fit
constexpr int kConfirm = 4;                     // times the simulations that compare choices
constexpr double kShares[] = {1, 1. / 3, 0.1};  // of the limit
constexpr double kAsNarrow = 1.03;
constexpr uint64_t kOtherSeed = 1'000'000;

struct Candidate {
  double budget = 0;
  int64_t hidden = 0;
  fit::PlannedRun run;
};

std::vector<double> BudgetsToTry(const sweeps::SweepFile& file, double max_flops,
                                 double smallest_target) {
  std::set<double> budgets(file.budgets.begin(), file.budgets.end());
  for (const sweeps::ExplicitRun& run : file.runs) budgets.insert(run.budget);
  if (budgets.empty()) return {};
  const double least = *budgets.begin();
  for (int exponent = 6; exponent < 27; ++exponent)
    for (const double digit : {1., 3.}) {
      const double budget = digit * std::pow(10, exponent);
      if (budget >= least && budget <= max_flops && budget < 0.999 * smallest_target)
        budgets.insert(budget);
    }
  return {budgets.begin(), budgets.end()};
}

absl::StatusOr<std::vector<Candidate>> CandidatesOf(const TargetChooser& chooser,
                                                    const std::vector<double>& budgets) {
  std::vector<Candidate> candidates;
  for (const double budget : budgets) {
    const auto list = chooser.recipe->Candidates({"training_flops", budget}, chooser.setting);
    if (!list.ok()) continue;  // out of the recipe's range
    for (const recipes::Candidate& candidate : list->candidates) {
      ASSIGN_OR_RETURN(const recipes::Plan plan,
                       chooser.recipe->MakePlan(candidate, chooser.setting));
      candidates.push_back({budget, candidate.hidden, RunOf(plan)});
    }
  }
  return candidates;
}

// Seeds of every shape the sweep has, finished or not.
using ShapeSeeds = std::map<std::pair<double, double>, uint64_t>;  // the next free one

absl::StatusOr<ShapeSeeds> SeedsOf(const sweeps::SweepFile& file, const TargetChooser& chooser,
                                   const std::vector<fit::Observation>& known, size_t* trials) {
  sweeps::ExpandOptions expand;
  expand.data = chooser.setting.data;
  ASSIGN_OR_RETURN(const std::vector<sweeps::PlannedTrial> planned, sweeps::Expand(file, expand));
  *trials = planned.size();
  ShapeSeeds next;
  const auto saw = [&](double params, double tokens, uint64_t seed) {
    uint64_t& free = next[{params, tokens}];
    free = std::max(free, seed + 1);
  };
  for (const sweeps::PlannedTrial& trial : planned)
    saw(static_cast<double>(trial.plan.params), static_cast<double>(trial.plan.tokens),
        trial.plan.init_seed);
  for (const fit::Observation& o : known)
    saw(o.params, o.tokens, static_cast<uint64_t>(std::max<int64_t>(o.seed, 0)));
  return next;
}

std::vector<fit::PlannedRun> RunsOf(const std::vector<fit::Observation>& known) {
  std::vector<fit::PlannedRun> runs;
  for (const fit::Observation& o : known)
    runs.push_back({o.flops, o.budget_flops, o.params, o.tokens, 1});
  return runs;
}

// Chosen runs of one shape as one PlannedRun with repeats.
std::vector<fit::PlannedRun> Merged(const std::vector<NextRun>& runs) {
  std::vector<fit::PlannedRun> merged;
  for (const NextRun& run : runs) {
    const auto same = std::find_if(merged.begin(), merged.end(), [&](const fit::PlannedRun& m) {
      return m.params == run.planned.params && m.tokens == run.planned.tokens;
    });
    if (same == merged.end())
      merged.push_back(run.planned);
    else
      ++same->repeats;
  }
  return merged;
}

std::string CriterionName(fit::Criterion criterion) {
  return criterion == fit::Criterion::kV ? "V" : "D";
}

// A half-width of linear theory, which holds where ln L moves by little.
std::string LinearPercent(double half_width) {
  return half_width <= fit::kLinearUpTo ? fmt::format("{:.2f} %", 100 * half_width)
                                        : fmt::format("over {:g} %", 100 * fit::kLinearUpTo);
}

std::string PoolName(bool near) { return near ? "sizes near the optimum" : "all sizes"; }

absl::Status NothingHelps(const std::vector<Candidate>& candidates, double max_flops) {
  if (candidates.empty())
    return absl::FailedPreconditionError(
        fmt::format("the recipe has no candidate within {} FLOPs and below the targets",
                    core::FormatFlops(max_flops)));
  const auto cheapest = std::min_element(
      candidates.begin(), candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.run.flops < b.run.flops; });
  return absl::FailedPreconditionError(
      fmt::format("no run within {} FLOPs shrinks the interval; the cheapest candidate costs {}",
                  core::FormatFlops(max_flops), core::FormatFlops(cheapest->run.flops)));
}

// Geometric mean over targets, so that it falls by as much as each target's does; infinity where a
// target has no interval.
double HalfWidthOf(const fit::Power& power) {
  double sum = 0;
  for (const fit::TargetPower& target : power.targets) {
    if (!std::isfinite(target.half_width)) return HUGE_VAL;
    sum += std::log(target.half_width);
  }
  return std::exp(sum / static_cast<double>(power.targets.size()));
}

// Those whose tokens are within a factor of e of the budget's best candidate by the prior.
std::vector<Candidate> NearOptimum(const std::vector<Candidate>& candidates,
                                   const fit::Prior& prior) {
  std::map<double, std::pair<double, double>> best;  // budget -> loss, ln tokens
  for (const Candidate& c : candidates) {
    const double loss =
        prior.law->Loss(prior.draws.front().data(), std::log(c.run.params), std::log(c.run.tokens));
    const auto [at, fresh] = best.try_emplace(c.budget, loss, std::log(c.run.tokens));
    if (!fresh && loss < at->second.first) at->second = {loss, std::log(c.run.tokens)};
  }
  std::vector<Candidate> near;
  for (const Candidate& c : candidates)
    if (std::fabs(std::log(c.run.tokens) - best.at(c.budget).second) <= 1) near.push_back(c);
  return near;
}

// A choice among `candidates`; without runs where nothing helps within the limit.
NextChoice Choose(const fit::Prior& prior, const std::vector<fit::Observation>& known,
                  const std::vector<Candidate>& candidates,
                  const std::vector<fit::PowerTarget>& targets, ShapeSeeds seeds,
                  fit::Criterion criterion, double limit, const NextOptions& options) {
  std::vector<fit::PlannedRun> planned;
  for (const Candidate& candidate : candidates) planned.push_back(candidate.run);
  fit::ChooseOptions choose;
  choose.criterion = criterion;
  choose.max_flops = limit;
  choose.max_runs = options.max_runs;
  choose.level = options.power.level;
  NextChoice choice;
  choice.criterion = criterion;
  choice.limit = limit;
  choice.half_width = std::nan("");
  choice.choice = fit::ChooseRuns(prior, RunsOf(known), planned, targets, choose);
  for (const fit::ChosenRun& chosen : choice.choice.runs) {
    const Candidate& candidate = candidates[chosen.candidate];
    uint64_t& seed = seeds[{candidate.run.params, candidate.run.tokens}];
    choice.runs.push_back({{candidate.budget, candidate.hidden, seed++}, candidate.run, chosen});
  }
  return choice;
}

bool SameRuns(const NextChoice& a, const NextChoice& b) {
  const auto same = [](const NextRun& x, const NextRun& y) {
    return x.planned.params == y.planned.params && x.planned.tokens == y.planned.tokens &&
           x.run.seed == y.run.seed;
  };
  return a.runs.size() == b.runs.size() &&
         std::is_permutation(a.runs.begin(), a.runs.end(), b.runs.begin(), same);
}

absl::Status Simulate(const fit::Prior& prior, const std::vector<fit::Observation>& known,
                      const std::vector<fit::PowerTarget>& targets,
                      const fit::PowerOptions& options, NextChoice* choice) {
  ASSIGN_OR_RETURN(choice->power,
                   fit::SimulatePower(prior, Merged(choice->runs), targets, options, known));
  choice->half_width = HalfWidthOf(choice->power);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NextAnswer> NextRuns(orchestrator::Reader& reader,
                                    const orchestrator::SweepInfo& info, const PowerArgs& args,
                                    const NextOptions& options) {
  NextAnswer answer;
  answer.sweep = info.sweep;
  ASSIGN_OR_RETURN(const SweepObservations read, ObservationsOf(reader, info.sweep));
  answer.known = read.fitted.size();
  if (read.fitted.empty())
    return absl::FailedPreconditionError(fmt::format(
        "sweep {} has no finished run to build on; plan its first runs with `plan FILE`",
        info.sweep));
  ASSIGN_OR_RETURN(answer.file, sweeps::ParseSweepFile(info.sweep_file, "the stored sweep file"));
  ASSIGN_OR_RETURN(const TargetChooser chooser, TargetChooserOf(reader, info));
  if (answer.file.data.has_value()) answer.file.vocab = chooser.setting.vocab;
  size_t trials = 0;
  ASSIGN_OR_RETURN(ShapeSeeds seeds, SeedsOf(answer.file, chooser, read.fitted, &trials));
  answer.unfinished = trials > answer.known ? trials - answer.known : 0;

  // Targets whose outcome nobody has seen.
  std::vector<double> wanted = options.targets;
  if (wanted.empty())
    for (const double flops : answer.file.forecast_at) {
      const bool known =
          std::any_of(read.targets.begin(), read.targets.end(), [&](const fit::Observation& o) {
            return std::fabs(std::log(o.budget_flops / flops)) < 0.05;
          });
      (known ? answer.outcomes_known : wanted).push_back(flops);
    }
  if (wanted.empty())
    return absl::FailedPreconditionError(
        answer.outcomes_known.empty()
            ? fmt::format("sweep {} forecasts nothing; say what to forecast with --predict C",
                          info.sweep)
            : fmt::format("every target of sweep {} is trained already; say what to forecast next "
                          "with --predict C",
                          info.sweep));
  answer.file.forecast_at = wanted;
  std::vector<Target> planned_targets;
  for (const double flops : wanted) {
    ASSIGN_OR_RETURN(const double tokens,
                     chooser.recipe->PriorOptimalTokens(flops, chooser.setting));
    ASSIGN_OR_RETURN(recipes::Plan plan, chooser.Choose(flops, tokens));
    planned_targets.push_back({flops, std::move(plan)});
  }
  const std::vector<fit::PowerTarget> targets = PowerTargetsOf(planned_targets);

  if (!args.prior.empty()) {
    ASSIGN_OR_RETURN(answer.prior, PriorOf(args, answer.file.recipe, RunsOf(read.fitted)));
  } else {
    ASSIGN_OR_RETURN(answer.prior, fit::PriorFromRuns(read.fitted, "chinchilla", kPriorDraws, 0));
    answer.prior.name = info.sweep;
    RETURN_IF_ERROR(SetNoise(args, &answer.prior));
  }
  ASSIGN_OR_RETURN(
      const std::vector<Candidate> candidates,
      CandidatesOf(chooser, BudgetsToTry(answer.file, options.max_flops,
                                         *std::min_element(wanted.begin(), wanted.end()))));
  for (const bool near : {false, true})
    for (const fit::Criterion criterion : {fit::Criterion::kV, fit::Criterion::kD}) {
      if (options.criterion.value_or(criterion) != criterion) continue;
      for (const double share : kShares) {
        NextChoice choice = Choose(answer.prior, read.fitted,
                                   near ? NearOptimum(candidates, answer.prior) : candidates,
                                   targets, seeds, criterion, share * options.max_flops, options);
        choice.near = near;
        const bool known =
            std::any_of(answer.choices.begin(), answer.choices.end(),
                        [&](const NextChoice& other) { return SameRuns(other, choice); });
        if (!choice.runs.empty() && !known) answer.choices.push_back(std::move(choice));
      }
    }
  if (answer.choices.empty()) return NothingHelps(candidates, options.max_flops);
  if (options.power.simulations > 0) {
    ASSIGN_OR_RETURN(answer.before,
                     fit::SimulatePower(answer.prior, {}, targets, options.power, read.fitted));
    answer.half_width_before = HalfWidthOf(answer.before);
    for (NextChoice& choice : answer.choices)
      RETURN_IF_ERROR(Simulate(answer.prior, read.fitted, targets, options.power, &choice));
    std::stable_sort(
        answer.choices.begin(), answer.choices.end(),
        [](const NextChoice& a, const NextChoice& b) { return a.half_width < b.half_width; });
    const auto cheapest =
        std::min_element(answer.choices.begin(), answer.choices.end(),
                         [&](const NextChoice& a, const NextChoice& b) {
                           const double narrow = kAsNarrow * answer.choices.front().half_width;
                           const auto cost = [&](const NextChoice& c) {
                             return c.half_width <= narrow ? c.choice.flops : HUGE_VAL;
                           };
                           return cost(a) < cost(b);
                         });
    std::rotate(answer.choices.begin(), cheapest, cheapest + 1);
    // The narrowest of several was partly lucky.
    fit::PowerOptions anew = options.power;
    anew.simulations *= kConfirm;
    anew.seed += kOtherSeed;
    RETURN_IF_ERROR(Simulate(answer.prior, read.fitted, targets, anew, &answer.choices.front()));
  }
  for (const NextRun& run : answer.choices.front().runs) answer.file.runs.push_back(run.run);
  answer.file.name = info.sweep.substr(0, 58) + "-next";
  sweeps::ExpandOptions expand;
  expand.data = chooser.setting.data;
  ASSIGN_OR_RETURN(const std::vector<sweeps::PlannedTrial> all,
                   sweeps::Expand(answer.file, expand));
  answer.file_flops = FlopsOf(answer.file, all, planned_targets);
  if (answer.file.limit_flops > 0) answer.file.limit_flops += answer.choices.front().choice.flops;
  CoverLimit(answer.file_flops, &answer.file);
  return answer;
}

std::string NextText(const NextAnswer& answer, const NextOptions& options) {
  const NextChoice& best = answer.choices.front();
  const double level = 100 * options.power.level;
  std::string text = fmt::format(
      "runs to add to sweep {} ({} finished runs), {}-optimal among {}, {} FLOPs of {};\n"
      "by what each shrinks the {:.10g} % prediction interval for its FLOPs in linear theory "
      "(half-width {} before, geometric mean over targets)\n\n",
      answer.sweep, answer.known, CriterionName(best.criterion), PoolName(best.near),
      core::FormatFlops(best.choice.flops), core::FormatFlops(options.max_flops), level,
      LinearPercent(best.choice.half_width_before));
  Table table({{"budget", "budget"},
               {"hidden", "width"},
               {"params", "params"},
               {"tokens", "tokens"},
               {"seed", "seed"},
               {"flops", "FLOPs"},
               {"shrink", "shrink per 1 % of the FLOPs"},
               {"half_width", fmt::format("linear half-width then ({:.10g} % prediction)", level)},
               {"log_det", "ln det gain"}});
  for (const NextRun& run : best.runs)
    table.AddRow({{run.run.budget, core::FormatFlops(run.run.budget)},
                  {run.run.hidden, ""},
                  {run.planned.params, core::FormatCount(run.planned.params)},
                  {run.planned.tokens, core::FormatCount(run.planned.tokens)},
                  {run.run.seed, ""},
                  {run.planned.flops, core::FormatFlops(run.planned.flops)},
                  {run.chosen.shrink_per_flop,
                   fmt::format("{:.2g} %", 100 * (1 - std::exp(-run.chosen.shrink_per_flop * 0.01 *
                                                               options.max_flops)))},
                  {run.chosen.half_width, LinearPercent(run.chosen.half_width)},
                  {run.chosen.log_det_gain, fmt::format("{:.2f}", run.chosen.log_det_gain)}});
  text += table.Text(false);
  text += fmt::format("new runs {} FLOPs{}{}\n", core::FormatFlops(best.choice.flops),
                      answer.file_flops.targets > 0
                          ? fmt::format("; registered targets {} more",
                                        core::FormatFlops(answer.file_flops.targets))
                          : "",
                      answer.file.limit_flops > 0
                          ? fmt::format("; limits.flops of the file {}, with the finished trials",
                                        core::FormatFlops(answer.file.limit_flops))
                          : "");
  if (answer.unfinished > 0)
    text +=
        fmt::format("  ! {} fit trials of the sweep are unfinished and count for nothing here\n",
                    answer.unfinished);
  if (best.power.targets.empty()) {
    text += "  ! not simulated: linear theory knows one law and `fit` averages several\n";
    return text;
  }
  text += fmt::format(
      "\nsimulated half-widths of {:.10g} % prediction intervals, geometric mean over targets: "
      "what "
      "`fit` would print. Linear theory above ranks runs; it knows one law and any E, `fit` "
      "averages laws with E at least 0 and widens for their errors\n  {:5.2f} %  without new "
      "runs\n",
      level, 100 * answer.half_width_before);
  for (const NextChoice& choice : answer.choices)
    text += fmt::format("  {:5.2f} %  for {} FLOPs: {} runs, {}-optimal among {} within {}{}\n",
                        100 * choice.half_width, core::FormatFlops(choice.choice.flops),
                        choice.runs.size(), CriterionName(choice.criterion), PoolName(choice.near),
                        core::FormatFlops(choice.limit),
                        &choice == &best ? "; the answer: no dearer one is 3 % narrower" : "");
  if (!(best.half_width < 0.97 * answer.half_width_before))
    text +=
        "  ! these runs are not expected to shrink what `fit` prints: spend more, or forecast "
        "nearer\n";
  return text + PowerText(answer.prior, best.power, options.power, {});
}

Json NextJson(const NextAnswer& answer, const NextOptions& options) {
  const NextChoice& best = answer.choices.front();
  const std::string kind(fit::Name(fit::IntervalKind::kPrediction));
  Json runs = Json::array(), choices = Json::array();
  for (const NextRun& run : best.runs)
    runs.push_back({{"budget_flops", run.run.budget},
                    {"hidden", run.run.hidden},
                    {"seed", run.run.seed},
                    {"params", run.planned.params},
                    {"tokens", run.planned.tokens},
                    {"flops", run.planned.flops},
                    {"shrink_per_flop", run.chosen.shrink_per_flop},
                    {"half_width", run.chosen.half_width},
                    {"level", options.power.level},
                    {"kind", kind},
                    {"log_det_gain", run.chosen.log_det_gain}});
  const bool simulated = !best.power.targets.empty();
  for (const NextChoice& choice : answer.choices)
    choices.push_back({{"criterion", CriterionName(choice.criterion)},
                       {"among", PoolName(choice.near)},
                       {"runs", choice.runs.size()},
                       {"max_flops", choice.limit},
                       {"flops", choice.choice.flops},
                       {"linear_half_width", choice.choice.half_width_after},
                       {"exchanges", choice.choice.exchanges},
                       {"half_width", simulated ? Json(choice.half_width) : Json()},
                       {"level", options.power.level},
                       {"kind", kind}});
  return {
      {"sweep", answer.sweep},
      {"known", answer.known},
      {"unfinished", answer.unfinished},
      {"runs", runs},
      {"flops", best.choice.flops},
      {"target_flops", answer.file_flops.targets},
      {"limit_flops", answer.file.limit_flops > 0 ? Json(answer.file.limit_flops) : Json()},
      {"choices", choices},
      {"linear_half_width_before", best.choice.half_width_before},
      {"half_width_before", simulated ? Json(answer.half_width_before) : Json()},
      {"level", options.power.level},
      {"kind", kind},
      {"half_widths", "geometric mean over targets"},
      {"before", simulated ? PowerJson(answer.prior, answer.before, options.power, {}) : Json()},
      {"after", simulated ? PowerJson(answer.prior, best.power, options.power, {}) : Json()}};
}

}  // namespace sweepctl
