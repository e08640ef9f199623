// Two planted cohorts whose compute multiplier is known: scaling A and B by k^-p, where the
// frontier is L* = E + K C^-p, makes the second cohort k times as good with compute everywhere.
#include "fit/compare.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "fit/compare_report.h"
#include "fit/crossover.h"
#include "fit/forecast.h"
#include "fit/multiplier_draws.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fit/planted_pair.h"
#include "tests/fit/test_data.h"

namespace fit {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

CompareOptions Quick(std::vector<double> at = {1e20}) {
  CompareOptions options;
  options.at = std::move(at);
  options.fit.law.bootstrap.resamples = 100;
  options.fit.law.profile = false;
  options.fit.backtest = false;
  return options;
}

Comparison ComparePair(const PlantedPair& pair, const CompareOptions& options, uint64_t seed = 1) {
  const auto comparison = Compare(pair.A(seed), pair.B(seed + 1'000'000), options);
  EXPECT_TRUE(comparison.ok()) << comparison.status();
  return *comparison;
}

TEST(CompareTest, NoiseFreeCohortsGiveTheirMultiplierEverywhere) {
  PlantedPair pair;
  pair.multiplier = 1.7;
  pair.noise = 0;
  CompareOptions options = Quick({1e19, 1e20, 1e21});
  options.fit.laws = {"chinchilla"};
  const Comparison c = ComparePair(pair, options);
  ASSERT_TRUE(c.comparability.reasons.empty()) << c.comparability.reasons[0];
  ASSERT_EQ(c.multipliers.size(), 3u);
  for (const Multiplier& m : c.multipliers) EXPECT_NEAR(m.value, 1.7, 1e-4) << m.flops;
  EXPECT_NEAR(c.trend.factor, 1, 1e-4);
  EXPECT_FALSE(c.crossover.flops.has_value());
  EXPECT_EQ(c.crossover.better_above, "B");
  EXPECT_EQ(c.crossover.better_below, "B");
  EXPECT_TRUE(Has(c.multipliers[2].warnings, kOutsideRange)) << "budgets end at 3e20";
  EXPECT_NEAR(c.multipliers[1].equivalent_flops, 1.7e20, 1e16);
}

TEST(CompareTest, TheOtherWayRoundIsTheInverse) {
  PlantedPair pair;
  pair.noise = 0;
  CompareOptions options = Quick();
  options.fit.laws = {"chinchilla"};
  const double cm = ComparePair(pair, options).multipliers[0].value;
  const auto back = Compare(pair.B(2), pair.A(1), options);
  ASSERT_TRUE(back.ok());
  EXPECT_NEAR(back->multipliers[0].value * cm, 1, 1e-3) << "CM is the same at every C here";
}

TEST(CompareTest, ADifferentExponentShowsAsTrendAndCrossover) {
  PlantedPair pair;
  pair.noise = 0;
  pair.cross_at = 5e19;  // B's exponents are larger; equal losses there
  CompareOptions options = Quick({1e19, 2e20});
  options.fit.laws = {"chinchilla"};
  const Comparison c = ComparePair(pair, options);
  EXPECT_LT(c.multipliers[0].value, 1);
  EXPECT_GT(c.multipliers[1].value, 1);
  EXPECT_GT(c.trend.factor, 1.02);
  ASSERT_TRUE(c.crossover.flops.has_value());
  EXPECT_NEAR(*c.crossover.flops, 5e19, 2e18);
  EXPECT_FALSE(c.crossover.extrapolated);
  EXPECT_EQ(c.crossover.better_below, "A");
  EXPECT_EQ(c.crossover.better_above, "B");
}

// B falls faster to a higher floor: A is better below, B between, A again above.
TEST(CompareTest, CohortsThatCrossTwiceNameBothCrossings) {
  PlantedPair pair;
  pair.noise = 0;
  pair.cross_at = 5e18;
  pair.cross_again_at = 1e20;
  CompareOptions options = Quick({2e18, 2e19, 2e20});
  options.fit.laws = {"chinchilla"};
  Comparison c = ComparePair(pair, options);
  EXPECT_LT(c.multipliers[0].value, 1);
  EXPECT_GT(c.multipliers[1].value, 1);
  EXPECT_LT(c.multipliers[2].value, 1);
  ASSERT_EQ(c.crossover.all.size(), 2u);
  const auto& [first, second] = std::pair(c.crossover.all[0], c.crossover.all[1]);
  EXPECT_NEAR(first.flops, 5e18, 2e17);
  EXPECT_NEAR(second.flops, 1e20, 4e18);
  EXPECT_EQ(first.better_below + first.better_above, "AB");
  EXPECT_EQ(second.better_below + second.better_above, "BA");
  EXPECT_NEAR(first.share, 1, 1e-9);
  EXPECT_NEAR(second.share, 1, 1e-9);
  EXPECT_EQ(*c.crossover.flops, first.flops);
  const core::Json json = CompareJson(c);
  ASSERT_EQ(json["crossovers"].size(), 2u);
  EXPECT_EQ(json["crossovers"][0]["flops"], json["crossover"]["flops"]);
  EXPECT_EQ(json["crossovers"][1]["better_above"], "A");
  EXPECT_THAT(CompareText(c), HasSubstr("2 crossings between"));
  EXPECT_THAT(CompareText(c), HasSubstr("B is better up to it, A from there; so in 100 % of"));
  // With noise the interval is that of the first crossing, though refits may have only the other.
  pair.noise = 5e-3;
  c = ComparePair(pair, options, 3);
  ASSERT_EQ(c.crossover.all.size(), 2u);
  EXPECT_LT(c.crossover.interval.hi, c.crossover.all[1].flops);
  for (const Crossing& crossing : c.crossover.all) {
    EXPECT_GT(crossing.share, 0.3);
    EXPECT_LT(crossing.share, 1);
  }
}

// Two laws with as many resamples each: what one sees in more of them must count by its weight.
TEST(CompareTest, SharesOfResamplesWeighAsTheLaws) {
  PlantedPair pair;
  pair.cross_at = 1.5e18;  // near the end of the range: the laws see it in it at different rates
  pair.noise = 3e-3;
  const Comparison c = ComparePair(pair, Quick(), 3);
  const auto crossover = [&](double frontier, double chinchilla) {
    std::vector<LawPair> laws;
    for (const auto& [name, weight] :
         {std::pair{"frontier", frontier}, std::pair{"chinchilla", chinchilla}}) {
      if (weight == 0) continue;
      const auto of = [name = std::string(name)](const FitSummary& fit) {
        for (const auto& law : fit.laws)
          if (law->fit().law == name) return std::make_unique<FrontierCurve>(fit, *law);
        return std::unique_ptr<FrontierCurve>();
      };
      laws.push_back({of(c.fit_a), of(c.fit_b), weight});
    }
    return FindCrossover(MultiplierDraws(std::move(laws)), std::log(1e18), std::log(3e20),
                         {"A", "B"}, 0.9);
  };
  const Crossover frontier = crossover(1, 0), chinchilla = crossover(0, 1);
  const double apart = std::fabs(frontier.share_in_range - chinchilla.share_in_range);
  ASSERT_GT(apart, 0.05) << frontier.share_in_range;
  EXPECT_NEAR(crossover(0.9, 0.1).share_in_range,
              0.9 * frontier.share_in_range + 0.1 * chinchilla.share_in_range, 1e-9);
  const Crossover almost = crossover(1 - 1e-9, 1e-9);
  ASSERT_FALSE(frontier.all.empty());
  ASSERT_EQ(almost.all.size(), frontier.all.size());
  for (size_t k = 0; k < almost.all.size(); ++k)
    EXPECT_NEAR(almost.all[k].share, frontier.all[k].share, 1e-6);
  EXPECT_THAT(CompareText(c), HasSubstr("% of the resamples, weighed as the laws, cross between"));
}

TEST(CompareTest, ACrossingIsAChangeOfSign) {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto once = SignChanges([](double x) { return std::clamp(x - 1, 0.0, 1.0) - 0.5; }, 0, 5);
  ASSERT_EQ(once.size(), 1u);
  EXPECT_NEAR(once[0].x, 1.5, 1e-5);
  EXPECT_TRUE(once[0].rises);
  const auto twice = SignChanges([](double x) { return (x - 1) * (4 - x); }, 0, 5);
  ASSERT_EQ(twice.size(), 2u);
  EXPECT_NEAR(twice[1].x, 4, 1e-5);
  EXPECT_FALSE(twice[1].rises);
  const std::function<double(double)> none[] = {
      [](double) { return 0.0; },                        // a thing against itself
      [](double x) { return std::fabs(x - 1); },         // touches
      [](double x) { return std::max(x - 1, 0.0); },     // rises from 0
      [&](double x) { return x < 1 ? 1 : -infinity; },   // jumps
      [](double x) { return x < 1 ? 1 : std::nan(""); }  // ends
  };
  for (const auto& f : none) EXPECT_TRUE(SignChanges(f, 0, 5).empty());
}

TEST(CompareTest, EveryIntervalHasLevelKindAndMethodAndReportsSaySo) {
  PlantedPair pair;
  const Comparison c = ComparePair(pair, Quick({1e20, 1e22}));
  ASSERT_EQ(c.laws.size(), 2u) << "frontier and chinchilla";
  for (const Interval* interval :
       {&c.multipliers[0].interval, &c.multipliers[1].interval, &c.trend.interval}) {
    EXPECT_EQ(interval->level, 0.9);
    EXPECT_EQ(interval->kind, IntervalKind::kMean);
    EXPECT_THAT(interval->method, HasSubstr("independent pairs of resamples of 2 laws pooled"));
    EXPECT_LT(interval->lo, interval->hi);
  }
  const auto width = [](const Interval& i) { return std::log(i.hi / i.lo); };
  EXPECT_GT(width(c.multipliers[1].interval), 1.5 * width(c.multipliers[0].interval));
  const core::Json json = CompareJson(c);
  EXPECT_EQ(json["multipliers"][0]["interval"]["kind"], "mean");
  EXPECT_EQ(json["factors"][0], "recipe");
  EXPECT_THAT(CompareText(c), HasSubstr("compute multiplier"));
}

TEST(CompareTest, LawsWeighAsInBothCohortsOwnAverages) {
  PlantedPair pair;
  pair.noise = 3e-3;
  const Comparison c = ComparePair(pair, Quick());
  const auto own = [](const FitSummary& fit) {
    const auto forecasts = ForecastsOf(fit, {fit.largest_flops});
    EXPECT_EQ(forecasts.at(0).law, "average");
    std::map<std::string, double> weights;
    for (const AverageMember& member : forecasts[0].members) weights[member.law] = member.weight;
    return weights;
  };
  auto a = own(c.fit_a), b = own(c.fit_b);
  ASSERT_EQ(c.laws.size(), 2u);
  const auto both = [&](const std::string& law) { return 1 / (1 / a[law] + 1 / b[law]); };
  EXPECT_NEAR(c.laws[0].second / c.laws[1].second, both(c.laws[0].first) / both(c.laws[1].first),
              1e-9);
  EXPECT_NEAR(c.laws[0].second + c.laws[1].second, 1, 1e-12);
}

TEST(CompareTest, ALossThatIsNeverReachedIsAnOpenEnd) {
  PlantedPair pair;
  pair.noise = 0;
  pair.floor_of_a = 0.4;  // A levels off above what B reaches
  CompareOptions options = Quick({1e26});
  options.fit.laws = {"chinchilla"};
  const Comparison c = ComparePair(pair, options);
  EXPECT_TRUE(std::isinf(c.multipliers[0].value));
  const core::Json json = CompareJson(c);
  EXPECT_TRUE(json["multipliers"][0]["multiplier"].is_null());
  EXPECT_EQ(json["multipliers"][0]["interval"]["open_hi"], true);
}

TEST(CompareTest, TheDecidingRunWouldDecide) {
  PlantedPair pair;
  pair.multiplier = 1.03;
  pair.noise = 3e-3;
  const Comparison c = ComparePair(pair, Quick(), 5);
  ASSERT_FALSE(c.deciding.decided);
  ASSERT_TRUE(c.deciding.why_none.empty());
  EXPECT_LT(c.deciding.half_width_after, c.deciding.half_width);
  EXPECT_GT(c.deciding.run_flops, 0);
  EXPECT_GT(c.deciding.params, 0);
  PlantedPair clear;
  clear.multiplier = 3;
  EXPECT_TRUE(ComparePair(clear, Quick()).deciding.decided);
}

// Small multipliers, so that the cheapest runs that do lie near the threshold.
TEST(CompareTest, ARunThatIsNamedAsDecidingHasATenthToSpare) {
  int found = 0;
  double largest = 0;  // share of the estimate that is left
  for (uint64_t seed = 5; seed <= 12; ++seed) {
    PlantedPair pair;
    pair.points = 4;
    pair.multiplier = 1.08;
    pair.noise = 3e-3;
    CompareOptions options = Quick({3e20});
    options.fit.laws = {"chinchilla"};
    options.fit.law.bootstrap.level = 0.8;
    const Comparison c = ComparePair(pair, options, seed);
    if (!c.deciding.found) continue;
    ++found;
    const double estimate = std::fabs(std::log(c.multipliers[0].value));
    largest = std::max(largest, c.deciding.half_width_after / estimate);
    EXPECT_LE(c.deciding.half_width_after, kDecidingMargin * estimate) << seed;
    EXPECT_EQ(c.deciding.level, 0.8);
    EXPECT_THAT(CompareText(c), HasSubstr("half-width of ln CM (80 % mean) "));
    const core::Json json = CompareJson(c)["deciding_run"];
    EXPECT_EQ(json["level"], 0.8);
    EXPECT_EQ(json["kind"], "mean");
  }
  EXPECT_GE(found, 2);
  EXPECT_GT(largest, 0.8) << "none is near the threshold";
}

TEST(CompareTest, FarBeyondTheRunsItSaysThatSharedErrorsDoNotCancel) {
  PlantedPair pair;
  pair.multiplier = 1.3;
  const Comparison c = ComparePair(pair, Quick({1e20, 2.5e21, 1e22}));
  const auto says = [&](const Multiplier& m) {
    return std::any_of(m.warnings.begin(), m.warnings.end(), [](const Warning& w) {
      return w.code == kOutsideRange && w.text.find("errs on the wide side") != std::string::npos;
    });
  };
  EXPECT_FALSE(says(c.multipliers[0]));
  EXPECT_LT(c.multipliers[1].reach_b, 10);
  EXPECT_TRUE(says(c.multipliers[1])) << "A needs more, reach " << c.multipliers[1].reach_a;
  EXPECT_TRUE(says(c.multipliers[2]));
  EXPECT_THAT(CompareText(c), HasSubstr("! outside-range: reach above 10: each cohort's own error "
                                        "out of range is counted in full"));
}

class RefusalTest : public testing::Test {
 protected:
  // Comparison of two cohorts that differ in `labels_b` too.
  Comparison With(std::map<std::string, std::string> labels_a,
                  std::map<std::string, std::string> labels_b,
                  std::vector<std::string> factors = {}) {
    PlantedPair pair;
    ComparedCohort a = pair.A(1), b = pair.B(2);
    for (Observation& o : a.observations)
      for (const auto& [key, value] : labels_a) o.cohort[key] = value;
    for (Observation& o : b.observations)
      for (const auto& [key, value] : labels_b) o.cohort[key] = value;
    CompareOptions options = Quick();
    options.fit.laws = {"frontier"};
    options.fit.law.bootstrap.resamples = 0;
    options.factors = std::move(factors);
    return *Compare(a, b, options);
  }
  static std::string Reasons(const Comparison& c) {
    std::string all;
    for (const std::string& reason : c.comparability.reasons) all += reason + "\n";
    return all;
  }
};

TEST_F(RefusalTest, LossesThatAreMeasuredDifferentlyAreNotComparable) {
  for (const char* key :
       {"metric", "eval", "tokenizer", "seq_len", "flop_convention", "n_convention", "schedule"}) {
    const Comparison c = With({{key, "one"}}, {{key, "another"}});
    EXPECT_THAT(Reasons(c), HasSubstr(std::string(key) + " differs: A is one, B is another"));
    EXPECT_TRUE(c.multipliers.empty());
    EXPECT_THAT(Reasons(With({{key, "one"}}, {{key, "unknown"}})),
                HasSubstr(std::string(key) + " is known of A only"));
    EXPECT_THAT(Reasons(With({{key, "one"}}, {{key, "another"}}, {key})),
                HasSubstr("cannot be the compared factor"));
  }
}

// Only the pass forward counted, or GFLOPs by another profiler: that is no multiplier.
TEST_F(RefusalTest, FlopsThatAreCountedInTwoWaysAreNotComparableUnlessModelsCostThatDifferently) {
  PlantedPair pair;
  const ComparedCohort a = pair.A(1);
  const auto counted = [&](double factor, std::vector<std::string> factors) {
    ComparedCohort b = pair.B(2);
    for (Observation& o : b.observations) o.flops *= factor, o.budget_flops *= factor;
    CompareOptions options = Quick();
    options.factors = std::move(factors);
    return *Compare(a, b, options);
  };
  for (const double factor : {1 / 3., 1.4, 10.}) {
    const Comparison refused = counted(factor, {});
    ASSERT_EQ(refused.comparability.reasons.size(), 1u) << factor;
    EXPECT_THAT(refused.comparability.reasons[0],
                AllOf(HasSubstr("C / (N D) at like N is 6 in A"),
                      HasSubstr("--factor flops_per_param_token")));
  }
  EXPECT_TRUE(counted(1.4, {"recipe", "flops_per_param_token"}).comparability.reasons.empty());
  EXPECT_TRUE(counted(1.4, {"flops_per_param_token"}).comparability.reasons.empty())
      << "the one key that differs is compared, as without the option";
  EXPECT_THAT(Reasons(With({{"data", "x"}}, {{"data", "y"}}, {"flops_per_param_token"})),
              HasSubstr("--factor data --factor recipe --factor flops_per_param_token"));
  const Comparison near = counted(1.1, {});
  EXPECT_TRUE(near.comparability.reasons.empty());
  EXPECT_TRUE(Has(near.warnings, kFlopConvention));
  EXPECT_FALSE(Has(counted(1, {}).warnings, kFlopConvention));
  EXPECT_THAT(
      With({{"flop_convention", "6nd"}}, {{"flop_convention", "6nd"}}).comparability.reasons,
      testing::IsEmpty());
}

TEST_F(RefusalTest, BitsPerByteDoNotCareForTheTokenizer) {
  const std::string bpb = "c4/bits_per_byte";
  const Comparison c = With({{"metric", bpb}, {"tokenizer", "one"}, {"recipe", "r"}},
                            {{"metric", bpb}, {"tokenizer", "another"}, {"recipe", "r"}});
  EXPECT_EQ(Reasons(c), "");
  EXPECT_THAT(c.comparability.factors, Contains("tokenizer"));
}

TEST_F(RefusalTest, MoreThanOneFactorMustBeNamed) {
  EXPECT_THAT(Reasons(With({{"data", "x"}}, {{"data", "y"}})),
              HasSubstr("they differ in data, recipe"));
  EXPECT_THAT(Reasons(With({{"data", "x"}}, {{"data", "y"}}, {"recipe"})),
              HasSubstr("only recipe is compared"));
  const Comparison named = With({{"data", "x"}}, {{"data", "y"}}, {"recipe", "data"});
  EXPECT_EQ(Reasons(named), "");
  EXPECT_TRUE(Has(named.warnings, kConfounded));
}

// Mixed alike in both, nothing tells them apart by it; mixed in one, or otherwise, it is one more
// thing that differs; what losses are measured with may not be mixed at all.
TEST_F(RefusalTest, AMixtureThatIsAllowedIsComparedWhereBothHaveIt) {
  const auto mixed = [](const std::string& key, bool in_both, const std::string& label = "",
                        size_t in_b = 2, const std::string& other = "two") {
    PlantedPair pair;
    ComparedCohort a = pair.A(1), b = pair.B(2);
    for (ComparedCohort* cohort : {&a, &b})
      for (size_t i = 0; i < cohort->observations.size(); ++i) {
        Observation& o = cohort->observations[i];
        const bool second = i % (cohort == &a ? 2 : in_b) == 0 && (in_both || cohort == &a);
        const std::string text = !second ? "one" : cohort == &a ? "two" : other;
        if (label.empty())
          o.cohort[key] = text;
        else if (in_both || cohort == &a)
          o.labels[label] = text;
        if (second) o.loss *= 1.02;
      }
    CompareOptions options = Quick();
    options.fit.laws = {"frontier"};
    options.fit.law.bootstrap.resamples = 0;
    options.fit.allow_mixed = {label.empty() ? key : label};
    return *Compare(a, b, options);
  };
  const Comparison both = mixed("data", true);
  EXPECT_EQ(Reasons(both), "");
  EXPECT_TRUE(Has(both.warnings, kMixedCohort));
  EXPECT_THAT(Reasons(mixed("data", false)), HasSubstr("they differ in data, recipe"));
  EXPECT_THAT(Reasons(mixed("eval", true)), HasSubstr("eval differs within A"));
  const Comparison column = mixed("", true, "optimizer");
  EXPECT_EQ(Reasons(column), "");
  EXPECT_TRUE(Has(column.warnings, kMixedColumns));
  // Other shares, or other values, are another mixture.
  EXPECT_THAT(Reasons(mixed("data", true, "", 4)), HasSubstr("they differ in data, recipe"));
  EXPECT_THAT(Reasons(mixed("data", true, "", 2, "three")), HasSubstr("they differ in data, "));
  for (const Comparison& other : {mixed("", false, "optimizer"), mixed("", true, "optimizer", 4),
                                  mixed("", true, "optimizer", 2, "three")})
    EXPECT_THAT(Reasons(other), HasSubstr("they differ in recipe, optimizer"));
}

TEST_F(RefusalTest, AMixtureIsRefusedWithTheOptionsOfCompare) {
  PlantedPair pair;
  ComparedCohort a = pair.A(1);
  for (size_t i = 0; i < a.observations.size(); ++i) {
    a.observations[i].labels["optimizer"] = i % 2 == 0 ? "adam" : "muon";
    if (i % 2 == 0) a.observations[i].loss *= 1.02;
  }
  const auto refused = Compare(a, pair.B(2), Quick());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(testing::StartsWith("A: "), HasSubstr("--where optimizer=TEXT"),
                    HasSubstr("--allow-mixed optimizer"), testing::Not(HasSubstr("--experiment"))));
}

