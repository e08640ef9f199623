// What the imports say of a forecast whose target is trained elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// A run of an import, at the budget of a forecast.
struct OutcomeRow {
  std::string import, source_hash, content_hash, run;
  int64_t source_row = 0;
  double flops = 0, params = 0, tokens = 0, value = 0;
  double budget_flops = 0;  // nominal; 0: none given
  std::string flop_convention;
  bool outcome = false;  // a target's, not a run of the fit stage
  bool counted = false;  // whether the score rests on it
};

// A run that is nearly what a forecast was about.
struct NearMiss {
  std::string import;
  int64_t source_row = 0;
  std::string text;  // which row, and in what it differs
};

struct ImportedOutcome {
  // Runs at the budget (kSameBudget), within 25 % of the promised params, of the very cohort and
  // metric that were promised. Empty: none yet.
  std::vector<OutcomeRow> rows;
  // exp of the mean ln value of the counted rows: of targets before runs of the fit stage, those
  // whose size is nearest to the promised one (within 1 %: seeds of one model), each run once.
  double value = 0;
  double lo = 0, hi = 0;  // smallest and largest value of all rows
  // Why a counted row can be no outcome, naming it: its numbers cannot mean what they are called.
  std::string doubt;
  // Why the outcome is not blind: a counted row's file was imported before the registration.
  std::string seen;
  // Of files that were not imported before the registration: runs within 20 % of the FLOPs or of
  // the nominal budget, or within 2 % of the promised params and tokens, that differ in FLOPs,
  // size, metric, evaluation set or labels that are unknown, or in one label alone. At most one for
  // an import.
  std::vector<NearMiss> near;
  core::Json ToJson() const;
};
// What an import made of the losses that its file says ("loss is val_loss x 0.97; ..."), for
// people: they score nothing, and nothing is registered from them. "" when it left them as they
// are.
absl::StatusOr<std::string> RescaledLoss(Database* db, const std::string& import,
                                         const std::string& metric);

// Rows whose losses are rescaled are looked at only where no other is the outcome, and then in
// doubt. REQUIRES: the forecast is of an import.
absl::StatusOr<ImportedOutcome> OutcomeInImports(Database* db, int64_t forecast_id);

}  // namespace orchestrator
