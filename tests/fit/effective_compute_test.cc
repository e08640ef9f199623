// Optima of budgets whose FLOPs a parameter and token change with the model's size.
#include "fit/effective_compute.h"

#include <cmath>

#include "fit/chinchilla.h"
#include "fit/fit.h"
#include "fit/frontier.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"

namespace fit {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// As a recipe with a large vocabulary, whose embedding costs little: 4 at 30M parameters, 6.5 at
// 10B.
FlopsRelation Bent() {
  FlopsRelation relation = ProportionalFlops(6.65);
  relation.slope = -6.65 * 2190, relation.gamma = 0.5;
  relation.params_lo = 3e7, relation.params_hi = 1e10;
  return relation;
}

const std::vector<double> kBudgets = {3e18, 9e18, 1.8e19, 3e19, 9e19, 1.8e20, 3e20};
const double kTarget = 1e22;

// Optima of budgets under the relation, exactly.
FrontierFit ExactOptima(const Planted& planted) {
  FrontierFit fit;
  std::vector<double> tokens;
  for (const double c : kBudgets) {
    const Optimum best = ChinchillaLaw().ComputeOptimalUnder(planted.theta, c, Bent());
    fit.flops.push_back(c), fit.losses.push_back(best.loss);
    fit.params.push_back(best.params), tokens.push_back(best.tokens);
  }
  fit.params_law = FitPowerLaw(fit.flops, fit.params);
  fit.tokens_law = FitPowerLaw(fit.flops, tokens);
  return fit;
}

TEST(EffectiveComputeTest, OptimaOfABentRelationAreForecastExactly) {
  const Planted planted;
  const double alpha = planted.theta[3], beta = planted.theta[4];
  const Optimum truth = ChinchillaLaw().ComputeOptimalUnder(planted.theta, kTarget, Bent());
  AsymptoticOptions options;
  options.flops = Bent();
  FrontierFit fit = ExactOptima(planted);
  FitLossLaw(options, &fit);
  ASSERT_TRUE(fit.sizes.has_value() && fit.loss_law.has_value());
  EXPECT_NEAR(fit.sizes->alpha, beta / (alpha + beta), 1e-4);
  EXPECT_NEAR(fit.sizes->h, 1 / (alpha + beta), 1e-3);
  EXPECT_NEAR(fit.loss_law->p, alpha * beta / (alpha + beta), 1e-4);
  EXPECT_NEAR(fit.loss_law->E, planted.theta[2], 1e-3);
  EXPECT_NEAR(fit.loss_law->At(fit.Effective(kTarget)) / truth.loss, 1, 1e-5);
  EXPECT_NEAR(fit.ParamsAt(kTarget) / truth.params, 1, 1e-3);
  EXPECT_NEAR(fit.TokensAt(kTarget) / truth.tokens, 1, 1e-3);
  // Taken for power laws of C, the same optima miss.
  FrontierFit plain = ExactOptima(planted);
  FitLossLaw({}, &plain);
  EXPECT_GT(std::fabs(plain.loss_law->At(kTarget) / truth.loss - 1), 2e-3);
  EXPECT_GT(std::fabs(plain.ParamsAt(kTarget) / truth.params - 1), 0.02);
}

TEST(EffectiveComputeTest, AProportionalRelationLeavesThePowerLawOfC) {
  const Planted planted;
  FrontierFit plain = ExactOptima(planted), six = plain;
  FitLossLaw({}, &plain);
  AsymptoticOptions options;
  options.flops = ProportionalFlops(7.5);
  FitLossLaw(options, &six);
  EXPECT_FALSE(six.sizes.has_value());
  EXPECT_EQ(six.loss_law->E, plain.loss_law->E);
  EXPECT_EQ(six.loss_law->A, plain.loss_law->A);
  EXPECT_EQ(six.Effective(kTarget).flops, kTarget);
  EXPECT_EQ(EffectiveComputeAt(ProportionalFlops(7.5), 1e20, 1e9, 0.5).flops, 1e20);
}

TEST(EffectiveComputeTest, SizesOfNonsenseStayFinite) {
  const std::vector<double> flops = {1e18, 1e19, 1e20};
  for (const double h : {0., 4.}) {
    const auto falling = FitOptimalSizes(Bent(), flops, {1e10, 1e9, 1e8}, h);
    ASSERT_TRUE(falling.has_value());
    EXPECT_EQ(falling->alpha, 0.05);
    EXPECT_TRUE(std::isfinite(falling->At(Bent(), 1e25)));
  }
  EXPECT_FALSE(FitOptimalSizes(Bent(), {1e18, 1e18}, {1e8, 1e8}, 1).has_value());
  EXPECT_EQ(PricePower(0.5, 1e-4), 4);
  EXPECT_NEAR(PricePower(0.5, 0.25), 1, 1e-12);
}

// Runs whose C / (N D) jumps about the curve from model to model, as widths and depths do.
std::vector<Observation> Runs(const Planted& planted, double jump) {
  std::vector<Observation> runs;
  for (const double c : kBudgets) {
    const double best = ChinchillaLaw().ComputeOptimalUnder(planted.theta, c, Bent()).params;
    for (int i = -5; i <= 5; ++i) {
      Observation o;
      o.flops = o.budget_flops = c;
      o.params = best * std::exp(0.2 * i);
      // Deterministic, of either sign, and not the same at every budget.
      const double off = jump * std::sin(7 * std::log(c) + 2.3 * i);
      o.tokens = std::exp(Bent().LogTokens(std::log(o.params), c) - off);
      o.loss = planted.Loss(o.params, o.tokens);
      o.cohort["metric"] = "planted";
      o.cohort["n_convention"] = "with-embedding";
      runs.push_back(std::move(o));
    }
  }
  return runs;
}

FitSummary FitOf(const std::vector<Observation>& runs, bool learn) {
  FitOptions options;
  options.laws = {"isoflop", "frontier"};
  options.law.bootstrap.resamples = 100;
  options.backtest = false;
  options.learn_flops = learn;
  options.predict = {kTarget};
  const auto summary = RunFit(runs, options);
  EXPECT_TRUE(summary.ok()) << summary.status();
  return summary.ok() ? *summary : FitSummary();
}

// True FLOPs beside an N without embeddings: what bends is the count, and the optima follow C. Only
// runs that say their N counts everything are forecast by 6 N* D* alone.
TEST(EffectiveComputeTest, WhatBendsMayBeTheCountOfN) {
  constexpr double kVocabulary = 50304, kSets = 6;
  const double truth = Planted().Best(kTarget).loss;
  double mixed_error = 0, bent_error = 0;
  int inside = 0;
  for (uint64_t seed = 1; seed <= kSets; ++seed) {
    Planted planted;
    planted.noise = 0.002;
    std::vector<Observation> runs = planted.Draw(seed);
    for (Observation& o : runs) o.params -= kVocabulary * std::max(256., std::sqrt(o.params / 192));
    const Forecast mixed = FitOf(runs, true).predictions.at(0);
    for (Observation& o : runs) o.cohort["n_convention"] = "with-embedding";
    const Forecast bent = FitOf(runs, true).predictions.at(0);
    EXPECT_THAT(mixed.averaged->interval.method, HasSubstr("half by C"));
    EXPECT_THAT(bent.averaged->interval.method, Not(HasSubstr("half by C")));
    mixed_error += std::fabs(mixed.averaged->loss / truth - 1) / kSets;
    bent_error += std::fabs(bent.averaged->loss / truth - 1) / kSets;
    inside += mixed.averaged->interval.lo <= truth && truth <= mixed.averaged->interval.hi;
  }
  std::printf(
      "N without embeddings: off by %.2f %% mixed, %.2f %% by 6 N D alone; %d of 6 inside\n",
      100 * mixed_error, 100 * bent_error, inside);
  EXPECT_LT(mixed_error, 0.8 * bent_error);
  EXPECT_GE(inside, 5);
}

TEST(EffectiveComputeTest, FrontierFollowsARecipeThatBends) {
  const Planted planted;
  const Optimum truth = ChinchillaLaw().ComputeOptimalUnder(planted.theta, kTarget, Bent());
  for (const double jump : {0.0, 0.03}) {
    const auto runs = Runs(planted, jump);
    const FitSummary with = FitOf(runs, true), without = FitOf(runs, false);
    ASSERT_EQ(with.predictions.size(), 1u);
    ASSERT_EQ(without.predictions.size(), 1u);
    const double error = with.predictions[0].loss / truth.loss - 1;
    const double before = without.predictions[0].loss / truth.loss - 1;
    const double size = with.predictions[0].params / truth.params - 1;
    const double size_before = without.predictions[0].params / truth.params - 1;
    // Its average over the profile follows too.
    ASSERT_TRUE(with.predictions[0].averaged.has_value());
    EXPECT_LT(std::fabs(with.predictions[0].averaged->loss / truth.loss - 1), 2e-3);
    EXPECT_GT(std::fabs(without.predictions[0].averaged->loss / truth.loss - 1), 3e-3);
    std::printf(
        "C / (N D) jumps by %.0f %%: L* off by %+.3f %% (was %+.3f %%), N* by %+.1f %% (%+.1f "
        "%%)\n",
        100 * jump, 100 * error, 100 * before, 100 * size, 100 * size_before);
    EXPECT_LT(std::fabs(error), 1e-3);
    EXPECT_LT(std::fabs(error), 0.25 * std::fabs(before));
    EXPECT_LT(std::fabs(size), 0.05);
    const LawFit &isoflop = with.fits[0], &frontier = with.fits[1];
    EXPECT_THAT(frontier.equation, HasSubstr("X^-p"));
    EXPECT_THAT(without.fits[1].equation, Not(HasSubstr("X^-p")));
    EXPECT_EQ(frontier.compute->moved_rms > 0, jump > 0);
    // The published procedure goes through the runs as they are.
    EXPECT_EQ(isoflop.params, without.fits[0].params);
    const Interval& interval = with.predictions[0].interval;
    EXPECT_LT(interval.lo, truth.loss);
    EXPECT_GT(interval.hi, truth.loss);
  }
}

}  // namespace
}  // namespace fit
