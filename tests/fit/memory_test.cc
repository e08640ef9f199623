// Resamples cost time, not memory. A process of its own, because the peak is the process'.
#include <sys/resource.h>

#include "fit/fit.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"

namespace fit {
namespace {

double PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

TEST(MemoryTest, AHundredThousandResamplesNeedHardlyMoreThanFourThousand) {
  Planted planted;
  planted.noise = .003;
  planted.points = 5;
  planted.budgets = {1e18, 1e19, 1e20, 1e21};
  const auto runs = planted.Draw();
  std::vector<double> peaks;
  for (const int resamples : {4000, 100000}) {
    FitOptions options;
    options.laws = {"frontier", "chinchilla"};
    options.law.bootstrap.resamples = resamples;
    options.law.starts = 8;
    options.law.profile = false;
    options.backtest = false;
    options.sensitivity = false;
    options.predict = {1e22};
    const auto summary = RunFit(runs, options);
    ASSERT_TRUE(summary.ok()) << summary.status();
    peaks.push_back(PeakMegabytes());
  }
  std::printf("peak memory: %.1f MB with 4,000 resamples, %.1f MB with 100,000\n", peaks[0],
              peaks[1]);
  // 16,384 rows of each law, sorted once more, and the draws of one forecast while it is made.
  EXPECT_LT(peaks[1] - peaks[0], 10);
}

}  // namespace
}  // namespace fit
