#include "fit/sensitivity.h"

#include <algorithm>
#include <cmath>

#include "core/units.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

struct Change {
  std::string text;
  std::vector<Observation> observations;
  double flops_per_param_token = 0;  // 0: as in the options
};

// Median of C / (N D).
double FlopsPerParamToken(const std::vector<Observation>& observations) {
  std::vector<double> ratios;
  for (const Observation& o : observations) ratios.push_back(o.flops / o.params / o.tokens);
  return Quantile(ratios, 0.5);
}

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

std::vector<Change> Changes(const std::vector<Observation>& observations,
                            const LawOptions& options) {
  std::vector<Change> changes;
  const std::vector<IsoflopGroup> groups = GroupByBudget(observations).groups;
  constexpr size_t kFewestLeft = 2;
  if (groups.size() > kFewestLeft) {
    Change change;
    std::vector<bool> out(observations.size(), false);
    for (const size_t i : groups[0].members) out[i] = true;
    for (size_t i = 0; i < observations.size(); ++i)
      if (!out[i]) change.observations.push_back(observations[i]);
    change.text = fmt::format("without the smallest budget {} ({} runs)",
                              core::FormatFlops(groups[0].budget_flops), groups[0].members.size());
    changes.push_back(std::move(change));
  }
  const auto other = [](const Observation& o) {
    return o.params_no_embedding > 0 && o.params_no_embedding != o.params;
  };
  if (std::all_of(observations.begin(), observations.end(), other)) {
    Change change{"with N without embeddings", observations};
    for (Observation& o : change.observations) o.params = o.params_no_embedding;
    changes.push_back(std::move(change));
  }
  // Recipe FLOPs against 6 N D, where they differ. A law through budgets changes its C, a surface
  // the sizes that a budget buys.
  const double k = FlopsPerParamToken(observations);
  constexpr double kSame = 0.005;
  if (!options.flops_relation && std::fabs(k / options.flops_per_param_token - 1) > kSame) {
    changes.push_back(
        {fmt::format("with C = 6 N D instead of the runs' own ({:.3g} times it)", k / 6),
         WithSixND(observations), 6});
    changes.push_back(
        {fmt::format("with C = {:.3g} N D at the target, as in the runs", k), observations, k});
  }
  Change free{"", {}, 0};
  for (const Observation& o : observations)
    if (o.clamps.empty()) free.observations.push_back(o);
  if (!free.observations.empty() && free.observations.size() < observations.size()) {
    free.text = fmt::format("without the {} runs where a limit of the recipe bit",
                            observations.size() - free.observations.size());
    changes.push_back(std::move(free));
  }
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

}  // namespace

std::vector<Sensitivity> Sensitivities(const std::vector<const Law*>& laws,
                                       const std::vector<const FittedLaw*>& fits,
                                       const std::vector<Observation>& observations,
                                       const LawOptions& options,
                                       const std::vector<double>& targets) {
  LawOptions quick = options;
  quick.bootstrap.resamples = 0;
  quick.profile = false;
  quick.starts = std::min(quick.starts, 16);
  std::vector<Sensitivity> list;
  for (const Change& change : Changes(observations, options)) {
    LawOptions changed = quick;
    if (change.flops_per_param_token > 0)
      changed.flops_per_param_token = change.flops_per_param_token;
    for (const FittedLaw* before : fits) {
      const std::string& name = before->fit().law;
      const auto law = std::find_if(laws.begin(), laws.end(),
                                    [&](const Law* one) { return one->name() == name; });
      if (name == "isoflop" || law == laws.end()) continue;
      Sensitivity base;
      base.change = change.text;
      base.law = name;
      const auto refit = (*law)->Fit(change.observations, changed);
      if (!refit.ok()) {
        base.failed = std::string(refit.status().message());
        list.push_back(std::move(base));
        continue;
      }
      base.exponents = Exponents((*refit)->fit().params);
      base.exponents_before = Exponents(before->fit().params);
      if (targets.empty()) list.push_back(base);
      for (const double flops : targets) {
        const auto now = (*refit)->Predict(flops), then = before->Predict(flops);
        if (!now.has_value() || !then.has_value()) continue;
        Sensitivity one = base;
        one.flops = flops;
        one.loss = now->loss, one.loss_before = then->loss;
        list.push_back(std::move(one));
      }
    }
  }
  return list;
}

}  // namespace fit
