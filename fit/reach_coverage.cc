#include "fit/reach_coverage.h"

#include <array>
#include <cmath>
#include <string_view>

namespace fit {
namespace {

constexpr std::array<double, 4> kReaches = {10, 30, 100, 300};
constexpr size_t kEnough = 5;

// As forecast_bench printed it; frozen with the protocol's version.
struct Record {
  std::string_view law;
  size_t reach;  // index into kReaches
  double coverage;
  size_t forecasts;
};
constexpr std::array<Record, 0> kBenchmark = {};

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
