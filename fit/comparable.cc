#include "fit/comparable.h"

#include <algorithm>
#include <set>

#include "fit/observation.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {
namespace {

constexpr char kNone[] = "(none)";

// Without the tokenizer, which counts only where the metric is per token.
const std::set<std::string>& Yardstick() {
  static const auto* const keys = new std::set<std::string>{
      "metric", "eval", "seq_len", "flop_convention", "n_convention", "schedule"};
  return *keys;
}

bool Holds(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string ValueOf(const Cohort& cohort, const std::string& key) {
  if (const auto mixed = cohort.mixed.find(key); mixed != cohort.mixed.end()) return mixed->second;
  const auto it = cohort.values.find(key);
  return it == cohort.values.end() ? kNone : it->second;
}

}  // namespace

std::vector<std::string> FactorKeys() {
  std::vector<std::string> keys;
  for (const std::string& key : CohortKeys())
    if (Yardstick().count(key) == 0) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

Comparability CheckComparable(const Cohort& cohort_a, const Cohort& cohort_b, const std::string& a,
                              const std::string& b, const std::vector<std::string>& factors,
                              const std::vector<KeyDifference>& columns) {
  Comparability result;
  std::set<std::string> keys, yardstick = Yardstick();
  if (ValueOf(cohort_a, "metric").find("bits_per_byte") == std::string::npos)
    yardstick.insert("tokenizer");
  for (const auto& [key, value] : cohort_a.values) keys.insert(key);
  for (const auto& [key, value] : cohort_b.values) keys.insert(key);
  for (const auto* mixed : {&cohort_a.mixed, &cohort_b.mixed}) {
    for (const auto& [key, shares] : *mixed) {
      if (yardstick.count(key) > 0)
        result.reasons.push_back(
            fmt::format("{} differs within {}", key, mixed == &cohort_a.mixed ? a : b));
      keys.insert(key);
    }
  }
  std::vector<std::string> unknown, unlabelled;
  for (const std::string& key : yardstick)
    if (keys.count(key) == 0) unlabelled.push_back(key);
  for (const std::string& key : keys) {
    const std::string value_a = ValueOf(cohort_a, key), value_b = ValueOf(cohort_b, key);
    const bool mixed = cohort_a.mixed.count(key) > 0 || cohort_b.mixed.count(key) > 0;
    if (yardstick.count(key) > 0 && mixed) continue;
    if (value_a == value_b) {
      if (value_a == kUnknownValue) unknown.push_back(key);
      continue;
    }
    result.differences.push_back({key, value_a, value_b});
    if (yardstick.count(key) == 0) {
      result.factors.push_back(key);
    } else if (value_a == kUnknownValue || value_b == kUnknownValue) {
      result.reasons.push_back(fmt::format("{} is known of {} only ({})", key,
                                           value_a == kUnknownValue ? b : a,
                                           value_a == kUnknownValue ? value_b : value_a));
    } else {
      result.reasons.push_back(
          fmt::format("{} differs: {} is {}, {} is {}", key, a, value_a, b, value_b));
    }
  }
  for (const KeyDifference& column : columns) {
    if (keys.count(column.key) > 0) continue;
    result.differences.push_back(column);
    result.factors.push_back(column.key);
  }
  for (const std::string& key : factors) {
    if (yardstick.count(key) > 0)
      result.reasons.push_back(fmt::format(
          "{} cannot be the compared factor: losses measured differently have no common scale",
          key));
  }
  std::vector<std::string> unnamed, all = result.factors;
  for (const std::string& key : result.factors)
    if (!Holds(factors, key)) unnamed.push_back(key);
  for (const std::string& key : factors)
    if (!Holds(all, key) && yardstick.count(key) == 0) all.push_back(key);
  // What models cost stands beside the key that is compared: who names that alone leaves the one
  // key that differs to be it.
  const bool named = std::any_of(factors.begin(), factors.end(),
                                 [](const std::string& key) { return key != kFlopsFactor; });
  const bool several = result.factors.size() > 1;
  if (!unnamed.empty() && (several || named))
    result.reasons.push_back(fmt::format(
        "they differ in {}{}; make a comparison in one of them, or name all with --factor {} (the "
        "multiplier then belongs to all together)",
        fmt::join(result.factors, ", "),
        named ? fmt::format(", and only {} is compared", fmt::join(factors, ", ")) : "",
        fmt::join(all, " --factor ")));
  if (several && unnamed.empty())
    result.warnings.push_back(
        Warn(kConfounded, fmt::format("{} and {} differ in {}: the multiplier belongs to all "
                                      "together, not to one of them",
                                      a, b, fmt::join(result.factors, ", "))));
  if (result.factors.empty())
    result.warnings.push_back(Warn(
        kUnlabelled, fmt::format("no label says in what {} and {} differ: take care that it is one "
                                 "thing",
                                 a, b)));
  if (!unknown.empty())
    result.warnings.push_back(Warn(
        kUnknownCohort,
        fmt::format("nobody has said the {} of either: taken as equal", fmt::join(unknown, ", "))));
  if (!unlabelled.empty())
    result.warnings.push_back(Warn(kUnlabelled, fmt::format("neither names its {}: taken as equal",
                                                            fmt::join(unlabelled, ", "))));
  return result;
}

}  // namespace fit
