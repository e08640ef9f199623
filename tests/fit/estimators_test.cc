// What is minimised and how runs weigh, and what follows for laws, intervals and sizes.
#include <cmath>
#include <map>

#include "fit/fit.h"
#include "fit/information.h"
#include "fit/joint_region.h"
#include "fit/referee.h"
#include "fit/report.h"
#include "fit/stats.h"
#include "gmock/gmock.h"
#include "tests/fit/planted.h"

namespace fit {
namespace {

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
  const auto region = JointRegionOf(params, tokens, loss, .9);
  ASSERT_TRUE(region.has_value());
  EXPECT_NEAR(region->correlation_nd, -1, 1e-9);
  EXPECT_NEAR(region->correlation_nl, -.8, .02);
  // Two free directions: the 90 % ellipse reaches sqrt(chi2_2(.9)) = 2.146 standard deviations.
  EXPECT_NEAR(std::log(region->params_hi / 1e9), .2146, .012);
  EXPECT_NEAR(std::log(region->loss_lo / 2), -.02146, .0012);
  EXPECT_FALSE(JointRegionOf({1, 2}, {1, 2}, {1, 2}, .9).has_value());
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
  EXPECT_THAT(text, HasSubstr("with C = 6 N D instead of the runs' own (1.3 times it), frontier"));
  EXPECT_THAT(text, HasSubstr("with C = 7.8 N D at the target, as in the runs, chinchilla"));
  EXPECT_THAT(text, HasSubstr("runs where a limit of the recipe bit, frontier"));
  for (const Sensitivity& s : summary->sensitivities)
    if (s.change.starts_with("with C = 7.8") && s.law == "chinchilla") {
      EXPECT_NEAR(s.loss / ChinchillaLaw().ComputeOptimal(planted.theta, 1e22, 7.8).loss, 1, 1e-6);
    }
}

}  // namespace
}  // namespace fit
