#include "fit/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "core/units.h"
#include "fit/outliers.h"
#include "fmt/format.h"

namespace fit {
namespace {

struct Change {
  std::string text;
  std::vector<Observation> observations;
  LawOptions options;
  std::string not_applicable;
};

// C = 6 N D for every run; a budget is then the geometric mean of its runs.
std::vector<Observation> WithSixND(std::vector<Observation> observations) {
  for (const IsoflopGroup& group : GroupByBudget(observations).groups) {
    double log_flops = 0;
    for (const size_t i : group.members)
      log_flops += std::log(6 * observations[i].params * observations[i].tokens);
    for (const size_t i : group.members) {
      observations[i].flops = 6 * observations[i].params * observations[i].tokens;
      observations[i].budget_flops =
          std::exp(log_flops / static_cast<double>(group.members.size()));
    }
  }
  return observations;
}

std::string Runs(size_t count) { return fmt::format("{} run{}", count, count == 1 ? "" : "s"); }

// The smallest budget that `law` uses, and all below it: approach 2 has refused some.
double SmallestUsed(const FittedLaw& law, const std::vector<IsoflopGroup>& groups) {
  double smallest = HUGE_VAL;
  for (const BudgetOptimum& b : law.fit().budgets)
    if (b.minimum.ok()) smallest = std::min(smallest, b.minimum.budget_flops);
  return std::isfinite(smallest) ? smallest : groups.front().budget_flops;
}

bool UsesBudgets(const FittedLaw& law) {
  return std::any_of(law.fit().budgets.begin(), law.fit().budgets.end(),
                     [](const BudgetOptimum& b) { return b.minimum.ok(); });
}

// One change for every law, because laws use different budgets.
Change WithoutSmallest(const FittedLaw& law, const std::vector<Observation>& observations,
                       const LawOptions& quick) {
  constexpr double kSame = 1 + 1e-9;
  constexpr size_t kFewestLeft = 2;
  Change change{"", {}, quick};
  const IsoflopGroups grouped = GroupByBudget(observations);
  const std::vector<IsoflopGroup>& groups = grouped.groups;
  std::vector<bool> out(observations.size(), false);
  size_t left = 0, dropped = 0;
  const char* unit = quick.rows_are_curve ? "input" : "budget";
  // Rows of one C each are no budgets, unless each is the optimum of one; nor are buckets of
  // realised FLOPs that hold a run or two.
  constexpr size_t kFewest = 3;
  const bool raw =
      !UsesBudgets(law) &&
      (2 * groups.size() > observations.size() ||
       (grouped.grouping == BudgetGrouping::kBuckets && groups.front().members.size() < kFewest));
  if (!quick.observations_are_optima && raw) {
    constexpr double kFactor = 2;
    double smallest = HUGE_VAL;
    for (const Observation& o : observations) smallest = std::min(smallest, o.flops);
    for (size_t i = 0; i < observations.size(); ++i)
      out[i] = observations[i].flops <= kFactor * smallest * kSame;
    for (const IsoflopGroup& group : groups)
      left += group.budget_flops > kFactor * smallest * kSame;
    dropped = static_cast<size_t>(std::count(out.begin(), out.end(), true));
    change.text = fmt::format("without what lies within a factor of 2 of the smallest {} {} ({})",
                              quick.rows_are_curve ? "input" : "C", core::FormatFlops(smallest),
                              Runs(dropped));
  } else {
    const double used = SmallestUsed(law, groups);
    size_t budgets = 0;
    for (const IsoflopGroup& group : groups) {
      if (group.budget_flops > used * kSame) {
        ++left;
        continue;
      }
      ++budgets;
      for (const size_t i : group.members) out[i] = true, ++dropped;
    }
    change.text = budgets == 1 ? fmt::format("without the smallest {} {} ({})", unit,
                                             core::FormatFlops(used), Runs(dropped))
                               : fmt::format(
                                     "without the {} smallest {}s, up to {} ({}; those "
                                     "below have no minimum)",
                                     budgets, unit, core::FormatFlops(used), Runs(dropped));
  }
  if (left < kFewestLeft)
    change.not_applicable = fmt::format("{} {}{} would be left", left, unit, left == 1 ? "" : "s");
  for (size_t i = 0; i < observations.size(); ++i)
    if (!out[i]) change.observations.push_back(observations[i]);
  return change;
}

std::vector<Change> Changes(const std::vector<Observation>& observations, const LawOptions& quick) {
  std::vector<Change> changes;
  const auto other = [](const Observation& o) {
    return o.params_no_embedding > 0 && o.params_no_embedding != o.params;
  };
  if (!quick.rows_are_curve && std::all_of(observations.begin(), observations.end(), other)) {
    Change change{"with N without embeddings", observations, quick};
    for (Observation& o : change.observations) o.params = o.params_no_embedding;
    change.options.flops = LearnFlops(FlopsOf(change.observations));
    changes.push_back(std::move(change));
  }
  // Recipe FLOPs against 6 N D, where they differ. A law through budgets changes its C, a surface
  // the sizes that a budget buys.
  double most = 0;
  for (const FlopsSample& s : FlopsOf(observations))
    most = std::max(most, std::fabs(s.flops_per_param_token / 6 - 1));
  constexpr double kSame = 0.005;
  if (!quick.rows_are_curve && most > kSame) {
    Change six{"with C = 6 N D instead of the runs' own", WithSixND(observations), quick};
    six.options.flops = ProportionalFlops(6);
    changes.push_back(std::move(six));
  }
  if (!quick.rows_are_curve && !quick.flops.proportional()) {
    Change held{"with C / (N D) held at that of the largest model counted", observations, quick};
    held.options.flops = quick.flops.HeldBeyond();
    changes.push_back(std::move(held));
  }
  Change free{"", {}, quick};
  for (const Observation& o : observations)
    if (o.clamps.empty()) free.observations.push_back(o);
  if (!free.observations.empty() && free.observations.size() < observations.size()) {
    free.text = WithoutClamped(observations.size() - free.observations.size());
    changes.push_back(std::move(free));
  }
  if (quick.rows_are_curve || quick.observations_are_optima) return changes;
  const std::vector<Outlier> outliers = FindOutliers(observations);
  if (outliers.empty()) return changes;
  Change usual{WithoutOutliers(outliers.size()), observations, quick};
  for (const Outlier& outlier : outliers) usual.observations[outlier.index].loss = 0;
  std::erase_if(usual.observations, [](const Observation& o) { return o.loss == 0; });
  changes.push_back(std::move(usual));
  return changes;
}

// The constants whose size can be compared between fits without their units.
NamedValues Exponents(const NamedValues& params) {
  NamedValues exponents;
  for (const auto& [name, value] : params)
    if (name.starts_with("alpha") || name == "beta" || name == "eta" || name == "p")
      exponents.emplace_back(name, value);
  return exponents;
}

// A law under a change: its rows (one at least), and at each target the loss that an average would
// take from it, or why there is none.
struct Refitted {
  std::vector<Sensitivity> rows;
  std::vector<std::optional<double>> losses;
  std::vector<std::string> why;
};

double TakenByAverage(const Forecast& forecast) {
  return forecast.averaged.has_value() ? forecast.averaged->loss : forecast.loss;
}

Refitted Refit(const Law& law, const FittedLaw& before, const Change& change,
               const std::vector<RunTarget>& targets) {
  Refitted out;
  Sensitivity base;
  base.change = change.text;
  base.law = before.fit().law;
  base.not_applicable = change.not_applicable;
  if (!base.not_applicable.empty()) {
    out.rows.push_back(std::move(base));
    return out;
  }
  const auto refit = law.Fit(change.observations, change.options);
  if (!refit.ok()) {
    base.failed = std::string(refit.status().message());
    out.rows.push_back(std::move(base));
    return out;
  }
  // Equal constants and equal forecasts: nothing that the law uses has changed.
  const auto differ = [](double a, double b) {
    return !(std::fabs(a - b) <= 1e-9 * std::max(std::fabs(a), std::fabs(b)));
  };
  const NamedValues &then_params = before.fit().params, &now_params = (*refit)->fit().params;
  bool moved = now_params.size() != then_params.size();
  for (size_t i = 0; i < now_params.size() && !moved; ++i)
    moved = differ(now_params[i].second, then_params[i].second);
  base.exponents = Exponents((*refit)->fit().params);
  base.exponents_before = Exponents(before.fit().params);
  bool predicted = false;
  std::string declined;
  for (const RunTarget& target : targets) {
    const auto now = (*refit)->Predict(target), then = before.Predict(target);
    out.losses.emplace_back(), out.why.emplace_back();
    predicted = predicted || then.has_value();
    if (!then.has_value()) continue;
    if (!now.has_value()) {
      declined = target.params > 0 ? "the run lies far from the optima that are left"
                                   : "no optimum at these budgets";
      out.why.back() = declined;
      continue;
    }
    // An average over the profile and a best fit are two estimators: nothing to compare.
    if (now->averaged.has_value() == then->averaged.has_value())
      out.losses.back() = TakenByAverage(*now);
    else
      out.why.back() = "another kind of average";
    Sensitivity one = base;
    one.flops = target.flops;
    one.loss = now->loss, one.loss_before = then->loss;
    moved = moved || differ(now->loss, then->loss) || differ(now->params, then->params);
    out.rows.push_back(std::move(one));
  }
  // Laws that say nothing of a run far from their optima have their constants to show.
  if (!predicted) out.rows.push_back(base);
  if (!moved) {
    Sensitivity none;
    none.change = base.change, none.law = base.law;
    none.not_applicable = "the change touches nothing that this law uses";
    out.rows = {none};
  }
  if (out.rows.empty()) {
    base.exponents.clear(), base.exponents_before.clear();
    base.failed = declined;
    out.rows.push_back(std::move(base));
  }
  return out;
}

// An average with its laws refitted and their weights held.
Sensitivity OfAverage(const Forecast& average, size_t target,
                      const std::map<std::string, Refitted>& laws) {
  Sensitivity row;
  row.law = average.law;
  double change = 0;
  size_t untouched = 0;
  for (const AverageMember& member : average.members) {
    const auto found = laws.find(member.law);
    if (found == laws.end()) continue;
    const Refitted& refitted = found->second;
    const Sensitivity& first = refitted.rows.front();
    if (row.change.empty()) row.change = first.change;
    // Laws use different budgets.
    if (row.change != first.change) row.change = "without the smallest budgets that each law uses";
    if (refitted.losses.size() <= target || !refitted.losses[target].has_value()) {
      (first.not_applicable.empty() ? row.failed : row.not_applicable) =
          fmt::format("{}: {}", member.law,
                      !first.not_applicable.empty()   ? first.not_applicable
                      : refitted.why.size() <= target ? first.failed
                                                      : refitted.why[target]);
      continue;
    }
    untouched += !first.not_applicable.empty();
    change += member.weight * std::log(*refitted.losses[target] / member.loss);
  }
  if (!row.failed.empty()) row.not_applicable.clear();
  if (!row.failed.empty() || !row.not_applicable.empty()) return row;
  if (untouched == average.members.size()) {
    row.not_applicable = "the change touches nothing that its laws use";
    return row;
  }
  row.flops = average.flops;
  row.loss = average.loss * std::exp(change), row.loss_before = average.loss;
  return row;
}

// The averages first, then the laws.
void Append(const std::vector<std::pair<std::string, Refitted>>& refitted,
            const std::vector<RunTarget>& targets, const std::vector<Forecast>& forecasts,
            std::vector<Sensitivity>& list) {
  const std::map<std::string, Refitted> by_law(refitted.begin(), refitted.end());
  for (size_t t = 0; t < targets.size(); ++t) {
    const auto is_here = [&](const Forecast& forecast) {
      return !forecast.members.empty() && forecast.flops == targets[t].flops &&
             forecast.run_params == targets[t].params && forecast.run_tokens == targets[t].tokens;
    };
    const auto average = std::find_if(forecasts.begin(), forecasts.end(), is_here);
    if (average != forecasts.end()) list.push_back(OfAverage(*average, t, by_law));
  }
  for (const auto& [law, one] : refitted) list.insert(list.end(), one.rows.begin(), one.rows.end());
}

}  // namespace

std::string WithoutClamped(size_t runs) {
  return fmt::format("without the {} where a limit of the recipe bit", Runs(runs));
}

std::string WithoutOutliers(size_t runs) {
  return fmt::format("without the {} far from all others", Runs(runs));
}

std::vector<Sensitivity> Sensitivities(const std::vector<const Law*>& laws,
                                       const std::vector<const FittedLaw*>& fits,
                                       const std::vector<Observation>& observations,
                                       const LawOptions& options,
                                       const std::vector<RunTarget>& targets,
                                       const std::vector<Forecast>& forecasts) {
  LawOptions quick = options;
  quick.bootstrap.resamples = 0;
  quick.profile = false;
  quick.starts = std::min(quick.starts, 16);
  std::vector<std::pair<const Law*, const FittedLaw*>> pairs;
  for (const FittedLaw* before : fits) {
    const std::string& name = before->fit().law;
    const auto law =
        std::find_if(laws.begin(), laws.end(), [&](const Law* one) { return one->name() == name; });
    if (name != "isoflop" && law != laws.end()) pairs.emplace_back(*law, before);
  }
  std::vector<Sensitivity> list;
  std::vector<std::pair<std::string, Refitted>> refitted;
  for (const auto& [law, before] : pairs)
    refitted.emplace_back(
        law->name(), Refit(*law, *before, WithoutSmallest(*before, observations, quick), targets));
  Append(refitted, targets, forecasts, list);
  for (const Change& change : Changes(observations, quick)) {
    refitted.clear();
    for (const auto& [law, before] : pairs)
      refitted.emplace_back(law->name(), Refit(*law, *before, change, targets));
    Append(refitted, targets, forecasts, list);
  }
  return list;
}

}  // namespace fit
