// A map file: what the columns of somebody else's table mean. YAML, read with the discipline of a
// sweep file (sweeps/yaml.h): an unknown key is an error at file:line:column with a suggestion.
// What a map does not say is "unknown": it can be fitted and looked at, not registered.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "fit/read_table.h"
#include "fit/where.h"
#include "sweeps/keys.h"

namespace maps {

// The word for what nobody has said.
inline constexpr char kUnknown[] = "unknown";

// A label without the blanks around it; kUnknown for what spreadsheets and programs write where
// they know nothing: nothing, nan, None, N/A, NA, null, ?, - in any case.
std::string LabelOf(std::string_view text);

// Where a value stands: one column, or the product of several; times `scale`.
struct Source {
  std::vector<std::string> columns;  // at least one
  double scale = 1;                  // > 0; numbers only
};
// The first whose columns the file has is taken, for all rows.
using Sources = std::vector<Source>;

struct Metric {
  std::string name;  // unique in the map
  Sources sources;
  std::string unit;         // nats_per_token, bits_per_token, bits_per_byte, error or accuracy
  std::string eval;         // the evaluation set
  bool optional = false;    // a file without the column has no such metric
  bool redirected = false;  // by the command line, to a column that the map does not know for it
};
// The units of a metric.
const std::vector<std::string>& UnitWords();
// Whether smaller is better: what a scaling law can be fitted to. Accuracies are kept beside.
bool IsLoss(const Metric& metric);
// Whether the losses are other numbers than the file says, by the map's or the command line's
// scale, which no unit does: percent of an error (0.01) is one.
bool IsRescaled(const Metric& metric);

// Rows whose column ... An empty cell meets no order (the four kinds with a bound).
struct Filter {
  enum class Kind { kIs, kIsNot, kBelow, kAtMost, kAbove, kAtLeast, kFilled, kEmpty };
  std::vector<std::string> columns;  // the first that the file has
  Kind kind = Kind::kIs;
  std::vector<std::string> values;  // kIs, kIsNot: texts
  double bound = 0;                 // of an order
  std::string Text() const;         // "size is not 7B or 13B"
};

// Which rows were measured after the whole learning-rate schedule.
struct Schedule {
  enum class Rule { kConstant, kLastOfRun, kColumn };
  Rule rule = Rule::kConstant;
  std::string state = kUnknown;              // kConstant: cooled, mid-run or unknown
  std::string column;                        // kColumn
  std::vector<std::string> cooled, mid_run;  // kColumn: its texts; any other text is refused
};

struct MapFile {
  std::string file;   // for messages
  std::string name;   // of the import, unless another is given
  std::string about;  // one line for people
  fit::TableFormat format = fit::TableFormat::kByName;
  std::map<std::string, Sources> columns;     // field -> where it stands
  std::map<std::string, std::string> values;  // cohort key -> the same for all rows
  std::vector<Metric> metrics;                // the first is what `fit` takes by default
  bool assume_6nd = false;                    // without flops: C = 6 N D
  Schedule schedule;
  bool last_of_run = false;     // of each run only the row with the most tokens is kept
  std::vector<Filter> where;    // kept rows meet all of them
  std::vector<Filter> targets;  // rows that meet all of them are outcomes: never fitted by default
};

// The table of keys, for the parser and for documentation.
const sweeps::Form& MapFileForm();

// INVALID_ARGUMENT "file:line:column: what is wrong".
absl::StatusOr<MapFile> ParseMap(std::string_view text, const std::string& file);

// The map with everything resolved, for the record: equal bytes mean equal meaning.
core::Json MapJson(const MapFile& map);

// The ready maps, (name, text), in the order of their names.
const std::vector<std::pair<std::string, std::string>>& ReadyMaps();
// A ready map by its name, or a file by its path (with a '/' or ending in .yaml or .yml).
// NOT_FOUND with the names of the ready ones.
absl::StatusOr<MapFile> LoadMap(const std::string& name_or_path);

}  // namespace maps