TEST_F(RefusalTest, WhatIsUnknownOfBothIsTakenAsEqualAndSaid) {
  const Comparison c = With({{"eval", "unknown"}}, {{"eval", "unknown"}});
  EXPECT_EQ(Reasons(c), "");
  EXPECT_TRUE(Has(c.warnings, kUnknownCohort));
  const Comparison same = With({{"recipe", "r"}}, {{"recipe", "r"}});
  EXPECT_TRUE(Has(same.warnings, kUnlabelled)) << "nothing says what differs";
}

TEST_F(RefusalTest, LossesThatDoNotOverlapAreNotComparable) {
  PlantedPair pair;
  pair.multiplier = 1e6;
  CompareOptions options = Quick();
  options.fit.laws = {"frontier"};
  const auto c = Compare(pair.A(1), pair.B(2), options);
  ASSERT_TRUE(c.ok());
  EXPECT_THAT(Reasons(*c), HasSubstr("the losses do not overlap: the frontier of A runs from"));
}

TEST_F(RefusalTest, TheSameRunsUnderTwoNamesAreNotComparedAndSharedOnesAreSaid) {
  PlantedPair pair;
  CompareOptions options = Quick();
  options.fit.laws = {"frontier"};
  const ComparedCohort a = pair.A(1);
  ComparedCohort copy = a, half = pair.B(2);
  copy.name = "copy";
  EXPECT_THAT(Reasons(*Compare(a, copy, options)), HasSubstr("A and copy are the same"));
  half.observations[0] = a.observations[0];
  half.observations[0].cohort = half.observations[1].cohort;
  const auto c = Compare(a, half, options);
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(Reasons(*c), "");
  EXPECT_TRUE(Has(c->warnings, kSharedRuns));
}

