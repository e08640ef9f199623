#include "fit/json_lines.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/canonical_json.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace fit {
namespace {

using core::Json;

constexpr size_t kMaxColumns = 10'000;
constexpr size_t kMaxCells = 50'000'000;
constexpr int kMaxDepth = 32;

// Parses one object; a key that stands twice in one object would silently lose its first value.
absl::StatusOr<Json> ParseObject(std::string_view line, const std::string& where) {
  std::vector<std::set<std::string>> keys;
  std::string twice;
  bool deep = false;
  const auto look = [&](int depth, Json::parse_event_t event, Json& value) {
    deep = deep || depth > kMaxDepth;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.empty() &&
        !keys.back().insert(value.get<std::string>()).second && twice.empty())
      twice = value.get<std::string>();
    return true;
  };
  const Json json = Json::parse(line.begin(), line.end(), look, /*allow_exceptions=*/false);
  if (json.is_discarded())
    return absl::InvalidArgumentError(fmt::format(
        "{}: not JSON; each line holds one object, and NaN and Infinity must be null", where));
  if (!json.is_object())
    return absl::InvalidArgumentError(
        fmt::format("{}: a line holds one JSON object, not a {}", where, json.type_name()));
  if (!twice.empty())
    return absl::InvalidArgumentError(
        fmt::format("{}: key '{}' is given twice in one object", where, ShownCell(twice)));
  if (deep)
    return absl::InvalidArgumentError(
        fmt::format("{}: objects nested more than {} deep", where, kMaxDepth));
  return json;
}

std::string CellOf(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// (column, text) of every leaf.
void Flatten(const Json& object, const std::string& prefix,
             std::vector<std::pair<std::string, std::string>>& cells) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) {
      Flatten(value, name, cells);
    } else {
      cells.emplace_back(name, CellOf(value));
    }
  }
}

}  // namespace

absl::StatusOr<CsvTable> ParseJsonLines(std::string_view text, std::string_view origin) {
  CsvTable table;
  std::map<std::string, size_t> columns;
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", origin, number);
    ASSIGN_OR_RETURN(const Json object, ParseObject(line, where));
    std::vector<std::pair<std::string, std::string>> cells;
    Flatten(object, "", cells);
    std::vector<std::string> row(table.header.size());
    std::set<std::string> seen;
    for (auto& [name, cell] : cells) {
      if (name.empty())
        return absl::InvalidArgumentError(fmt::format("{}: a key has no name", where));
      if (!seen.insert(name).second)
        return absl::InvalidArgumentError(
            fmt::format("{}: two keys are both called '{}'", where, ShownCell(name)));
      const auto [column, added] = columns.emplace(name, table.header.size());
      if (added) {
        table.header.push_back(name);
        row.emplace_back();
      }
      row[column->second] = std::move(cell);
    }
    table.rows.push_back(std::move(row));
    table.lines.push_back(number);
    if (table.header.size() > kMaxColumns || table.header.size() * table.rows.size() > kMaxCells)
      return absl::InvalidArgumentError(
          fmt::format("{}: {} columns and {} rows so far are too many; keep the keys that are used",
                      where, table.header.size(), table.rows.size()));
  }
  if (table.rows.empty())
    return absl::InvalidArgumentError(
        fmt::format("{}: empty; expected one JSON object a line", origin));
  for (std::vector<std::string>& row : table.rows) row.resize(table.header.size());
  return table;
}

}  // namespace fit
