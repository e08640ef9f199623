#include "maps/overrides.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/did_you_mean.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace maps {
namespace {

// What a key of the table may be given as, for messages.
const sweeps::Key* FindKey(std::string_view section, const std::string& name,
                           std::vector<std::string>* names) {
  for (const sweeps::Key& part : MapFileForm().children) {
    if (part.name != section) continue;
    for (const sweeps::Key& key : part.forms[0].children) {
      names->push_back(key.name);
      if (key.name == name) return &key;
    }
  }
  return nullptr;
}

struct ScaledColumn {
  std::string name;
  std::optional<double> scale;
};

// "flops_g*1e9": what follows the last '*' is a scale where it is a number above 0.
ScaledColumn ReadScaledColumn(const std::string& text) {
  const size_t star = text.rfind('*');
  if (star == std::string::npos || star == 0) return {text, std::nullopt};
  const auto scale = core::ParseNumber(text.substr(star + 1));
  if (!scale.ok() || *scale <= 0) return {text, std::nullopt};
  return {text.substr(0, star), *scale};
}

const Source* Known(const Sources& sources, const std::string& column) {
  for (const Source& source : sources)
    if (source.columns == std::vector<std::string>{column}) return &source;
  return nullptr;
}

// A column that the map knows for the field keeps its scale.
Sources Chosen(const Sources& known, const ScaledColumn& column) {
  Source source{{column.name}, 1};
  if (const Source* same = Known(known, column.name)) source = *same;
  if (column.scale.has_value()) source.scale = *column.scale;
  return {source};
}

// A field of labels takes its column's name as it stands.
bool IsNumber(const std::string& field) {
  static const std::set<std::string> kNumbers = {"params", "params_no_embedding", "tokens",
                                                 "flops",  "budget_flops",        "unique_tokens"};
  return kNumbers.count(field) > 0;
}

absl::Status SetUnit(MapFile& map, const std::string& unit) {
  if (std::find(UnitWords().begin(), UnitWords().end(), unit) == UnitWords().end())
    return absl::InvalidArgumentError(fmt::format("--value unit={}: it takes one of {}{}", unit,
                                                  fmt::join(UnitWords(), ", "),
                                                  core::DidYouMean(unit, UnitWords())));
  const bool any = std::any_of(map.metrics.begin(), map.metrics.end(),
                               [](const Metric& metric) { return metric.redirected; });
  for (size_t m = 0; m < map.metrics.size(); ++m)
    if (any ? map.metrics[m].redirected : m == 0) map.metrics[m].unit = unit;
  if (IsLoss(map.metrics[0])) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "--value unit={}: {} is the metric that is fitted, and must be a loss: name the losses "
      "before it in a map of your own",
      unit, map.metrics[0].name));
}

void SetEval(MapFile& map, const std::string& eval) {
  const bool any = std::any_of(map.metrics.begin(), map.metrics.end(),
                               [](const Metric& metric) { return metric.redirected; });
  const std::string first = map.metrics[0].eval;
  for (Metric& metric : map.metrics)
    if (metric.eval == kUnknown || (any ? metric.redirected : metric.eval == first))
      metric.eval = eval;
}

std::string ScheduleText(const Schedule& schedule) {
  if (schedule.rule == Schedule::Rule::kLastOfRun) return "last-of-run";
  if (schedule.rule == Schedule::Rule::kColumn)
    return fmt::format("column '{}'", fit::ShownCell(schedule.column));
  return schedule.state;
}

std::string SourceText(const Sources& sources) {
  constexpr size_t kShown = 3;
  std::string text = sources.size() == 1 ? "column " : "columns ";
  for (size_t i = 0; i < std::min(kShown, sources.size()); ++i)
    text += fmt::format("{}'{}'", i > 0 ? ", " : "",
                        fit::ShownCell(fmt::format("{}", fmt::join(sources[i].columns, " x "))));
  if (sources.size() > kShown) text += fmt::format(" and {} more", sources.size() - kShown);
  return text;
}

