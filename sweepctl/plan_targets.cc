#include "sweepctl/plan_targets.h"

#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"

namespace sweepctl {

absl::StatusOr<std::vector<Target>> PriorTargets(const sweeps::SweepFile& file,
                                                 const sweeps::ExpandOptions& expand) {
  std::vector<Target> targets;
  const auto recipe = recipes::FindRecipe(file.recipe);
  if (!recipe.ok()) return file.Error("recipe", recipe.status());
  const recipes::Setting setting = sweeps::SettingOf(file, expand);
  for (size_t i = 0; i < file.forecast_at.size(); ++i) {
    const double flops = file.forecast_at[i];
    const std::string key = fmt::format("forecast.at[{}]", i);
    const auto tokens = (*recipe)->PriorOptimalTokens(flops, setting);
    if (!tokens.ok()) return file.Error(key, tokens.status());
    auto plan = sweeps::ChooseTarget(**recipe, flops, *tokens, setting);
    if (!plan.ok()) return file.Error(key, plan.status());
    targets.push_back({flops, *std::move(plan)});
  }
  return targets;
}

SweepFlops FlopsOf(const sweeps::SweepFile& file, const std::vector<sweeps::PlannedTrial>& trials,
                   const std::vector<Target>& targets) {
  SweepFlops flops;
  for (const sweeps::PlannedTrial& trial : trials) flops.trials += trial.plan.recipe_flops;
  for (const Target& target : targets)
    if (file.forecast_register &&
        std::count(file.forecast_at.begin(), file.forecast_at.end(), target.budget_flops) > 0)
      flops.targets += target.plan.recipe_flops;
  return flops;
}

absl::Status CheckLimit(const sweeps::SweepFile& file,
                        const std::vector<sweeps::PlannedTrial>& trials,
                        const std::vector<Target>& targets) {
  const SweepFlops flops = FlopsOf(file, trials, targets);
  if (file.limit_flops <= 0 || flops.Total() <= file.limit_flops) return absl::OkStatus();
  return file.Error(
      "limits.flops",
      fmt::format("{} trials need {} FLOPs and the registered targets {}, together {}: more than "
                  "the limit of {}",
                  trials.size(), core::FormatFlops(flops.trials), core::FormatFlops(flops.targets),
                  core::FormatFlops(flops.Total()), core::FormatFlops(file.limit_flops)));
}

void CoverLimit(const SweepFlops& needed, sweeps::SweepFile* file) {
  if (file->limit_flops > 0 && needed.Total() <= file->limit_flops) return;
  const double unit = std::pow(10, std::floor(std::log10(needed.Total())) - 1);
  file->limit_flops = std::ceil(needed.Total() / unit) * unit;
}

std::vector<fit::PowerTarget> PowerTargetsOf(const std::vector<Target>& targets) {
  std::vector<fit::PowerTarget> out;
  for (const Target& target : targets)
    out.push_back({target.plan.recipe_flops, static_cast<double>(target.plan.params),
                   static_cast<double>(target.plan.tokens)});
  return out;
}

}  // namespace sweepctl
