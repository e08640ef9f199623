// What `fit` reads from a sweep's database beside the observations: what was spent, and which model
// the recipe would train at a forecast's optimum; and the options it shares with import and
// compare.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/fit.h"
#include "fit/where.h"
#include "orchestrator/reader.h"
#include "recipes/recipe.h"

namespace sweepctl {

// Training FLOPs of every attempt at the sweep's fit trials, failed and repeated ones too,
// whichever sweep ran them, and (with_targets) at its targets. The spend of a forecast's leverage:
// a target must not count as spent before its own forecast.
absl::StatusOr<double> SpentFlops(orchestrator::Reader& reader, const std::string& sweep,
                                  bool with_targets);

// ("loss", "loss_c4") of "loss=loss_c4". UsageError naming the option for anything else.
absl::StatusOr<std::pair<std::string, std::string>> KeyValue(const std::string& text,
                                                             std::string_view option);

// "loss<3" and its like, as a usage error where it is none.
absl::StatusOr<fit::Where> WhereOf(const std::string& text);

// What the recipe's models between two budgets cost a token: for fit::FitOptions::known_flops, so
// that a forecast does not guess how the FLOPs of larger models are counted. Empty where the recipe
// has none.
std::vector<fit::KnownFlops> KnownFlopsOf(const recipes::Recipe& recipe,
                                          const recipes::Setting& setting, double smallest_flops,
                                          double largest_flops);

// Turns a forecast into the plan its sweep would train.
struct TargetChooser {
  const recipes::Recipe* recipe = nullptr;
  recipes::Setting setting;

  // The recipe's candidate at the budget for the forecast's optimal tokens.
  absl::StatusOr<recipes::Plan> Choose(double budget_flops, double optimal_tokens) const;
};

// Recipe from the stored sweep file; vocabulary, sequence, numerics and prepared data from one of
// its trials. FAILED_PRECONDITION where the recipe of today is not the one that made the trials
// (another version, or constants of a search).
absl::StatusOr<TargetChooser> TargetChooserOf(orchestrator::Reader& reader,
                                              const orchestrator::SweepInfo& sweep);

}  // namespace sweepctl
