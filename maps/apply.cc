#include "maps/apply.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace maps {
namespace {

constexpr size_t kLongestLabel = 200;

// Well-formed UTF-8 without control characters: what SQL, JSON and a terminal can all hold.
bool IsPlainText(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const size_t length = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xc2) || c > 0xf4 || i + length > text.size())
      return false;
    for (size_t k = 1; k < length; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    const auto second = length > 2 ? static_cast<unsigned char>(text[i + 1]) : 0x80;
    if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) ||
        (c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f))
      return false;
    i += length;
  }
  return true;
}

// A source whose columns have been found.
struct Bound {
  std::vector<size_t> columns;
  double scale = 1;
};

std::optional<size_t> FindColumn(const fit::CsvTable& table, const std::string& column) {
  const auto it = std::find(table.header.begin(), table.header.end(), column);
  if (it == table.header.end()) return std::nullopt;
  return static_cast<size_t>(it - table.header.begin());
}

// Those of the sources whose columns the table has.
std::vector<Bound> FindAll(const fit::CsvTable& table, const Sources& sources) {
  std::vector<Bound> all;
  for (const Source& source : sources) {
    Bound bound;
    bound.scale = source.scale;
    for (const std::string& column : source.columns)
      if (const auto found = FindColumn(table, column)) bound.columns.push_back(*found);
    if (bound.columns.size() == source.columns.size()) all.push_back(std::move(bound));
  }
  return all;
}

// nullopt where a cell is empty or no number.
std::optional<double> ProductOf(const fit::CsvTable& table, const Bound& bound, size_t row) {
  double product = bound.scale;
  for (const size_t column : bound.columns) {
    const auto number = core::ParseNumber(table.rows[row][column]);
    if (!number.ok()) return std::nullopt;
    product *= *number;
  }
  return product;
}

class Applier {
 public:
  Applier(const MapFile& map, const fit::CsvTable& table, std::string_view origin)
      : map_(map), table_(table), origin_(origin) {}

  absl::StatusOr<Imported> Run() {
    RETURN_IF_ERROR(BindAll());
    std::vector<size_t> rows;
    for (size_t row = 0; row < table_.rows.size(); ++row) rows.push_back(row);
    for (const Filter& filter : map_.where) {
      std::vector<size_t> kept;
      for (const size_t row : rows) {
        ASSIGN_OR_RETURN(const bool meets, Meets(filter, row));
        if (meets) kept.push_back(row);
      }
      Exclude("rows that do not meet: " + filter.Text(), rows.size() - kept.size());
      rows = std::move(kept);
    }
    for (const size_t row : rows) {
      ASSIGN_OR_RETURN(result_.runs.emplace_back(), ReadRun(row));
    }
    RETURN_IF_ERROR(FindLastRows());
    if (map_.last_of_run) KeepLastRows();
    if (result_.runs.empty()) {
      std::string why;
      for (const fit::Exclusion& e : result_.excluded)
        why += fmt::format("; {} {}", e.count, e.reason);
      if (table_.rows.empty()) return fit::NoRows(origin_);
      return absl::InvalidArgumentError(
          fmt::format("{}: none of {} rows is left{}", origin_, table_.rows.size(), why));
    }
    FindUnknown();
    FindTaken();
    return std::move(result_);
  }

 private:
  absl::Status Error(size_t row, std::string_view message) const {
    return absl::InvalidArgumentError(
        fmt::format("{}:{}: {}", origin_, table_.lines[row], message));
  }

  std::optional<size_t> Find(const std::string& column) const { return FindColumn(table_, column); }

  absl::StatusOr<size_t> Column(const std::string& column, const std::string& what) const {
    if (const auto found = Find(column)) return *found;
    return absl::InvalidArgumentError(fmt::format("{}: no column '{}', which {} names for {}{}",
                                                  origin_, fit::ShownCell(column), map_.file, what,
                                                  fit::ColumnHint(table_, column)));
  }

