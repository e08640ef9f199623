#include "fit/observation.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <utility>

#include "fmt/format.h"

namespace fit {

const std::vector<std::string>& CohortKeys() {
  static const auto* const keys = new std::vector<std::string>{
      "recipe", "data",     "tokenizer",       "eval",         "seq_len",
      "metric", "numerics", "flop_convention", "n_convention", "schedule"};
  return *keys;
}

absl::Status Validate(const Observation& observation, std::string_view origin) {
  const std::string where =
      observation.row > 0 ? fmt::format("{}:{}", origin, observation.row) : std::string(origin);
  const auto check = [&](std::string_view field, double value, bool optional) {
    if (optional && value == 0) return absl::OkStatus();
    if (std::isfinite(value) && value > 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        fmt::format("{}: {} is {}, must be a finite number above 0; correct or filter out this row",
                    where, field, value));
  };
  for (const absl::Status& status :
       {check("flops", observation.flops, false), check("params", observation.params, false),
        check("tokens", observation.tokens, false), check("loss", observation.loss, false),
        check("budget_flops", observation.budget_flops, true),
        check("params_no_embedding", observation.params_no_embedding, true),
        check("unique_tokens", observation.unique_tokens, true)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

std::string MostExtreme(const std::vector<Observation>& observations) {
  const std::pair<std::string_view, double Observation::*> fields[] = {
      {"flops", &Observation::flops},
      {"params", &Observation::params},
      {"tokens", &Observation::tokens},
      {"loss", &Observation::loss}};
  double farthest = std::log(1e6);
  std::string text;
  for (const auto& [name, field] : fields) {
    std::vector<double> logs;
    for (const Observation& o : observations) logs.push_back(std::log(o.*field));
    if (logs.empty()) return text;
    const auto middle = logs.begin() + static_cast<std::ptrdiff_t>(logs.size() / 2);
    std::nth_element(logs.begin(), middle, logs.end());
    for (const Observation& o : observations) {
      const double away = std::fabs(std::log(o.*field) - *middle);
      if (o.row == 0 || !(away > farthest)) continue;
      farthest = away;
      text = fmt::format("; the most extreme is row {}: {} {:.6g}", o.row, name, o.*field);
    }
  }
  return text;
}

int64_t RemoveExactDuplicates(std::vector<Observation>& observations) {
  std::set<std::tuple<double, double, double, double, double, double, int64_t, std::string>> seen;
  std::vector<Observation> kept;
  kept.reserve(observations.size());
  for (Observation& o : observations) {
    if (seen.emplace(o.flops, o.params, o.tokens, o.loss, o.budget_flops, o.hard.value_or(-1),
                     o.seed, o.id)
            .second)
      kept.push_back(std::move(o));
  }
  const auto removed = static_cast<int64_t>(observations.size() - kept.size());
  observations = std::move(kept);
  return removed;
}

}  // namespace fit
