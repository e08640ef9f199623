// Priors, linear theory of designs, and the choice of runs.
#include "fit/design.h"

#include <cmath>

#include "fit/chinchilla.h"
#include "fit/equation_fit.h"
#include "fit/power.h"
#include "fit/report.h"
#include "fit/stats.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"

namespace fit {
namespace {

using ::testing::HasSubstr;

Prior PlantedPrior(double shape, double seed) {
  Prior prior = PublishedPrior("chinchilla").value();
  prior.noise = {shape, seed};
  return prior;
}

// Eight sizes at each of six budgets.
std::vector<PlannedRun> Design(int repeats = 1) {
  Planted planted;
  std::vector<PlannedRun> runs;
  for (const Observation& o : planted.Draw())
    runs.push_back({o.flops, o.budget_flops, o.params, o.tokens, repeats});
  return runs;
}

TEST(PriorTest, EveryPublishedPriorIsALawWithNoiseAndASource) {
  for (const std::string& name : PublishedPriorNames()) {
    const auto prior = PublishedPrior(name);
    ASSERT_TRUE(prior.ok());
    EXPECT_GT(prior->noise.Total(), 0) << name;
    EXPECT_FALSE(prior->source.empty() || prior->noise_source.empty()) << name;
    for (const std::vector<double>& theta : prior->draws)
      EXPECT_TRUE(prior->law->ComputeOptimal(theta, prior->largest_flops, 6).found) << name;
  }
  EXPECT_THAT(std::string(PublishedPrior("chinchila").status().message()),
              HasSubstr("did you mean 'chinchilla'?"));
}

// reference/delphi.md, section 11: the optima the prior is made from, and the runs held out of it.
TEST(PriorTest, DelphisPriorGivesItsPublishedOptimaAndHeldOutRuns) {
  const Prior prior = PublishedPrior("delphi").value();
  const struct {
    double params, tokens, loss, tolerance;
  } published[] = {{381e6, 1.48e9, 3.586, 0.007},
                   {910e6, 5.7e9, 3.195, 0.003},
                   {2.35e9, 20.9e9, 2.883, 0.003},
                   {3383110656, 46256881664, 2.75814, 0.002},
                   {9714698752, 160369213440, 2.53079, 0.004},
                   {24963098112, 628172521472, 2.3546, 0.004}};
  for (const auto& p : published)
    EXPECT_NEAR(prior.law->Loss(prior.draws[0].data(), std::log(p.params), std::log(p.tokens)),
                p.loss, p.tolerance * p.loss);
  EXPECT_NEAR(prior.law->ComputeOptimal(prior.draws[0], 3e20, 6).params, 2.35e9, 0.05 * 2.35e9);
}

TEST(PriorTest, RunsGiveBackTheirLawNoiseAndSeeds) {
  const Prior truth = PlantedPrior(0.003, 0.001);
  const std::vector<Observation> runs = SimulateSweep(truth, truth.draws[0], Design(3), 1, 0);
  const auto alone = PriorFromRuns(runs, "chinchilla", 20, 0);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(alone->draws.size(), 21u);
  EXPECT_NEAR(alone->noise.seed, 0.001, 0.0002);
  EXPECT_NEAR(alone->noise.shape, 0.003, 0.0008);
  EXPECT_NEAR(alone->draws[0][2], 1.817, 0.15);
  EXPECT_EQ(alone->largest_flops, 3e20);
  const auto few = PriorFromRuns({runs.begin(), runs.begin() + 9}, "chinchilla", 20, 0);
  EXPECT_EQ(few.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(PriorFromRuns(runs, "frontier", 20, 0).ok());
}

TEST(PriorTest, JsonOfAFitOrByHandIsAPriorAndNothingElseIs) {
  const char kParams[] = R"("params":{"E":1.8,"A":482,"B":2085,"alpha":0.35,"beta":0.37})";
  const auto by_hand =
      PriorFromJson(std::string(R"({"law":"chinchilla","noise":0.004,)") + kParams + "}", "p.json");
  ASSERT_TRUE(by_hand.ok()) << by_hand.status();
  EXPECT_EQ(by_hand->draws[0][2], 1.8);
  EXPECT_EQ(by_hand->noise.Total(), 0.004);
  const auto of_fit =
      PriorFromJson(std::string(R"({"fits":[{"law":"isoflop","params":{}},{"law":"chinchilla",)") +
                        kParams + "}]}",
                    "fit.json");
  ASSERT_TRUE(of_fit.ok()) << of_fit.status();
  EXPECT_EQ(of_fit->draws, by_hand->draws);
  EXPECT_EQ(of_fit->noise.Total(), 0) << "the file says nothing of it";
  for (const char* bad :
       {"", "[]", "{}", R"({"fits":[]})", R"({"law":"chinchilla","params":{"E":1}})",
        R"({"law":"frontier","params":{}})", R"({"law":3,"params":{}})",
        R"({"law":"chinchilla","noise":-1,"params":{"E":1,"A":1,"B":1,"alpha":1,"beta":1}})",
        R"({"law":"chinchilla","noise":{},"params":{"E":1,"A":1,"B":1,"alpha":1,"beta":1}})",
        R"({"fits":[3,{"law":3},{"law":"frontier","params":{}}]})",
        R"({"law":"chinchilla","params":{"E":1,"A":-1,"B":1,"alpha":1,"beta":1}})"}) {
    const auto prior = PriorFromJson(bad, "p.json");
    EXPECT_EQ(prior.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(prior.status().message()), HasSubstr("p.json: ")) << bad;
  }
}

// What `fit --json` says of noise: nothing without --noise-by-flops, a power of C with it.
TEST(PriorTest, JsonOfAFitGivesItsNoiseAndTakesChinchillaOfSeveralLaws) {
  const Prior truth = PlantedPrior(0.004, 0);
  const std::vector<Observation> runs = SimulateSweep(truth, truth.draws[0], Design(5), 1, 0);
  FitOptions options;
  options.laws = {"isoflop", "overtrain", "chinchilla"};
  options.law.bootstrap.resamples = 0;
  options.law.profile = options.backtest = options.sensitivity = false;
  for (const LossSpec loss :
       {LossSpec(), LossSpec{LossKind::kHuber, 0.02}, LossSpec{LossKind::kL2}}) {
    options.law.loss = loss;
    const auto fit = RunFit(runs, options);
    ASSERT_TRUE(fit.ok()) << fit.status();
    const core::Json json = FitJson(*fit);
    ASSERT_EQ(json["fits"].size(), 3u);
    const auto prior = PriorFromJson(json.dump(), "fit.json");
    ASSERT_TRUE(prior.ok()) << prior.status();
    EXPECT_EQ(prior->law->name(), "chinchilla");
    EXPECT_THAT(prior->source, HasSubstr("chinchilla in fit.json, of its fits isoflop"));
    EXPECT_NEAR(prior->noise.Total(), 0.004, 0.0004) << Name(loss.kind) << " " << loss.delta;
    EXPECT_THAT(prior->noise_source, HasSubstr("objective"));
  }
  options.law.loss = {LossKind::kHuber, 1e-3, ResidualKind::kLinear};
  const auto linear = PriorFromJson(FitJson(RunFit(runs, options).value()).dump(), "fit.json");
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_EQ(linear->noise.Total(), 0) << "nats, not ln L";
  options.law.loss = LossSpec();
  options.law.noise_by_flops = true;
  const auto by_flops = PriorFromJson(FitJson(RunFit(runs, options).value()).dump(), "fit.json");
  ASSERT_TRUE(by_flops.ok()) << by_flops.status();
  EXPECT_NEAR(by_flops->noise.Total(), 0.004, 0.0004);
  EXPECT_THAT(by_flops->noise_source, HasSubstr("the middle of its runs"));
}

TEST(PriorTest, RangesKeepTheTermsAtTheAnchorAndCoverTheirWidth) {
  const Prior prior = PlantedPrior(0.003, 0);
  const double params = 1e9, tokens = 2e10;
  const auto ranged =
      WithRanges(prior, {{"E", {1.6, 2.0}}, {"alpha", {0.3, 0.4}}}, params, tokens, 16, 3);
  ASSERT_TRUE(ranged.ok()) << ranged.status();
  ASSERT_EQ(ranged->draws.size(), 17u);
  EXPECT_NEAR(ranged->draws[0][2], 1.8, 1e-12) << "the middle first";
  double low = 9, high = 0;
  const auto term = [&](const std::vector<double>& t) { return t[0] - t[3] * std::log(params); };
  for (const std::vector<double>& theta : ranged->draws) {
    EXPECT_NEAR(term(theta), term(prior.draws[0]), 1e-9);
    low = std::min(low, theta[3]), high = std::max(high, theta[3]);
  }
  EXPECT_LT(low, 0.31);
  EXPECT_GT(high, 0.39);
  EXPECT_FALSE(WithRanges(prior, {{"gamma", {0, 1}}}, params, tokens, 4, 0).ok());
  EXPECT_FALSE(WithRanges(prior, {{"E", {-1, 1}}}, params, tokens, 4, 0).ok());
}

// Refits of many noisy draws scatter as linear theory says: with Huber's delta far above the noise,
// where it is least squares, and below it.
TEST(DesignTest, LinearTheoryIsTheScatterOfRefits) {
  for (const double noise : {1e-4, 2e-3}) {
    const Prior prior = PlantedPrior(noise, 0);
    const std::vector<PlannedRun> runs = Design();
    const PowerTarget target{3e20, 0, 0};  // in range: not widened
    std::vector<double> logs;
    const Optimum best = ChinchillaLaw().ComputeOptimal(prior.draws[0], target.flops, 6);
    for (uint64_t i = 0; i < 400; ++i) {
      const auto points = SurfacePoints(SimulateSweep(prior, prior.draws[0], runs, 5, i));
      const std::vector<double> theta =
          Refit(ChinchillaLaw(), points, std::vector<double>(points.size(), 1), LossSpec(),
                {prior.draws[0]});
      logs.push_back(std::log(
          ChinchillaLaw().Loss(theta.data(), std::log(best.params), std::log(best.tokens))));
    }
    const double mean = Mean(logs);
    for (double& x : logs) x -= mean;
    const double scatter = std::hypot(RootMeanSquare(logs), noise) * 1.6449;
    EXPECT_NEAR(LinearHalfWidth(prior, runs, target, 0.9), scatter, 0.05 * scatter);
  }
}

TEST(DesignTest, RepeatsHelpAgainstSeedsAndNotAgainstShapes) {
  const PowerTarget target{1e22, 0, 0};
  const Prior shapes = PlantedPrior(0.005, 0), seeds = PlantedPrior(0, 0.005);
  EXPECT_NEAR(LinearHalfWidth(shapes, Design(3), target, 0.9),
              LinearHalfWidth(shapes, Design(1), target, 0.9), 1e-12);
  EXPECT_LT(LinearHalfWidth(seeds, Design(3), target, 0.9),
            0.85 * LinearHalfWidth(seeds, Design(1), target, 0.9))
      << "all but the target's own";
}

TEST(DesignTest, RunsAlongOneRatioDetermineNothing) {
  std::vector<PlannedRun> line = Design();
  for (PlannedRun& run : line) run.tokens = 20 * run.params;
  const Prior prior = PlantedPrior(0.003, 0.001);
  EXPECT_GT(DesignCondition(prior, line), 1e3 * DesignCondition(prior, Design()));
  EXPECT_TRUE(std::isinf(LinearHalfWidth(prior, {line[0], line[1]}, {1e22, 0, 0}, 0.9)));
}

// The best pair out of a few candidates, by trying every pair.
TEST(DesignTest, GreedyAndExchangeFindTheBestPairAndStayWithinTheFlops) {
  const Prior prior = PlantedPrior(0.003, 0.001);
  std::vector<PlannedRun> known = Design(), candidates;
  known.resize(16);  // two budgets
  const std::vector<PlannedRun> all = Design();
  for (size_t i = 16; i < all.size(); i += 3) candidates.push_back(all[i]);
  const std::vector<PowerTarget> targets = {{1e22, 0, 0}};
  for (const Criterion criterion : {Criterion::kV, Criterion::kD}) {
    ChooseOptions options;
    options.criterion = criterion;
    options.max_flops = 1e21;
    options.max_runs = 2;
    const RunChoice choice = ChooseRuns(prior, known, candidates, targets, options);
    ASSERT_EQ(choice.runs.size(), 2u);
    EXPECT_LE(choice.flops, options.max_flops);
    EXPECT_LT(choice.half_width_after, choice.half_width_before);
    EXPECT_NEAR(choice.runs.back().half_width, choice.half_width_after, 1e-12);
    if (criterion == Criterion::kD) {
      EXPECT_GT(choice.runs[0].log_det_gain, 0);
      continue;
    }
    double best = HUGE_VAL;
    for (const PlannedRun& a : candidates)
      for (const PlannedRun& b : candidates) {
        std::vector<PlannedRun> with = known;
        with.push_back(a);
        if (&a == &b) {
          with.back().repeats = 2;
        } else {
          with.push_back(b);
        }
        best = std::min(best, LinearHalfWidth(prior, with, targets[0], 0.9));
      }
    EXPECT_NEAR(choice.half_width_after, best, 1e-9);
  }
  ChooseOptions poor;
  poor.max_flops = 1;
  EXPECT_TRUE(ChooseRuns(prior, known, candidates, targets, poor).runs.empty());
}

TEST(PowerTest, ItIsAPureFunctionOfItsInputsWhateverTheThreads) {
  const Prior prior = PlantedPrior(0.003, 0.001);
  PowerOptions options;
  options.simulations = 4;
  options.resamples = 40;
  const auto one = SimulatePower(prior, Design(), {{3e21, 0, 0}}, options);
  options.threads = 1;
  const auto two = SimulatePower(prior, Design(), {{3e21, 0, 0}}, options);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->targets[0].half_width, two->targets[0].half_width);
  EXPECT_EQ(one->targets[0].close, two->targets[0].close);
  EXPECT_NEAR(one->targets[0].reach, 10, 1e-9);
}

TEST(PowerTest, LessNoiseIsLessWidthAndAHigherChanceToBeClose) {
  PowerOptions options;
  options.simulations = 6;
  const auto quiet = SimulatePower(PlantedPrior(0.0005, 0), Design(), {{3e21, 0, 0}}, options);
  const auto loud = SimulatePower(PlantedPrior(0.005, 0), Design(), {{3e21, 0, 0}}, options);
  ASSERT_TRUE(quiet.ok() && loud.ok());
  EXPECT_LT(3 * quiet->targets[0].half_width, loud->targets[0].half_width);
  EXPECT_GT(quiet->targets[0].close, 0.9);
  EXPECT_LT(loud->targets[0].close, 0.4);
  EXPECT_LT(quiet->targets[0].error, loud->targets[0].error);
  EXPECT_GT(loud->targets[0].covered, 0.85);
}

TEST(PowerTest, WhatCannotBeSimulatedIsRefusedWithTheReason) {
  const Prior prior = PlantedPrior(0.003, 0);
  const PowerOptions options;
  EXPECT_FALSE(SimulatePower(prior, {}, {{1e21, 0, 0}}, options).ok());
  EXPECT_FALSE(SimulatePower(prior, Design(), {}, options).ok());
  EXPECT_FALSE(SimulatePower(PlantedPrior(0, 0), Design(), {{1e21, 0, 0}}, options).ok());
  std::vector<PlannedRun> two = Design();
  two.resize(2);
  const auto few = SimulatePower(prior, two, {{1e21, 0, 0}}, options);
  EXPECT_EQ(few.status().code(), absl::StatusCode::kFailedPrecondition);
}

// A seed more of a known shape shares the deviation that its known runs show.
TEST(PowerTest, KnownRunsStayAndNewOnesOfTheirShapesFollowThem) {
  const Prior prior = PlantedPrior(0.01, 0.0001);
  std::vector<Observation> known = SimulateSweep(prior, prior.draws[0], {Design()[0]}, 1, 0);
  known[0].loss *= 1.05;
  const auto sweep = SimulateSweep(prior, prior.draws[0], {Design()[0]}, 2, 0, known);
  ASSERT_EQ(sweep.size(), 2u);
  EXPECT_EQ(sweep[0].loss, known[0].loss);
  EXPECT_NEAR(sweep[1].loss / known[0].loss, 1, 0.001);
  EXPECT_EQ(sweep[1].seed, 1);
}

}  // namespace
}  // namespace fit