  // nullopt when the file has none of the alternatives.
  std::optional<Bound> FindSources(const Sources& sources) const {
    std::vector<Bound> all = FindAll(table_, sources);
    if (all.empty()) return std::nullopt;
    return std::move(all.front());
  }

  absl::StatusOr<Bound> BindSources(const Sources& sources, const std::string& what,
                                    const std::string& option) const {
    if (auto bound = FindSources(sources)) return *std::move(bound);
    std::vector<std::string> tried;
    for (const Source& source : sources)
      tried.push_back(fmt::format("{}", fmt::join(source.columns, " x ")));
    return absl::InvalidArgumentError(fmt::format(
        "{}: no column for {}: {} looks for {}; name it with --column {}=COLUMN{}{}", origin_, what,
        map_.file, fmt::join(tried, ", "), option,
        option == "flops" ? ", as flops=COLUMN*1e9 where it holds GFLOPs, or accept C = 6 N D with "
                            "--assume-6nd"
                          : "",
        fit::ColumnHint(table_, sources[0].columns[0])));
  }

  absl::Status BindAll() {
    const std::set<std::string> numbers = {"params", "params_no_embedding", "tokens",
                                           "flops",  "budget_flops",        "unique_tokens"};
    // What every run needs first: a message is of that.
    std::vector<std::string> fields = {"params", "tokens", "flops"};
    for (const auto& [field, sources] : map_.columns)
      if (std::find(fields.begin(), fields.end(), field) == fields.end()) fields.push_back(field);
    for (const std::string& field : fields) {
      const auto known = map_.columns.find(field);
      if (known == map_.columns.end()) continue;  // 6 N D
      const Sources& sources = known->second;
      if (numbers.count(field) > 0) {
        ASSIGN_OR_RETURN(numbers_[field], BindSources(sources, field, field));
      } else {
        ASSIGN_OR_RETURN(const Bound bound, BindSources(sources, field, field));
        texts_[field] = bound.columns[0];
      }
    }
    for (const Metric& metric : map_.metrics) {
      if (metric.optional && !FindSources(metric.sources).has_value()) continue;
      ASSIGN_OR_RETURN(metrics_.emplace_back(),
                       BindSources(metric.sources, "metric " + metric.name, metric.name));
      result_.metrics.push_back(metric);
    }
    if (result_.metrics.empty() || result_.metrics[0].name != map_.metrics[0].name) {
      return BindSources(map_.metrics[0].sources, "metric " + map_.metrics[0].name,
                         map_.metrics[0].name)
          .status();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Meets(const Filter& filter, size_t row) const {
    std::optional<size_t> found;
    for (const std::string& name : filter.columns)
      if (!found.has_value()) found = Find(name);
    if (!found.has_value()) return Column(filter.columns[0], "a condition").status();
    const size_t column = *found;
    const std::string& cell = table_.rows[row][column];
    switch (filter.kind) {
      case Filter::Kind::kIs:
      case Filter::Kind::kIsNot: {
        const bool listed =
            std::find(filter.values.begin(), filter.values.end(), cell) != filter.values.end();
        return listed == (filter.kind == Filter::Kind::kIs);
      }
      case Filter::Kind::kFilled:
      case Filter::Kind::kEmpty: {
        const bool filled = cell.find_first_not_of(" \t") != std::string::npos;
        return filled == (filter.kind == Filter::Kind::kFilled);
      }
      default:
        break;
    }
    if (cell.find_first_not_of(" \t") == std::string::npos) return false;
    const auto number = core::ParseNumber(cell);
    if (!number.ok())
      return Error(row, fmt::format("column '{}' holds '{}', not a number, and the condition '{}' "
                                    "needs one",
                                    table_.header[column], fit::ShownCell(cell), filter.Text()));
    switch (filter.kind) {
      case Filter::Kind::kBelow:
        return *number < filter.bound;
      case Filter::Kind::kAtMost:
        return *number <= filter.bound;
      case Filter::Kind::kAbove:
        return *number > filter.bound;
      default:
        return *number >= filter.bound;
    }
  }

  absl::StatusOr<bool> MeetsAll(const std::vector<Filter>& filters, size_t row) const {
    for (const Filter& filter : filters) {
      ASSIGN_OR_RETURN(const bool meets, Meets(filter, row));
      if (!meets) return false;
    }
    return true;
  }

  bool IsEmpty(const Bound& bound, size_t row) const {
    return std::all_of(bound.columns.begin(), bound.columns.end(), [&](size_t c) {
      return table_.rows[row][c].find_first_not_of(" \t") == std::string::npos;
    });
  }

  absl::StatusOr<double> Positive(const Bound& bound, size_t row) const {
    double product = bound.scale;
    for (const size_t column : bound.columns) {
      ASSIGN_OR_RETURN(const double factor, fit::PositiveCell(table_, origin_, row, column));
      product *= factor;
    }
    if (std::isfinite(product) && product > 0) return product;
    return Error(row, fmt::format("the product of its cells is {}, not a number above 0", product));
  }

  // 0 when the field is not mapped, or `optional` and its cell is empty.
  absl::StatusOr<double> NumberOf(const std::string& field, size_t row, bool optional) const {
    const auto it = numbers_.find(field);
    if (it == numbers_.end() || (optional && IsEmpty(it->second, row))) return 0.0;
    return Positive(it->second, row);
  }

  // "" when the field is not mapped.
  absl::StatusOr<std::string> TextOf(const std::string& field, size_t row) const {
    const auto it = texts_.find(field);
    if (it == texts_.end()) return std::string();
    const std::string& cell = table_.rows[row][it->second];
    if (cell.size() <= kLongestLabel && IsPlainText(cell)) return cell;
    return Error(row, fmt::format("column '{}' holds '{}' ({} bytes): a label is at most {} bytes "
                                  "of UTF-8 without control characters",
                                  table_.header[it->second], fit::ShownCell(cell), cell.size(),
                                  kLongestLabel));
  }

  // Losses are above 0; a share lies in [0, 1].
  absl::StatusOr<double> ValueOf(const Metric& metric, const Bound& bound, size_t row) const {
    if (metric.unit != "accuracy" && metric.unit != "error") return Positive(bound, row);
    double product = bound.scale;
    for (const size_t column : bound.columns) {
      const auto number = core::ParseNumber(table_.rows[row][column]);
      product *= number.ok() ? *number : std::nan("");
    }
    if (product >= 0 && product <= 1) return product;
    return Error(row,
                 fmt::format("column '{}' holds '{}': {} is a share from 0 to 1 (percent: scale "
                             "0.01)",
                             table_.header[bound.columns[0]],
                             fit::ShownCell(table_.rows[row][bound.columns[0]]), metric.unit));
  }

  absl::StatusOr<std::string> StateOf(size_t row) const {
    if (map_.schedule.rule != Schedule::Rule::kColumn) return map_.schedule.state;
    ASSIGN_OR_RETURN(const size_t column, Column(map_.schedule.column, "schedule"));
    const std::string& cell = table_.rows[row][column];
    const auto holds = [&](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), cell) != list.end();
    };
    if (holds(map_.schedule.cooled)) return std::string("cooled");
    if (holds(map_.schedule.mid_run)) return std::string("mid-run");
    if (LabelOf(cell) == kUnknown) return std::string(kUnknown);
    return Error(row, fmt::format("column '{}' holds '{}', which the map's schedule calls neither "
                                  "cooled nor mid_run",
                                  map_.schedule.column, fit::ShownCell(cell)));
  }

