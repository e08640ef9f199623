// A table seen through a map: runs with numbers that can be fitted and labels that say what the
// numbers mean.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/csv.h"
#include "fit/observation.h"
#include "maps/map_file.h"

namespace maps {

// The labels every run has (kUnknown where nobody says), beside schedule and its metrics' eval:
// recipe, data, tokenizer, seq_len, numerics, flop_convention, n_convention.
const std::vector<std::string>& LabelKeys();

struct MeasuredValue {
  std::string metric;  // Metric::name
  double value = 0;    // in Metric::unit, as it stands in the file, times Source::scale
};

// One kept row.
struct ImportedRun {
  int64_t row = 0;  // line of the file
  std::string run;  // "" where the map names no column
  bool target = false;
  double flops = 0, params = 0, tokens = 0;                             // > 0
  double params_no_embedding = 0, unique_tokens = 0, budget_flops = 0;  // 0: not given
  int64_t seed = 0;
  std::map<std::string, std::string> labels;  // of LabelKeys()
  std::string schedule;                       // cooled, mid-run or unknown
  std::vector<MeasuredValue> values;          // the first metric always; others where filled
};

// Other columns that the map names for a field, that the file has, that nothing else of the map is
// taken from, and that differ in a kept row.
struct Rival {
  std::string column;           // "a x b" of a product
  int64_t line = 0;             // the first on which they differ
  double taken = 0, other = 0;  // there, scaled
};

// Where a field or a metric was found.
struct Taken {
  std::string field;
  std::vector<std::string> columns;  // one, or the factors of a product
  double scale = 1;
  bool rescaled = false;      // of a loss: IsRescaled
  std::vector<Rival> rivals;  // of numbers
};

struct Imported {
  std::vector<ImportedRun> runs;         // in the file's order, not empty
  std::vector<Metric> metrics;           // those that the file has; the first is the map's first
  std::vector<fit::Exclusion> excluded;  // what filters and `rows` left out
  std::vector<std::string> unknown;      // keys that are unknown in some run: eval, data, ...
  std::vector<Taken> taken;              // of the fields that the map names, then of the metrics
};

// The table's column of those that the map names for the field, "a x b" of a product; "" where it
// has none.
std::string FieldColumn(const MapFile& map, const std::string& field, const fit::CsvTable& table);

// [{"field","columns","scale"}] of what was taken, for the record; "rescaled":true where it is.
core::Json TakenJson(const std::vector<Taken>& taken);

// Every number that is used is checked: INVALID_ARGUMENT names file, line, column and text of the
// first that is missing, not finite or not above 0 (accuracies and errors may be 0), a column that
// is not there (with the right one), a label that is not text of 1 to 200 characters, no row left.
// `origin` is the file's name.
absl::StatusOr<Imported> Apply(const MapFile& map, const fit::CsvTable& table,
                               std::string_view origin);

}  // namespace maps
