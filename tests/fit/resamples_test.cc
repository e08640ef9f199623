// What is said where only some of the resamples could be fitted: those are a selection.
#include <cmath>

#include "fit/bootstrap.h"
#include "fit/fit.h"
#include "fit/report.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"

namespace fit {
namespace {

bool HasEnds(const Interval& interval) {
  return std::isfinite(interval.lo) && std::isfinite(interval.hi);
}

FitSummary Fitted(const std::vector<Observation>& runs, const std::string& law) {
  FitOptions options;
  options.laws = {law};
  options.backtest = options.sensitivity = false;
  options.law.bootstrap.resamples = 400;
  options.predict = {1e21};
  auto summary = RunFit(runs, options);
  EXPECT_TRUE(summary.ok()) << summary.status();
  return *std::move(summary);
}

// The first `n` runs of a design that tells N from D.
std::vector<Observation> FewRuns(size_t n) {
  Planted planted;
  planted.budgets = {1e18, 1e19, 1e20};
  planted.points = 3;
  planted.noise = 0.002;
  std::vector<Observation> runs = planted.Draw(3);
  runs.resize(n);
  return runs;
}

TEST(ResamplesTest, AnIntervalNeedsHalfOfTheResamplesAndTwenty) {
  const auto interval = [](size_t given, size_t tried) {
    std::vector<double> values(given);
    for (size_t i = 0; i < given; ++i) values[i] = static_cast<double>(i);
    return HasEnds(PercentileInterval(values, tried, .9, IntervalKind::kMean, ""));
  };
  EXPECT_TRUE(interval(200, 400));
  EXPECT_FALSE(interval(199, 400));
  EXPECT_TRUE(interval(20, 20));
  EXPECT_FALSE(interval(19, 19));
  EXPECT_FALSE(interval(0, 0));
}

// Seven runs for five constants: a resample with fewer than six of them is not fitted, and 54 of
// 400 have as many. Six runs: 7 of 400, which with noise drawn four times once made an interval of
// a run beside a mean that had none.
TEST(ResamplesTest, ASurfaceThatFewResamplesDetermineHasNoIntervals) {
  for (const size_t runs : {7u, 6u}) {
    const FitSummary summary = Fitted(FewRuns(runs), "chinchilla");
    const LawFit& law = summary.fits.at(0);
    ASSERT_GT(law.resamples_failed, 200) << runs;
    ASSERT_LT(law.resamples_failed, 400) << runs;
    EXPECT_TRUE(Has(law.warnings, kNoInterval)) << runs;
    EXPECT_TRUE(Has(law.warnings, kBootstrapFailures)) << runs;
    for (const auto& [name, interval] : law.intervals)
      EXPECT_TRUE(!HasEnds(interval) || interval.method == "profile likelihood") << name;
    ASSERT_EQ(summary.predictions.size(), 1u);
    const Forecast& forecast = summary.predictions[0];
    EXPECT_FALSE(HasEnds(forecast.interval)) << forecast.interval.method;
    EXPECT_FALSE(HasEnds(forecast.mean_interval)) << forecast.mean_interval.method;
    EXPECT_FALSE(HasEnds(forecast.params_interval));
    EXPECT_FALSE(HasEnds(forecast.tokens_interval));
    EXPECT_FALSE(forecast.joint.has_value());
    EXPECT_TRUE(Has(forecast.warnings, kNoInterval));
    EXPECT_NE(FitText(summary).find("! no-interval"), std::string::npos);
  }
}

// Curves so flat that noise bends most of them the other way: three budgets with a minimum are too
// rare among the resamples.
TEST(ResamplesTest, AFrontierThatFewResamplesDetermineHasNoIntervals) {
  Planted planted;
  planted.budgets = {1e18, 1e19, 1e20};
  planted.points = 6;
  planted.width = 0.8;
  planted.noise = 0.004;
  int seen = 0;
  for (uint64_t seed = 1; seed <= 200 && seen < 3; ++seed) {
    const auto runs = planted.Draw(seed);
    FitOptions probe;
    probe.laws = {"frontier"};
    probe.backtest = probe.sensitivity = false;
    probe.law.bootstrap.resamples = 100;
    const auto tried = RunFit(runs, probe);
    if (!tried.ok() || tried->fits.empty() || tried->fits[0].resamples_failed < 60) continue;
    ++seen;
    const FitSummary summary = Fitted(runs, "frontier");
    const LawFit& law = summary.fits.at(0);
    EXPECT_TRUE(Has(law.warnings, kNoInterval)) << seed;
    for (const auto& [name, interval] : law.intervals)
      EXPECT_TRUE(!HasEnds(interval) || interval.method == "profile likelihood") << name;
    const Forecast& forecast = summary.predictions.at(0);
    EXPECT_FALSE(HasEnds(forecast.interval) || HasEnds(forecast.mean_interval)) << seed;
    // A law is refitted only where all three budgets have a minimum; whether one has one is told by
    // all resamples, the others too.
    double share = 0;
    for (const BudgetOptimum& budget : law.budgets) {
      share = std::max(share, budget.share_without_minimum);
      EXPECT_EQ(HasEnds(budget.loss), budget.share_without_minimum <= 0.5) << seed;
    }
    EXPECT_GT(share, 0.15) << seed;
  }
  EXPECT_EQ(seen, 3);
}

// Refits that have no optimum at the target are missing there, though not among the constants.
TEST(ResamplesTest, AForecastThatManyResamplesCannotMakeSaysSo) {
  Planted planted;
  planted.budgets = {1e18, 1e19, 1e20};
  planted.points = 4;
  planted.noise = 0.03;
  int seen = 0;
  for (uint64_t seed = 1; seed <= 40 && seen < 3; ++seed) {
    const FitSummary summary = Fitted(planted.Draw(seed), "farseer");
    if (summary.predictions.empty()) continue;
    const Forecast& f = summary.predictions[0];
    EXPECT_TRUE(HasEnds(f.mean_interval) || !HasEnds(f.interval)) << seed;
    seen += Has(f.warnings, kBootstrapFailures);
  }
  EXPECT_GT(seen, 0);
}

}  // namespace
}  // namespace fit
