#include "sweeps/expand.h"

#include <cmath>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "recipes/transformer_shape.h"
#include "sweeps/estimate.h"

namespace sweeps {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

SweepFile Parsed(const std::string& text) {
  auto file = ParseSweepFile(text, "s.yaml");
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : SweepFile();
}

SweepFile Shipped(const std::string& name) {
  return *LoadSweepFile(SWEEP_SOURCE_DIR "/sweeps/" + name + ".yaml");
}

std::string ErrorOf(const SweepFile& file) {
  const auto trials = Expand(file);
  return trials.ok() ? "accepted" : std::string(trials.status().message());
}

std::vector<PlannedTrial> Expanded(const SweepFile& file, const ExpandOptions& options = {}) {
  auto trials = Expand(file, options);
  EXPECT_TRUE(trials.ok()) << trials.status();
  return trials.ok() ? *std::move(trials) : std::vector<PlannedTrial>();
}

recipes::DataSpec Prepared() {
  recipes::DataSpec data;
  data.sources = {{"code", 1, 0, "manifest", 1000000}};
  data.tokenizer_hash = "tokenizer";
  data.eval_hash = "eval";
  return data;
}

TEST(ExpandTest, TheQuickstartIsTwentyTrialsAroundTwentyTokensAParam) {
  const auto trials = Expand(Shipped("quickstart"));
  ASSERT_TRUE(trials.ok()) << trials.status();
  ASSERT_THAT(*trials, SizeIs(20));
  for (size_t budget = 0; budget < 4; ++budget) {
    double sum = 0;
    for (size_t i = 0; i < 5; ++i) {
      const recipes::Plan& plan = (*trials)[5 * budget + i].plan;
      EXPECT_EQ(plan.budget.amount, (std::vector<double>{1e11, 3e11, 1e12, 3e12})[budget]);
      EXPECT_EQ(plan.model.config["vocab_size"], 512);
      EXPECT_EQ(plan.seq_len, 256);
      sum += std::log(static_cast<double>(plan.tokens) / static_cast<double>(plan.params));
    }
    EXPECT_NEAR(std::exp(sum / 5), 20, 10) << budget;
  }
}

TEST(ExpandTest, ShippedSweepsHaveTheSizesTheyPromise) {
  EXPECT_THAT(Expanded(Shipped("delphi")), SizeIs(78));
  EXPECT_GE(Expanded(Shipped("isoflop")).size(), 40u);
}

TEST(ExpandTest, TrialsHaveIdsOnceDataArePreparedAndTheyAreDistinct) {
  const SweepFile file = Shipped("quickstart");
  for (const PlannedTrial& trial : Expanded(file)) EXPECT_EQ(trial.trial_id, "");
  ExpandOptions options;
  options.data = Prepared();
  std::set<std::string> ids;
  const auto trials = Expand(file, options);
  ASSERT_TRUE(trials.ok());
  for (const PlannedTrial& trial : *trials) {
    EXPECT_EQ(trial.trial_id.size(), 64u);
    ids.insert(trial.trial_id);
  }
  EXPECT_THAT(ids, SizeIs(20));
  // A larger sweep of the same science contains the smaller one's ids.
  SweepFile larger = file;
  larger.points = std::nullopt;
  std::set<std::string> more;
  for (const PlannedTrial& trial : Expanded(larger, options)) more.insert(trial.trial_id);
  EXPECT_GT(more.size(), ids.size());
  for (const std::string& id : ids) EXPECT_EQ(more.count(id), 1u);
}

TEST(ExpandTest, SeedsMultiplyTrialsAndMoveBothSeeds) {
  SweepFile file = Shipped("quickstart");
  file.seeds = 3;
  const auto trials = Expand(file);
  ASSERT_THAT(*trials, SizeIs(60));
  for (uint64_t i = 0; i < 6; ++i) {
    EXPECT_EQ((*trials)[i].plan.init_seed, i % 3);
    EXPECT_EQ((*trials)[i].plan.data_seed, i % 3);
  }
  EXPECT_EQ((*trials)[0].plan.params, (*trials)[2].plan.params);
}

TEST(ExpandTest, ErrorsPointAtTheKeyThatIsWrong) {
  EXPECT_EQ(ErrorOf(Parsed("name: s\nrecipe: delphi-nono\nbudgets: [1e13]\n")),
            "s.yaml:2:9: there is no recipe 'delphi-nono'; did you mean 'delphi-nano'? (recipes: "
            "delphi, delphi-nano, complete-p)");
  const std::string small =
      ErrorOf(Parsed("name: s\nrecipe: delphi-nano\nvocab: 4096\nseq_len: 1024\n"
                     "budgets: [1e15, 1e11]\n"));
  EXPECT_THAT(small, HasSubstr("s.yaml:5:17: recipe delphi-nano has"));
  EXPECT_THAT(small, HasSubstr("allow it"));
  EXPECT_THAT(small, testing::ContainsRegex("vocabulary [0-9]+ with seq_len [0-9]+"));
  EXPECT_THAT(ErrorOf(Parsed("name: s\nrecipe: delphi\nbudgets: [3e18]\npoints: 6\n")),
              HasSubstr("s.yaml:4:9: points is 6, and recipe delphi has 5 candidates at 3e+18 "
                        "FLOPs (widths 512 to 1024); ask for 5 or fewer"));
  EXPECT_THAT(ErrorOf(Parsed("name: s\nrecipe: delphi\nbudgets: [1e15]\n")),
              HasSubstr("s.yaml:3:11: recipe delphi has no candidate"));
}

TEST(ExpandTest, PointsAreNeighboursCentredInLogTokens) {
  const auto& recipe = **recipes::FindRecipe("delphi");
  const auto all = recipe.Candidates({"training_flops", 9e19}, recipes::Setting())->candidates;
  ASSERT_GT(all.size(), 8u);
  for (size_t centre = 2; centre + 2 < all.size(); ++centre) {
    const auto chosen = ChoosePoints(all, 3, all[centre].tokens_exact);
    ASSERT_THAT(chosen, SizeIs(3));
    EXPECT_LT(chosen[0].hidden, chosen[1].hidden);
    EXPECT_LE(std::abs(chosen[1].hidden - all[centre].hidden), 256);
  }
  EXPECT_EQ(ChoosePoints(all, 3, 1e30).front().hidden, all.front().hidden);
  EXPECT_EQ(ChoosePoints(all, 3, 1).back().hidden, all.back().hidden);
}

TEST(ExpandTest, AMeasuredFrontierOrARatioMovesTheWindow) {
  SweepFile file = Parsed("name: s\nrecipe: delphi\nbudgets: [9e19]\npoints: 3\n");
  auto widest = [](const SweepFile& f, const ExpandOptions& options) {
    return *ShapeOf(Expanded(f, options).back().plan.model);
  };
  const int64_t by_prior = widest(file, {}).hidden;
  ExpandOptions options;
  options.frontier = Frontier{0.026719627901911736 / 4, 0.5800829529762268};
  EXPECT_GT(widest(file, options).hidden, by_prior);
  file.tokens_per_param = 200;
  EXPECT_LT(widest(file, {}).hidden, by_prior);
}

TEST(ExpandTest, TheTargetIsTheSmallestRunAtOrAboveTheOptimum) {
  const auto& recipe = **recipes::FindRecipe("delphi");
  const auto target = ChooseTarget(recipe, 1e21, 4.0604336510e10, recipes::Setting());
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->params, 3383110656);
  EXPECT_FALSE(ChooseTarget(recipe, 1e10, 1e6, recipes::Setting()).ok());
}

