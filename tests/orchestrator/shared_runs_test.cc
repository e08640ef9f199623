// One set of runs is told from another, whatever unit, scale or labels it is given.
#include "orchestrator/store/shared_runs.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "gtest/gtest.h"

namespace orchestrator {
namespace {

using core::Json;

double Loss(double params, double tokens) {
  return 1.7 + 400 / std::pow(params, 0.34) + 410 / std::pow(tokens, 0.28);
}

// 5 budgets of 5 sizes of `seeds` runs, whose scatter stems from `salt`.
Json Runs(int seeds = 1, unsigned salt = 1) {
  std::mt19937 random(salt);
  std::normal_distribution<double> noise(0, 0.003);
  Json runs = Json::array();
  for (const double flops : {1e18, 3e18, 1e19, 3e19, 1e20})
    for (const double size : {0.4, 0.65, 1.0, 1.5, 2.4})
      for (int seed = 0; seed < seeds; ++seed) {
        const double params = size * 0.0857 * std::sqrt(flops), tokens = flops / 6 / params;
        runs.push_back({{"flops", flops},
                        {"params", params},
                        {"tokens", tokens},
                        {"loss", Loss(params, tokens) * std::exp(noise(random))}});
      }
  return runs;
}

Json With(Json runs, const std::function<void(Json&)>& change) {
  for (Json& run : runs) change(run);
  return runs;
}

Json Scaled(const Json& runs, const char* key, double factor) {
  return With(runs, [&](Json& run) { run[key] = run[key].get<double>() * factor; });
}

TEST(SharedRunsTest, AUnitAScaleAndAnotherCountOfTheSameAreTheSameRuns) {
  const Json runs = Runs();
  EXPECT_EQ(SharedRuns(runs, runs)->factor, 1);
  EXPECT_EQ(SharedRuns(runs, runs)->shared, 25u);
  for (const double factor : {1.4426950408889634, 1.0000001, 0.97}) {
    const auto found = SharedRuns(Scaled(runs, "loss", factor), runs);
    ASSERT_TRUE(found.has_value()) << factor;
    EXPECT_NEAR(found->factor, factor, 1e-6);
  }
  for (const char* key : {"flops", "params", "tokens"})
    for (const double factor : {1.0001, 0.8})
      EXPECT_TRUE(SharedRuns(Scaled(runs, key, factor), runs).has_value()) << key;
  const Json all = Scaled(Scaled(runs, "params", 1.0001), "tokens", 1.0001);
  EXPECT_TRUE(SharedRuns(Scaled(all, "flops", 1.0001), runs).has_value());
  // N counted otherwise, and C = 6 N D with it.
  EXPECT_TRUE(SharedRuns(Scaled(Scaled(runs, "params", 1.1), "flops", 1.1), runs).has_value());
  EXPECT_TRUE(SharedRuns(Scaled(Scaled(runs, "tokens", 1.1), "params", .9), runs).has_value());
  const Json rounded = With(Scaled(runs, "loss", 1.4427), [](Json& run) {
    run["loss"] = std::round(1e3 * run["loss"].get<double>()) / 1e3;
    run.erase("flops");
  });
  EXPECT_TRUE(SharedRuns(rounded, runs).has_value());
}

TEST(SharedRunsTest, AnotherEvaluationSetOrOtherRunsOfTheseSizesAreNot) {
  const Json runs = Runs();
  const Json other =
      With(runs, [](Json& run) { run["loss"] = 1.1 * std::pow(run["loss"].get<double>(), 0.98); });
  EXPECT_FALSE(SharedRuns(other, runs).has_value());
  EXPECT_FALSE(SharedRuns(Runs(1, 2), runs).has_value());
  EXPECT_FALSE(SharedRuns(Scaled(Runs(1, 2), "loss", 1.4427), runs).has_value());
}

TEST(SharedRunsTest, RoundedLossesAreTheSameRunsAndRoundedLossesOfOthersAreNot) {
  const auto rounded = [](const Json& runs, double unit) {
    return With(runs, [&](Json& run) {
      run["loss"] = std::round(run["loss"].get<double>() / unit) * unit;
    });
  };
  for (const double unit : {1e-4, 1e-3, 1e-2}) {
    for (const double factor : {1., 1 / std::log(2.)})
      EXPECT_TRUE(SharedRuns(rounded(Scaled(Runs(), "loss", factor), unit), Runs()).has_value())
          << unit << " " << factor;
    EXPECT_TRUE(SharedRuns(Runs(), rounded(Runs(), unit)).has_value()) << unit;
    for (unsigned salt = 2; salt < 12; ++salt)
      EXPECT_FALSE(SharedRuns(rounded(Runs(1, salt), unit), Runs()).has_value()) << unit;
  }
}

TEST(SharedRunsTest, EqualRunsAreTheVeryRuns) {
  const Json runs = Runs();
  Json mixed = Runs(1, 2);
  mixed[3] = runs[20], mixed[7] = runs[1];
  mixed[3]["params"] = 1e7;
  const std::vector<bool> equal = EqualRuns(mixed, runs);
  ASSERT_EQ(equal.size(), 25u);
  for (size_t i = 0; i < equal.size(); ++i) EXPECT_EQ(equal[i], i == 3 || i == 7) << i;
  EXPECT_TRUE(EqualRuns(Json(), runs).empty());
}

// Losses of 3 decimals about a flat minimum, in other experiments of the same budgets.
TEST(SharedRunsTest, RoundedLossesOfOtherSizesAreEqualByChance) {
  const auto flat = [](unsigned salt, double shift) {
    return With(Runs(1, salt), [&](Json& run) {
      const double noise = run["loss"].get<double>() /
                           Loss(run["params"].get<double>(), run["tokens"].get<double>());
      const double near = 2 + 0.1 * std::log10(1e20 / run["flops"].get<double>());
      run["loss"] = std::round(1e3 * near * std::pow(noise, 0.2)) / 1e3;
      run["params"] = run["params"].get<double>() * shift;
      run["tokens"] = run["tokens"].get<double>() / shift;
    });
  };
  const Json runs = flat(1, 1);
  std::vector<bool> taken(25);
  for (unsigned other = 2; other < 8; ++other) {
    const std::vector<bool> equal = EqualRuns(runs, flat(other, 1 + 0.01 * other));
    for (size_t i = 0; i < taken.size(); ++i) taken[i] = taken[i] || equal[i];
  }
  EXPECT_LT(2 * std::count(taken.begin(), taken.end(), true), 25);
}

TEST(SharedRunsTest, HalfOfTheFewerIsEnoughAndLessIsNot) {
  const Json runs = Runs();
  Json part = Json::array();
  for (size_t i = 0; i < 8; ++i) part.push_back(runs[3 * i]);
  part = Scaled(part, "loss", 1.4427);
  EXPECT_TRUE(SharedRuns(part, runs).has_value());
  EXPECT_TRUE(SharedRuns(runs, part).has_value());
  // Runs of which the loss was changed one by one.
  for (size_t i = 0; i < 4; ++i)
    part[i]["loss"] = part[i]["loss"].get<double>() * (1.01 + 0.01 * static_cast<double>(i));
  EXPECT_TRUE(SharedRuns(part, runs).has_value());
  part[4]["loss"] = part[4]["loss"].get<double>() * 1.1;
  EXPECT_FALSE(SharedRuns(part, runs).has_value());
}

TEST(SharedRunsTest, SeedsOfOneSizeAreComparedEachWithItsOwn) {
  for (const int seeds : {2, 10, 40}) {
    const Json runs = Runs(seeds);
    Json scaled = Scaled(runs, "loss", 1.4426950408889634);
    std::reverse(scaled.begin(), scaled.end());
    EXPECT_TRUE(SharedRuns(scaled, runs).has_value()) << seeds;
    // The same experiment once more.
    EXPECT_FALSE(SharedRuns(Runs(seeds, 2), runs).has_value()) << seeds;
    EXPECT_FALSE(SharedRuns(Scaled(Runs(seeds, 2), "loss", 1.4427), runs).has_value()) << seeds;
  }
}

TEST(SharedRunsTest, AFewRunsAndLossesThatDoNotDifferMustBeEqual) {
  Json few = Json::array({Runs()[0], Runs()[7]});
  EXPECT_TRUE(SharedRuns(few, few).has_value());
  EXPECT_FALSE(SharedRuns(Scaled(few, "loss", 1.4427), few).has_value());
  const Json flat = With(Runs(), [](Json& run) { run["loss"] = 3.0; });
  EXPECT_TRUE(SharedRuns(flat, flat).has_value());
  EXPECT_FALSE(SharedRuns(Scaled(flat, "loss", 1.1), flat).has_value());
  for (const Json& none : {Json(), Json::array(), Json::object(), Json::array({1, "x"}),
                           Json::array({Json::object()})})
    EXPECT_FALSE(SharedRuns(none, few).has_value()) << none.dump();
}

}  // namespace
}  // namespace orchestrator
