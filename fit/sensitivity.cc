#include "fit/sensitivity.h"

#include <algorithm>
#include <cmath>

#include "core/units.h"
#include "fmt/format.h"

namespace fit {
namespace {

struct Change {
  std::string text;
  std::vector<Observation> observations;
};

std::vector<Change> Changes(const std::vector<Observation>& observations) {
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
  for (const Change& change : Changes(observations))
    for (const FittedLaw* before : fits) {
      const std::string& name = before->fit().law;
      const auto law = std::find_if(laws.begin(), laws.end(),
                                    [&](const Law* one) { return one->name() == name; });
      if (name == "isoflop" || law == laws.end()) continue;
      Sensitivity base;
      base.change = change.text;
      base.law = name;
      const auto refit = (*law)->Fit(change.observations, quick);
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
  return list;
}

}  // namespace fit
