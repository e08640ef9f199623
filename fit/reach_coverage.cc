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
constexpr std::array<Record, 33> kBenchmark = {{
    {"average", 0, 0.929, 476},
    {"average", 1, 0.915, 106},
    {"average", 2, 0.925, 120},
    {"average", 3, 0.953, 43},
    {"frontier", 0, 0.885, 400},
    {"frontier", 1, 0.883, 94},
    {"frontier", 2, 0.907, 108},
    {"frontier", 3, 0.952, 21},
    {"envelope", 0, 0.949, 490},
    {"envelope", 1, 0.953, 107},
    {"envelope", 2, 0.953, 86},
    {"envelope", 3, 0.889, 18},
    {"chinchilla", 0, 0.844, 160},
    {"chinchilla", 1, 0.853, 34},
    {"chinchilla", 2, 0.870, 23},
    {"chinchilla", 3, 0.778, 9},
    {"overtrain", 0, 0.838, 142},
    {"overtrain", 1, 0.750, 32},
    {"overtrain", 2, 0.786, 28},
    {"overtrain", 3, 0.643, 14},
    {"data-constrained", 0, 0.829, 41},
    {"data-constrained", 1, 0.889, 9},
    {"kaplan", 0, 0.796, 147},
    {"kaplan", 1, 0.775, 40},
    {"kaplan", 2, 0.700, 30},
    {"kaplan", 3, 0.625, 16},
    {"farseer", 0, 0.937, 159},
    {"farseer", 1, 0.923, 26},
    {"farseer", 2, 0.941, 17},
    {"bnsl", 0, 0.900, 219},
    {"bnsl", 1, 0.750, 24},
    {"bnsl", 2, 0.529, 17},
    {"bnsl", 3, 0.333, 12},
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
      for (const TestPoint& test : row.best_runs) {
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
