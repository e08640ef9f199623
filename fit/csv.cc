#include "fit/csv.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fit/read_table.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Reads one record from `position`, moves past its line end and counts lines. False when a quoted
// cell never closes.
bool ReadRecord(std::string_view text, size_t& position, int64_t& line,
                std::vector<std::string>& cells) {
  cells.assign(1, "");
  bool quoted = false;
  while (position < text.size()) {
    const char c = text[position++];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        cells.back() += c;
      } else if (position < text.size() && text[position] == '"') {
        cells.back() += '"';
        ++position;
      } else {
        quoted = false;
      }
    } else if (c == '"' && cells.back().empty()) {
      quoted = true;
    } else if (c == ',') {
      cells.emplace_back();
    } else if (c == '\n') {
      return true;
    } else if (c == '\r' && position < text.size() && text[position] == '\n') {
      continue;
    } else {
      cells.back() += c;
    }
  }
  return !quoted;
}

const std::vector<std::string>& KnownFields() {
  static const auto* const fields = [] {
    auto* list = new std::vector<std::string>{
        "flops", "params", "tokens", "loss",          "budget_flops", "params_no_embedding",
        "seed",  "id",     "clamps", "unique_tokens", "hard",         "params_log_se"};
    list->insert(list->end(), CohortKeys().begin(), CohortKeys().end());
    return list;
  }();
  return *fields;
}

// Column index of a field or column name, with messages that say what there is.
class Columns {
 public:
  Columns(const CsvTable& table, std::string_view origin, const CsvOptions& options)
      : table_(table), origin_(origin), options_(options) {}

  absl::StatusOr<size_t> ByName(const std::string& name) const {
    const auto it = std::find(table_.header.begin(), table_.header.end(), name);
    if (it != table_.header.end()) return static_cast<size_t>(it - table_.header.begin());
    return absl::InvalidArgumentError(
        fmt::format("{}: no column '{}'{}", origin_, ShownCell(name), ColumnHint(table_, name)));
  }

  // nullopt when the field is neither mapped nor present under its own name.
  absl::StatusOr<std::optional<size_t>> OfField(const std::string& field) const {
    if (const auto it = options_.columns.find(field); it != options_.columns.end()) {
      if (it->second.empty()) return std::optional<size_t>();  // left out
      ASSIGN_OR_RETURN(const size_t index, ByName(it->second));
      return std::optional<size_t>(index);
    }
    const auto it = std::find(table_.header.begin(), table_.header.end(), field);
    if (it == table_.header.end()) return std::optional<size_t>();
    return std::optional<size_t>(static_cast<size_t>(it - table_.header.begin()));
  }

  absl::StatusOr<size_t> Required(const std::string& field) const {
    ASSIGN_OR_RETURN(const std::optional<size_t> index, OfField(field));
    if (index.has_value()) return *index;
    return absl::InvalidArgumentError(
        fmt::format("{}: no column '{}'; name it with --column {}=COLUMN{}{}", origin_, field,
                    field, field == "flops" ? " or accept C = 6 N D with --assume-6nd" : "",
                    ColumnHint(table_, field)));
  }

 private:
  const CsvTable& table_;
  std::string_view origin_;
  const CsvOptions& options_;
};

// The texts of columns that nobody mapped and that repeat among the rows kept.
void KeepLabels(const CsvTable& table, const std::set<size_t>& used,
                const std::vector<size_t>& rows, std::vector<Observation>& observations) {
  constexpr size_t kRepeats = 3;  // a text stands in this many rows, on average
  for (size_t column = 0; column < table.header.size(); ++column) {
    if (used.count(column) > 0) continue;
    std::set<std::string_view> texts;
    for (const size_t row : rows) {
      texts.insert(table.rows[row][column]);
      if (kRepeats * texts.size() > rows.size()) break;
    }
    if (kRepeats * texts.size() > rows.size()) continue;
    for (size_t i = 0; i < rows.size(); ++i)
      observations[i].labels[table.header[column]] = table.rows[rows[i]][column];
  }
}

