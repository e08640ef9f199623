// One finished training run as the fits see it: what was spent, what was trained, what it reached.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace fit {

// The keys that a cohort is made of (DESIGN.md section 2): observations that differ in one of them
// measure different things and are not fitted together unless the user allows that key.
// schedule: cooled (after the whole learning-rate schedule) or mid-run.
const std::vector<std::string>& CohortKeys();

// The value of a key that an import left open (maps/map_file.h): it can be fitted, and a forecast
// from it is not registered.
inline constexpr std::string_view kUnknownValue = "unknown";

struct Observation {
  double flops = 0;         // C, training FLOPs in the recipe's convention; > 0
  double params = 0;        // N in the recipe's convention; > 0, published data may be fractional
  double tokens = 0;        // D, training tokens; > 0
  double loss = 0;          // nats per token (or the metric that the cohort names); > 0
  double budget_flops = 0;  // nominal budget the run belongs to; 0 = not given
  double params_no_embedding = 0;  // 0 = not given
  double unique_tokens = 0;  // U, of which `tokens` are repetitions; 0 = every token seen once
  double params_log_se = 0;  // of an optimum: standard error of ln N, its weight; 0 = not given
  // A benchmark's score, a share in [0, 1]: the hard metric of two_step.h, whose soft one is
  // `loss`.
  std::optional<double> hard;
  int64_t seed = 0;
  std::string id;  // trial id or run name; empty = not given
  std::vector<std::string>
      clamps;  // recipe limits that bit: "batch", "lr", "tokens-per-param", ...
  std::map<std::string, std::string> cohort;  // key of CohortKeys() -> value
  // Columns of a file that nobody mapped, where their texts repeat: labels.h looks at them for what
  // tells experiments apart.
  std::map<std::string, std::string> labels;
  int64_t row = 0;  // line of the source file, 0 = not from a file
};

// INVALID_ARGUMENT names the origin (usually a file), row, field and value of the first number that
// is not finite and positive.
absl::Status Validate(const Observation& observation, std::string_view origin);

// "; the most extreme is row 9: loss 1e-160": the value farthest from the median of its field,
// where it is a million times above or below it and the row is known; else empty. The end of a
// message.
std::string MostExtreme(const std::vector<Observation>& observations);

// Observations left out of a fit, kept beside the result so that no exclusion is hidden.
struct Exclusion {
  std::string reason;  // "excluded by --where excluded_in_epoch_fit=0", "exact duplicate", ...
  int64_t count = 0;
};

// Removes rows that repeat an earlier one exactly (flops, params, tokens, loss, budget, seed and id
// all equal): the same run exported twice, not a second seed. Returns how many were removed.
int64_t RemoveExactDuplicates(std::vector<Observation>& observations);

}  // namespace fit