  absl::StatusOr<ImportedRun> ReadRun(size_t row) const {
    ImportedRun run;
    run.row = table_.lines[row];
    ASSIGN_OR_RETURN(run.run, TextOf("run", row));
    ASSIGN_OR_RETURN(run.params, NumberOf("params", row, false));
    ASSIGN_OR_RETURN(run.tokens, NumberOf("tokens", row, false));
    ASSIGN_OR_RETURN(run.flops, NumberOf("flops", row, false));
    if (map_.assume_6nd) run.flops = 6 * run.params * run.tokens;
    if (!std::isfinite(run.flops)) return Error(row, "6 N D is too large for a number");
    ASSIGN_OR_RETURN(run.params_no_embedding, NumberOf("params_no_embedding", row, true));
    ASSIGN_OR_RETURN(run.unique_tokens, NumberOf("unique_tokens", row, true));
    ASSIGN_OR_RETURN(run.budget_flops, NumberOf("budget_flops", row, true));
    if (const auto seed = texts_.find("seed"); seed != texts_.end()) {
      ASSIGN_OR_RETURN(run.seed, fit::IntegerCell(table_, origin_, row, seed->second));
    }
    for (const std::string& key : LabelKeys()) {
      ASSIGN_OR_RETURN(std::string label, TextOf(key, row));
      const auto given = map_.values.find(key);
      if (given != map_.values.end()) label = given->second;
      run.labels[key] = LabelOf(label);
    }
    ASSIGN_OR_RETURN(run.schedule, StateOf(row));
    ASSIGN_OR_RETURN(const bool target, MeetsAll(map_.targets, row));
    run.target = target && !map_.targets.empty();
    for (size_t m = 0; m < metrics_.size(); ++m) {
      if (m > 0 && IsEmpty(metrics_[m], row)) continue;
      ASSIGN_OR_RETURN(const double value, ValueOf(result_.metrics[m], metrics_[m], row));
      run.values.push_back({result_.metrics[m].name, value});
    }
    return run;
  }

