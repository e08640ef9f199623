#include "fit/flops_check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/flops_doubt.h"
#include "core/loss_doubt.h"
#include "fmt/format.h"

namespace fit {

std::string FlopsDoubt(const std::vector<Observation>& observations) {
  std::vector<core::FlopsClaim> claims;
  for (const Observation& o : observations) {
    const auto declared = o.cohort.find("flop_convention");
    claims.push_back({o.flops, o.params, o.tokens,
                      declared == o.cohort.end() ? "" : declared->second,
                      o.row > 0 ? "row " + std::to_string(o.row) : o.id});
  }
  return core::FlopsDoubt(claims);
}

std::string FlopsRemark(const std::vector<Observation>& observations) {
  constexpr double kLeast = 4.5, kMost = 15;
  double sum = 0;
  for (const Observation& o : observations)
    sum += std::log(o.flops) - std::log(o.params) - std::log(o.tokens);
  const double mean = std::exp(sum / static_cast<double>(observations.size()));
  if (observations.empty() || (mean >= kLeast && mean <= kMost)) return "";
  return fmt::format(
      "C / (N D) of the runs is {:.3g} in the mean, where 6 is usual: a factor that slipped in "
      "(the "
      "pass forward alone, the number of devices, another unit) moves every budget and target by "
      "it",
      mean);
}

std::string TargetFlopsDoubt(const std::vector<Observation>& observations,
                             const FlopsRelation& relation, double flops, double params,
                             double tokens) {
  constexpr double kOff = 1.02;
  double lo = relation.PerParamToken(params), hi = lo;
  for (const FlopsSample& sample : FlopsOf(observations)) {
    lo = std::min(lo, sample.flops_per_param_token);
    hi = std::max(hi, sample.flops_per_param_token);
  }
  const double own = std::exp(std::log(flops) - std::log(params) - std::log(tokens));
  if (own <= kOff * hi && kOff * own >= lo) return "";
  return fmt::format(
      "C / (N D) of this run is {:.3g}, by the C that was given, and that of the fitted runs "
      "{:.3g} .. {:.3g}: reach, the widening for it, leverage and the optimum that the run is "
      "measured by follow the C that was given, its loss N and D; without that, C is taken as the "
      "runs have it",
      own, lo, hi);
}

std::string LossDoubt(const std::vector<Observation>& observations) {
  for (const Observation& o : observations) {
    const auto metric = o.cohort.find("metric");
    if (metric == o.cohort.end()) continue;
    const std::string doubt =
        core::LossDoubt(o.loss, metric->second.substr(metric->second.rfind('/') + 1));
    if (!doubt.empty())
      return fmt::format("{}: {}", o.row > 0 ? "row " + std::to_string(o.row) : o.id, doubt);
  }
  return "";
}

std::string LossRemark(const std::vector<Observation>& observations) {
  int64_t above = 0;
  std::string first;
  for (const Observation& o : observations) {
    const auto metric = o.cohort.find("metric");
    const std::string name = metric == o.cohort.end() ? "" : metric->second;
    if (name.find('/') != std::string::npos || name == "bits_per_byte" ||
        !(o.loss > core::kMostNatsPerToken))
      continue;
    if (above++ == 0)
      first = fmt::format("{}: {:.4g}", o.row > 0 ? "row " + std::to_string(o.row) : o.id, o.loss);
  }
  if (above == 0) return "";
  return fmt::format(
      "{}{} is above {:g}, more than any loss in nats per token, and nobody has said the unit: it "
      "is probably a perplexity, whose natural logarithm is the loss",
      first, above == 1 ? "" : fmt::format(" (the first of {} such runs)", above),
      core::kMostNatsPerToken);
}

}  // namespace fit
