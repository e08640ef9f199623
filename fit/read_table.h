// A file of rows as a table, whatever its format.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "fit/csv.h"

namespace fit {

enum class TableFormat {
  kByName,     // JSON Lines for .jsonl, .ndjson and .json, CSV for every other name
  kCsv,        // csv.h
  kJsonLines,  // json_lines.h
};

// Parses the content of a file called `name`; a suffix .gz or .zst of the name is looked past.
// Errors of the two parsers.
absl::StatusOr<CsvTable> ParseTable(std::string_view content, std::string_view name,
                                    TableFormat format = TableFormat::kByName);

// Reads the file first, decompressed where its name ends in .gz or .zst; errors of
// core/compressed_file.h pass through.
absl::StatusOr<CsvTable> ReadTable(const std::string& path,
                                   TableFormat format = TableFormat::kByName);

}  // namespace fit
