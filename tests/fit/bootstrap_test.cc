#include "fit/bootstrap.h"

#include <cmath>
#include <map>
#include <numeric>

#include "fit/fit.h"
#include "fit/report.h"
#include "fit/stats.h"
#include "fmt/format.h"
#include "tests/fit/planted.h"
#include "tests/fit/test_data.h"

namespace fit {
namespace {

TEST(StatsTest, QuantilesInterpolateLikeNumpy) {
  EXPECT_DOUBLE_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile({4, 1, 3, 2}, 0.1), 1.3);
  EXPECT_DOUBLE_EQ(Quantile({7}, 0.9), 7);
}

TEST(StatsTest, StudentQuantilesMatchTables) {
  EXPECT_NEAR(StudentTwoSided(0.90, 1), 6.313751515, 1e-7);
  EXPECT_NEAR(StudentTwoSided(0.95, 4), 2.776445105, 1e-7);
  EXPECT_NEAR(StudentTwoSided(0.90, 30), 1.697260887, 1e-7);
}

TEST(BootstrapTest, WeightsAreMultiplicitiesOfWholeClusters) {
  core::Rng rng(3);
  const std::vector<double> cases = CaseWeights(rng, 50);
  EXPECT_EQ(std::accumulate(cases.begin(), cases.end(), 0.0), 50);
  const std::vector<size_t> cluster = {0, 0, 1, 1, 2};
  const std::vector<double> weights = ClusterWeights(rng, cluster, 3);
  EXPECT_EQ(weights[0], weights[1]);
  EXPECT_EQ(weights[2], weights[3]);
  EXPECT_EQ(weights[0] + weights[2] + weights[4], 3);
}

TEST(BootstrapTest, FailedResamplesAreCountedAndIntervalsNeedEnoughDraws) {
  BootstrapOptions options;
  options.resamples = 100;
  const BootstrapDraws draws =
      RunBootstrap(options, 2, [](core::Rng& rng, int, std::vector<double>& row) {
        const double u = rng.Uniform();
        row = {u, u < 0.5 ? u : std::nan("")};
        return u < 0.75;
      });
  EXPECT_EQ(draws.failed + static_cast<int>(draws.size()), 100);
  EXPECT_NEAR(draws.FailedShare(), 0.25, 0.12);
  EXPECT_LT(draws.Column(1).size(), draws.Column(0).size());
  EXPECT_TRUE(std::isnan(PercentileInterval({1, 2, 3}, 3, .9, IntervalKind::kMean, "").lo));
}

// Beyond the rows that are kept, resamples are counted: their percentiles are those of all values.
TEST(BootstrapTest, CountedResamplesMakePercentilesExactToTheirSpacing) {
  BootstrapOptions options;
  options.resamples = 60000;
  std::vector<double> all(60000, std::nan(""));
  std::vector<Interval> intervals;
  for (const int threads : {1, 3}) {
    options.threads = threads;
    const BootstrapDraws draws =
        RunBootstrap(options, 2, [&](core::Rng& rng, int number, std::vector<double>& row) {
          row = {rng.Normal(), number % 3 == 0 ? std::nan("") : rng.Uniform()};
          all[static_cast<size_t>(number)] = row[0];
          return number % 5 != 0;
        });
    EXPECT_EQ(draws.failed, 12000);
    EXPECT_EQ(draws.counted + static_cast<int>(draws.size()), 48000);
    EXPECT_LT(draws.size(), 16385u);
    intervals.push_back(draws.Percentiles(0, .9, IntervalKind::kParameter, ""));
    const Interval uniform = draws.Percentiles(1, .9, IntervalKind::kParameter, "");
    EXPECT_NEAR(uniform.lo, .05, .005);
    EXPECT_NEAR(uniform.hi, .95, .005);
  }
  EXPECT_EQ(intervals[0].lo, intervals[1].lo);
  EXPECT_EQ(intervals[0].hi, intervals[1].hi);
  std::vector<double> fitted;
  for (size_t i = 0; i < all.size(); ++i)
    if (i % 5 != 0) fitted.push_back(all[i]);
  EXPECT_NEAR(intervals[0].lo, Quantile(fitted, .05), 2e-3);
  EXPECT_NEAR(intervals[0].hi, Quantile(fitted, .95), 2e-3);
}

TEST(BootstrapTest, ResultsDoNotDependOnTheNumberOfThreads) {
  Planted planted;
  planted.noise = 0.003;
  const auto runs = planted.Draw();
  std::string reference;
  for (const int threads : {1, 2, 5}) {
    FitOptions options;
    options.law.bootstrap.resamples = 60;
    options.law.bootstrap.seed = 11;
    options.law.bootstrap.threads = threads;
    options.backtest_options.resamples = 25;
    options.predict = {1e22};
    auto summary = RunFit(runs, options);
    ASSERT_TRUE(summary.ok()) << summary.status();
    summary->elapsed_s = 0;
    for (LawFit& fit : summary->fits) fit.elapsed_s = 0;
    const std::string json = FitJson(*summary).dump();
    if (reference.empty()) reference = json;
    EXPECT_EQ(json, reference) << threads << " threads";
  }
  FitOptions other;
  other.law.bootstrap.resamples = 60;
  other.law.bootstrap.seed = 12;
  other.predict = {1e22};
  const auto summary = RunFit(runs, other);
  // Another seed does change the draws. (The frontier's interval may end on the profile of E, which
  // knows no seed, so the other law is looked at.)
  ASSERT_EQ(summary->predictions[2].law, "chinchilla");
  EXPECT_EQ(reference.find(
                fmt::format("\"lo\":{}", core::Json(summary->predictions[2].interval.lo).dump())),
            std::string::npos);
  other.law.bootstrap.seed = 11;
  const auto same = RunFit(runs, other);
  EXPECT_NE(
      reference.find(fmt::format("\"lo\":{}", core::Json(same->predictions[2].interval.lo).dump())),
      std::string::npos);
}

// 60 planted experiments: a 90 % interval must hold the truth in most of them, and not because it
// is absurdly wide. Binomial(60, 0.9) lies in 47..60 with probability 0.997.
TEST(BootstrapTest, IntervalsCoverAPlantedTruth) {
  constexpr int kSets = 60;
  const double target = 3e21;
  std::map<std::string, int> inside;
  std::map<std::string, double> width;
  for (int set = 0; set < kSets; ++set) {
    Planted planted;
    planted.noise = 0.002;
    FitOptions options;
    options.law.bootstrap.resamples = 120;
    options.law.bootstrap.seed = static_cast<uint64_t>(set);
    options.law.starts = 6;
    options.backtest = false;
    options.predict = {target};
    const auto summary = RunFit(planted.Draw(100 + static_cast<uint64_t>(set)), options);
    ASSERT_TRUE(summary.ok()) << summary.status();
    const Optimum truth = planted.Best(target);
    core::Rng rng(7, static_cast<uint64_t>(set));
    const double run = truth.loss * std::exp(planted.noise * rng.Normal());
    const auto tally = [&](const std::string& name, const Interval& interval, double value) {
      inside[name] += interval.lo <= value && value <= interval.hi;
      width[name] += (interval.hi - interval.lo) / value / kSets;
    };
    for (const Forecast& f : summary->predictions) {
      EXPECT_EQ(f.interval.kind, IntervalKind::kPrediction);
      EXPECT_EQ(f.mean_interval.kind, IntervalKind::kMean);
      tally(f.law + " mean", f.mean_interval, truth.loss);
      tally(f.law + " prediction", f.interval, run);
      tally(f.law + " params", f.params_interval, truth.params);
    }
    for (const LawFit& fit : summary->fits)
      for (const auto& [name, interval] : fit.intervals) {
        if (name == "E") tally(fit.law + " E", interval, 1.817);
        if (name == "beta") tally(fit.law + " beta", interval, .3658);
        if (name == "alpha_N") tally(fit.law + " alpha_N", interval, .3658 / (.3478 + .3658));
      }
  }
  ASSERT_GE(inside.size(), 9u);
  for (const auto& [name, count] : inside) {
    std::printf("coverage of 90 %% intervals, %-22s %2d of %d, mean width %.4f\n", name.c_str(),
                count, kSets, width[name]);
    EXPECT_GE(count, 47) << name;
    EXPECT_LT(width[name], 0.5) << name;
  }
}

TEST(BootstrapTest, ThreePointsABudgetGiveNoIntervalRatherThanACertainOne) {
  Planted planted;
  planted.points = 3;
  planted.noise = 0.002;
  FitOptions options;
  options.laws = {"frontier"};
  options.backtest = false;
  options.law.bootstrap.resamples = 50;
  options.predict = {1e21};
  const auto summary = RunFit(planted.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_TRUE(std::isnan(summary->predictions[0].interval.lo));
  EXPECT_TRUE(Has(summary->predictions[0].warnings, kNoInterval));
}

TEST(BootstrapTest, ChinchillaIntervalsAgreeWithThePublishedOnes) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  FitOptions options;
  options.laws = {"chinchilla"};
  options.backtest = false;
  options.law.bootstrap.resamples = 600;
  options.law.bootstrap.level = 0.95;
  options.law.loss.delta = 1e-4;  // close to the published estimator, which is L1
  const auto summary =
      RunFit(Load("chinchilla_epoch.csv", {{"excluded_in_epoch_fit", "0"}}), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  // arXiv:2404.10102, 4000 resamples, 95 %: alpha (.317,.373), beta (.331,.415), E (1.769,1.871).
  const std::map<std::string, std::pair<double, double>> published = {
      {"alpha", {.31677, .37328}}, {"beta", {.33126, .41538}}, {"E", {1.7694, 1.8712}}};
  for (const auto& [name, interval] : summary->fits[0].intervals) {
    const auto it = published.find(name);
    std::printf("95 %% %-5s %.5g .. %.5g\n", name.c_str(), interval.lo, interval.hi);
    if (it == published.end()) continue;
    const double width = it->second.second - it->second.first;
    EXPECT_NEAR(interval.lo, it->second.first, 0.2 * width) << name;
    EXPECT_NEAR(interval.hi, it->second.second, 0.2 * width) << name;
  }
}

}  // namespace
}  // namespace fit
