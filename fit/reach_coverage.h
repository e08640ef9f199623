// What intervals have held at which reach: in this data's own backtest and, where that says little,
// in the public benchmark too, so that no forecast stands without its record.
#pragma once

#include <string>
#include <vector>

#include "fit/backtest.h"

namespace fit {

struct ReachCoverage {
  std::string law;
  double reach =
      0;  // forecasts beyond the reach before it in the list, up to this: 10, 30, 100, 300
  double coverage = 0;
  size_t forecasts = 0;
  bool own = false;  // of this data's backtest; else of bench/forecasts (kBenchmarkSource)
};

inline constexpr std::string_view kBenchmarkSource =
    "bench/forecasts/PROTOCOL.md version 7, all public sets, 90 % intervals";

// For every law (and "average") among `rows` that has intervals, at each reach: forecasts of the
// judged runs of later budgets, by the intervals that would have been printed at the cut. Own
// numbers wherever there is a forecast; where there are fewer than 5 and `borrow`, the benchmark's
// after them. Entries without any record are left out.
std::vector<ReachCoverage> CoverageByReach(const std::vector<BacktestRow>& rows,
                                           const std::vector<std::string>& laws, double level,
                                           bool borrow);

}  // namespace fit