  // The index of each run's row with the most tokens. Two rows with equally many are an error:
  // which of them came last is not known.
  absl::Status FindLastRows() {
    if (!map_.last_of_run && map_.schedule.rule != Schedule::Rule::kLastOfRun)
      return absl::OkStatus();
    for (size_t i = 0; i < result_.runs.size(); ++i) {
      const ImportedRun& run = result_.runs[i];
      if (run.run.empty())
        return absl::InvalidArgumentError(
            fmt::format("{}:{}: the run has no name, and last-of-run needs one", origin_, run.row));
      const auto [last, added] = last_.emplace(run.run, i);
      if (added) continue;
      const ImportedRun& before = result_.runs[last->second];
      if (run.tokens == before.tokens)
        return absl::InvalidArgumentError(fmt::format(
            "{}:{}: run '{}' has as many tokens as on line {}, so its last row is not known; leave "
            "one of them out with where",
            origin_, run.row, run.run, before.row));
      if (run.tokens > before.tokens) last->second = i;
    }
    if (map_.schedule.rule != Schedule::Rule::kLastOfRun) return absl::OkStatus();
    for (size_t i = 0; i < result_.runs.size(); ++i)
      result_.runs[i].schedule = last_.at(result_.runs[i].run) == i ? "cooled" : "mid-run";
    return absl::OkStatus();
  }

  void KeepLastRows() {
    std::vector<ImportedRun> kept;
    for (size_t i = 0; i < result_.runs.size(); ++i)
      if (last_.at(result_.runs[i].run) == i) kept.push_back(std::move(result_.runs[i]));
    Exclude("rows that are not the last of their run", result_.runs.size() - kept.size());
    result_.runs = std::move(kept);
  }

  void Exclude(std::string reason, size_t count) {
    if (count > 0) result_.excluded.push_back({std::move(reason), static_cast<int64_t>(count)});
  }

  void FindUnknown() {
    std::set<std::string> unknown;
    for (const ImportedRun& run : result_.runs) {
      for (const auto& [key, value] : run.labels)
        if (value == kUnknown) unknown.insert(key);
      if (run.schedule == kUnknown) unknown.insert("schedule");
    }
    for (const Metric& metric : result_.metrics)
      if (metric.eval == kUnknown) unknown.insert("eval");
    result_.unknown.assign(unknown.begin(), unknown.end());
  }

