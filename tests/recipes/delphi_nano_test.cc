#include "recipes/delphi_nano.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "recipes/transformer_shape.h"

namespace recipes {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const Recipe& Nano() { return **FindRecipe("delphi-nano"); }

Setting Sizes(int64_t vocab, int64_t seq_len) {
  Setting setting;
  setting.vocab = vocab;
  setting.seq_len = seq_len;
  return setting;
}

TEST(DelphiNanoTest, QuickstartBudgetsHaveFiveCandidates) {
  for (const double flops : {1e11, 3e11, 1e12, 3e12, 1e13, 3e13}) {
    const auto list = Nano().Candidates({"training_flops", flops}, Sizes(512, 256));
    ASSERT_TRUE(list.ok()) << list.status();
    EXPECT_GE(list->candidates.size(), 5u) << flops;
  }
}

TEST(DelphiNanoTest, TheLargerScaleHasCandidatesUpToTheEndOfItsRange) {
  for (const double flops : {1e13, 3e13, 1e14, 3e14, 1e15, 3e15, 1e16, 3e16, 1e17, 1e18}) {
    const auto list = Nano().Candidates({"training_flops", flops}, Sizes(1024, 512));
    ASSERT_TRUE(list.ok()) << list.status();
    EXPECT_GE(list->candidates.size(), 7u) << flops;
  }
}

// What the design promises of every point, over the whole range and several settings.
TEST(DelphiNanoTest, EveryCandidateKeepsThePromisesOfTheDesign) {
  int64_t seen = 0;
  for (const auto& [vocab, seq_len] : std::vector<std::pair<int64_t, int64_t>>{
           {257, 128}, {512, 256}, {1024, 512}, {8192, 1024}}) {
    for (double flops = 1e11; flops <= 1e18; flops *= 1.7) {
      const Setting setting = Sizes(vocab, seq_len);
      const auto list = Nano().Candidates({"training_flops", flops}, setting);
      if (!list.ok()) continue;
      int64_t last_hidden = 0;
      for (const Candidate& c : list->candidates) {
        ++seen;
        SCOPED_TRACE(testing::Message() << flops << " width " << c.hidden);
        const auto plan = Nano().MakePlan(c, setting);
        ASSERT_TRUE(plan.ok()) << plan.status();
        const auto s = *ShapeOf(plan->model);
        EXPECT_GT(c.hidden, last_hidden);
        last_hidden = c.hidden;
        EXPECT_GE(s.layers, 2);
        EXPECT_EQ(s.head_dim, s.hidden < 64    ? s.hidden
                              : s.hidden < 256 ? 32
                              : s.hidden < 512 ? 64
                                               : 128);
        EXPECT_GE(plan->steps, 1000);
        EXPECT_EQ(plan->batch & (plan->batch - 1), 0);
        EXPECT_EQ(plan->tokens, plan->steps * plan->batch * seq_len);
        EXPECT_EQ(plan->params, CountParams(s).Total());
        const double ratio = c.tokens_exact / static_cast<double>(plan->params);
        EXPECT_GE(ratio, 1);
        EXPECT_LE(ratio, 250);
        EXPECT_NEAR(plan->recipe_flops / flops, 1, 1e-3);
        for (const OptimizerGroup& group : plan->optimizer) {
          EXPECT_LE(1 / (1 - group.beta2), 0.1 * static_cast<double>(plan->steps) * (1 + 1e-9));
          EXPECT_LE(group.peak_lr, 0.1);
        }
        const double head = 2.0 * static_cast<double>(s.hidden * vocab) /
                            *Nano().ForwardFlopsPerToken(plan->model, seq_len);
        EXPECT_EQ(head > 0.4, std::count(plan->clamps.begin(), plan->clamps.end(), "head_share"));
        const auto& schedule = plan->schedule;
        EXPECT_EQ(schedule.warmup_steps + schedule.stable_steps + schedule.decay_steps,
                  plan->steps);
        EXPECT_EQ(plan->phases[0].steps, plan->steps);
      }
    }
  }
  EXPECT_GT(seen, 500);
}

TEST(DelphiNanoTest, DepthStaysWithinATenthOfTheRealDepthAboveTheFloor) {
  const auto list = Nano().Candidates({"training_flops", 1e15}, Sizes(1024, 512));
  ASSERT_TRUE(list.ok());
  for (const Candidate& c : list->candidates) {
    const double h = static_cast<double>(c.hidden);
    const double real = h / std::max(40.0, -100 + 19 * std::log2(h));
    const double layers = static_cast<double>(ShapeOf(c.model)->layers);
    if (real >= 2) {
      EXPECT_LE(std::fabs(real - layers), 0.1 * layers) << c.hidden;
    }
  }
  bool dropped = false;
  for (const Rejection& r : list->rejections)
    dropped |= r.hidden == 96 && r.reason.find("depth would be 2.4") != std::string::npos;
  EXPECT_TRUE(dropped);
}

TEST(DelphiNanoTest, ABudgetWithTooFewCandidatesNamesWhatWouldAllowIt) {
  const auto list = Nano().Candidates({"training_flops", 1e11}, Sizes(4096, 1024));
  ASSERT_FALSE(list.ok());
  const std::string message(list.status().message());
  EXPECT_THAT(message, HasSubstr("with vocabulary 4096 and seq_len 1024"));
  EXPECT_THAT(message, HasSubstr("or a budget of"));
  // The setting it names does work.
  int64_t vocab = 0, seq_len = 0;
  const size_t at = message.find("; vocabulary ");
  ASSERT_NE(at, std::string::npos) << message;
  ASSERT_EQ(
      std::sscanf(message.c_str() + at, "; vocabulary %ld with seq_len %ld", &vocab, &seq_len), 2);
  EXPECT_TRUE(Nano().Candidates({"training_flops", 1e11}, Sizes(vocab, seq_len)).ok()) << message;
}

TEST(DelphiNanoTest, BudgetsOutsideItsRangeAreRefused) {
  for (const double flops : {1e10, 3e18}) {
    const auto list = Nano().Candidates({"training_flops", flops}, Sizes(512, 256));
    EXPECT_THAT(std::string(list.status().message()), HasSubstr("1e+11 to 1e+18"));
  }
}

TEST(DelphiNanoTest, ThePriorIsTwentyTokensAParam) {
  for (const double flops : {1e12, 1e14, 1e16}) {
    const Setting setting = Sizes(1024, 512);
    const double tokens = *Nano().PriorOptimalTokens(flops, setting);
    // Between the neighbours on the grid whose ratios enclose 20.
    double above = 0, below = 0;
    const auto list = Nano().Candidates({"training_flops", flops}, setting);
    ASSERT_TRUE(list.ok()) << list.status();
    for (const Candidate& c : list->candidates) {
      const double ratio = c.tokens_exact / static_cast<double>(c.params);
      if (ratio > 20) above = c.tokens_exact;
      if (ratio <= 20 && below == 0) below = c.tokens_exact;
    }
    EXPECT_LE(tokens, above);
    EXPECT_GE(tokens, below);
  }
}

TEST(DelphiNanoTest, OverriddenConstantsChangeTheVersionAndNothingElseDoes) {
  Setting frozen = Sizes(512, 256), same = frozen, tuned = frozen, other = frozen;
  same.constants["adamh_lr"] = 0.007;
  tuned.constants["adamh_lr"] = 0.02;
  other.constants["adamh_lr"] = 0.03;
  const auto candidates = Nano().Candidates({"training_flops", 1e12}, frozen)->candidates;
  auto plan = [&candidates](const Setting& setting) {
    return *Nano().MakePlan(candidates[3], setting);
  };
  EXPECT_EQ(plan(frozen).recipe_version, "v1");
  EXPECT_EQ(plan(same).recipe_version, "v1");
  EXPECT_THAT(plan(tuned).recipe_version, HasSubstr("v1+"));
  EXPECT_NE(plan(tuned).recipe_version, plan(other).recipe_version);
  EXPECT_DOUBLE_EQ(plan(tuned).optimizer[0].peak_lr / plan(frozen).optimizer[0].peak_lr, 2 / 0.7);
  Setting misspelt = frozen;
  misspelt.constants["adamh_rl"] = 1;
  const auto refused = Nano().MakePlan(candidates[3], misspelt);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("did you mean 'adamh_lr'?"));
}

TEST(DelphiNanoTest, AnAveragingWindowLongerThanItsShareOfTheRunIsCutAndFlagged) {
  Setting setting = Sizes(512, 256);
  setting.constants["beta2"] = 0.99999;
  const auto candidates = Nano().Candidates({"training_flops", 1e12}, setting)->candidates;
  const Plan plan = *Nano().MakePlan(candidates[0], setting);
  EXPECT_THAT(plan.clamps, Contains("beta2_steps"));
  EXPECT_DOUBLE_EQ(plan.optimizer[0].beta2, 1 - 20.0 / static_cast<double>(plan.steps));
}

TEST(DelphiNanoTest, ALearningRateAtItsCapHalvesTheBatchAndIsFlagged) {
  Setting setting = Sizes(1024, 512);
  setting.constants["lr_cap"] = 0.02;
  const Setting plain = Sizes(1024, 512);
  const auto capped = Nano().Candidates({"training_flops", 1e15}, setting)->candidates;
  const auto free = Nano().Candidates({"training_flops", 1e15}, plain)->candidates;
  EXPECT_THAT(capped[0].clamps, Contains("lr_cap"));
  EXPECT_LT(capped[0].batch, free[0].batch);
}

}  // namespace
}  // namespace recipes
