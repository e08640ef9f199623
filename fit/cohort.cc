#include "fit/cohort.h"

#include <algorithm>
#include <set>

#include "core/did_you_mean.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

constexpr size_t kValuesShown = 8;

std::string DiffLine(const std::string& key, const std::map<std::string, int64_t>& counts) {
  std::string line = fmt::format("\n  {:<16}", key);
  size_t shown = 0;
  for (const auto& [value, count] : counts) {
    if (shown++ == kValuesShown) {
      line += fmt::format(" | and {} more values", counts.size() - kValuesShown);
      break;
    }
    line += fmt::format("{}{} x{}", shown == 1 ? " " : " | ", value, count);
  }
  return line;
}

}  // namespace

std::string Cohort::Text() const {
  std::string text;
  for (const auto& [key, value] : values)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  for (const auto& [key, shares] : mixed)
    text += fmt::format("{}{}=MIXED", text.empty() ? "" : " ", key);
  return text;
}

std::string SharesText(const std::map<std::string, int64_t>& counts) {
  double all = 0;
  for (const auto& [value, count] : counts) all += static_cast<double>(count);
  std::string text;
  for (const auto& [value, count] : counts)
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ",
                        value.empty() ? "(empty)" : value, 100 * static_cast<double>(count) / all);
  return text;
}

absl::StatusOr<Cohort> CheckCohort(const std::vector<Observation>& observations,
                                   const std::vector<std::string>& allow_mixed) {
  std::set<std::string> keys(CohortKeys().begin(), CohortKeys().end());
  for (const Observation& o : observations)
    for (const auto& [key, value] : o.cohort) keys.insert(key);
  std::set<std::string> known = keys;  // and columns of the file
  if (!observations.empty())
    for (const auto& [column, text] : observations.front().labels) known.insert(column);
  for (const std::string& key : allow_mixed) {
    if (!observations.empty() && observations.front().labels.count(key) > 0) continue;
    if (keys.count(key) == 0)
      return absl::InvalidArgumentError(
          fmt::format("--allow-mixed {}: no such cohort key or column{}; there are: {}", key,
                      core::DidYouMean(key, std::vector<std::string>(known.begin(), known.end())),
                      fmt::join(known, ", ")));
  }
  Cohort cohort;
  std::string diff, forbidden;
  for (const std::string& key : keys) {
    std::map<std::string, int64_t> counts;
    for (const Observation& o : observations) {
      const auto it = o.cohort.find(key);
      ++counts[it == o.cohort.end() || it->second.empty() ? "(none)" : it->second];
    }
    if (counts.size() == 1) {
      if (counts.begin()->first != "(none)") cohort.values[key] = counts.begin()->first;
    } else if (std::find(allow_mixed.begin(), allow_mixed.end(), key) != allow_mixed.end()) {
      cohort.mixed[key] = SharesText(counts);
    } else if (counts.size() > 1) {
      diff += DiffLine(key, counts);
      forbidden += fmt::format(" --allow-mixed {}", key);
    }
  }
  if (diff.empty()) return cohort;
  return absl::FailedPreconditionError(
      fmt::format("{} observations do not form one cohort:{}\nselect one value of each with "
                  "--where, or accept the mixture with{} (the fit and its forecasts are marked)",
                  observations.size(), diff, forbidden));
}

}  // namespace fit