  Taken TakenOf(const std::string& field, const Bound& bound) const {
    Taken taken;
    taken.field = field;
    taken.scale = bound.scale;
    for (const size_t column : bound.columns) taken.columns.push_back(table_.header[column]);
    return taken;
  }

  // REQUIRES: result_.runs are those kept.
  void FindRivals(const Sources& sources, const Bound& bound, const std::set<size_t>& used,
                  Taken& taken) const {
    constexpr double kSame = 1e-6;  // as written by two programs
    for (const Bound& other : FindAll(table_, sources)) {
      if (std::any_of(other.columns.begin(), other.columns.end(),
                      [&](size_t column) { return used.count(column) > 0; }))
        continue;
      size_t row = 0;
      for (const ImportedRun& run : result_.runs) {
        while (table_.lines[row] != run.row) ++row;
        const auto mine = ProductOf(table_, bound, row), theirs = ProductOf(table_, other, row);
        if (!mine.has_value() || !theirs.has_value()) continue;
        if (std::fabs(*mine - *theirs) <= kSame * std::fabs(*mine)) continue;
        Rival rival{"", run.row, *mine, *theirs};
        for (const size_t column : other.columns)
          rival.column += (rival.column.empty() ? "" : " x ") + table_.header[column];
        taken.rivals.push_back(std::move(rival));
        break;
      }
    }
  }

  void FindTaken() {
    std::set<size_t> used;
    for (const auto& [field, bound] : numbers_)
      used.insert(bound.columns.begin(), bound.columns.end());
    for (const Bound& bound : metrics_) used.insert(bound.columns.begin(), bound.columns.end());
    for (const auto& [field, bound] : numbers_) {
      result_.taken.push_back(TakenOf(field, bound));
      FindRivals(map_.columns.at(field), bound, used, result_.taken.back());
    }
    for (const auto& [field, column] : texts_)
      result_.taken.push_back(TakenOf(field, {{column}, 1}));
    for (size_t m = 0; m < metrics_.size(); ++m) {
      result_.taken.push_back(TakenOf(result_.metrics[m].name, metrics_[m]));
      result_.taken.back().rescaled = IsRescaled(result_.metrics[m]);
      FindRivals(result_.metrics[m].sources, metrics_[m], used, result_.taken.back());
    }
  }

  const MapFile& map_;
  const fit::CsvTable& table_;
  const std::string_view origin_;
  std::map<std::string, Bound> numbers_;
  std::map<std::string, size_t> texts_;
  std::vector<Bound> metrics_;
  std::map<std::string, size_t> last_;  // run -> index into result_.runs
  Imported result_;
};

}  // namespace

const std::vector<std::string>& LabelKeys() {
  static const auto* const keys = new std::vector<std::string>{
      "recipe", "data", "tokenizer", "seq_len", "numerics", "flop_convention", "n_convention"};
  return *keys;
}

std::string FieldColumn(const MapFile& map, const std::string& field, const fit::CsvTable& table) {
  const auto sources = map.columns.find(field);
  if (sources == map.columns.end()) return "";
  std::string text;
  if (const std::vector<Bound> found = FindAll(table, sources->second); !found.empty())
    for (const size_t column : found[0].columns)
      text += (text.empty() ? "" : " x ") + table.header[column];
  return text;
}

core::Json TakenJson(const std::vector<Taken>& taken) {
  core::Json list = core::Json::array();
  for (const Taken& t : taken) {
    list.push_back({{"field", t.field}, {"columns", t.columns}, {"scale", t.scale}});
    if (t.rescaled) list.back()["rescaled"] = true;
  }
  return list;
}

absl::StatusOr<Imported> Apply(const MapFile& map, const fit::CsvTable& table,
                               std::string_view origin) {
  return Applier(map, table, origin).Run();
}

}  // namespace maps
