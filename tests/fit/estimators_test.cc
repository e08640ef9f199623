// What is minimised and how runs weigh, and what follows for laws, intervals and sizes.
#include <algorithm>
#include <cmath>
#include <map>

#include "fit/fit.h"
#include "fit/information.h"
#include "fit/joint_region.h"
#include "fit/labels.h"
#include "fit/referee.h"
#include "fit/report.h"
#include "fit/stats.h"
#include "gmock/gmock.h"
#include "tests/fit/planted.h"

namespace fit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

EquationFit FitPlanted(const std::vector<Observation>& runs, const LossSpec& loss) {
  const auto points = SurfacePoints(runs);
  const std::vector<double> ones(points.size(), 1);
  return FitEquation(ChinchillaLaw(), points, ones, loss, ChinchillaLaw().Starts(points, ones, 24));
}

// Under an asymmetric absolute loss the law is the quantile at which 1 in 1 + w runs lies below it.
TEST(AsymmetryTest, TheWeightOfOverestimatesIsAQuantileOfTheRuns) {
  Planted planted;
  planted.noise = 0.01;
  planted.points = 30;
  const auto runs = planted.Draw(3);
  for (const double weight : {1., 4., 9.}) {
    LossSpec loss{LossKind::kL1};
    loss.over = weight;
    const EquationFit fit = FitPlanted(runs, loss);
    double above = 0;
    for (const double r : fit.residuals) above += r > 0 ? 1.0 / 180 : 0;
    EXPECT_NEAR(above, 1 / (1 + weight), .04) << weight;
  }
}

TEST(AsymmetryTest, CeresAgreesAndNoiseFreeRunsAreFoundWhateverTheWeight) {
  Planted planted;
  LossSpec loss;
  loss.over = 10;
  const EquationFit exact = FitPlanted(planted.Draw(), loss);
  for (size_t i = 0; i < exact.theta.size(); ++i)
    EXPECT_NEAR(exact.theta[i] / planted.theta[i], 1, 1e-8);
  planted.noise = 0.005;
  const auto runs = planted.Draw(4);
  for (const LossKind kind : {LossKind::kHuber, LossKind::kL2}) {
    LossSpec sided{kind, 3e-3};
    sided.over = 10;
    const EquationFit fit = FitPlanted(runs, sided);
    const auto points = SurfacePoints(runs);
    const RefereeResult referee =
        CeresReferee(ChinchillaLaw(), ChinchillaLaw().coordinates(), points,
                     std::vector<double>(points.size(), 1), sided, planted.theta);
    EXPECT_NEAR(referee.objective / fit.objective, 1, 1e-6) << Name(kind);
    EXPECT_GE(referee.objective, fit.objective * (1 - 1e-9)) << Name(kind);
  }
}

// sd of ln L falls from 1.2 % to 0.15 % over the budgets.
std::vector<Observation> Heteroscedastic(uint64_t seed, int repeats, int points) {
  Planted planted;
  planted.points = points;
  std::vector<Observation> runs;
  core::Rng rng(seed, 77);
  for (int repeat = 0; repeat < repeats; ++repeat)
    for (Observation o : planted.Draw()) {
      o.loss *= std::exp(.004 * std::pow(o.flops / 1.7e19, -.36) * rng.Normal());
      o.seed = repeat;
      runs.push_back(o);
    }
  return runs;
}

TEST(NoiseModelTest, ThePowerOfComputeIsFoundFromRepeatsAndFromResiduals) {
  for (const int repeats : {1, 3}) {
    const auto runs = Heteroscedastic(5, repeats, 24 / repeats);
    FitOptions options;
    options.laws = {"chinchilla"};
    options.law.noise_by_flops = true;
    options.law.bootstrap.resamples = 60;
    options.backtest = false;
    const auto summary = RunFit(runs, options);
    ASSERT_TRUE(summary.ok()) << summary.status();
    const NoiseModel& noise = *summary->fits[0].noise;
    EXPECT_EQ(noise.repeats, repeats > 1);
    EXPECT_NEAR(noise.gamma, -.36, 3 * noise.gamma_se);
    EXPECT_NEAR(noise.Sd(1.7e19), .004, .0015);
    EXPECT_EQ(noise.Sd(1e25), noise.Sd(3e20));
    EXPECT_THAT(FitText(*summary), HasSubstr("runs weighted by their noise"));
  }
}

