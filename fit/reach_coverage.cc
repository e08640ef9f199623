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
constexpr std::array<Record, 32> kBenchmark = {{
    {"average", 0, 0.933, 489},
    {"average", 1, 0.919, 111},
    {"average", 2, 0.922, 129},
    {"average", 3, 0.915, 47},
    {"frontier", 0, 0.886, 403},
    {"frontier", 1, 0.880, 92},
    {"frontier", 2, 0.907, 108},
    {"frontier", 3, 0.952, 21},
    {"envelope", 0, 0.935, 494},
    {"envelope", 1, 0.925, 107},
    {"envelope", 2, 0.916, 95},
    {"envelope", 3, 0.905, 21},
    {"chinchilla", 0, 0.902, 174},
    {"chinchilla", 1, 0.854, 41},
    {"chinchilla", 2, 0.828, 29},
    {"overtrain", 0, 0.898, 176},
    {"overtrain", 1, 0.851, 47},
    {"overtrain", 2, 0.767, 30},
    {"overtrain", 3, 0.667, 12},
    {"data-constrained", 0, 0.938, 48},
    {"data-constrained", 1, 0.889, 9},
    {"kaplan", 0, 0.893, 187},
    {"kaplan", 1, 0.812, 48},
    {"kaplan", 2, 0.677, 31},
    {"kaplan", 3, 0.583, 12},
    {"farseer", 0, 0.947, 170},
    {"farseer", 1, 0.909, 33},
    {"farseer", 2, 0.950, 20},
    {"bnsl", 0, 0.931, 231},
    {"bnsl", 1, 0.741, 27},
    {"bnsl", 2, 0.500, 20},
    {"bnsl", 3, 0.273, 11},
}};

}  // namespace

std::vector<ReachCoverage> CoverageByReach(const std::vector<BacktestRow>& rows,
                                           const std::vector<std::string>& laws, double level) {
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
      if (all[k] >= kEnough) {
        list.push_back({law, kReaches[k],
                        static_cast<double>(inside[k]) / static_cast<double>(all[k]), all[k],
                        true});
        continue;
      }
      for (const Record& record : kBenchmark)
        if (record.law == law && record.reach == k)
          list.push_back({law, kReaches[k], record.coverage, record.forecasts, false});
    }
  }
  return list;
}

}  // namespace fit
