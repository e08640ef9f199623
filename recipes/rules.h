// Pieces that several recipes share: the rounding and batch rules of the Delphi form, and the parts
// of a Plan that no recipe decides.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "recipes/recipe.h"
#include "recipes/transformer_shape.h"

namespace recipes {

// Python's round(): to the nearest integer, ties to even. REQUIRES: the default rounding mode.
int64_t RoundHalfEven(double x);

// The smallest power of two >= x, at least 1 and at most 2^61.
int64_t PowerOfTwoAtLeast(double x);

// INVALID_ARGUMENT unless the budget is of kind training_flops, finite and positive.
absl::Status CheckTrainingFlops(const Budget& budget, const std::string& recipe);

// The defaults filled in; INVALID_ARGUMENT for sizes that are negative or beyond 2^31.
absl::StatusOr<Setting> ResolveSetting(const Setting& setting, const Recipe& recipe);

// Batch, steps and tokens of a run, and the tokens its hyper-parameters are computed from: the
// exact ones by rule; under an override the candidate's rounded ones, and the steps follow from
// them. Source: reference Delphi recipe, section 12, rows 12-14.
struct RunLength {
  int64_t batch = 0, steps = 0, tokens = 0;
  double rule_tokens = 0;
};
absl::StatusOr<RunLength> ResolveRun(const Candidate& candidate, int64_t seq_len,
                                     std::optional<int64_t> batch_override);

// Warm-up, stable and decay steps: int(fraction * steps) each, the rest stable.
Schedule WsdSchedule(int64_t steps, double warmup, double decay, double final_fraction);

// AdamH on the linear weights, Adam on embedding and gains, each at its own peak: the optimiser of
// the Delphi form. Source: reference Delphi recipe, sections 5 and 6.
struct AdamHValues {
  double adamh_lr = 0, adam_lr = 0, beta1 = 0, beta2 = 0, epsilon = 0, clip_norm = 0;
};
std::vector<OptimizerGroup> AdamHGroups(const AdamHValues& values);
// Truncated normal of 1/sqrt(fan_in) for linear weights, 1/hidden for the embedding, gains 1.
std::vector<InitRule> AdamHInit();

// Everything of a plan but optimizer, schedule, init and z-loss. `setting` resolved.
Plan CommonPlan(const Recipe& recipe, const std::string& version, const Candidate& candidate,
                const Setting& setting, const TransformerShape& shape, const RunLength& run,
                const std::string& default_numerics);

}  // namespace recipes