// Weights by the noise bring the exponents nearer to the truth, and intervals follow the noise of
// the target's C.
TEST(NoiseModelTest, WeightsLowerTheErrorOfTheExponents) {
  double plain = 0, weighted = 0;
  for (uint64_t set = 0; set < 12; ++set) {
    const auto runs = Heteroscedastic(100 + set, 1, 10);
    for (const bool by_flops : {false, true}) {
      LawOptions options;
      options.loss.kind = LossKind::kL2;
      options.noise_by_flops = by_flops;
      options.bootstrap.resamples = by_flops && set == 0 ? 200 : 0;
      options.profile = false;
      options.starts = 8;
      const auto fitted = LawByName("chinchilla")->Fit(runs, options);
      ASSERT_TRUE(fitted.ok());
      const std::map<std::string, double> p((*fitted)->fit().params.begin(),
                                            (*fitted)->fit().params.end());
      (by_flops ? weighted : plain) += std::pow(p.at("beta") - .3658, 2) / 12;
      if (options.bootstrap.resamples == 0) continue;
      const auto small = (*fitted)->TestRun(runs.front()), large = (*fitted)->TestRun(runs.back());
      EXPECT_GT(std::log(small->hi / small->lo), 3 * std::log(large->hi / large->lo));
    }
  }
  std::printf("rms error of beta: plain %.4f, weighted %.4f\n", std::sqrt(plain),
              std::sqrt(weighted));
  EXPECT_LT(weighted, plain);
}

TEST(InformationTest, ConstantsThatEarnNothingCost) {
  EXPECT_NEAR(Aicc({.1, -.1, .1, -.1, .1, -.1, .1, -.1}, 2, LossKind::kL2),
              8 * (std::log(2 * std::acos(-1.0) * .01) + 1) + 6 + 2 * 3 * 4 / 4., 1e-12);
  EXPECT_NEAR(Aicc({.1, -.1, .1, -.1, .1, -.1, .1, -.1}, 2, LossKind::kL1),
              2 * 8 * (std::log(.2) + 1) + 6 + 2 * 3 * 4 / 4., 1e-12);
  EXPECT_TRUE(std::isnan(Aicc({.1, .2, .3}, 2, LossKind::kL2)));
  // Equal exponents: four constants are as good as five, and cost less.
  Planted planted;
  planted.theta[3] = planted.theta[4] = .35;
  planted.noise = .003;
  double difference = 0;
  for (uint64_t set = 0; set < 6; ++set) {
    LawOptions options;
    options.loss.kind = LossKind::kL2;
    options.bootstrap.resamples = 0;
    options.profile = false;
    const auto runs = planted.Draw(40 + set);
    difference += (*LawByName("chinchilla")->Fit(runs, options))->fit().aicc -
                  (*LawByName("overtrain")->Fit(runs, options))->fit().aicc;
  }
  EXPECT_GT(difference, 0);
}

TEST(JointRegionTest, ItHoldsItsShareAndKnowsTheCorrelation) {
  core::Rng rng(8);
  std::vector<double> params, tokens, loss;
  for (int i = 0; i < 4000; ++i) {
    const double a = rng.Normal(), b = rng.Normal();
    params.push_back(1e9 * std::exp(.1 * a));
    tokens.push_back(1e20 / params.back());
    loss.push_back(2 * std::exp(.01 * (-.8 * a + .6 * b)));
  }
  const auto region = JointRegionOf(params, tokens, loss, params.size(), .9, "draws");
  ASSERT_TRUE(region.has_value());
  EXPECT_NEAR(region->correlation_nd, -1, 1e-9);
  EXPECT_NEAR(region->correlation_nl, -.8, .02);
  // Two free directions: the 90 % ellipse reaches sqrt(chi2_2(.9)) = 2.146 standard deviations.
  EXPECT_NEAR(std::log(region->params_hi / 1e9), .2146, .012);
  EXPECT_NEAR(std::log(region->loss_lo / 2), -.02146, .0012);
  EXPECT_FALSE(JointRegionOf({1, 2}, {1, 2}, {1, 2}, 2, .9, "draws").has_value());
}