constexpr char kSearch[] =
    "name: t\nrecipe: delphi-nano\nmethod: search\nvocab: 512\nseq_len: 256\n"
    "at: {budget: 1e12, hidden: 32}\n";

TEST(SearchTest, ListsMultiplyIntoEveryCombination) {
  const auto trials = Expand(Parsed(std::string(kSearch) +
                                    "parameters: {adamh_lr: [0.01, 0.02], adam_lr: [1e-3, 4e-3, "
                                    "1e-2]}\n"));
  ASSERT_TRUE(trials.ok()) << trials.status();
  ASSERT_THAT(*trials, SizeIs(6));
  std::set<std::pair<double, double>> rates;
  std::set<std::string> versions;
  for (const PlannedTrial& trial : *trials) {
    rates.insert({trial.plan.optimizer[0].peak_lr, trial.plan.optimizer[1].peak_lr});
    versions.insert(trial.plan.recipe_version);
    EXPECT_EQ(ShapeOf(trial.plan.model)->hidden, 32);
  }
  EXPECT_THAT(rates, SizeIs(6));
  EXPECT_THAT(versions, SizeIs(6));
  EXPECT_EQ(versions.count("v1"), 0u);
}

TEST(SearchTest, DrawsAreReproducibleAndInsideTheirRange) {
  const std::string text = std::string(kSearch) +
                           "parameters: {adamh_lr: {loguniform: [1e-3, 1e-1]}, beta1: [0.8, "
                           "0.95]}\nsamples: 40\nseed: 7\n";
  const auto once = Expand(Parsed(text)), again = Expand(Parsed(text));
  ASSERT_TRUE(once.ok()) << once.status();
  ASSERT_THAT(*once, SizeIs(40));
  int below = 0;
  for (size_t i = 0; i < once->size(); ++i) {
    EXPECT_EQ(*recipes::PlanBytes((*once)[i].plan), *recipes::PlanBytes((*again)[i].plan));
    const double beta1 = (*once)[i].plan.optimizer[0].beta1;
    EXPECT_TRUE(beta1 == 0.8 || beta1 == 0.95);
    below += (*once)[i].plan.optimizer[0].peak_lr < 0.01;
  }
  EXPECT_GT(below, 8);
  EXPECT_LT(below, 32);
}

