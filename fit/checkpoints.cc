#include "fit/checkpoints.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

#include "fmt/format.h"

namespace fit {

absl::StatusOr<std::vector<RunRows>> GroupRuns(const std::vector<Observation>& observations,
                                               bool checkpoints) {
  std::vector<RunRows> runs;
  std::map<std::tuple<std::string, double, int64_t>, size_t> known;
  for (size_t i = 0; i < observations.size(); ++i) {
    const Observation& o = observations[i];
    if (!checkpoints) {
      runs.push_back({i});
      continue;
    }
    if (o.id.empty())
      return absl::InvalidArgumentError(fmt::format(
          "row {}: no id, so its run is unknown; name the column with --column id=COLUMN", o.row));
    const auto [at, fresh] = known.try_emplace({o.id, o.params, o.seed}, runs.size());
    if (fresh) runs.emplace_back();
    runs[at->second].push_back(i);
  }
  for (RunRows& rows : runs)
    std::stable_sort(rows.begin(), rows.end(), [&](size_t a, size_t b) {
      return observations[a].tokens < observations[b].tokens;
    });
  return runs;
}

std::vector<Observation> LastRows(const std::vector<Observation>& observations,
                                  const std::vector<RunRows>& runs) {
  std::vector<Observation> last;
  last.reserve(runs.size());
  for (const RunRows& rows : runs) last.push_back(observations[rows.back()]);
  return last;
}

}  // namespace fit