TEST(FlatRangeTest, ItsEndsCostExactlyWhatWasAllowed) {
  const Planted planted;
  FitOptions options;
  options.laws = {"chinchilla"};
  options.law.bootstrap.resamples = 0;
  options.law.isoflop.flat_tolerance = .002;
  options.backtest = false;
  options.predict = {1e22};
  const auto summary = RunFit(planted.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const Forecast& forecast = summary->predictions[0];
  EXPECT_LT(forecast.flat_params_lo, forecast.params);
  for (const double n : {forecast.flat_params_lo, forecast.flat_params_hi})
    EXPECT_NEAR(planted.Loss(n, 1e22 / 6 / n) / forecast.loss, 1.002, 1e-6);
}

// Runs that cannot say where the loss goes must not be printed as a forecast.
TEST(DeterminedTest, AnIntervalOverAFactorOfTwoIsNoForecast) {
  Planted planted;
  planted.noise = .25;
  planted.points = 6;
  FitOptions options;
  options.law.bootstrap.resamples = 100;
  options.predict = {1e25};
  const auto summary = RunFit(planted.Draw(2), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  bool any = false;
  for (const Forecast& forecast : summary->predictions) {
    EXPECT_EQ(forecast.determined, !Has(forecast.warnings, kNotDetermined));
    EXPECT_EQ(forecast.determined, !(forecast.interval.hi > 2 * forecast.interval.lo));
    any = any || !forecast.determined;
  }
  EXPECT_TRUE(any);
  EXPECT_THAT(FitText(*summary), HasSubstr("NOT DETERMINED"));
}

TEST(SensitivityTest, FlopConventionsAndClampedRunsStandInTheReport) {
  Planted planted;
  std::vector<Observation> runs = planted.Draw();
  for (Observation& o : runs) {
    o.flops *= 1.3, o.budget_flops *= 1.3;
    if (o.params < 2e8) o.clamps = {"lr"};
  }
  FitOptions options;
  options.law.bootstrap.resamples = 0;
  options.backtest = false;
  options.predict = {1e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const std::string text = FitText(*summary);
  EXPECT_THAT(text, HasSubstr("with C = 6 N D instead of the runs' own, frontier"));
  EXPECT_THAT(text, HasSubstr("runs where a limit of the recipe bit, frontier"));
  int six = 0;
  for (const Sensitivity& s : summary->sensitivities)
    if (s.change.starts_with("with C = 6 N D") && s.law == "chinchilla") {
      ++six;
      EXPECT_NEAR(s.loss / ChinchillaLaw().ComputeOptimal(planted.theta, 1e22, 6).loss, 1, 1e-6);
      EXPECT_NEAR(s.loss_before / ChinchillaLaw().ComputeOptimal(planted.theta, 1e22, 7.8).loss, 1,
                  1e-6);
    }
  EXPECT_EQ(six, 1);
}

TEST(SensitivityTest, WhatChangesNothingIsNotApplicable) {
  Planted planted;
  planted.noise = .001;
  std::vector<Observation> runs = planted.Draw();
  // The smallest budget has no minimum: approach 2 never used it.
  for (Observation& o : runs)
    if (o.budget_flops == 1e18) o.loss = 4 + .2 * std::log(o.params / 1e6);
  FitOptions options;
  options.laws = {"frontier", "chinchilla"};
  options.law.bootstrap.resamples = 0;
  options.backtest = false;
  options.predict = {1e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  bool frontier = false;
  for (const Sensitivity& s : summary->sensitivities) {
    if (s.change.find("smallest") == std::string::npos) continue;
    if (s.law == "frontier") {
      frontier = true;
      EXPECT_THAT(s.change, HasSubstr("2 smallest budgets, up to 3e+18 (16 runs"));
    } else if (s.law == "average") {
      EXPECT_EQ(s.change, "without the smallest budgets that each law uses");
    } else {
      EXPECT_THAT(s.change, HasSubstr("smallest budget 1e+18 (8 runs)"));
    }
    EXPECT_TRUE(s.not_applicable.empty());
    EXPECT_NE(s.loss, 0);
  }
  EXPECT_TRUE(frontier);
  // Small models spend more a parameter: that moves what a budget buys, and no law in C alone.
  for (Observation& o : runs) o.tokens /= 1 + std::pow(o.params / 1e7, -.5);
  options.laws = {"chinchilla", "envelope", "bnsl"};
  const auto bent = RunFit(runs, options);
  ASSERT_TRUE(bent.ok()) << bent.status();
  const std::string text = FitText(*bent), held = "held at that of the largest model counted, ";
  EXPECT_THAT(text, HasSubstr(held + "chinchilla: 2."));
  EXPECT_THAT(text, HasSubstr(held + "envelope: 2."));
  EXPECT_THAT(text, HasSubstr("envelope   L* = E + A F X^-p"));
}

// The row of the average is its laws' refits under the weights of the forecast.
TEST(SensitivityTest, TheAverageMovesAsItsLawsDo) {
  Planted planted;
  planted.noise = .001;
  std::vector<Observation> runs = planted.Draw();
  for (Observation& o : runs)
    if (o.budget_flops == 1e18) o.loss *= 1.02;
  FitOptions options;
  options.law.bootstrap.resamples = 0;
  options.backtest = false;
  options.predict = {1e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const Forecast& average = summary->predictions.at(0);
  ASSERT_EQ(average.law, "average");
  const Sensitivity& first = summary->sensitivities.at(0);
  EXPECT_EQ(first.law, "average");
  EXPECT_EQ(first.change, "without the smallest budget 1e+18 (8 runs)");
  EXPECT_EQ(first.loss_before, average.loss);
  std::vector<Observation> left(runs.begin() + 8, runs.end());
  options.sensitivity = false;
  options.learn_flops = false;
  options.law.flops = summary->flops;
  const auto without = RunFit(left, options);
  ASSERT_TRUE(without.ok()) << without.status();
  double loss = 0;
  for (const AverageMember& member : average.members)
    for (const AverageMember& refitted : without->predictions.at(0).members)
      if (member.law == refitted.law) loss += member.weight * std::log(refitted.loss);
  EXPECT_NEAR(first.loss, std::exp(loss), 1e-4);
  EXPECT_GT(std::fabs(first.loss / first.loss_before - 1), 1e-4);
}

// Runs without budgets are no budgets of one run each.
TEST(SensitivityTest, SmallestRunsOfARawFileGoTogether) {
  Planted planted;
  planted.noise = .002;
  std::vector<Observation> runs = planted.Draw();
  core::Rng rng(5);
  for (Observation& o : runs) {
    const double factor = std::exp(1.1 * (rng.Uniform() - .5));
    o.tokens *= factor, o.flops *= factor, o.budget_flops = 0;
    o.loss = planted.Loss(o.params, o.tokens);
  }
  FitOptions options;
  options.laws = {"chinchilla", "bnsl"};
  options.law.bootstrap.resamples = 0;
  options.backtest = false;
  options.predict = {1e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const std::string text = FitText(*summary);
  EXPECT_THAT(text, HasSubstr("within a factor of 2 of the smallest C"));
  EXPECT_THAT(text, Not(HasSubstr("(1 run)")));
  EXPECT_THAT(text, Not(HasSubstr("+0.00 %")));
}

// Two sizes cannot tell Farseer's three constants of each power of N: a valley of equally good
// fits, which forecast anything. The report must not pass one of them off as the answer.
TEST(EqualOptimaTest, AFlatValleyIsSaidWithWhatItsFitsForecast) {
  const Planted planted;
  core::Rng rng(3);
  std::vector<Observation> two_sizes;
  for (const double params : {1e8, 3e8})
    for (const double tokens : {1e9, 2e9, 4e9, 8e9, 1.6e10, 3.2e10}) {
      Observation o;
      o.params = params, o.tokens = tokens, o.flops = 6 * params * tokens;
      o.loss = planted.Loss(params, tokens) * std::exp(0.003 * rng.Normal());
      two_sizes.push_back(std::move(o));
    }
  FitOptions options;
  options.laws = {"farseer"};
  options.law.bootstrap.resamples = 0;
  options.backtest = options.sensitivity = false;
  options.predict = {1e20};
  const auto few = RunFit(two_sizes, options);
  ASSERT_TRUE(few.ok()) << few.status();
  EXPECT_GT(few->fits[0].equal_optima, 1);
  EXPECT_TRUE(Has(few->fits[0].warnings, kEqualOptima));
  ASSERT_FALSE(few->predictions.empty());
  EXPECT_TRUE(Has(few->predictions[0].warnings, kEqualOptima));
  EXPECT_THAT(FitText(*few), HasSubstr("sets of constants with one objective to rounding"));
  options.laws = {"chinchilla"};
  const auto enough = RunFit(Planted{.noise = 0.003}.Draw(), options);
  ASSERT_TRUE(enough.ok()) << enough.status();
  EXPECT_EQ(enough->fits[0].equal_optima, 0);
  EXPECT_FALSE(Has(enough->predictions[0].warnings, kEqualOptima));
}

FitOptions Quick() {
  FitOptions options;
  options.law.bootstrap.resamples = 60;
  options.law.starts = 8;
  options.backtest = false;
  options.predict = {1e22};
  return options;
}

// A recipe that spends more a parameter on small models: C = 6 N D (1 + c N^-1/2).
TEST(FlopsRelationTest, ForecastsAreUnbiasedWhereSmallModelsSpendMoreAParameter) {
  FlopsRelation spent = ProportionalFlops(6);
  spent.slope = 6 * 6000., spent.gamma = 0.5;
  const Planted planted;
  auto runs = planted.Draw();
  for (Observation& o : runs) {
    o.tokens = std::exp(spent.LogTokens(std::log(o.params), o.flops));
    o.loss = planted.Loss(o.params, o.tokens);
  }
  FitOptions options = Quick();
  options.laws = {"chinchilla"};
  options.predict = {1e21, 3e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_FALSE(Has(summary->warnings, kFlopConvention));
  options.learn_flops = false;
  const auto six = RunFit(runs, options);
  ASSERT_TRUE(six.ok());
  EXPECT_TRUE(Has(six->warnings, kFlopConvention));
  for (size_t i = 0; i < options.predict.size(); ++i) {
    const Optimum truth =
        ChinchillaLaw().ComputeOptimalUnder(planted.theta, options.predict[i], spent);
    const Forecast& forecast = summary->predictions[i];
    EXPECT_NEAR(forecast.loss / truth.loss, 1, 1e-6);
    EXPECT_NEAR(forecast.params / truth.params, 1, 1e-3);
    EXPECT_NEAR(forecast.tokens / truth.tokens, 1, 1e-3);
    EXPECT_EQ(forecast.flops_extrapolated > 1, forecast.params > 1.1 * summary->flops.params_hi);
    EXPECT_NEAR(forecast.flops_per_param_token, spent.PerParamToken(truth.params), 0.01);
    EXPECT_LT(six->predictions[i].loss / truth.loss, 1 - 5e-4) << "6 N D promises too much";
  }
  const auto sensitivity =
      std::find_if(summary->sensitivities.begin(), summary->sensitivities.end(),
                   [](const Sensitivity& s) { return s.change.starts_with("with C = 6 N D"); });
  ASSERT_NE(sensitivity, summary->sensitivities.end());
  EXPECT_LT(sensitivity->loss, sensitivity->loss_before * (1 - 5e-4));
}

// A run off the optimum is forecast as what it is, by surfaces and, near it and from the parabolas'
// curvature, by approach 2.
TEST(FlopsRelationTest, ARunIsForecastAtItsOwnSize) {
  const Planted planted;
  FitOptions options = Quick();
  options.predict = {1e21};
  for (const double factor : {1., 1.8, .6, .3, .03}) {
    const double n = planted.Best(1e21).params * factor;
    options.predict_runs.push_back({1e21, n, 1e21 / 6 / n});
  }
  const auto summary = RunFit(planted.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  std::map<std::string, int> seen;
  for (const Forecast& f : summary->predictions) {
    if (f.run_params == 0) {
      EXPECT_EQ(f.off_optimum, 0);
      continue;
    }
    ++seen[f.law];
    const double truth = planted.Loss(f.run_params, f.run_tokens);
    EXPECT_NEAR(f.loss / truth, 1, f.law == "chinchilla" ? 1e-6 : 2e-3) << f.law;
    EXPECT_NEAR(f.off_optimum, truth / planted.Best(1e21).loss - 1,
                f.law == "chinchilla" ? 1e-6 : 2e-3);
    const bool told = std::any_of(f.warnings.begin(), f.warnings.end(), [](const Warning& w) {
      return w.text.find("tokens a parameter") != std::string::npos;
    });
    EXPECT_EQ(told, f.run_params < .1 * planted.Best(1e21).params) << f.law;
    EXPECT_NEAR(f.params / planted.Best(1e21).params, 1, .05) << "N* stays the optimum's";
  }
  EXPECT_EQ(seen["chinchilla"], 5);
  EXPECT_EQ(seen["frontier"], 3) << "far from the optimum a parabola knows nothing";
  EXPECT_EQ(seen["average"], 5);
}

// What the caller knows of larger models goes before a curve's continuation.
TEST(FlopsRelationTest, KnownModelsOfARecipeTellWhatATargetCosts) {
  const auto cost = [](double n) { return 6 + 2 / (1 + n / 1e9) + 3 * std::pow(n / 1e8, -.7); };
  const Planted planted;
  auto runs = planted.Draw();
  for (Observation& o : runs) {
    o.tokens = o.flops / o.params / cost(o.params);
    o.loss = planted.Loss(o.params, o.tokens);
  }
  FitOptions options = Quick();
  options.laws = {"chinchilla"};
  options.predict = {1e23};
  const double alone = RunFit(runs, options)->predictions[0].flops_per_param_token;
  for (double n = 1e8; n < 1e11; n *= 1.3) options.known_flops.push_back({n, 0, cost(n) * n});
  const Forecast told = RunFit(runs, options)->predictions[0];
  EXPECT_EQ(told.flops_extrapolated, 0);
  EXPECT_LT(std::fabs(told.flops_per_param_token - cost(told.params)),
            std::fabs(alone - cost(told.params)));
  EXPECT_NEAR(told.flops_per_param_token / cost(told.params), 1, 0.02);
}

TEST(FlopsRelationTest, CurveIsFoundAndNoiseIsNoCurve) {
  FlopsRelation truth = ProportionalFlops(5);
  truth.slope = 40, truth.gamma = 0.2;
  std::vector<FlopsSample> samples, flat;
  core::Rng rng(3);
  for (double n = 1e6; n < 1e9; n *= 1.5) {
    samples.push_back({n, truth.PerParamToken(n)});
    flat.push_back({n, 7 * std::exp(.02 * rng.Normal())});
  }
  const FlopsRelation curve = LearnFlops(samples);
  for (const double n : {1e6, 1e8, 1e10})
    EXPECT_NEAR(curve.PerParamToken(n) / truth.PerParamToken(n), 1, 1e-4) << n;
  EXPECT_EQ(curve.PerParamToken(1e3), curve.PerParamToken(1e6)) << "held below the smallest";
  EXPECT_EQ(curve.HeldBeyond().PerParamToken(1e12), curve.PerParamToken(curve.params_hi));
  EXPECT_TRUE(LearnFlops(flat).proportional());
  EXPECT_NEAR(LearnFlops(flat).limit, 7, .1);
  EXPECT_TRUE(LearnFlops({{1e6, 9}, {1e7, 7}}).proportional()) << "two sizes are no curve";
  // Far below the value at the largest model no continuation goes.
  const FlopsRelation steep = LearnFlops({{1e6, 40}, {1e7, 30}, {1e8, 20}, {1e9, 10}});
  EXPECT_GE(steep.PerParamToken(1e15), steep.PerParamToken(1e9) / 1.6);
}

std::vector<Observation> TwoExperiments(double factor) {
  auto runs = Planted{.noise = .001}.Draw();
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool second = i % 3 == 0;
    if (second) runs[i].loss *= factor;
    runs[i].labels = {{"lab", second ? "north" : "south"},
                      {"site", second ? "N" : "S"},
                      {"width", std::to_string(std::lround(std::cbrt(runs[i].params)))},
                      {"shard", i % 2 == 0 ? "a" : "b"}};
  }
  return runs;
}

TEST(LabelsTest, ColumnsThatTellExperimentsApartAreNamedAndBlockRegistration) {
  const auto runs = TwoExperiments(1.03);
  const auto found = FindLabels(runs);
  ASSERT_EQ(found.size(), 1u) << "neither sizes nor columns without an effect";
  EXPECT_THAT(found[0].columns, testing::ElementsAre("lab", "site"));
  EXPECT_NEAR(found[0].offset, .03 * std::sqrt(2.) / 3, .002);
  const auto refused = RunFit(runs, Quick());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(HasSubstr("lab and site in 2 groups"), HasSubstr("--where lab=TEXT"),
                    HasSubstr("--allow-mixed lab")));
  FitOptions accepted = Quick();
  accepted.allow_mixed = {"site"};
  const auto summary = RunFit(runs, accepted);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(FitText(*summary), HasSubstr("--where lab=TEXT"));
  EXPECT_TRUE(Has(summary->predictions[0].warnings, kMixedColumns));
  EXPECT_FALSE(summary->registration_blocked.empty());
  EXPECT_TRUE(FitJson(*summary)["registration"]["blocked"].get<bool>());
}

TEST(LabelsTest, GroupsThatDoNotDifferAndSizesAreNoExperiments) {
  EXPECT_TRUE(FindLabels(TwoExperiments(1)).empty());
  auto runs = Planted{.noise = .001}.Draw();
  for (Observation& o : runs) o.labels = {{"budget", std::to_string(o.flops)}};
  EXPECT_TRUE(FindLabels(runs).empty());
  EXPECT_TRUE(RunFit(runs, Quick())->registration_blocked.empty());
}

}  // namespace
}  // namespace fit