TEST(SearchTest, MistakesPointAtTheirKey) {
  EXPECT_THAT(ErrorOf(Parsed(std::string(kSearch) + "parameters: {adamh_rl: [1]}\n")),
              HasSubstr("s.yaml:7:24: recipe delphi-nano has no constant 'adamh_rl'; did you mean "
                        "'adamh_lr'?"));
  EXPECT_THAT(ErrorOf(Parsed("name: t\nrecipe: delphi-nano\nmethod: search\nvocab: 512\nseq_len: "
                             "256\nat: {budget: 1e12, hidden: 33}\nparameters: {beta1: [0.8]}\n")),
              HasSubstr("s.yaml:6:28: recipe delphi-nano has no candidate of width 33 at 1e+12 "
                        "FLOPs; it has 16, 20"));
}

TEST(CohortTest, SeedsAndShapesShareACohortAndDataOrRecipeDoNot) {
  ExpandOptions options;
  options.data = Prepared();
  SweepFile file = Shipped("quickstart");
  file.seeds = 2;
  const auto trials = Expanded(file, options);
  for (const PlannedTrial& trial : trials)
    EXPECT_EQ(CohortOf(trial.plan), CohortOf(trials[0].plan));
  options.data->tokenizer_hash = "other";
  EXPECT_NE(CohortOf(Expanded(file, options)[0].plan), CohortOf(trials[0].plan));
  recipes::Plan tuned = trials[0].plan;
  tuned.recipe_version += "+abc";
  EXPECT_NE(CohortOf(tuned), CohortOf(trials[0].plan));
}

TEST(EstimateTest, CostIsTheSumAndEpochsFollowWeights) {
  ExpandOptions options;
  options.data = Prepared();
  options.data->sources = {{"a", 3, 0, "m", 1000}, {"b", 1, 0, "m", 500}};
  const auto trials = Expanded(Shipped("quickstart"), options);
  const recipes::Plan& plan = trials[0].plan;
  const auto epochs = EpochsOfSources(plan);
  EXPECT_DOUBLE_EQ(epochs[0], 0.75 * static_cast<double>(plan.tokens) / 1000);
  EXPECT_DOUBLE_EQ(epochs[1], 0.25 * static_cast<double>(plan.tokens) / 500);
  EXPECT_TRUE(std::isnan(EpochsOfSources(Expanded(Shipped("quickstart"))[0].plan)[0]));
  const Cost cost = EstimateCost({&plan, &plan}, 1e10, 3.6);
  EXPECT_DOUBLE_EQ(cost.seconds, 2 * plan.model_flops / 1e10);
  EXPECT_DOUBLE_EQ(cost.dollars, cost.seconds / 1000);
  EXPECT_EQ(cost.tokens, 2 * plan.tokens);
  EXPECT_GT(EstimateMemoryBytes(trials.back().plan), 16.0 * static_cast<double>(plan.params));
}

}  // namespace
}  // namespace sweeps