// The option that leaves out every row with this text in this column, as of diverged runs: their
// count then stands among the report's exclusions.
std::string WhereNot(const CsvTable& table, size_t row, size_t column) {
  const std::string &name = table.header[column], &cell = table.rows[row][column];
  const bool plain = name.find_first_of("'=<>!") == std::string::npos && ShownCell(name) == name &&
                     cell.find('\'') == std::string::npos && ShownCell(cell) == cell;
  return plain ? fmt::format(" with --where '{}!={}'", name, cell) : " with --where";
}

// The number of texts like these: "28,490,034", "3,6368", "28M", "1 000".
enum class Look { kOther, kSeparated, kSuffixed };
Look LookOf(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::string_view kSuffixes = "kKmMbBgGtT";
  if (text.empty() || kDigits.find(text.front()) == std::string_view::npos) return Look::kOther;
  if (text.find_first_not_of("0123456789,._' ") == std::string_view::npos &&
      kDigits.find(text.back()) != std::string_view::npos)
    return Look::kSeparated;
  const size_t end = text.find_last_not_of(" ");
  if (kSuffixes.find(text[end]) == std::string_view::npos) return Look::kOther;
  return core::ParseNumber(Trim(text.substr(0, end))).ok() ? Look::kSuffixed : Look::kOther;
}

// What to do about a cell that holds no number; "" where it is none at all.
std::string PlainNumberHint(std::string_view text) {
  switch (LookOf(text)) {
    case Look::kSeparated:
      return "it looks like a number with thousands separators or a decimal comma; write plain "
             "numbers, as 28490034 or 3.6368, in the whole column";
    case Look::kSuffixed:
      return "it looks like a number with a suffix; write plain numbers, as 28e6 for 28M, in the "
             "whole column";
    case Look::kOther:
      break;
  }
  return "";
}

// "" where commas separate the header.
std::string SeparatorHint(const std::vector<std::string>& header) {
  constexpr std::pair<char, std::string_view> kOthers[] = {
      {';', "';'"}, {'\t', "tabs"}, {'|', "'|'"}};
  for (const auto& [separator, name] : kOthers) {
    size_t count = 0;
    for (const std::string& cell : header)
      count += static_cast<size_t>(std::count(cell.begin(), cell.end(), separator));
    if (count >= header.size())
      return fmt::format(
          "; the header looks separated by {}, and commas are wanted: write the "
          "table with commas",
          name);
  }
  return "";
}

}  // namespace

absl::Status NoRows(std::string_view origin) {
  return absl::InvalidArgumentError(
      fmt::format("{}: a header and no row below it; expected one line a run", origin));
}

std::string ShownCell(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 40)) out += (c >= 0x20 && c < 0x7f) ? c : '?';
  if (text.size() > 40) out += "...";
  return out;
}

std::string ColumnHint(const CsvTable& table, const std::string& name) {
  std::string names;
  for (const std::string& column : table.header) {
    names += (names.empty() ? "" : ", ") + ShownCell(column);
    if (names.size() > 400) {
      names += ", ...";
      break;
    }
  }
  if (const std::string separated = SeparatorHint(table.header); !separated.empty())
    return fmt::format("{}; it is: {}", separated, names);
  return core::DidYouMean(name, table.header) + "; the columns are: " + names;
}

absl::StatusOr<double> PositiveCell(const CsvTable& table, std::string_view origin, size_t row,
                                    size_t column) {
  const std::string_view text = Trim(table.rows[row][column]);
  const absl::StatusOr<double> value = core::ParseNumber(text);
  if (value.ok() && *value > 0) return *value;
  if (const std::string hint = value.ok() ? "" : PlainNumberHint(text); !hint.empty())
    return absl::InvalidArgumentError(
        fmt::format("{}:{}: column '{}' holds '{}', not a finite number: {}", origin,
                    table.lines[row], ShownCell(table.header[column]), ShownCell(text), hint));
  return absl::InvalidArgumentError(fmt::format(
      "{}:{}: column '{}' holds '{}', {}; correct the row or leave it out{}", origin,
      table.lines[row], ShownCell(table.header[column]), ShownCell(text),
      value.ok() ? "must be above 0" : "not a finite number", WhereNot(table, row, column)));
}

