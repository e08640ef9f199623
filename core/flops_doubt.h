// Whether FLOPs, parameters and tokens of runs can mean what they are called.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace core {

// C / (N D) lies near 6 for dense models and above for recipes that count attention and the head:
// outside of these a number stands in another unit.
inline constexpr double kLeastFlopsPerParamToken = 1, kMostFlopsPerParamToken = 100;

// What is said of one run. REQUIRES: numbers above 0.
struct FlopsClaim {
  double flops = 0, params = 0, tokens = 0;
  std::string convention;  // "6nd": C = 6 N D within 1 %; any other word claims nothing
  std::string name;        // of the run, as "row 7"; may be empty
};

// Why the claims cannot all hold, for people; empty when they can. Cannot fail.
std::string FlopsDoubt(const std::vector<FlopsClaim>& claims);

}  // namespace core
