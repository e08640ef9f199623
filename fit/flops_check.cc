#include "fit/flops_check.h"

#include "core/flops_doubt.h"

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

}  // namespace fit
