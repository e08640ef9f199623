#include "maps/map_file.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "core/did_you_mean.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweeps/yaml.h"

namespace maps {
namespace {

using core::Json;
using sweeps::ErrorAt;
using sweeps::Value;

std::vector<std::string> Texts(const Value& value) {
  if (value.items.empty()) return {value.text};
  std::vector<std::string> texts;
  for (const Value& item : value.items) texts.push_back(item.text);
  return texts;
}

// REQUIRES: the form has checked that it is a number.
double Number(const Value& value) { return *core::ParseNumber(value.text); }

absl::StatusOr<Source> ReadSource(const Value& value, const std::string& file) {
  if (value.fields.empty()) return Source{{value.text}, 1};
  Source source;
  const Value *column = value.Find("column"), *product = value.Find("product");
  if ((column == nullptr) == (product == nullptr))
    return ErrorAt(file, value.position, "one of the keys 'column' and 'product' is needed");
  source.columns = Texts(column != nullptr ? *column : *product);
  if (source.columns[0].empty()) return ErrorAt(file, product->position, "product is empty");
  if (const Value* scale = value.Find("scale")) source.scale = Number(*scale);
  return source;
}

absl::StatusOr<Sources> ReadSources(const Value& value, const std::string& file) {
  Sources sources;
  if (value.items.empty()) {
    ASSIGN_OR_RETURN(sources.emplace_back(), ReadSource(value, file));
  }
  for (const Value& item : value.items) {
    ASSIGN_OR_RETURN(sources.emplace_back(), ReadSource(item, file));
  }
  if (sources[0].columns[0].empty())
    return ErrorAt(file, value.position, "the list of columns is empty");
  return sources;
}

absl::StatusOr<Filter> ReadFilter(const Value& value, const std::string& file) {
  Filter filter;
  filter.columns = Texts(*value.Find("column"));
  if (filter.columns[0].empty()) return ErrorAt(file, value.position, "column lists nothing");
  const std::pair<const char*, Filter::Kind> kinds[] = {
      {"is", Filter::Kind::kIs},        {"is_not", Filter::Kind::kIsNot},
      {"below", Filter::Kind::kBelow},  {"at_most", Filter::Kind::kAtMost},
      {"above", Filter::Kind::kAbove},  {"at_least", Filter::Kind::kAtLeast},
      {"filled", Filter::Kind::kFilled}};
  int given = 0;
  for (const auto& [key, kind] : kinds) {
    const Value* condition = value.Find(key);
    if (condition == nullptr) continue;
    ++given;
    filter.kind = kind;
    if (kind >= Filter::Kind::kBelow && kind <= Filter::Kind::kAtLeast) {
      filter.bound = Number(*condition);
    } else if (kind == Filter::Kind::kFilled) {
      if (condition->text == "false") filter.kind = Filter::Kind::kEmpty;
    } else {
      filter.values = Texts(*condition);
      if (filter.values[0].empty())
        return ErrorAt(file, condition->position, fmt::format("{} lists nothing", key));
    }
  }
  if (given != 1)
    return ErrorAt(file, value.position,
                   fmt::format("a condition takes one of is, is_not, below, at_most, above, "
                               "at_least and filled, not {}",
                               given));
  return filter;
}

absl::StatusOr<std::vector<Filter>> ReadFilters(const Value* list, const std::string& file) {
  std::vector<Filter> filters;
  if (list == nullptr) return filters;
  for (const Value& item : list->items) {
    ASSIGN_OR_RETURN(filters.emplace_back(), ReadFilter(item, file));
  }
  return filters;
}

absl::StatusOr<std::vector<Metric>> ReadMetrics(const Value& list, const std::string& file,
                                                const std::string& default_eval) {
  if (list.items.empty()) return ErrorAt(file, list.position, "metrics is empty");
  std::vector<Metric> metrics;
  std::set<std::string> names;
  for (const Value& item : list.items) {
    Metric metric;
    metric.name = item.Find("name")->text;
    metric.unit = item.Find("unit")->text;
    metric.eval = item.Find("eval") != nullptr ? LabelOf(item.Find("eval")->text) : default_eval;
    metric.optional = item.Find("optional") != nullptr && item.Find("optional")->text == "true";
    ASSIGN_OR_RETURN(metric.sources, ReadSources(*item.Find("column"), file));
    if (!names.insert(metric.name).second)
      return ErrorAt(file, item.position, fmt::format("metric '{}' is given twice", metric.name));
    metrics.push_back(std::move(metric));
  }
  if (!IsLoss(metrics[0]))
    return ErrorAt(file, list.items[0].position,
                   fmt::format("the first metric is what is fitted, and '{}' is an accuracy: put a "
                               "loss before it",
                               metrics[0].name));
  return metrics;
}

Schedule ReadSchedule(const Value& value) {
  Schedule schedule;
  if (const Value* column = value.Find("column")) {
    schedule.rule = Schedule::Rule::kColumn;
    schedule.column = column->text;
    schedule.cooled = Texts(*value.Find("cooled"));
    if (const Value* mid_run = value.Find("mid_run")) schedule.mid_run = Texts(*mid_run);
  } else if (value.text == "last-of-run") {
    schedule.rule = Schedule::Rule::kLastOfRun;
  } else {
    schedule.state = value.text;
  }
  return schedule;
}

Json SourcesJson(const Sources& sources) {
  Json list = Json::array();
  for (const Source& source : sources)
    list.push_back({{"columns", source.columns}, {"scale", source.scale}});
  return list;
}

}  // namespace

bool IsLoss(const Metric& metric) { return metric.unit != "accuracy"; }

bool IsRescaled(const Metric& metric) {
  constexpr double kPercent = 0.01;
  if (!IsLoss(metric)) return false;
  return std::any_of(metric.sources.begin(), metric.sources.end(), [&](const Source& source) {
    return source.scale != 1 && (metric.unit != "error" || source.scale != kPercent);
  });
}

std::string Filter::Text() const {
  const std::string column = fmt::format("{}", fmt::join(columns, "|"));
  switch (kind) {
    case Kind::kIs:
      return fmt::format("{} is {}", column, fmt::join(values, " or "));
    case Kind::kIsNot:
      return fmt::format("{} is not {}", column, fmt::join(values, " or "));
    case Kind::kBelow:
      return fmt::format("{} is below {:g}", column, bound);
    case Kind::kAbove:
      return fmt::format("{} is above {:g}", column, bound);
    case Kind::kAtLeast:
      return fmt::format("{} is at least {:g}", column, bound);
    case Kind::kAtMost:
      return fmt::format("{} is at most {:g}", column, bound);
    case Kind::kFilled:
      return fmt::format("{} is filled", column);
    case Kind::kEmpty:
      return fmt::format("{} is empty", column);
  }
  return column;
}

absl::StatusOr<MapFile> ParseMap(std::string_view text, const std::string& file) {
  ASSIGN_OR_RETURN(const Value root, sweeps::ReadYaml(text, file, MapFileForm()));
  MapFile map;
  map.file = file;
  map.name = root.Find("name")->text;
  if (const Value* about = root.Find("about")) map.about = about->text;
  if (const Value* format = root.Find("format"))
    map.format = format->text == "csv" ? fit::TableFormat::kCsv : fit::TableFormat::kJsonLines;
  for (const auto& [field, value] : root.Find("columns")->fields) {
    ASSIGN_OR_RETURN(map.columns[field], ReadSources(value, file));
  }
  if (const Value* values = root.Find("values")) {
    for (const auto& [key, value] : values->fields) {
      if (map.columns.count(key) > 0)
        return ErrorAt(file, value.position,
                       fmt::format("{} is given among the columns already", key));
      map.values[key] = LabelOf(value.text);
    }
  }
  const auto eval = map.values.find("eval");
  ASSIGN_OR_RETURN(map.metrics, ReadMetrics(*root.Find("metrics"), file,
                                            eval == map.values.end() ? kUnknown : eval->second));
  map.values.erase("eval");
  if (const Value* assume = root.Find("assume_6nd")) map.assume_6nd = assume->text == "true";
  if (map.assume_6nd) {
    if (map.columns.count("flops") > 0)
      return ErrorAt(file, root.Find("assume_6nd")->position,
                     "assume_6nd is for files without a column of flops, and one is given");
    std::string& convention = map.values["flop_convention"];
    if (convention.empty()) convention = "6nd";
    if (convention != "6nd")
      return ErrorAt(file, root.Find("assume_6nd")->position,
                     fmt::format("assume_6nd counts 6 N D, flop_convention says {}", convention));
  }
  for (const char* field : {"params", "tokens", "flops"}) {
    if (map.columns.count(field) > 0 || (map.assume_6nd && std::string_view(field) == "flops"))
      continue;
    return ErrorAt(file, root.Find("columns")->position,
                   fmt::format("columns needs the key '{}'{}", field,
                               std::string_view(field) == "flops"
                                   ? ", or assume_6nd: true where C = 6 N D will do"
                                   : ""));
  }
  if (const Value* schedule = root.Find("schedule")) map.schedule = ReadSchedule(*schedule);
  if (const Value* rows = root.Find("rows")) map.last_of_run = rows->text == "last-of-run";
  const bool needs_run = map.last_of_run || map.schedule.rule == Schedule::Rule::kLastOfRun;
  if (needs_run && map.columns.count("run") == 0)
    return ErrorAt(file, root.Find("columns")->position,
                   "last-of-run needs to know which rows are one run: give columns the key 'run'");
  ASSIGN_OR_RETURN(map.where, ReadFilters(root.Find("where"), file));
  ASSIGN_OR_RETURN(map.targets, ReadFilters(root.Find("targets"), file));
  return map;
}

std::string LabelOf(std::string_view text) {
  static const std::set<std::string> kNothing = {"",     "nan", "none", "n/a",   "na",
                                                 "null", "?",   "-",    kUnknown};
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return kUnknown;
  std::string label(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
  std::string lower = label;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return kNothing.count(lower) > 0 ? kUnknown : label;
}

Json MapJson(const MapFile& map) {
  Json columns = Json::object(), metrics = Json::array(), where = Json::array(),
       targets = Json::array();
  for (const auto& [field, sources] : map.columns) columns[field] = SourcesJson(sources);
  for (const Metric& m : map.metrics) {
    metrics.push_back({{"name", m.name},
                       {"column", SourcesJson(m.sources)},
                       {"unit", m.unit},
                       {"eval", m.eval},
                       {"optional", m.optional}});
    if (IsRescaled(m)) metrics.back()["rescaled"] = true;
  }
  for (const Filter& filter : map.where) where.push_back(filter.Text());
  for (const Filter& filter : map.targets) targets.push_back(filter.Text());
  Json schedule = map.schedule.state;
  if (map.schedule.rule == Schedule::Rule::kLastOfRun) schedule = "last-of-run";
  if (map.schedule.rule == Schedule::Rule::kColumn)
    schedule = {{"column", map.schedule.column},
                {"cooled", map.schedule.cooled},
                {"mid_run", map.schedule.mid_run}};
  return {{"columns", columns},   {"values", map.values},
          {"metrics", metrics},   {"assume_6nd", map.assume_6nd},
          {"schedule", schedule}, {"rows", map.last_of_run ? "last-of-run" : "all"},
          {"where", where},       {"targets", targets}};
}

absl::StatusOr<MapFile> LoadMap(const std::string& name_or_path) {
  std::vector<std::string> names;
  for (const auto& [name, text] : ReadyMaps()) {
    if (name == name_or_path) return ParseMap(text, "map " + name);
    names.push_back(name);
  }
  if (name_or_path.find('/') == std::string::npos && !name_or_path.ends_with(".yaml") &&
      !name_or_path.ends_with(".yml"))
    return absl::NotFoundError(fmt::format(
        "no ready map '{}'{}; the ready ones are: {}; a map of your own is named by its path",
        name_or_path, core::DidYouMean(name_or_path, names), fmt::join(names, ", ")));
  ASSIGN_OR_RETURN(const std::string text, core::ReadFile(name_or_path));
  return ParseMap(text, name_or_path);
}

}  // namespace maps
