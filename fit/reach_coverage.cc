#include "fit/reach_coverage.h"

#include <array>
#include <cmath>
#include <string_view>

namespace fit {
namespace {

constexpr std::array<double, 4> kReaches = {10, 30, 100, 300};
constexpr size_t kEnough = 5;

// As forecast_bench printed it, where it had 9 forecasts or more; frozen with the protocol's
// version.
struct Record {
  std::string_view law;
  size_t reach;  // index into kReaches
  double coverage;
  size_t forecasts;
};
constexpr std::array<Record, 34> kBenchmark = {{
    {"average", 0, 0.933, 489},
    {"average", 1, 0.909, 110},
    {"average", 2, 0.915, 129},
    {"average", 3, 0.935, 46},
    {"frontier", 0, 0.886, 403},
    {"frontier", 1, 0.880, 92},
    {"frontier", 2, 0.907, 108},
    {"frontier", 3, 0.950, 20},
    {"envelope", 0, 0.935, 494},
    {"envelope", 1, 0.925, 107},
    {"envelope", 2, 0.916, 95},
    {"envelope", 3, 0.905, 21},
    {"chinchilla", 0, 0.896, 183},
    {"chinchilla", 1, 0.822, 45},
    {"chinchilla", 2, 0.781, 32},
    {"chinchilla", 3, 0.667, 9},
    {"overtrain", 0, 0.908, 185},
    {"overtrain", 1, 0.894, 47},
    {"overtrain", 2, 0.854, 41},
    {"overtrain", 3, 1.000, 13},
    {"data-constrained", 0, 0.942, 52},
    {"data-constrained", 1, 0.923, 13},
    {"data-constrained", 2, 0.667, 9},
    {"kaplan", 0, 0.895, 190},
    {"kaplan", 1, 0.840, 50},
    {"kaplan", 2, 0.784, 37},
    {"kaplan", 3, 0.750, 12},
    {"farseer", 0, 0.937, 174},
    {"farseer", 1, 0.903, 31},
    {"farseer", 2, 0.952, 21},
    {"bnsl", 0, 0.936, 265},
    {"bnsl", 1, 0.750, 36},
    {"bnsl", 2, 0.577, 26},
    {"bnsl", 3, 0.400, 10},
}};

}  // namespace

std::vector<ReachCoverage> CoverageByReach(const std::vector<BacktestRow>& rows,
                                           const std::vector<std::string>& laws, double level,
                                           bool borrow) {
  std::vector<ReachCoverage> list;
  for (const std::string& law : laws) {
    std::array<size_t, kReaches.size()> inside{}, all{};
    for (const BacktestRow& row : rows) {
      if (row.law != law) continue;
      const Calibration calibration(law, KnownAt(rows, law, row.cut_flops), level);
      for (const TestPoint& test : row.judged) {
        if (!std::isfinite(test.lo) || !std::isfinite(test.hi)) continue;
        Interval interval{test.lo, test.hi};
        if (law != "average") calibration.Apply(test.predicted, test.reach, &interval);
        for (size_t k = 0; k < kReaches.size(); ++k) {
          if (test.reach > kReaches[k] || (k > 0 && test.reach <= kReaches[k - 1])) continue;
          ++all[k];
          inside[k] += interval.lo <= test.actual && test.actual <= interval.hi;
        }
      }
    }
    for (size_t k = 0; k < kReaches.size(); ++k) {
      if (all[k] > 0)
        list.push_back({law, kReaches[k],
                        static_cast<double>(inside[k]) / static_cast<double>(all[k]), all[k],
                        true});
      if (all[k] >= kEnough) continue;
      for (const Record& record : kBenchmark)
        if (borrow && record.law == law && record.reach == k)
          list.push_back({law, kReaches[k], record.coverage, record.forecasts, false});
    }
  }
  return list;
}

}  // namespace fit
