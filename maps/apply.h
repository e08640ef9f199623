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

struct Imported {
  std::vector<ImportedRun> runs;         // in the file's order, not empty
  std::vector<Metric> metrics;           // those that the file has; the first is the map's first
  std::vector<fit::Exclusion> excluded;  // what filters and `rows` left out
  std::vector<std::string> unknown;      // keys that are unknown in some run: eval, data, ...
};

// Every number that is used is checked: INVALID_ARGUMENT names file, line, column and text of the
// first that is missing, not finite or not above 0 (accuracies and errors may be 0), a column that
// is not there (with the right one), a label that is not text of 1 to 200 characters, no row left.
// `origin` is the file's name.
absl::StatusOr<Imported> Apply(const MapFile& map, const fit::CsvTable& table,
                               std::string_view origin);

}  // namespace maps
