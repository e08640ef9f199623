// Averages over the profile of a law whose lack of fit drifts, and how they reach a forecast.
#include "fit/drift.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/rng.h"
#include "fit/drift_law.h"
#include "fit/fit.h"
#include "fit/forecast.h"
#include "fit/frontier.h"
#include "fit/frontier_model.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"
#include "tests/fit/quick_fit.h"

namespace fit {
namespace {

constexpr double kE = 1.8, kA = 1.2, kP = 0.17, kFirst = 1e18;

double Curve(double flops) { return kE + kA * std::pow(flops / kFirst, -kP); }

DriftPoint At(double flops, double loss = 0) {
  return {std::log(flops), {std::log(flops), 0}, loss};
}

// Optima of budgets a factor of 2 apart: independent scatter, and a random walk of the law.
std::vector<DriftPoint> Optima(int budgets, double noise, double walk, uint64_t seed,
                               double* drift = nullptr) {
  core::Rng rng(seed);
  std::vector<DriftPoint> points;
  double off = 0;
  for (int i = 0; i < budgets; ++i) {
    const double flops = kFirst * std::exp2(i);
    off += walk * rng.Normal();
    points.push_back(At(flops, Curve(flops) * std::exp(off + noise * rng.Normal())));
  }
  if (drift != nullptr) *drift = off;
  return points;
}

TEST(DriftFitTest, ACurveWithoutNoiseIsContinued) {
  const auto fit = DriftFit::Fit(Optima(9, 0, 0, 1), {});
  ASSERT_TRUE(fit.has_value());
  const double target = kFirst * 256 * 10;
  const DriftForecast forecast = fit->At(At(target));
  EXPECT_NEAR(forecast.loss / Curve(target), 1, 2e-4);
  EXPECT_LT(std::log(forecast.hi / forecast.lo), 5e-3);
  EXPECT_LT(fit->E_lo(), kE);
  EXPECT_GT(fit->E_hi(), kE);
}

TEST(DriftFitTest, ASurfaceWithoutNoiseIsContinued) {
  Planted planted;
  std::vector<DriftPoint> points;
  for (const Observation& o : planted.Draw())
    points.push_back(
        {std::log(o.flops), {std::log(o.params), std::log(o.tokens)}, o.loss, 1, o.loss});
  DriftOptions options;
  options.terms = 2;
  options.scale = 0.01;
  options.weigh_runs = true;
  const auto clean = DriftFit::Fit(points, options);
  ASSERT_TRUE(clean.has_value());
  const Optimum best = planted.Best(3e21);
  const DriftPoint target{std::log(3e21), {std::log(best.params), std::log(best.tokens)}, 0};
  EXPECT_NEAR(clean->At(target).loss / best.loss, 1, 5e-4);
  // One run of 48 that went wrong.
  points[20].loss *= 1.2;
  const auto spoilt = DriftFit::Fit(points, options);
  ASSERT_TRUE(spoilt.has_value());
  EXPECT_NEAR(spoilt->At(target).loss / best.loss, 1, 2e-3);
  options.weigh_runs = false;
  EXPECT_GT(std::fabs(DriftFit::Fit(points, options)->At(target).loss / best.loss - 1), 4e-3);
}

// Of a prior that is uniform in E next to nothing lies at 0, so the weight alone never allows it.
TEST(DriftFitTest, NoAsymptoteAtAllIsInTheRangeWhereTheRunsAllowIt) {
  constexpr int kSets = 20;
  int held = 0;
  for (uint64_t seed = 1; seed <= kSets; ++seed) {
    Planted planted;
    planted.theta[2] = 0;
    planted.theta[3] = planted.theta[4] = 0.12;
    planted.noise = 0.003;
    std::vector<DriftPoint> points;
    for (const Observation& o : planted.Draw(seed))
      points.push_back({std::log(o.flops), {std::log(o.params), std::log(o.tokens)}, o.loss, 1, 0});
    DriftOptions options;
    options.terms = 2, options.scale = 0.01;
    options.usual_g = 0.35, options.prior_spread = 0.6;
    const auto fit = DriftFit::Fit(points, options);
    ASSERT_TRUE(fit.has_value());
    held += fit->E_lo() == 0;
    const Optimum best = planted.Best(1e22);
    const DriftForecast at =
        fit->At({std::log(1e22), {std::log(best.params), std::log(best.tokens)}, 0});
    EXPECT_LT(at.at_E_lo, at.at_E_hi);
  }
  EXPECT_GE(held, 16);
}

// Where a law is a little wrong, and alike in neighbouring budgets, its end says most about what
// comes next: least squares errs more. Where noise is independent, little is lost. `drift` and
// `noise` are the steps of the walk and the scatter, relative.
void CompareWithLeastSquares(double drift, double noise, int budgets, double at_most,
                             double at_least) {
  constexpr int kSets = 200, kReach = 4;
  double ours = 0, least_squares = 0;
  int inside = 0;
  for (uint64_t seed = 0; seed < kSets; ++seed) {
    double off = 0;
    const auto points = Optima(budgets, noise, drift, 100 + seed, &off);
    const double target = kFirst * std::exp2(budgets - 1) * kReach;
    core::Rng rng(7000 + seed);
    off += drift * std::sqrt(std::log2(kReach)) * rng.Normal();
    const double actual = Curve(target) * std::exp(off + noise * rng.Normal());
    const auto fit = DriftFit::Fit(points, {});
    ASSERT_TRUE(fit.has_value());
    const DriftForecast forecast = fit->At(At(target));
    inside += forecast.lo <= actual && actual <= forecast.hi;
    std::vector<double> flops, losses;
    for (const DriftPoint& p : points)
      flops.push_back(std::exp(p.log_flops)), losses.push_back(p.loss);
    const auto law = FitAsymptotic(flops, losses, {});
    ASSERT_TRUE(law.has_value());
    ours += std::pow(std::log(forecast.loss / actual), 2);
    least_squares += std::pow(std::log(law->At(target) / actual), 2);
  }
  const double ratio = std::sqrt(ours / least_squares);
  std::printf("walk %g %%, scatter %g %%: error %.2f of that of least squares, %.1f %% inside\n",
              100 * drift, 100 * noise, ratio, 100.0 * inside / kSets);
  EXPECT_LT(ratio, at_most);
  EXPECT_GT(inside, at_least * kSets);
  EXPECT_LT(inside, 0.97 * kSets);
}

// Where nearly all of the scatter is drift, the constants take some of it: 82 % are held.
TEST(DriftFitTest, ADriftingLackOfFitIsFollowed) {
  CompareWithLeastSquares(.01, .0005, 16, .92, .78);
}

TEST(DriftFitTest, IndependentNoiseIsNotTakenForDrift) {
  CompareWithLeastSquares(0, .004, 16, 1.1, .87);
}

TEST(DriftFitTest, ThePriorOfExponentsFadesAsBudgetsAreAdded) {
  DriftOptions with;
  with.usual_g = 0.5, with.prior_spread = 0.3;  // far from the planted 0.17
  const auto moved = [&](int budgets) {
    const auto points = Optima(budgets, 0.002, 0, 3);
    const DriftPoint target = At(kFirst * std::exp2(budgets + 2));
    return std::fabs(std::log(DriftFit::Fit(points, with)->At(target).loss /
                              DriftFit::Fit(points, {})->At(target).loss));
  };
  EXPECT_GT(moved(5), 0.003);
  EXPECT_LT(moved(40), 0.2 * moved(5));
}

TEST(DriftFitTest, TheAsymptoteLiesBelowEveryLossThatWasReached) {
  DriftOptions options;
  EXPECT_FALSE(DriftFit::Fit(Optima(2, 0.002, 0, 5), {}).has_value());
  // By runs that are not fitted too.
  options.lowest_loss = 1.2;
  EXPECT_LT(DriftFit::Fit(Optima(7, 0.002, 0, 5), options)->E_hi(), 1.2);
}

TEST(DriftLawTest, TheLawsOwnForecastStaysAsItIs) {
  Planted planted;
  planted.noise = 0.003;
  const auto runs = planted.Draw();
  LawOptions options;
  options.bootstrap.resamples = 50;
  const auto plain = MakeFrontierModel()->Fit(runs, options);
  const auto with = LawByName("frontier")->Fit(runs, options);
  ASSERT_TRUE(plain.ok() && with.ok());
  const auto own = (*plain)->Predict({3e21}), same = (*with)->Predict({3e21});
  EXPECT_EQ(own->loss, same->loss);
  EXPECT_EQ(own->interval.lo, same->interval.lo);
  EXPECT_EQ(own->interval.hi, same->interval.hi);
  EXPECT_FALSE(own->averaged.has_value());
  ASSERT_TRUE(same->averaged.has_value());
  EXPECT_THAT(same->averaged->interval.method, testing::HasSubstr("weak prior"));
  options.exponent_prior = false;
  const auto without = (*LawByName("frontier")->Fit(runs, options))->Predict({3e21});
  EXPECT_THAT(without->averaged->interval.method, testing::HasSubstr("no prior"));
  EXPECT_NE(without->averaged->loss, same->averaged->loss);
  // A profile needs no bootstrap.
  options.bootstrap.resamples = 0;
  const auto bare = (*LawByName("frontier")->Fit(runs, options))->Predict({3e21});
  EXPECT_TRUE(std::isnan(bare->interval.lo));
  EXPECT_EQ(bare->averaged->loss, without->averaged->loss);
  EXPECT_EQ(bare->averaged->interval.lo, without->averaged->interval.lo);
}

// Optima determine no surface; who asked for several laws still gets the average over the profile,
// who asked for one gets that one.
TEST(DriftLawTest, OneDeterminedLawOfSeveralIsAveragedOverItsProfile) {
  std::vector<Observation> optima;
  for (const DriftPoint& p : Optima(8, 0.003, 0, 11)) {
    Observation o;
    o.flops = o.budget_flops = std::exp(p.log_flops);
    o.params = std::sqrt(o.flops / 120), o.tokens = o.flops / 6 / o.params;
    o.loss = p.loss;
    o.cohort = {{"metric", "planted"}};
    optima.push_back(o);
  }
  FitOptions options;
  options.law.observations_are_optima = true;
  options.law.bootstrap.resamples = 60;
  options.sensitivity = false;
  options.predict = {1e21};
  const auto several = RunFit(optima, options);
  ASSERT_TRUE(several.ok()) << several.status();
  const Forecast& forecast = several->predictions[0];
  EXPECT_EQ(forecast.law, "average");
  ASSERT_EQ(forecast.members.size(), 1u);
  EXPECT_EQ(forecast.members[0].law, "frontier");
  EXPECT_THAT(forecast.interval.method, testing::HasSubstr("averaged over its profile"));
  // No narrower than what E alone does.
  ASSERT_TRUE(forecast.asymptote.has_value());
  EXPECT_LE(forecast.interval.lo,
            std::min(forecast.asymptote->loss_at_E_lo, forecast.asymptote->loss_at_E_hi));
  EXPECT_GE(forecast.interval.hi,
            std::max(forecast.asymptote->loss_at_E_lo, forecast.asymptote->loss_at_E_hi));
  options.laws = {"frontier"};
  const auto one = RunFit(optima, options);
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->predictions[0].law, "frontier");
}

// What a fit prints by default, at budgets that were fitted: 250 planted experiments, a new run at
// every budget's optimum.
TEST(DriftLawTest, DefaultIntervalsInRangeHoldWhatTheyPromise) {
  constexpr int kSets = 250;
  int inside = 0, all = 0;
  for (uint64_t set = 0; set < kSets; ++set) {
    Planted planted;
    planted.noise = 0.004;
    planted.points = 12;
    LawOptions options;
    options.bootstrap.resamples = 5;  // the average over the profile has no need of them
    options.bootstrap.seed = set;
    options.starts = 6;
    options.profile = false;
    const auto runs = planted.Draw(1000 + set);
    std::vector<std::unique_ptr<FittedLaw>> laws;
    std::vector<const FittedLaw*> views;
    for (const char* law : {"frontier", "chinchilla"}) {
      auto fitted = LawByName(law)->Fit(runs, options);
      ASSERT_TRUE(fitted.ok());
      laws.push_back(*std::move(fitted));
      views.push_back(laws.back().get());
    }
    core::Rng rng(9000 + set);
    for (const double budget : planted.budgets) {
      const Optimum best = planted.Best(budget);
      const auto forecasts =
          ForecastAt(views, {budget, best.params, best.tokens}, {1e18, 3e20, 1e21, "planted"}, {});
      ASSERT_EQ(forecasts[0].law, "average");
      const double fresh = best.loss * std::exp(planted.noise * rng.Normal());
      inside += forecasts[0].interval.lo <= fresh && fresh <= forecasts[0].interval.hi;
      ++all;
    }
  }
  const double coverage = 100.0 * inside / all;
  std::printf("the default interval in range: %.2f %% of %d new runs\n", coverage, all);
  EXPECT_GT(coverage, 88);
  EXPECT_LT(coverage, 92);
}

// A run far out, where it has leverage: least squares of the average's own would follow it.
TEST(DriftLawTest, OneBadRunAtTheEdgeOfTheDesignIsNotFollowed) {
  Planted planted;
  planted.noise = 0.003;
  auto runs = planted.Draw(5);
  Observation bad = runs[0];
  bad.params = planted.Best(bad.flops).params * 10;
  bad.tokens = bad.flops / 6 / bad.params;
  bad.loss = 1.3 * planted.Loss(bad.params, bad.tokens);
  runs.push_back(bad);
  LawOptions options;
  options.bootstrap.resamples = 50;
  options.starts = 6;
  options.profile = false;
  const auto fitted = LawByName("chinchilla")->Fit(runs, options);
  ASSERT_TRUE(fitted.ok());
  constexpr double kTarget = 1e22;
  const auto forecast = (*fitted)->Predict({kTarget});
  ASSERT_TRUE(forecast.has_value() && forecast->averaged.has_value());
  EXPECT_NEAR(forecast->averaged->loss / planted.Best(kTarget).loss, 1, 0.01);
}

// Residuals relative to the measured losses would be least where every loss is taken for small, the
// drift making up for it: the more runs, the further down (at 750, 10 % and more).
TEST(DriftLawTest, ManyRunsDoNotDrawTheAverageDown) {
  Planted planted;
  planted.budgets = {1e18, 3e18, 1e19, 3e19, 1e20}, planted.points = 5, planted.noise = .003;
  std::vector<Observation> runs;
  for (uint64_t seed = 1; seed <= 40; ++seed)
    for (Observation o : planted.Draw(seed)) o.seed = static_cast<int64_t>(seed), runs.push_back(o);
  Planted noisy = planted;
  noisy.points = 25, noisy.noise = .01;
  for (const auto& [set, about] : {std::pair{runs, "seeds"}, {noisy.Draw(7), "1 % of noise"}}) {
    FitOptions options = Quick();
    options.laws = {"chinchilla"};
    options.law.bootstrap.resamples = 20;
    const auto fitted = LawByName("chinchilla")->Fit(set, options.law);
    ASSERT_TRUE(fitted.ok()) << fitted.status();
    const auto forecast = (*fitted)->Predict({1e22});
    ASSERT_TRUE(forecast.has_value() && forecast->averaged.has_value());
    EXPECT_NEAR(forecast->averaged->loss / planted.Best(1e22).loss, 1, .03) << about;
    EXPECT_NEAR(forecast->averaged->loss / forecast->loss, 1, .03) << about;
  }
}

// Nor does a loss that was mistyped bound E, whatever the design.
TEST(DriftLawTest, OneMistypedLossIsNoCeilingOfTheAsymptote) {
  Planted planted;
  planted.noise = .003;
  planted.budgets = {1e18, 3e18, 1e19, 3e19, 1e20}, planted.points = 7;
  const double truth = planted.Best(1e22).loss;
  const auto primary = [&](std::vector<Observation> runs, const std::string& about) {
    const auto summary = RunFit(runs, Quick());
    ASSERT_TRUE(summary.ok()) << about << summary.status();
    const Forecast& forecast = summary->predictions.front();
    EXPECT_TRUE(forecast.primary);
    EXPECT_NEAR(forecast.loss / truth, 1, .03) << about;
    EXPECT_LE(forecast.interval.lo, truth) << about;
    EXPECT_GE(forecast.interval.hi, truth) << about;
  };
  const std::vector<Observation> runs = planted.Draw(3);
  // 40 runs of as many budgets, anywhere about the optimum.
  core::Rng rng(5);
  std::vector<Observation> scattered;
  for (int i = 0; i < 40; ++i) {
    Observation o;
    o.flops = 1e18 * std::pow(100, rng.Uniform());
    o.params = planted.Best(o.flops).params * std::exp(2.4 * rng.Uniform() - 1.2);
    o.tokens = o.flops / 6 / o.params;
    o.loss = planted.Loss(o.params, o.tokens) * std::exp(planted.noise * rng.Normal());
    scattered.push_back(o);
  }
  for (const double factor : {.1, .3}) {
    std::vector<Observation> one = runs, other = scattered;
    // At the edge of a budget: in its middle it spoils that budget's parabola.
    one[28].loss *= factor, other[7].loss *= factor;
    primary(one, fmt::format("budgets, x {} ", factor));
    primary(other, fmt::format("no budgets, x {} ", factor));
  }
}

TEST(ForecastTest, WhatNoLawCanForecastIsSaid) {
  Planted planted;
  auto runs = planted.Draw();
  for (Observation& o : runs) o.loss = 2.5;
  FitOptions options;
  options.law.bootstrap.resamples = 20;
  options.backtest = false;
  options.sensitivity = false;
  options.predict = {1e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_TRUE(summary->predictions.empty());
  const bool said = std::any_of(summary->warnings.begin(), summary->warnings.end(),
                                [](const Warning& w) { return w.code == kNoForecast; });
  EXPECT_TRUE(said);
}

}  // namespace
}  // namespace fit
