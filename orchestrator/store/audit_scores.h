// One forecast of the record against what its newest verdict, its target and the imports say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/store/audit.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {

// What a forecast's columns say of it.
struct ForecastRow {
  int64_t id = 0;
  std::string name, sweep, record_json, previous_hash, record_hash, observations_json,
      observations_hash;
  bool repeats_record = false;  // every column that the record holds too
  std::string status, reason, metric;
  std::optional<double> outcome, error;
  std::optional<int64_t> inside, scored_ms, target_key;
  double loss = 0, lo = 0, hi = 0;
  int64_t registered_ms = 0;
};

// By place in the chain. A record that is no JSON does not repeat the columns; it is no error here.
absl::StatusOr<std::vector<ForecastRow>> ReadForecastRows(Database* db);

// A field of a damaged or hostile record, whatever its type; `none` for any other type.
std::string TextAt(const core::Json& object, const char* key, const char* none = "");
int64_t IntAt(const core::Json& object, const char* key);
// Whether the verdict says what a file of before verdicts said.
bool IsAdopted(const core::Json& verdict);

// DATA_LOSS naming the forecast.
absl::Status Changed(const std::string& name, const std::string& what);

// The columns that change, against the newest verdict; an empty object, none: it is open.
absl::Status CheckVerdict(const ForecastRow& row, const core::Json& verdict);
// Against the target's attempts and its final evaluation. REQUIRES: a target of ours.
absl::Status CheckTarget(Database* db, const ForecastRow& row, const core::Json& verdict);
// Against the rows of the imports. An import that was replaced since is a remark, not a change.
absl::Status CheckRows(Database* db, const ForecastRow& row, const core::Json& verdict,
                       std::vector<ForecastRemark>* remarks);

}  // namespace orchestrator
