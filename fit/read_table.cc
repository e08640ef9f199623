#include "fit/read_table.h"

#include "core/compressed_file.h"
#include "core/status_macros.h"
#include "fit/json_lines.h"
#include "fmt/format.h"

namespace fit {
namespace {

// A byte order mark, or every other of the first bytes 0: text of ASCII characters, two bytes each.
bool IsUtf16(std::string_view content) {
  if (content.starts_with("\xFF\xFE") || content.starts_with("\xFE\xFF")) return true;
  if (content.size() < 4) return false;
  const auto zero = [&](size_t i) { return content[i] == 0; };
  return (zero(0) && zero(2) && !zero(1) && !zero(3)) ||
         (zero(1) && zero(3) && !zero(0) && !zero(2));
}

}  // namespace

absl::StatusOr<CsvTable> ParseTable(std::string_view content, std::string_view name,
                                    TableFormat format) {
  if (IsUtf16(content))
    return absl::InvalidArgumentError(
        fmt::format("{}: this is UTF-16, and UTF-8 is wanted: save it as UTF-8 (iconv -f UTF-16 -t "
                    "UTF-8)",
                    name));
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
