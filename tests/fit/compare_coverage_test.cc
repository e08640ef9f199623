// Coverage of compare's 90 % intervals over 200 planted pairs of cohorts with a known
// multiplier (100 unless --full).
// The band that is asserted is wide enough for 200 draws (standard error 2 points) and for
// intervals that are made honest rather than exact: they include the range of E.
#include <cmath>
#include <vector>

#include "core/rng.h"
#include "fit/compare.h"
#include "fit/stats.h"
#include "gtest/gtest.h"
#include "tests/fit/planted_pair.h"
#include "tests/full.h"

namespace fit {
namespace {

const int kPairs = FullTest() ? 200 : 100;

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

// The named runs are drawn from the planted cohort and added; the half-width that then comes out is
// held against the one that was forecast.
TEST(DecidingRunTest, TheForecastHalfWidthIsTheOneThatComesOut) {
  std::vector<double> ratios, narrowed;
  for (int i = 0; i < (FullTest() ? 80 : 40); ++i) {
    PlantedPair pair;
    pair.multiplier = 1.06;
    pair.noise = 4e-3;
    pair.points = 4;
    CompareOptions options;
    options.at = {3e20};
    options.fit.laws = {"chinchilla"};
    options.fit.law.bootstrap.resamples = 200;
    options.fit.law.bootstrap.seed = static_cast<uint64_t>(i);
    options.fit.law.starts = 16;
    options.fit.law.profile = false;
    options.fit.backtest = false;
    ComparedCohort a = pair.A(2 * i + 1), b = pair.B(2 * i + 2);
    const auto before = Compare(a, b, options);
    ASSERT_TRUE(before.ok()) << before.status();
    const DecidingRun& run = before->deciding;
    if (run.decided || !run.why_none.empty()) continue;
    const Planted planted = run.cohort == "A" ? pair.PlantedA() : pair.PlantedB();
    core::Rng rng(77, static_cast<uint64_t>(i));
    for (int k = 0; k < run.runs; ++k) {
      ComparedCohort& cohort = run.cohort == "A" ? a : b;
      Observation o = cohort.observations[0];
      o.flops = o.budget_flops = run.run_flops;
      o.params = run.params;
      o.tokens = run.tokens;
      o.seed = k + 1;
      o.loss = planted.Loss(o.params, o.tokens) * std::exp(planted.noise * rng.Normal());
      cohort.observations.push_back(o);
    }
    const auto after = Compare(a, b, options);
    ASSERT_TRUE(after.ok()) << after.status();
    const Multiplier& m = after->multipliers[0];
    const bool above = before->multipliers[0].value > 1;
    const double half = std::log(above ? m.value / m.interval.lo : m.interval.hi / m.value);
    ratios.push_back(half / run.half_width_after);
    narrowed.push_back(run.half_width_after / run.half_width);
  }
  ASSERT_GE(ratios.size(), 20u);
  printf(
      "deciding run: %zu undecided pairs, realised / forecast half-width median %.3f, 10 %% %.3f, "
      "90 %% %.3f; forecast half-width after / before: median %.3f\n",
      ratios.size(), Quantile(ratios, 0.5), Quantile(ratios, 0.1), Quantile(ratios, 0.9),
      Quantile(narrowed, 0.5));
  EXPECT_GE(Quantile(ratios, 0.5), 0.7);
  EXPECT_LE(Quantile(ratios, 0.5), 1.4);
}

}  // namespace
}  // namespace fit
