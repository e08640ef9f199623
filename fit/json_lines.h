// Rows from JSON Lines: one object a line, read into the same table as a CSV file (csv.h), so that
// everything that reads one reads the other. Hostile until proven otherwise, like csv.h.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "fit/csv.h"

namespace fit {

// Nested objects become columns with dots ({"config": {"lr": 1}} is the column config.lr), other
// values the text of their cell: numbers with every digit that reads back, true and false, null and
// what a line lacks as an empty cell, lists as JSON. Columns stand in the order in which they first
// appear, keys of one object by name.
// INVALID_ARGUMENT with `origin` and line: not JSON (NaN and Infinity are not), not an object, a
// key given twice, no row, more than 10,000 columns or 50 million cells.
absl::StatusOr<CsvTable> ParseJsonLines(std::string_view text, std::string_view origin);

}  // namespace fit