void CompareMetrics(const Metric& before, const Metric& after, const std::string& map,
                    std::vector<Override>& list) {
  if (after.redirected) {
    std::string text = fmt::format(
        "--column {}: metric {} is taken from {} in place of {}, and read as {}", after.name,
        after.name, SourceText(after.sources), SourceText(before.sources), after.unit);
    if (after.unit == before.unit) text += ", as the map says (--value unit=... says another)";
    if (after.eval == kUnknown && before.eval != kUnknown)
      text += fmt::format(
          "; its evaluation set is unknown, as {} says {} of its own column alone, and a forecast "
          "from it cannot be registered: say which it is with --value eval=...",
          map, before.eval);
    list.push_back({"redirected", text});
  }
  const auto changed = [&](const char* key, const std::string& from, const std::string& to) {
    if (from == to || from == kUnknown || (after.redirected && to == kUnknown)) return;
    list.push_back({"overridden", fmt::format("--value {}={} holds for metric {} in place of {}, "
                                              "which {} says",
                                              key, to, after.name, from, map)});
  };
  changed("unit", before.unit, after.unit);
  changed("eval", before.eval, after.eval);
}

}  // namespace

absl::Status SetColumn(MapFile& map, const std::string& field, const std::string& text) {
  const ScaledColumn column = ReadScaledColumn(text);
  for (Metric& metric : map.metrics) {
    if (metric.name != field) continue;
    for (const Metric& other : map.metrics) {
      if (other.name == field || Known(other.sources, column.name) == nullptr) continue;
      return absl::InvalidArgumentError(fmt::format(
          "--column {}={}: the map knows that column as {}, in {}, and {} is in {}; leave the "
          "option out and take it with `fit --metric {}`, or write a map of your own",
          field, column.name, other.name, other.unit, field, metric.unit, other.name));
    }
    if (Known(metric.sources, column.name) == nullptr) {
      metric.redirected = true;
      metric.eval = kUnknown;
    }
    metric.sources = Chosen(metric.sources, column);
    return absl::OkStatus();
  }
  std::vector<std::string> names;
  if (FindKey("columns", field, &names) == nullptr) {
    for (const Metric& metric : map.metrics) names.push_back(metric.name);
    return absl::InvalidArgumentError(
        fmt::format("--column {}={}: no such field{}; the fields are: {}", field, text,
                    core::DidYouMean(field, names), fmt::join(names, ", ")));
  }
  map.columns[field] =
      Chosen(map.columns[field], IsNumber(field) ? column : ScaledColumn{text, std::nullopt});
  map.values.erase(field);
  if (field == "flops") {
    if (map.assume_6nd) map.values.erase("flop_convention");
    map.assume_6nd = false;
  }
  return absl::OkStatus();
}

absl::Status SetValue(MapFile& map, const std::string& key, const std::string& text) {
  const std::string value = text.empty() ? text : LabelOf(text);
  if (key == "unit") return SetUnit(map, value);
  if (key == "schedule" && (value == "cooled" || value == "mid-run" || value == kUnknown)) {
    map.schedule = Schedule();
    map.schedule.state = value;
    return absl::OkStatus();
  }
  std::vector<std::string> names = {"schedule", "unit"};
  const sweeps::Key* known = FindKey("values", key, &names);
  if (known == nullptr && key != "schedule")
    return absl::InvalidArgumentError(fmt::format("--value {}={}: no such key{}; the keys are: {}",
                                                  key, value, core::DidYouMean(key, names),
                                                  fmt::join(names, ", ")));
  if (key == "schedule")
    return absl::InvalidArgumentError(fmt::format(
        "--value schedule={}: it takes cooled, mid-run or unknown; rules are a matter of the map",
        value));
  const std::vector<std::string>& words = known->forms[0].words;
  if (value.empty() ||
      (!words.empty() && std::find(words.begin(), words.end(), value) == words.end()))
    return absl::InvalidArgumentError(fmt::format("--value {}={}: it takes {}{}", key, value,
                                                  sweeps::Describe(known->forms),
                                                  core::DidYouMean(value, words)));
  if (map.assume_6nd && key == "flop_convention" && value != "6nd")
    return absl::InvalidArgumentError(
        fmt::format("--value {}={}: the map computes C = 6 N D", key, value));
  if (key == "eval") {
    SetEval(map, value);
    return absl::OkStatus();
  }
  map.columns.erase(key);
  map.values[key] = value;
  return absl::OkStatus();
}

