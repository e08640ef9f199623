#include "fit/flops_check.h"

#include <algorithm>
#include <cmath>

#include "fit/flops_relation.h"
#include "fmt/format.h"

namespace fit {

std::string FlopsDoubt(const std::vector<Observation>& observations) {
  constexpr double kLeast = 1, kMost = 100, kDeclared = 6, kTolerated = 0.01;
  const std::vector<FlopsSample> samples = FlopsOf(observations);
  double least = HUGE_VAL, most = 0;
  size_t off = 0;
  double worst = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    const double ratio = samples[i].flops_per_param_token;
    least = std::min(least, ratio), most = std::max(most, ratio);
    const auto declared = observations[i].cohort.find("flop_convention");
    if (declared == observations[i].cohort.end() || declared->second != "6nd") continue;
    const double error = ratio / kDeclared - 1;
    off += std::fabs(error) > kTolerated;
    if (std::fabs(error) > std::fabs(worst)) worst = error;
  }
  if (least < kLeast || most > kMost)
    return fmt::format(
        "C / (N D) of the runs is {:.3g} .. {:.3g}, where 6 is usual and 1 to 100 possible: flops, "
        "params or tokens stand in another unit (GFLOPs, millions, a batch), or N counts experts "
        "that are not used",
        least, most);
  if (off > 0)
    return fmt::format(
        "{} of {} runs are declared as C = 6 N D (flop_convention 6nd), and C is off that by up to "
        "{:+.3g} %",
        off, samples.size(), 100 * worst);
  return "";
}

}  // namespace fit