// nullopt for an empty cell.
absl::StatusOr<std::optional<double>> Share(const CsvTable& table, std::string_view origin,
                                            size_t row, size_t column) {
  const std::string_view text = Trim(table.rows[row][column]);
  if (text.empty()) return std::optional<double>();
  const absl::StatusOr<double> value = core::ParseNumber(text);
  if (value.ok() && *value >= 0 && *value <= 1) return std::optional<double>(*value);
  return absl::InvalidArgumentError(
      fmt::format("{}:{}: column '{}' holds '{}', {}; correct the row or leave it out with --where",
                  origin, table.lines[row], ShownCell(table.header[column]), ShownCell(text),
                  value.ok() ? "a share must lie between 0 and 1 (divide percent by 100)"
                             : "not a finite number"));
}

absl::StatusOr<int64_t> IntegerCell(const CsvTable& table, std::string_view origin, size_t row,
                                    size_t column) {
  const std::string_view text = Trim(table.rows[row][column]);
  int64_t value = 0;
  if (text.empty()) return value;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && end == text.data() + text.size()) return value;
  return absl::InvalidArgumentError(
      fmt::format("{}:{}: column '{}' holds '{}', not a 64-bit integer", origin, table.lines[row],
                  ShownCell(table.header[column]), ShownCell(text)));
}

absl::StatusOr<CsvTable> ParseCsv(std::string_view text, std::string_view origin) {
  CsvTable table;
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  size_t position = 0;
  int64_t line = 1;
  std::vector<std::string> cells;
  while (position < text.size()) {
    const int64_t start = line;
    if (!ReadRecord(text, position, line, cells))
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: a quoted cell never ends; close it with '\"'", origin, start));
    if (cells.size() == 1 && Trim(cells[0]).empty()) continue;
    if (table.header.empty()) {
      std::set<std::string> seen;
      for (std::string& cell : cells) {
        cell = std::string(Trim(cell));
        if (cell.empty())
          return absl::InvalidArgumentError(
              fmt::format("{}:{}: a column of the header has no name", origin, start));
        if (!seen.insert(cell).second)
          return absl::InvalidArgumentError(
              fmt::format("{}:{}: column '{}' appears twice", origin, start, ShownCell(cell)));
      }
      table.header = cells;
      continue;
    }
    if (cells.size() != table.header.size())
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: {} cells where the header has {}{}", origin, start, cells.size(),
                      table.header.size(), SeparatorHint(table.header)));
    table.rows.push_back(cells);
    table.lines.push_back(start);
  }
  if (table.header.empty())
    return absl::InvalidArgumentError(
        fmt::format("{}: empty; expected a header line that names the columns, as flops, params, "
                    "tokens, loss, and one line a run below it",
                    origin));
  return table;
}

