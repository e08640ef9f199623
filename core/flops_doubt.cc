#include "core/flops_doubt.h"

#include <algorithm>
#include <cmath>

#include "fmt/format.h"

namespace core {

std::string FlopsDoubt(const std::vector<FlopsClaim>& claims) {
  constexpr double kDeclared = 6, kTolerated = 0.01;
  // Hostile numbers overflow products; nothing within is near these ends.
  constexpr double kWidest = 138;  // ln 1e60
  double least = HUGE_VAL, most = 0, worst = 0;
  size_t off = 0, outside = 0;
  std::string first, worst_name;
  double worst_ratio = 0;
  for (const FlopsClaim& claim : claims) {
    const double log_ratio =
        std::log(claim.flops) - std::log(claim.params) - std::log(claim.tokens);
    const double ratio = std::exp(std::clamp(log_ratio, -kWidest, kWidest));
    least = std::min(least, ratio), most = std::max(most, ratio);
    if (ratio < kLeastFlopsPerParamToken || ratio > kMostFlopsPerParamToken) {
      if (outside++ == 0) first = claim.name;
    }
    if (claim.convention != "6nd") continue;
    const double error = ratio / kDeclared - 1;
    off += std::fabs(error) > kTolerated;
    if (std::fabs(error) > std::fabs(worst))
      worst = error, worst_ratio = ratio, worst_name = claim.name;
  }
  if (least < kLeastFlopsPerParamToken || most > kMostFlopsPerParamToken)
    return fmt::format(
        "C / (N D) of the runs is {:.3g} .. {:.3g}, where 6 is usual and 1 to 100 possible, and {} "
        "of "
        "{} lie outside{}: flops, params or tokens stand in another unit (GFLOPs, millions, a "
        "batch), or N counts experts that are not used",
        least, most, outside, claims.size(), first.empty() ? "" : ", the first at " + first);
  if (off > 0)
    return fmt::format(
        "{} of {} runs are declared as C = 6 N D (flop_convention 6nd), and C is off that by up to "
        "{:+.3g} %{}: C / (N D) is {:.4g} there",
        off, claims.size(), 100 * worst, worst_name.empty() ? "" : ", at " + worst_name,
        worst_ratio);
  return "";
}

}  // namespace core
