// What became of a forecast: links of the chain of registrations, one for each time that a forecast
// is scored, abandoned, void or open again. The columns of `forecasts` that say so are copies for
// SQL; AuditForecasts (store.h) compares them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// Two budgets within this ratio are the same budget. Source: DESIGN.md; the tolerance of Marin's
// IsoFLOP sweeps.
inline constexpr double kSameBudget = 0.01;

// SHA-256(previous, newline, record).
std::string ChainHash(const std::string& previous, const std::string& record);

// Where the next link goes: its place, from 1, and the hash before it ("" for the first).
struct ChainEnd {
  int64_t place = 1;
  std::string previous;
};
absl::StatusOr<ChainEnd> EndOfChain(Database* db);

struct Verdict {
  int64_t forecast_id = 0;
  std::string status, reason;     // from now on
  std::optional<double> outcome;  // loss of the target
  core::Json from;                // where it comes from: a trial's evaluation, rows of imports
};

// Appends the verdict to the chain, brings the forecast's columns to it and notes an event.
// REQUIRES: a surrounding transaction.
absl::Status AppendVerdict(Database* db, const Verdict& verdict, int64_t now_ms);

// A run of any import that is what a forecast of an import was about: within 1 % of its FLOPs and
// 25 % of its params, of the very cohort that was promised.
struct OutcomeRow {
  std::string import, source_hash, content_hash, run;
  int64_t source_row = 0;
  double flops = 0, params = 0, tokens = 0, value = 0;
  bool outcome = false;  // a target's, not a run of the fit stage
  bool counted = false;  // whether the score rests on it
};
struct ImportedOutcome {
  std::vector<OutcomeRow> rows;  // empty: none yet
  // exp of the mean ln value of the counted rows: of targets before runs of the fit stage, those
  // whose size is nearest to the promised one (within 1 %: seeds of one model), each run once.
  double value = 0;
  double lo = 0, hi = 0;  // smallest and largest value of all rows
  core::Json ToJson() const;
};
absl::StatusOr<ImportedOutcome> OutcomeInImports(Database* db, int64_t forecast_id);

// For an older file: puts the state of every forecast that is not open on the chain, as found.
absl::Status AdoptVerdicts(Database* db, int64_t now_ms);

}  // namespace orchestrator
