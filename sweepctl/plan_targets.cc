#include "sweepctl/plan_targets.h"

#include "core/status_macros.h"
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

std::vector<fit::PowerTarget> PowerTargetsOf(const std::vector<Target>& targets) {
  std::vector<fit::PowerTarget> out;
  for (const Target& target : targets)
    out.push_back({target.plan.recipe_flops, static_cast<double>(target.plan.params),
                   static_cast<double>(target.plan.tokens)});
  return out;
}

}  // namespace sweepctl
