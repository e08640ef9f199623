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

// A design that tells N from D, and its first `n` runs.
Planted FewRunsDesign() {
  Planted planted;
  planted.budgets = {1e18, 1e19, 1e20};
  planted.points = 3;
  planted.noise = 0.002;
  return planted;
}
std::vector<Observation> FewRuns(size_t n, uint64_t seed) {
  std::vector<Observation> runs = FewRunsDesign().Draw(seed);
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

// Seven runs for five constants: a case resample with fewer than six of them is not fitted, and 54
// of 400 have as many. Six runs: 7 of 400.
TEST(ResamplesTest, WhereFewCaseResamplesDetermineASurfaceResidualsAreResampled) {
  for (const size_t runs : {7u, 6u}) {
    const FitSummary summary = Fitted(FewRuns(runs, 3), "chinchilla");
    const LawFit& law = summary.fits.at(0);
    EXPECT_NE(FitText(summary).find(" case resamples hold too few different runs"),
              std::string::npos);
    EXPECT_TRUE(Has(law.warnings, kBootstrapFailures)) << runs;
    ASSERT_EQ(summary.predictions.size(), 1u);
    const Forecast& forecast = summary.predictions[0];
    ASSERT_TRUE(HasEnds(forecast.interval)) << runs;
    EXPECT_NE(forecast.interval.method.find("residual bootstrap"), std::string::npos);
  }
}

// As many runs as constants: residuals are 0 and would claim certainty.
TEST(ResamplesTest, AsManyRunsAsConstantsHaveNoIntervals) {
  const FitSummary summary = Fitted(FewRuns(5, 3), "chinchilla");
  const LawFit& law = summary.fits.at(0);
  EXPECT_TRUE(Has(law.warnings, kNoInterval));
  for (const auto& [name, interval] : law.intervals) EXPECT_FALSE(HasEnds(interval)) << name;
  const Forecast& forecast = summary.predictions.at(0);
  EXPECT_FALSE(HasEnds(forecast.interval)) << forecast.interval.method;
  EXPECT_FALSE(HasEnds(forecast.mean_interval)) << forecast.mean_interval.method;
  EXPECT_FALSE(HasEnds(forecast.params_interval));
  EXPECT_FALSE(HasEnds(forecast.tokens_interval));
  EXPECT_FALSE(forecast.joint.has_value());
  EXPECT_TRUE(Has(forecast.warnings, kNoInterval));
  EXPECT_NE(FitText(summary).find("! no-interval"), std::string::npos);
}

// What the resampled residuals of 6 and 7 runs claim, where the next budget's run is known.
TEST(ResamplesTest, IntervalsOfResampledResidualsHold) {
  const Planted planted = FewRunsDesign();
  for (const size_t runs : {7u, 6u}) {
    int inside = 0, all = 0;
    for (uint64_t seed = 1; seed <= 60; ++seed) {
      const FitSummary summary = Fitted(FewRuns(runs, seed), "chinchilla");
      if (summary.predictions.empty() || !HasEnds(summary.predictions[0].interval)) continue;
      const Interval& interval = summary.predictions[0].interval;
      core::Rng rng(1000 + seed);
      const double outcome = planted.Best(1e21).loss * std::exp(planted.noise * rng.Normal());
      ++all;
      inside += interval.lo <= outcome && outcome <= interval.hi;
    }
    EXPECT_GE(all, 54) << runs;
    EXPECT_GE(inside, 0.85 * all) << runs << " runs: " << inside << " of " << all;
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
