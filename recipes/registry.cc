#include "core/check.h"
#include "core/did_you_mean.h"
#include "fmt/format.h"
#include "recipes/complete_p.h"
#include "recipes/delphi.h"
#include "recipes/delphi_nano.h"
#include "recipes/recipe.h"

namespace recipes {

std::vector<const Recipe*> AllRecipes() {
  static const auto* const recipes = new std::vector<const Recipe*>{
      new Delphi,
      new DelphiNano,
      new CompleteP,
  };
  return *recipes;
}

absl::StatusOr<const Recipe*> FindRecipe(const std::string& name) {
  std::vector<std::string> names;
  std::string list;
  for (const Recipe* recipe : AllRecipes()) {
    if (recipe->Name() == name) return recipe;
    names.push_back(recipe->Name());
    list += (list.empty() ? "" : ", ") + recipe->Name();
  }
  return absl::NotFoundError(fmt::format("there is no recipe '{}'{} (recipes: {})", name,
                                         core::DidYouMean(name, names), list));
}

const Candidate& ChooseForTokens(const std::vector<Candidate>& candidates, double optimal_tokens) {
  SWEEP_CHECK(!candidates.empty());
  const Candidate* smallest_above = nullptr;
  const Candidate* most = &candidates.front();
  for (const Candidate& candidate : candidates) {
    const double tokens = static_cast<double>(candidate.tokens);
    if (candidate.tokens > most->tokens) most = &candidate;
    if (tokens >= optimal_tokens &&
        (smallest_above == nullptr || candidate.tokens < smallest_above->tokens))
      smallest_above = &candidate;
  }
  return smallest_above != nullptr ? *smallest_above : *most;
}

}  // namespace recipes