TEST_F(RefusalTest, ACohortThatCannotBeFittedIsAnErrorWithItsName) {
  PlantedPair pair;
  ComparedCohort few = pair.B(2);
  few.observations.resize(4);
  const auto c = Compare(pair.A(1), few, Quick());
  EXPECT_FALSE(c.ok());
  EXPECT_THAT(std::string(c.status().message()), testing::StartsWith("B: "));
}

// Two parties read the losses of the same Chinchilla runs off the same figure.
TEST(PublishedCompareTest, TwoDigitisationsOfOneExperimentAreNotTakenForTwo) {
  SKIP_WITHOUT("isoflop_sets.csv");
  const auto cohort = [](const std::string& source) {
    ComparedCohort c;
    c.name = source;
    c.observations = Load("isoflop_sets.csv",
                          {{"experiment", source + "__massivetext__chinchilla"}, {"outlier", "0"}});
    return c;
  };
  CompareOptions options = Quick({1e20});
  const auto unnamed = Compare(cohort("epochai_chinchilla"), cohort("ml_scalefit"), options);
  ASSERT_TRUE(unnamed.ok()) << unnamed.status();
  EXPECT_THAT(unnamed->comparability.reasons.at(0), HasSubstr("experiment, source"));
  options.factors = {"experiment", "source"};
  const auto c = Compare(cohort("epochai_chinchilla"), cohort("ml_scalefit"), options);
  ASSERT_TRUE(c.ok()) << c.status();
  ASSERT_FALSE(c->multipliers.empty());
  EXPECT_LE(c->multipliers[0].interval.lo, 1);
  EXPECT_GE(c->multipliers[0].interval.hi, 1);
  EXPECT_NEAR(c->multipliers[0].value, 1, 0.15);
}

}  // namespace
}  // namespace fit
