// Coverage of compare's 90 % intervals over 200 planted pairs of cohorts with a known multiplier.
// The band that is asserted is wide enough for 200 draws (standard error 2 points) and for
// intervals that are made honest rather than exact: they include the range of E.
#include <cmath>

#include "fit/compare.h"
#include "gtest/gtest.h"
#include "tests/fit/planted_pair.h"

namespace fit {
namespace {

constexpr int kPairs = 200;

struct Count {
  int inside = 0, below = 0, above = 0, open = 0;
  void Add(const Interval& interval, double truth) {
    if (std::isinf(interval.hi) || interval.lo == 0) ++open;
    if (truth < interval.lo) {
      ++above;
    } else if (truth > interval.hi) {
      ++below;
    } else {
      ++inside;
    }
  }
  double Share() const { return static_cast<double>(inside) / kPairs; }
};

TEST(CompareCoverageTest, NinetyPercentIntervalsOfTheMultiplierHoldTheTruth) {
  Count in_range, beyond, trend;
  double width = 0, sum_log = 0;
  int decided = 0;
  for (int i = 0; i < kPairs; ++i) {
    PlantedPair pair;
    pair.multiplier = 1.25;
    pair.noise = 2e-3;
    CompareOptions options;
    options.at = {1e20, 1e21};
    options.fit.law.bootstrap.resamples = 100;
    options.fit.law.bootstrap.seed = static_cast<uint64_t>(i);
    options.fit.law.starts = 16;
    options.fit.law.profile = false;
    options.fit.backtest = false;
    const auto c = Compare(pair.A(2 * i + 1), pair.B(2 * i + 2), options);
    ASSERT_TRUE(c.ok()) << c.status();
    ASSERT_TRUE(c->comparability.reasons.empty()) << c->comparability.reasons[0];
    in_range.Add(c->multipliers[0].interval, 1.25);
    beyond.Add(c->multipliers[1].interval, 1.25);
    trend.Add(c->trend.interval, 1);
    width += std::log(c->multipliers[0].interval.hi / c->multipliers[0].interval.lo);
    sum_log += std::log(c->multipliers[0].value / 1.25);
    decided += c->deciding.decided;
  }
  printf(
      "coverage: in range %.3f (below %d, above %d), at reach 3.3 %.3f, trend %.3f; mean width of "
      "ln CM %.3f, bias %.4f; decided %d; open %d\n",
      in_range.Share(), in_range.below, in_range.above, beyond.Share(), trend.Share(),
      width / kPairs, sum_log / kPairs, decided, in_range.open);
  EXPECT_GE(in_range.Share(), 0.88);
  EXPECT_LE(in_range.Share(), 0.97);
  EXPECT_GE(trend.Share(), 0.88);
  EXPECT_LE(trend.Share(), 0.98);
  // Widened by what real laws needed, and these laws are true: it may only be too wide.
  EXPECT_GE(beyond.Share(), 0.88);
}

}  // namespace
}  // namespace fit
