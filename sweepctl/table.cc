#include "sweepctl/table.h"

#include <algorithm>

#include "core/check.h"

namespace sweepctl {
namespace {

std::string Shown(const Cell& cell) {
  if (!cell.text.empty()) return cell.text;
  if (cell.value.is_null()) return "-";
  return cell.value.is_string() ? cell.value.get<std::string>() : cell.value.dump();
}

// Code points of UTF-8, which is the width of everything we print.
size_t Width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string CsvField(const core::Json& value) {
  if (value.is_null()) return "";
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

void Table::AddRow(std::vector<Cell> cells) {
  SWEEP_CHECK(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::Text(bool color) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = Width(columns_[c].title);
    for (const auto& row : rows_) width = std::max(width, Width(Shown(row[c])));
    widths.push_back(width);
  }
  auto line = [&](auto cell_text) {
    std::string out;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (columns_[c].title.empty()) continue;
      const std::string text = cell_text(c);
      const std::string padding(widths[c] - Width(text), ' ');
      if (!out.empty()) out += "  ";
      out += columns_[c].left ? text + padding : padding + text;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return out;
  };
  std::string out = line([&](size_t c) { return columns_[c].title; });
  if (color) out = "\x1b[1m" + out + "\x1b[0m";
  out += "\n";
  for (const auto& row : rows_) out += line([&](size_t c) { return Shown(row[c]); }) + "\n";
  return out;
}

std::string Table::Csv() const {
  std::string out;
  for (size_t c = 0; c < columns_.size(); ++c) out += (c > 0 ? "," : "") + columns_[c].key;
  out += "\n";
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) out += (c > 0 ? "," : "") + CsvField(row[c].value);
    out += "\n";
  }
  return out;
}

core::Json Table::Rows() const {
  core::Json rows = core::Json::array();
  for (const auto& row : rows_) {
    core::Json object = core::Json::object();
    for (size_t c = 0; c < columns_.size(); ++c) object[columns_[c].key] = row[c].value;
    rows.push_back(std::move(object));
  }
  return rows;
}

std::string Table::JsonLines() const {
  std::string out;
  for (const core::Json& row : Rows()) out += row.dump() + "\n";
  return out;
}

absl::Status Table::Print(const GlobalOptions& options) const {
  switch (options.Format()) {
    case OutputFormat::kCsv:
      return sweepctl::Print(Csv());
    case OutputFormat::kJson:
      return PrintJson({{"rows", Rows()}});
    case OutputFormat::kJsonLines:
      return sweepctl::Print(JsonLines());
    case OutputFormat::kTable:
      break;
  }
  return sweepctl::Print(Text(options.Color()));
}

}  // namespace sweepctl
