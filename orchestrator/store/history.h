// What imports ever held: rows of import_files and seen_runs are only added, so that a replaced
// import, or a file of which a part was imported, does not make a forecast blind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// Two budgets within this ratio are the same budget. A run's is its nominal one, or its FLOPs where
// it names none. Source: DESIGN.md; the tolerance of Marin's IsoFLOP sweeps.
inline constexpr double kSameBudget = 0.01;

// Adds what the import holds now. REQUIRES: a surrounding transaction.
absl::Status RememberImport(Database* db, int64_t import_key);

// For an older file: the imports that it holds, as of the time they were made.
absl::Status RememberAllImports(Database* db);

// A run of an import, current or former.
struct FormerRun {
  std::string import, run;
  double flops = 0;  // or the nominal budget, where that is larger
  int64_t imported_ms = 0;
  std::string Text() const;  // "run R of import I (imported at ...)"
};

// Of these labels of the cohort, recipe, data, tokenizer, seq_len and numerics, none is another
// one; "unknown" and a key that the cohort has not may be any, until the very run of that
// import is imported with its labels.

// A run of the cohort at the budget of `flops`; nullopt: nobody has seen one.
absl::StatusOr<std::optional<FormerRun>> SeenRun(Database* db, const core::Json& cohort,
                                                 double flops);
// The largest run of the cohort that is not at the budget of `flops`, of those whose FLOPs,
// parameters and tokens can mean what they are called (core/flops_doubt.h).
absl::StatusOr<std::optional<FormerRun>> LargestRun(Database* db, const core::Json& cohort,
                                                    double flops);
// When a file of this hash was first imported before the forecast was registered; nullopt: never.
absl::StatusOr<std::optional<int64_t>> ImportedBefore(Database* db, const std::string& source_hash,
                                                      int64_t forecast_id);

}  // namespace orchestrator
