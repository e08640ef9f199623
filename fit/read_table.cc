#include "fit/read_table.h"

#include "core/compressed_file.h"
#include "core/status_macros.h"
#include "fit/json_lines.h"

namespace fit {

absl::StatusOr<CsvTable> ParseTable(std::string_view content, std::string_view name,
                                    TableFormat format) {
  const std::string_view plain = core::UncompressedName(name);
  const bool lines =
      format == TableFormat::kJsonLines ||
      (format == TableFormat::kByName &&
       (plain.ends_with(".jsonl") || plain.ends_with(".ndjson") || plain.ends_with(".json")));
  return lines ? ParseJsonLines(content, name) : ParseCsv(content, name);
}

absl::StatusOr<CsvTable> ReadTable(const std::string& path, TableFormat format) {
  ASSIGN_OR_RETURN(const std::string content, core::ReadFileDecompressed(path));
  return ParseTable(content, path, format);
}

}  // namespace fit
