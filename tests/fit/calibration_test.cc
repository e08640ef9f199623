// Widening out of range and the average over laws, from rolling forecasts alone.
#include "fit/calibration.h"

#include <cmath>
#include <limits>

#include "core/rng.h"
#include "fit/average.h"
#include "fit/bootstrap.h"
#include "fit/fit.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"
#include "tests/fit/test_data.h"

namespace fit {
namespace {

const double kInfinity = std::numeric_limits<double>::infinity();

// `count` forecasts at reach 5, each wrong by `z` of its half-widths of 1 %.
RollingForecasts Wrong(double z, int count) {
  RollingForecasts list;
  for (int i = 0; i < count; ++i)
    list.push_back({5e20, 2 * std::exp(0.01 * z), 2, 2 * std::exp(-.01), 2 * std::exp(.01), 5});
  return list;
}

TEST(CalibrationTest, NothingIsWidenedInRangeAndMoreFurtherOut) {
  for (const char* law : {"frontier", "chinchilla"}) {
    const Calibration calibration(law, {}, 0.9);
    EXPECT_EQ(calibration.Factor(0.5), 1);
    EXPECT_EQ(calibration.Factor(1), 1);
    EXPECT_GT(calibration.Factor(100), calibration.Factor(10));
    Interval interval{1.9, 2.1, 0.9, IntervalKind::kPrediction, "m"};
    calibration.Apply(2, 1, &interval);
    EXPECT_EQ(interval.method, "m");
    calibration.Apply(2, 300, &interval);
    EXPECT_LT(interval.lo, 1.9);
    EXPECT_GT(interval.hi, 2.1);
    EXPECT_NE(interval.method.find("widened"), std::string::npos);
  }
}

TEST(CalibrationTest, PastMissesWidenAndPastHitsNarrowDownToTheLawsOwn) {
  const Calibration blank("chinchilla", {}, 0.9);
  const Calibration missed("chinchilla", {Wrong(6, 4), Wrong(-6, 4), Wrong(6, 4), Wrong(5, 4)},
                           0.9);
  const Calibration hit("chinchilla", {Wrong(.1, 4), Wrong(-.1, 4), Wrong(.2, 4), Wrong(0, 4)},
                        0.9);
  EXPECT_GT(missed.Factor(5), 2 * blank.Factor(5));
  EXPECT_LT(hit.Factor(5), blank.Factor(5));
  EXPECT_GE(hit.Factor(5), 1);
  EXPECT_EQ(missed.forecasts(), 16);
  // Forecasts from one cut share their error: a hundred of them teach no more than four.
  EXPECT_NEAR(Calibration("chinchilla", {Wrong(6, 100)}, 0.9).Factor(5),
              Calibration("chinchilla", {Wrong(6, 4)}, 0.9).Factor(5), 1e-12);
  const double nan = std::nan("");
  EXPECT_EQ(Calibration("chinchilla", {{{1e20, 2, 2, nan, nan, 5}}}, 0.9).forecasts(), 0);
}

// What surfaces were off is added to a narrow average over the profile and not to a wide one.
TEST(CalibrationTest, AProfileAverageIsWidenedWhereItIsNarrowAndNarrowedWhereItWasTooWide) {
  const Calibration blank = Calibration::OfAverages("chinchilla", {}, 0.9);
  EXPECT_EQ(blank.Factor(1, 0.001), 1);
  EXPECT_GT(blank.Factor(10, 0.002), 5);
  EXPECT_LT(blank.Factor(10, 0.2), 1.02);
  EXPECT_GT(blank.Factor(100, 0.01), blank.Factor(10, 0.01));
  // Frontiers get nothing on top but what the own forecasts needed.
  EXPECT_NEAR(Calibration::OfAverages("frontier", {}, 0.9).Factor(10, 0.002), 1, 0.06);
  const std::vector<RollingForecasts> hit(6, Wrong(.1, 4)), missed(6, Wrong(4, 4));
  const Calibration narrow = Calibration::OfAverages("frontier", hit, 0.9);
  EXPECT_LT(narrow.Factor(5, 0.01), 0.9);
  EXPECT_GE(narrow.Factor(5, 0.01), 0.7);
  EXPECT_GT(Calibration::OfAverages("frontier", missed, 0.9).Factor(5, 0.01), 3);
  Interval interval{1.98, 2.02, 0.9, IntervalKind::kPrediction, "m"};
  narrow.Apply(2, 5, &interval);
  EXPECT_GT(interval.lo, 1.98);
  EXPECT_LT(interval.hi, 2.02);
  EXPECT_NE(interval.method.find("narrowed"), std::string::npos);
}

TEST(CalibrationTest, OnlyOutcomesKnownAtACutAreUsedThere) {
  BacktestRow early, late;
  early.law = late.law = "frontier";
  early.cut_flops = 1e19, late.cut_flops = 1e20;
  early.judged = {{5e19, 2, 2, 1.9, 2.1, 5}, {5e20, 2, 2, 1.9, 2.1, 50}};
  late.judged = {{5e20, 2, 2, 1.9, 2.1, 5}};
  const auto known = KnownAt({early, late}, "frontier", 1e20);
  ASSERT_EQ(known.size(), 1u);
  ASSERT_EQ(known[0].size(), 1u);
  EXPECT_EQ(known[0][0].flops, 5e19);
  EXPECT_EQ(KnownAt({early, late}, "frontier", kInfinity).size(), 2u);
  EXPECT_TRUE(KnownAt({early, late}, "chinchilla", kInfinity).empty());
}

TEST(AverageTest, AMixtureOfEqualsIsTheMemberAndDisagreementIsWidth) {
  const MixturePart one{1, 2.0, 1.9, 2.2};
  const MixturePart same = Mixture({one, one}, 0.9);
  EXPECT_NEAR(same.loss, 2.0, 1e-12);
  EXPECT_NEAR(same.lo, 1.9, 1e-7);
  EXPECT_NEAR(same.hi, 2.2, 1e-7);
  const MixturePart apart = Mixture({{1, 2.0, 1.98, 2.02}, {1, 2.4, 2.38, 2.42}}, 0.9);
  EXPECT_LT(apart.lo, 2.0);
  EXPECT_GT(apart.hi, 2.4);
  EXPECT_NEAR(apart.loss, std::sqrt(2.0 * 2.4), 1e-12);
  const MixturePart light = Mixture({{1, 2.0, 1.98, 2.02}, {1e-6, 2.4, 2.38, 2.42}}, 0.9);
  EXPECT_NEAR(light.hi, 2.02, 1e-4);
  const double nan = std::nan("");
  EXPECT_TRUE(std::isnan(Mixture({{1, 2.0, nan, nan}}, 0.9).lo));
}

TEST(AverageTest, ALawWhoseForecastsFoundWhatCameLikelierWeighsMore) {
  // Of the same outcomes, wrong by `z` of half-widths of 1 %.
  const auto known = [](double z) {
    std::vector<RollingForecasts> cuts;
    for (const double cut : {1e20, 2e20, 3e20}) {
      cuts.emplace_back();
      for (int i = 1; i <= 2; ++i) {
        const double said = 2.0 / i * std::exp(.01 * z);
        cuts.back().push_back(
            {i * 5 * cut, 2.0 / i, said, said * std::exp(-.01), said * std::exp(.01), i * 5.});
        cuts.back().back().target = static_cast<size_t>(i);
      }
    }
    return cuts;
  };
  const std::vector<std::string> laws = {"frontier", "chinchilla"};
  const auto scores = ScoreWeights(laws, {known(.3), known(4)});
  EXPECT_EQ(scores[0], 1);
  EXPECT_LT(scores[1], 0.1);
  // What one law alone has forecast tells nothing about the other.
  EXPECT_EQ(ScoreWeights(laws, {known(.3), {}}), (std::vector<double>{1, 1}));
  EXPECT_EQ(ScoreWeights(laws, {known(.3), {{{5e20, 1.7, 2, 1.9, 2.1, 5}}}}),
            (std::vector<double>{1, 1}));
  // Cuts that share their runs do not count as if each were news: the same evidence at twenty cuts
  // within a factor of 4 says no more than at three.
  const auto dense = [](double z) {
    std::vector<RollingForecasts> cuts;
    for (int i = 0; i < 20; ++i) {
      const double cut = 1e20 * std::pow(4.0, i / 19.0), actual = 2 - .01 * i;
      const double said = actual * std::exp(.01 * z);
      cuts.push_back({{5 * cut, actual, said, said * std::exp(-.01), said * std::exp(.01), 5.}});
    }
    return cuts;
  };
  const double few = ScoreWeights(laws, {known(.3), known(1.5)})[1],
               many = ScoreWeights(laws, {dense(.3), dense(1.5)})[1];
  EXPECT_NEAR(std::log(many) / std::log(few), 3 / (std::log2(3) + 1), 0.1);
  // One hopeless cut does not silence a law: the tails are heavy.
  auto once = known(.3);
  once[1] = known(20)[1];
  EXPECT_GT(ScoreWeights(laws, {known(.3), once})[1], 1e-6);
  EXPECT_NEAR(PrecisionWeight(2, 1.98, 2.02) / PrecisionWeight(2, 1.96, 2.04), 4, 0.01);
  EXPECT_LT(PrecisionWeight(2, std::nan(""), 2.1), PrecisionWeight(2, 1.9, 2.1));
}

// The rule that an interval is no narrower than what E does, and a run's wider than its mean's.
TEST(AverageTest, TheRangeOfEIsCoveredAndRunsScatterBeyondIt) {
  Interval mean{1.98, 2.02}, run{1.96, 2.04};
  const double scatter =
      std::sqrt(std::pow(std::log(2 / 1.96), 2) - std::pow(std::log(2 / 1.98), 2));
  CoverAsymptote(2, {1.9, 2.01}, &mean, &run);
  EXPECT_EQ(mean.lo, 1.9);
  EXPECT_EQ(mean.hi, 2.02);
  EXPECT_NEAR(std::log(2 / run.lo), std::hypot(std::log(2 / 1.9), scatter), 1e-12);
  EXPECT_EQ(run.hi, 2.04);
}

TEST(AverageTest, SurfacesAreSelectedByHeldOutErrorAndWithoutAnyByAicc) {
  const double nan = std::nan("");
  // Nothing known yet: AICc decides among surfaces, the frontier always joins.
  EXPECT_EQ(SelectLaws({{"frontier", nan, {}}, {"chinchilla", -100, {}}, {"farseer", -95, {}}}),
            (std::vector<std::string>{"frontier", "chinchilla", "farseer"}));
  EXPECT_EQ(SelectLaws({{"frontier", nan, {}}, {"chinchilla", -100, {}}, {"farseer", -120, {}}}),
            (std::vector<std::string>{"frontier", "farseer"}));
  // What held out says outranks it, once every surface has forecast enough.
  EXPECT_EQ(SelectLaws({{"frontier", nan, {Wrong(9, 4)}},
                        {"chinchilla", -100, {Wrong(1, 4)}},
                        {"farseer", -120, {Wrong(2, 4)}}}),
            (std::vector<std::string>{"frontier", "chinchilla"}));
  EXPECT_EQ(SelectLaws({{"chinchilla", -100, {Wrong(1, 4)}}, {"farseer", -120, {Wrong(2, 3)}}}),
            (std::vector<std::string>{"farseer"}));
}

// A law that would have forecast best above a cut must not be preferred at it.
TEST(AverageTest, SelectionNeverSeesTheOutcomesItIsScoredOn) {
  std::vector<BacktestRow> rows;
  for (const char* law : {"chinchilla", "farseer"})
    for (int cut = 0; cut < 4; ++cut) {
      BacktestRow row;
      row.law = law;
      row.cut_flops = 1e18 * std::pow(10, cut);
      row.n_train = 10;
      row.aicc = law[0] == 'c' ? -200 : -100;
      for (int later = 0; later < 4; ++later) {
        // farseer is right from the third cut on, and wrong before.
        const double error = law[0] == 'c' ? .01 : cut < 2 ? .05 : 0;
        row.judged.push_back({row.cut_flops * std::pow(10, later + 1), 2, 2 * (1 + error), 1.9, 2.1,
                              std::pow(10., later + 1)});
        row.judged.back().target = static_cast<size_t>(later);
      }
      rows.push_back(row);
    }
  const auto averages = AverageBacktest(rows, rows, {"chinchilla", "farseer"}, .9);
  ASSERT_EQ(averages.size(), 4u);
  EXPECT_EQ(averages[0].chosen, std::vector<std::string>{"chinchilla"});  // by AICc
  EXPECT_EQ(averages[3].chosen, std::vector<std::string>{"chinchilla"});  // by outcomes up to it
}

// In range, nothing is widened: 150 planted experiments, a new run at every budget.
TEST(CoverageTest, PredictionIntervalsInRangeCoverWhatTheyPromise) {
  constexpr int kSets = 150;
  int inside = 0, all = 0;
  for (uint64_t set = 0; set < kSets; ++set) {
    Planted planted;
    planted.noise = 0.004;
    planted.points = 12;
    LawOptions options;
    options.bootstrap.resamples = 150;
    options.bootstrap.seed = set;
    options.starts = 6;
    options.profile = false;
    const auto fitted = LawByName("chinchilla")->Fit(planted.Draw(1000 + set), options);
    ASSERT_TRUE(fitted.ok());
    for (const Observation& fresh : planted.Draw(9000 + set)) {
      const auto test = (*fitted)->TestRun(fresh);
      inside += test->lo <= fresh.loss && fresh.loss <= test->hi;
      ++all;
    }
  }
  const double coverage = 100.0 * inside / all;
  std::printf("coverage in range: %.2f %% of %d new runs in %d sets\n", coverage, all, kSets);
  EXPECT_GT(coverage, 88);
  EXPECT_LT(coverage, 92);
}

}  // namespace
}  // namespace fit