absl::StatusOr<CsvObservations> ObservationsFromTable(const CsvTable& table,
                                                      std::string_view origin,
                                                      const CsvOptions& options) {
  for (const auto& [field, column] : options.columns) {
    if (std::find(KnownFields().begin(), KnownFields().end(), field) == KnownFields().end())
      return absl::InvalidArgumentError(
          fmt::format("--column {}={}: no such field{}; the fields are: {}", ShownCell(field),
                      ShownCell(column), core::DidYouMean(field, KnownFields()),
                      fmt::join(KnownFields(), ", ")));
    // What a cohort is cannot be wished away.
    if (column.empty() &&
        std::find(CohortKeys().begin(), CohortKeys().end(), field) != CohortKeys().end())
      return absl::InvalidArgumentError(fmt::format(
          "--column {}=: a cohort's column cannot be left out; --where keeps one of its values, "
          "--allow-mixed fits them together",
          field));
  }
  const Columns columns(table, origin, options);

  std::map<size_t, std::set<std::string>> alternatives;
  std::vector<std::pair<size_t, const Where*>> filters;
  std::string filter_text;
  for (const Where& where : options.where) {
    ASSIGN_OR_RETURN(const size_t index, columns.ByName(where.column));
    if (where.op == Where::Op::kIs) {
      alternatives[index].insert(where.text);
    } else {
      filters.emplace_back(index, &where);
    }
    filter_text += " --where " + where.Text();
  }
  const auto is_kept = [&](size_t row) -> absl::StatusOr<bool> {
    const std::vector<std::string>& cells = table.rows[row];
    for (const auto& [column, texts] : alternatives)
      if (texts.count(cells[column]) == 0) return false;
    for (const auto& [column, where] : filters) {
      const absl::StatusOr<bool> holds = where->Holds(cells[column]);
      if (!holds.ok())
        return absl::InvalidArgumentError(fmt::format("{}:{}: {}", origin, table.lines[row],
                                                      std::string(holds.status().message())));
      if (!*holds) return false;
    }
    return true;
  };
  const bool curve = !options.input.empty();
  std::optional<size_t> input;
  if (curve) {
    ASSIGN_OR_RETURN(input, columns.ByName(options.input));
  }
  const auto size_column = [&](const char* field) {
    return curve ? absl::StatusOr<size_t>(*input) : columns.Required(field);
  };
  ASSIGN_OR_RETURN(const size_t params, size_column("params"));
  ASSIGN_OR_RETURN(const size_t tokens, size_column("tokens"));
  ASSIGN_OR_RETURN(const size_t loss, columns.Required("loss"));
  std::optional<size_t> flops = input;
  if (!curve) {
    ASSIGN_OR_RETURN(flops, columns.OfField("flops"));
  }
  if (!flops.has_value() && !options.assume_6nd) {
    ASSIGN_OR_RETURN(flops, columns.Required("flops"));
  }
  ASSIGN_OR_RETURN(const std::optional<size_t> budget, columns.OfField("budget_flops"));
  ASSIGN_OR_RETURN(const std::optional<size_t> no_embedding,
                   columns.OfField("params_no_embedding"));
  ASSIGN_OR_RETURN(const std::optional<size_t> unique, columns.OfField("unique_tokens"));
  ASSIGN_OR_RETURN(const std::optional<size_t> hard, columns.OfField("hard"));
  ASSIGN_OR_RETURN(const std::optional<size_t> params_se, columns.OfField("params_log_se"));
  ASSIGN_OR_RETURN(const std::optional<size_t> seed, columns.OfField("seed"));
  ASSIGN_OR_RETURN(const std::optional<size_t> id, columns.OfField("id"));
  ASSIGN_OR_RETURN(const std::optional<size_t> clamps, columns.OfField("clamps"));
  std::vector<std::pair<std::string, size_t>> cohort;
  for (const std::string& key : CohortKeys()) {
    ASSIGN_OR_RETURN(const std::optional<size_t> index, columns.OfField(key));
    if (index.has_value()) cohort.emplace_back(key, *index);
  }
  if (!options.experiment.empty()) {
    ASSIGN_OR_RETURN(const size_t index, columns.ByName(options.experiment));
    cohort.emplace_back(options.experiment, index);
  }
  std::set<size_t> used;
  for (const auto& column :
       {flops, budget, no_embedding, unique, hard, params_se, seed, id, clamps})
    if (column.has_value()) used.insert(*column);
  used.insert({params, tokens, loss});
  for (const auto& [key, index] : cohort) used.insert(index);
  std::vector<size_t> kept_rows;

  CsvObservations result;
  int64_t filtered = 0;
  for (size_t row = 0; row < table.rows.size(); ++row) {
    const std::vector<std::string>& cells = table.rows[row];
    ASSIGN_OR_RETURN(const bool kept, is_kept(row));
    if (!kept) {
      ++filtered;
      continue;
    }
    Observation o;
    o.row = table.lines[row];
    ASSIGN_OR_RETURN(o.params, PositiveCell(table, origin, row, params));
    ASSIGN_OR_RETURN(o.tokens, PositiveCell(table, origin, row, tokens));
    ASSIGN_OR_RETURN(o.loss, PositiveCell(table, origin, row, loss));
    if (flops.has_value()) {
      ASSIGN_OR_RETURN(o.flops, PositiveCell(table, origin, row, *flops));
    } else {
      o.flops = 6 * o.params * o.tokens;
    }
    if (budget.has_value() && !Trim(cells[*budget]).empty()) {
      ASSIGN_OR_RETURN(o.budget_flops, PositiveCell(table, origin, row, *budget));
    }
    if (no_embedding.has_value() && !Trim(cells[*no_embedding]).empty()) {
      ASSIGN_OR_RETURN(o.params_no_embedding, PositiveCell(table, origin, row, *no_embedding));
    }
    if (unique.has_value() && !Trim(cells[*unique]).empty()) {
      ASSIGN_OR_RETURN(o.unique_tokens, PositiveCell(table, origin, row, *unique));
    }
    if (params_se.has_value()) {
      ASSIGN_OR_RETURN(o.params_log_se, PositiveCell(table, origin, row, *params_se));
    }
    if (hard.has_value()) {
      ASSIGN_OR_RETURN(o.hard, Share(table, origin, row, *hard));
    }
    if (seed.has_value()) {
      ASSIGN_OR_RETURN(o.seed, IntegerCell(table, origin, row, *seed));
    }
    if (id.has_value()) o.id = cells[*id];
    if (clamps.has_value()) {
      std::string_view rest = cells[*clamps];
      while (!rest.empty()) {
        const size_t cut = std::min(rest.find(';'), rest.size());
        if (const std::string_view one = Trim(rest.substr(0, cut)); !one.empty())
          o.clamps.emplace_back(one);
        rest.remove_prefix(std::min(cut + 1, rest.size()));
      }
    }
    for (const auto& [key, index] : cohort) o.cohort[key] = cells[index];
    if (!options.assume_6nd || flops.has_value()) {
      RETURN_IF_ERROR(Validate(o, origin));
    } else if (absl::Status status = Validate(o, origin); !status.ok()) {
      return absl::InvalidArgumentError(fmt::format("{} (flops = 6 N D)", status.ToString()));
    }
    result.observations.push_back(std::move(o));
    kept_rows.push_back(row);
  }
  if (!curve) KeepLabels(table, used, kept_rows, result.observations);
  if (table.rows.empty()) return NoRows(origin);
  if (result.observations.empty())
    return absl::InvalidArgumentError(
        fmt::format("{}: no observations left of {} rows{}{}", origin, table.rows.size(),
                    filter_text.empty() ? "" : " after", ShownCell(filter_text)));
  if (filtered > 0)
    result.excluded.push_back({fmt::format("not selected by{}", filter_text), filtered});
  return result;
}

absl::StatusOr<CsvObservations> ObservationsFromCsv(std::string_view text, std::string_view origin,
                                                    const CsvOptions& options) {
  ASSIGN_OR_RETURN(const CsvTable table, ParseCsv(text, origin));
  return ObservationsFromTable(table, origin, options);
}

absl::StatusOr<CsvObservations> ReadObservationsCsv(const std::string& path,
                                                    const CsvOptions& options) {
  ASSIGN_OR_RETURN(const CsvTable table, ReadTable(path));
  return ObservationsFromTable(table, path, options);
}

}  // namespace fit
