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

// For an older file: puts the state of every forecast that is not open on the chain, as found.
absl::Status AdoptVerdicts(Database* db, int64_t now_ms);

}  // namespace orchestrator
