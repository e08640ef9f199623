// From a sweep file to the trials it asks for: the fit stage, a search, and the target that a
// forecast chooses later. Pure: no I/O, no clock; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "recipes/plan.h"
#include "recipes/recipe.h"
#include "sweeps/sweep_file.h"

namespace sweeps {

// D* = coefficient * C^exponent, measured by an earlier fit: centres the budgets better than the
// recipe's prior.
struct Frontier {
  double coefficient = 0, exponent = 0;
};

struct ExpandOptions {
  // Filled by data preparation, every hash present; nullopt: plans carry the names and weights of
  // the file, and no trial has an id.
  std::optional<recipes::DataSpec> data;
  // For `center: auto`; nullopt: the recipe's prior.
  std::optional<Frontier> frontier;
};

struct PlannedTrial {
  recipes::Plan plan;
  std::string trial_id;  // SHA-256 of PlanBytes(plan); empty until data are prepared
};

// Data of a file before preparation: names, weights and epochs, no hashes.
recipes::DataSpec UnpreparedData(const SweepFile& file);

// What the file fixes for all its trials; seeds 0.
recipes::Setting SettingOf(const SweepFile& file, const ExpandOptions& options);

// The trials of the fit stage (isoflop: by budget, then width, then seed, then the single runs) or
// of the search. Seed s of `seeds`, and of a single run, gives init_seed = data_seed = s. Errors
// are INVALID_ARGUMENT at the key's place in the file: unknown recipe, a budget without enough
// candidates (naming what would fit), more points than candidates, an unknown constant, a run whose
// width does not exist or that a budget has already.
absl::StatusOr<std::vector<PlannedTrial>> Expand(const SweepFile& file,
                                                 const ExpandOptions& options = {});

// `points` neighbours in tokens whose mean log(tokens) is nearest to log(center_tokens), by rising
// width. REQUIRES: 1 <= points <= candidates.size().
std::vector<recipes::Candidate> ChoosePoints(const std::vector<recipes::Candidate>& candidates,
                                             int64_t points, double center_tokens);

// The run that a budget gets when the frontier says optimal_tokens: the candidate with the smallest
// tokens at or above it, else the most tokens. INVALID_ARGUMENT when the recipe cannot spend the
// budget.
absl::StatusOr<recipes::Plan> ChooseTarget(const recipes::Recipe& recipe, double budget_flops,
                                           double optimal_tokens, const recipes::Setting& setting);

// What must agree before observations may be fitted together (DESIGN.md, "Cohort"): recipe and
// version, data, tokenizer, evaluation set and context, loss definition, numerics, FLOP and N
// conventions. A flat object of scalars, so that two cohorts can be compared column by column.
core::Json CohortOf(const recipes::Plan& plan);

}  // namespace sweeps