absl::Status SetRows(MapFile& map, const std::string& rows) {
  if (rows != "all" && rows != "last-of-run")
    return absl::InvalidArgumentError(fmt::format("--rows {}: it takes all or last-of-run{}", rows,
                                                  core::DidYouMean(rows, {"all", "last-of-run"})));
  if (rows == "last-of-run" && map.columns.count("run") == 0)
    return absl::InvalidArgumentError(
        "--rows last-of-run: the map does not say which rows are one run; name the column with "
        "--column run=COLUMN");
  map.last_of_run = rows == "last-of-run";
  return absl::OkStatus();
}

void AssumeSixNd(MapFile& map) {
  map.columns.erase("flops");
  map.assume_6nd = true;
  map.values["flop_convention"] = "6nd";
}

void AddWhere(MapFile& map, const std::vector<fit::Where>& given) {
  constexpr std::pair<fit::Where::Op, Filter::Kind> kKinds[] = {
      {fit::Where::Op::kIs, Filter::Kind::kIs},
      {fit::Where::Op::kIsNot, Filter::Kind::kIsNot},
      {fit::Where::Op::kBelow, Filter::Kind::kBelow},
      {fit::Where::Op::kAtMost, Filter::Kind::kAtMost},
      {fit::Where::Op::kAbove, Filter::Kind::kAbove},
      {fit::Where::Op::kAtLeast, Filter::Kind::kAtLeast}};
  std::map<std::string, size_t> alternatives;  // column -> its filter
  for (const fit::Where& where : given) {
    const auto at = alternatives.find(where.column);
    if (where.op == fit::Where::Op::kIs && at != alternatives.end()) {
      map.where[at->second].values.push_back(where.text);
      continue;
    }
    if (where.op == fit::Where::Op::kIs) alternatives[where.column] = map.where.size();
    Filter filter;
    filter.columns = {where.column};
    for (const auto& [op, kind] : kKinds)
      if (op == where.op) filter.kind = kind;
    filter.values = {where.text};
    filter.bound = where.bound;
    map.where.push_back(std::move(filter));
  }
}

std::vector<Override> Overridden(const MapFile& before, const MapFile& after) {
  std::vector<Override> list;
  const std::string map = before.file.starts_with("map ") ? before.file : "map " + before.file;
  for (size_t m = 0; m < after.metrics.size() && m < before.metrics.size(); ++m)
    CompareMetrics(before.metrics[m], after.metrics[m], map, list);
  for (const auto& [key, value] : after.values) {
    const auto said = before.values.find(key);
    const auto column = before.columns.find(key);
    if (said != before.values.end() && said->second != value && said->second != kUnknown)
      list.push_back({"overridden", fmt::format("{} is {} in place of {}, which {} says", key,
                                                value, said->second, map)});
    if (column != before.columns.end())
      list.push_back(
          {"overridden", fmt::format("{} is {} for all rows in place of {}, which {} names", key,
                                     value, SourceText(column->second), map)});
  }
  const std::string from = ScheduleText(before.schedule), to = ScheduleText(after.schedule);
  if (from != to && from != kUnknown)
    list.push_back(
        {"overridden", fmt::format("schedule is {} in place of {}, which {} says", to, from, map)});
  if (before.last_of_run && !after.last_of_run)
    list.push_back({"overridden", fmt::format("all rows of a run are kept, and {} keeps the last "
                                              "alone",
                                              map)});
  return list;
}

}  // namespace maps
