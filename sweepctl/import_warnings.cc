#include "sweepctl/import_warnings.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "core/loss_doubt.h"
#include "core/status_macros.h"
#include "fit/read_table.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace sweepctl {
namespace {

using core::Json;

// "lines 2 and 5", the first few of many.
std::string LinesText(const std::vector<int64_t>& lines) {
  constexpr size_t kShown = 5;
  std::string text = lines.size() == 1 ? "line" : "lines";
  for (size_t i = 0; i < std::min(kShown, lines.size()); ++i)
    text += fmt::format("{} {}", i > 0 ? "," : "", lines[i]);
  if (lines.size() > kShown) text += fmt::format(" and {} more", lines.size() - kShown);
  return text;
}

// What `fit` calls one run: an exact copy of it is dropped there.
using RunKey =
    std::tuple<double, double, double, int64_t, std::vector<std::pair<std::string, double>>>;
RunKey KeyOf(const maps::ImportedRun& run) {
  std::vector<std::pair<std::string, double>> values;
  for (const maps::MeasuredValue& v : run.values) values.emplace_back(v.metric, v.value);
  return {run.flops, run.params, run.tokens, run.seed, values};
}

}  // namespace

std::vector<ImportWarning> WarnOfRepeats(const maps::Imported& imported) {
  std::map<RunKey, std::vector<int64_t>> equal;
  std::map<std::pair<std::string, int64_t>, std::map<RunKey, std::vector<int64_t>>> named;
  for (const maps::ImportedRun& run : imported.runs) {
    equal[KeyOf(run)].push_back(run.row);
    // Checkpoints of one run share its name.
    if (!run.run.empty() && run.schedule != "mid-run")
      named[{run.run, run.seed}][KeyOf(run)].push_back(run.row);
  }
  std::vector<ImportWarning> warnings;
  constexpr size_t kMost = 5;
  for (const auto& [key, lines] : equal) {
    if (lines.size() < 2) continue;
    if (warnings.size() == kMost) break;
    warnings.push_back({"duplicate-rows", fmt::format("{} hold one run: all are stored, and `fit` "
                                                      "takes one of them",
                                                      LinesText(lines))});
  }
  const size_t before = warnings.size();
  for (const auto& [name, keys] : named) {
    if (keys.size() < 2) continue;
    if (warnings.size() == before + kMost) break;
    std::vector<int64_t> lines;
    for (const auto& [key, rows] : keys) lines.insert(lines.end(), rows.begin(), rows.end());
    std::sort(lines.begin(), lines.end());
    warnings.push_back(
        {"one-run-many-rows",
         fmt::format(
             "run '{}' stands on {} with different numbers, and each counts as a run: --rows "
             "last-of-run keeps the last of each, --where leaves one out",
             name.first, LinesText(lines))});
  }
  return warnings;
}

std::vector<ImportWarning> WarnOfColumns(const maps::Imported& imported) {
  std::vector<ImportWarning> warnings;
  for (const maps::Taken& taken : imported.taken)
    for (const maps::Rival& rival : taken.rivals)
      warnings.push_back(
          {"other-columns",
           fmt::format("{} is taken from '{}'; the file has '{}' too, which differs: {:.6g} and "
                       "{:.6g} on line {}. --column {}=COLUMN says which holds",
                       taken.field, fmt::join(taken.columns, " x "), rival.column, rival.taken,
                       rival.other, rival.line, taken.field)});
  return warnings;
}

std::vector<ImportWarning> WarnOfLosses(const maps::Imported& imported) {
  std::vector<ImportWarning> warnings;
  for (const maps::Taken& taken : imported.taken)
    if (taken.rescaled)
      warnings.push_back(
          {"rescaled-loss",
           fmt::format("{} is column '{}' x {}: no forecast from such losses can be registered and "
                       "none is scored by them; a unit conversion goes through the metric's unit "
                       "(--value unit=...)",
                       taken.field,
                       fit::ShownCell(fmt::format("{}", fmt::join(taken.columns, " x "))),
                       taken.scale)});
  for (const maps::Metric& metric : imported.metrics) {
    std::vector<int64_t> lines;
    std::string first, doubt;
    size_t measured = 0;
    for (const maps::ImportedRun& run : imported.runs)
      for (const maps::MeasuredValue& v : run.values) {
        if (v.metric != metric.name) continue;
        ++measured;
        const std::string why = core::LossDoubt(v.value, metric.unit);
        if (why.empty()) continue;
        if (lines.empty()) first = run.run, doubt = why;
        lines.push_back(run.row);
      }
    if (lines.empty()) continue;
    // A unit is that of all runs.
    const char* todo = 2 * lines.size() < measured
                           ? "if they diverged, leave them out with --where; if they stand in "
                             "another unit, correct the file"
                           : "write the natural logarithm into the file (there is no option that "
                             "takes it), or say another unit with --value unit=...";
    warnings.push_back(
        {"impossible-loss",
         fmt::format("{} of {} runs ({}{}): {} is no loss: {}. No forecast from such runs can be "
                     "registered and none is scored by them; {}",
                     lines.size(), imported.runs.size(), LinesText(lines),
                     first.empty() ? "" : ", first run '" + first + "'", metric.name, doubt,
                     todo)});
  }
  return warnings;
}

absl::StatusOr<std::vector<ImportWarning>> WarnOfCopies(const maps::Imported& imported,
                                                        const std::string& name,
                                                        orchestrator::Reader& reader) {
  const maps::Metric& metric = imported.metrics.front();
  ASSIGN_OR_RETURN(const std::vector<Json> rows,
                   reader.Rows("SELECT sweep, flops, params, tokens, seed, value FROM "
                               "v_imported_values WHERE sweep<>?1",
                               name));
  std::map<std::tuple<double, double, double, int64_t, double>, std::set<std::string>> known;
  for (const Json& row : rows)
    known[{row["flops"], row["params"], row["tokens"], row["seed"], row["value"]}].insert(
        row["sweep"].get<std::string>());
  std::map<std::string, std::vector<int64_t>> lines;
  for (const maps::ImportedRun& run : imported.runs) {
    for (const maps::MeasuredValue& v : run.values) {
      if (v.metric != metric.name) continue;
      const auto found = known.find({run.flops, run.params, run.tokens, run.seed, v.value});
      if (found == known.end()) continue;
      for (const std::string& import : found->second) lines[import].push_back(run.row);
    }
  }
  std::vector<ImportWarning> warnings;
  for (const auto& [import, copies] : lines)
    warnings.push_back(
        {"copies", fmt::format("{} of {} runs ({}) are in import {} already: the same runs under "
                               "two names are no two experiments",
                               copies.size(), imported.runs.size(), LinesText(copies), import)});
  return warnings;
}

}  // namespace sweepctl
