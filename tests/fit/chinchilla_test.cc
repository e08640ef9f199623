#include "fit/chinchilla.h"

#include <cmath>
#include <map>
#include <random>

#include "core/rng.h"
#include "fit/equation_fit.h"
#include "fit/referee.h"
#include "fit/stats.h"
#include "tests/fit/test_data.h"

namespace fit {
namespace {

EquationFit FitAll(const std::vector<Observation>& observations, const LossSpec& loss,
                   int starts = 64) {
  const auto points = SurfacePoints(observations);
  const std::vector<double> ones(points.size(), 1.0);
  return FitEquation(ChinchillaLaw(), points, ones, loss,
                     ChinchillaLaw().Starts(points, ones, starts));
}

std::vector<Observation> Epoch240() {
  return Load("chinchilla_epoch.csv", {{"excluded_in_epoch_fit", "0"}});
}

TEST(ChinchillaTest, DerivativesMatchCentralDifferences) {
  const std::vector<double> theta = {6.1, 7.3, 1.8, 0.34, 0.37};
  const double n = std::log(3e8), d = std::log(7e9);
  double g[5], h[25], scratch[25];
  ChinchillaLaw().Derivatives(theta.data(), {n, d, d}, g, h);
  for (int i = 0; i < 5; ++i) {
    const double step = 1e-5;
    std::vector<double> up = theta, down = theta;
    up[i] += step, down[i] -= step;
    const double numeric =
        (ChinchillaLaw().Loss(up.data(), n, d) - ChinchillaLaw().Loss(down.data(), n, d)) /
        (2 * step);
    EXPECT_NEAR(g[i], numeric, 1e-7 * (1 + std::fabs(numeric))) << i;
    double gu[5], gd[5];
    ChinchillaLaw().Derivatives(up.data(), {n, d, d}, gu, scratch);
    ChinchillaLaw().Derivatives(down.data(), {n, d, d}, gd, scratch);
    for (int j = 0; j < 5; ++j) {
      const double second = (gu[j] - gd[j]) / (2 * step);
      EXPECT_NEAR(h[i * 5 + j], second, 1e-6 * (1 + std::fabs(second))) << i << "," << j;
    }
  }
}

TEST(ChinchillaTest, HuberFitReachesThePublishedOptimum) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  const auto data = Epoch240();
  ASSERT_EQ(data.size(), 240u);
  const EquationFit fit = FitAll(data, {LossKind::kHuber, 1e-3, ResidualKind::kLog});
  const auto p = ByName(ChinchillaLaw().Report(fit.theta));
  std::printf(
      "huber: obj %.16g A %.9g B %.10g E %.10g alpha %.11g beta %.11g  %d of %d starts, cond "
      "%.3g\n",
      fit.objective, p.at("A"), p.at("B"), p.at("E"), p.at("alpha"), p.at("beta"),
      fit.starts_at_best, fit.starts, fit.condition);
  EXPECT_LE(fit.objective, 0.0010182740179);
  EXPECT_NEAR(p.at("A"), 477.825868, 0.01);
  EXPECT_NEAR(p.at("B"), 2143.417363, 0.05);
  EXPECT_NEAR(p.at("E"), 1.817218099, 1e-6);
  EXPECT_NEAR(p.at("alpha"), 0.347310499, 1e-6);
  EXPECT_NEAR(p.at("beta"), 0.367172433, 1e-6);
  EXPECT_TRUE(fit.converged);
  EXPECT_TRUE(fit.at_bound.empty());
  EXPECT_GT(fit.starts_at_best, fit.starts / 2);
}

TEST(ChinchillaTest, L1FitReachesThePublishedOptimum) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  const EquationFit fit = FitAll(Epoch240(), {LossKind::kL1, 0, ResidualKind::kLog}, 16);
  const auto p = ByName(ChinchillaLaw().Report(fit.theta));
  std::printf("l1: obj %.16g A %.9g B %.10g E %.10g alpha %.11g beta %.11g  %d of %d starts\n",
              fit.objective, p.at("A"), p.at("B"), p.at("E"), p.at("alpha"), p.at("beta"),
              fit.starts_at_best, fit.starts);
  EXPECT_LE(fit.objective, 1.129494669);
  EXPECT_NEAR(p.at("A"), 482.005738, 0.01);
  EXPECT_NEAR(p.at("B"), 2085.431432, 0.05);
  EXPECT_NEAR(p.at("E"), 1.816863882, 1e-6);
  EXPECT_NEAR(p.at("alpha"), 0.347813029, 1e-6);
  EXPECT_NEAR(p.at("beta"), 0.365854047, 1e-6);
}

// Reference values: reference/fitting.md section 2.1 and shared/data/chinchilla_epoch.README.md.
TEST(ChinchillaTest, OtherDeltasAndLeastSquaresMatchTheReference) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  const auto data = Epoch240();
  struct Case {
    LossSpec loss;
    double objective, a, b, e, alpha, beta;
  };
  for (const Case& c : {Case{{LossKind::kHuber, 1e-4},
                             0.000111778748164,
                             478.688705,
                             2065.412988,
                             1.8158235785,
                             .34740885153,
                             .36538473172},
                        Case{{LossKind::kHuber, 1e-2},
                             0.00469622488262,
                             538.751877,
                             2905.59993,
                             1.8380786156,
                             .3544155035,
                             .3815375249},
                        Case{{LossKind::kL2},
                             0.00573094349585,
                             593.3221,
                             4875.6378,
                             1.864550095,
                             .36025279815,
                             .40588336186}}) {
    const EquationFit fit = FitAll(data, c.loss, 16);
    const auto p = ByName(ChinchillaLaw().Report(fit.theta));
    EXPECT_NEAR(fit.objective, c.objective, 1e-9 * c.objective);
    EXPECT_NEAR(p.at("A"), c.a, 0.01);
    EXPECT_NEAR(p.at("B"), c.b, 0.05);
    EXPECT_NEAR(p.at("E"), c.e, 1e-6);
    EXPECT_NEAR(p.at("alpha"), c.alpha, 1e-6);
    EXPECT_NEAR(p.at("beta"), c.beta, 1e-6);
    if (c.loss.kind == LossKind::kL2) {
      EXPECT_NEAR(fit.condition, 3.5e6, 0.05e6);
    }
  }
  const EquationFit all = FitAll(Load("chinchilla_epoch.csv"), {}, 16);
  EXPECT_NEAR(all.objective, 0.00182601052307, 1e-11);
  EXPECT_NEAR(all.theta[2], 1.8913384991, 1e-6);
}

TEST(ChinchillaTest, ObjectiveAtHoffmannsValuesMatchesTheReference) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  const auto points = SurfacePoints(Epoch240());
  const std::vector<double> ones(points.size(), 1.0);
  EXPECT_NEAR(FitObjective(ChinchillaLaw(), points, ones, {},
                           {std::log(406.4), std::log(410.7), 1.69, .34, .28}),
              .00412100914, 1e-10);
  EXPECT_NEAR(FitObjective(ChinchillaLaw(), points, ones, {},
                           {6.0073404, 6.0179186, std::exp(0.5267228), .33917084, .2849083}),
              .00123116260, 1e-10);
}

TEST(ChinchillaTest, FitsBelowACutMatchTheReference) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  const double table[][4] = {
      {1e20, 1.86444, .31088, .47016}, {3e20, 0, .33001, .45254}, {1e21, 0, .32713, .39609}};
  for (const auto& [cut, e, alpha, beta] : table) {
    auto data = Epoch240();
    std::erase_if(data, [c = cut](const Observation& o) { return o.flops >= c; });
    const EquationFit fit = FitAll(data, {}, 16);
    if (e > 0) {
      EXPECT_NEAR(fit.theta[2], e, 5e-6);
    }
    EXPECT_NEAR(fit.theta[3], alpha, 5e-6);
    EXPECT_NEAR(fit.theta[4], beta, 5e-6);
  }
}

// reference/fitting.md section 2.2, columns LH.
TEST(ChinchillaTest, OpenAthenaSetsReachTheReferenceObjectives) {
  SKIP_WITHOUT("isoflop_sets.csv");
  struct Case {
    const char* experiment;
    double objective, e, alpha, beta;
  };
  for (const Case& c :
       {Case{"epochai_chinchilla__massivetext__chinchilla", .00123503, 1.9643, .3975, .5092},
        Case{"ml_scalefit__massivetext__chinchilla", .000579262, 1.8722, .3777, .3928},
        Case{"llama_3__exp_loss", .000254545, 1.8275, .3267, .3654},
        Case{"marin_202603__nemotron__llama_2", .000553732, 2.5202, .6393, .4004}}) {
    const EquationFit fit =
        FitAll(Load("isoflop_sets.csv", {{"experiment", c.experiment}}), {}, 16);
    EXPECT_NEAR(fit.objective / c.objective, 1, 1e-5) << c.experiment;
    EXPECT_NEAR(fit.theta[2], c.e, 6e-5) << c.experiment;
    EXPECT_NEAR(fit.theta[3], c.alpha, 6e-5) << c.experiment;
    EXPECT_NEAR(fit.theta[4], c.beta, 6e-5) << c.experiment;
  }
}

// The same section, columns VP: least squares of the loss itself, which the reference finds by
// variable projection.
TEST(ChinchillaTest, OpenAthenaSetsReachTheReferenceOfVariableProjection) {
  SKIP_WITHOUT("isoflop_sets.csv");
  struct Case {
    const char* experiment;
    double e, alpha, beta, a;
  };
  for (const Case& c :
       {Case{"epochai_chinchilla__massivetext__chinchilla", 2.0618, .4336, .6507, .600},
        Case{"ml_scalefit__massivetext__chinchilla", 1.9176, .3885, .4334, .527},
        Case{"llama_3__exp_loss", 1.8405, .3481, .3591, .508},
        Case{"marin_202603__nemotron__llama_2", 2.6191, .6738, .4598, .406}}) {
    const EquationFit fit = FitAll(Load("isoflop_sets.csv", {{"experiment", c.experiment}}),
                                   {LossKind::kL2, 0, ResidualKind::kLinear}, 16);
    EXPECT_NEAR(fit.theta[2], c.e, 6e-5) << c.experiment;
    EXPECT_NEAR(fit.theta[3], c.alpha, 6e-5) << c.experiment;
    EXPECT_NEAR(fit.theta[4], c.beta, 6e-5) << c.experiment;
    EXPECT_NEAR(fit.theta[4] / (fit.theta[3] + fit.theta[4]), c.a, 6e-4) << c.experiment;
  }
}

// arXiv:2404.10102, section 3.2: 4,000 resamples of the 240 runs, with the same index stream
// (numpy's RandomState(42).choice: 32-bit Mersenne words, masked to 8 bits, above 239 rejected).
// Each resample is solved to its own optimum here. The loss is Huber's: L1 on the same stream has
// ends for A 3.6 and 2.8 % and for B 1.9 and 1.6 % away, and another stream of 4,000 moves B's by
// up to 6 %.
TEST(ChinchillaTest, FourThousandResamplesGiveThePublishedStandardErrors) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  const auto points = SurfacePoints(Epoch240());
  ASSERT_EQ(points.size(), 240u);
  const LossSpec loss{LossKind::kHuber, 1e-3};
  const std::vector<double> ones(240, 1);
  const EquationFit best =
      FitEquation(ChinchillaLaw(), points, ones, loss, ChinchillaLaw().Starts(points, ones, 8));
  std::mt19937 words(42);
  std::map<std::string, std::vector<double>> columns;
  int missed = 0;
  for (int resample = 0; resample < 4000; ++resample) {
    std::vector<double> weights(240, 0);
    for (int i = 0; i < 240; ++i) {
      uint32_t index = words() & 255;
      while (index > 239) index = words() & 255;
      weights[index] += 1;
    }
    const EquationFit fit = FitEquation(ChinchillaLaw(), points, weights, loss, {best.theta});
    if (resample % 80 == 0) {
      const double global = FitEquation(ChinchillaLaw(), points, weights, loss,
                                        ChinchillaLaw().Starts(points, weights, 64))
                                .objective;
      if (fit.objective > global * (1 + 1e-9)) ++missed;
    }
    for (const auto& [name, value] : ChinchillaLaw().Report(fit.theta))
      columns[name].push_back(value);
  }
  EXPECT_EQ(missed, 0) << "of 50 resamples checked against 64 starts";
  struct Published {
    const char* name;
    double se, lo, hi;
  };
  for (const Published& p :
       {Published{"A", 124.52232, 285.214, 743.626}, Published{"B", 1293.2841, 1042.357, 5810.344},
        Published{"E", .02566, 1.7694, 1.8712}, Published{"alpha", .01540, .31677, .37328},
        Published{"beta", .02060, .33126, .41538}}) {
    const std::vector<double>& v = columns.at(p.name);
    const double mean = Mean(v);
    double squares = 0;
    for (const double x : v) squares += (x - mean) * (x - mean);
    const double se = std::sqrt(squares / (static_cast<double>(v.size()) - 1));
    const double lo = Quantile(v, .025), hi = Quantile(v, .975);
    std::printf("%-5s se %.6g (published %.6g)  95 %% %.6g .. %.6g (%.6g .. %.6g)\n", p.name, se,
                p.se, lo, hi, p.lo, p.hi);
    EXPECT_NEAR(se / p.se, 1, .005) << p.name;
    EXPECT_NEAR(lo / p.lo, 1, .005) << p.name;
    EXPECT_NEAR(hi / p.hi, 1, .005) << p.name;
  }
}

// Ceres, from the grid's best cell, must not find anything lower, and comes close.
TEST(ChinchillaTest, CeresAgreesAsAnIndependentReferee) {
  SKIP_WITHOUT("chinchilla_epoch.csv");
  const auto points = SurfacePoints(Epoch240());
  const std::vector<double> ones(points.size(), 1.0);
  const auto starts = ChinchillaLaw().Starts(points, ones, 4);
  for (const LossSpec& loss : {LossSpec{LossKind::kHuber, 1e-3}, LossSpec{LossKind::kHuber, 1e-2},
                               LossSpec{LossKind::kL2}, LossSpec{LossKind::kL1}}) {
    const EquationFit ours = FitEquation(ChinchillaLaw(), points, ones, loss, starts);
    const RefereeResult ceres =
        CeresReferee(ChinchillaLaw(), ChinchillaLaw().coordinates(), points,
                     std::vector<double>(points.size(), 1), loss, starts[0]);
    std::printf("%s %g: ours %.13g, Ceres %.13g after %d iterations\n",
                std::string(Name(loss.kind)).c_str(), loss.delta, ours.objective, ceres.objective,
                ceres.iterations);
    EXPECT_GE(ceres.objective, ours.objective * (1 - 1e-9));
    EXPECT_LE(ceres.objective, ours.objective * (1 + 1e-4));
  }
}

std::vector<Observation> Planted(const std::vector<double>& theta, double noise, uint64_t seed) {
  std::vector<Observation> data;
  core::Rng rng(seed);
  for (const double c : {1e18, 3e18, 1e19, 3e19, 1e20})
    for (int i = 0; i < 7; ++i) {
      Observation o;
      o.flops = o.budget_flops = c;
      o.params = std::sqrt(c / 6 / 20) * std::pow(2.0, i - 3);
      o.tokens = c / 6 / o.params;
      o.loss = ChinchillaLaw().Loss(theta.data(), std::log(o.params), std::log(o.tokens)) *
               std::exp(noise * rng.Normal());
      data.push_back(o);
    }
  return data;
}

TEST(ChinchillaTest, RecoversAPlantedTruthWithEveryLoss) {
  const std::vector<double> truth = {6.0, 7.0, 1.7, 0.33, 0.31};
  const auto data = Planted(truth, 0, 1);
  for (const LossKind kind : {LossKind::kHuber, LossKind::kL1, LossKind::kL2})
    for (const ResidualKind residual : {ResidualKind::kLog, ResidualKind::kLinear}) {
      const EquationFit fit = FitAll(data, {kind, 1e-3, residual}, 8);
      for (int i = 0; i < 5; ++i)
        EXPECT_NEAR(fit.theta[i], truth[i], 1e-8 * truth[i])
            << ChinchillaLaw().coordinates()[i].name << " " << Name(kind) << " " << Name(residual);
    }
}

TEST(ChinchillaTest, AsymptoteThatWantsToBeNegativeIsReportedAtItsBound) {
  auto data = Planted({6.0, 7.0, 1.7, 0.33, 0.31}, 0, 1);
  // A surface that bends down in log-log towards large budgets has no positive asymptote.
  for (Observation& o : data)
    o.loss = 40 * std::pow(o.flops, -0.05) - 0.5 +
             1e-3 * std::log(o.params / o.tokens) * std::log(o.params / o.tokens);
  const EquationFit fit = FitAll(data, {}, 16);
  ASSERT_FALSE(fit.at_bound.empty());
  EXPECT_EQ(ChinchillaLaw().coordinates()[fit.at_bound[0]].name, "E");
  EXPECT_EQ(ChinchillaLaw().coordinates()[fit.at_bound[0]].bound_warning, "asymptote-at-bound");
}

TEST(ChinchillaTest, ClosedFormOptimumIsTheMinimumOfTheSurface) {
  const std::vector<double> theta = {std::log(477.8), std::log(2143.4), 1.817, .3473, .3672};
  const Optimum closed = ChinchillaLaw().ComputeOptimal(theta, 1e21, 6);
  FlopsRelation nearly = ProportionalFlops(6);
  nearly.slope = 1e-12;  // no closed form: searched
  const Optimum searched = ChinchillaLaw().ComputeOptimalUnder(theta, 1e21, nearly);
  ASSERT_TRUE(closed.found && searched.found);
  EXPECT_NEAR(6 * closed.params * closed.tokens, 1e21, 1e9);
  EXPECT_NEAR(searched.params / closed.params, 1, 1e-6);
  EXPECT_NEAR(searched.loss, closed.loss, 1e-12);
  // With attention-like overhead that grows with N, the optimum moves to fewer parameters.
  FlopsRelation growing = ProportionalFlops(6);
  growing.slope = 6e-10, growing.gamma = -1;
  const Optimum other = ChinchillaLaw().ComputeOptimalUnder(theta, 1e21, growing);
  EXPECT_LT(other.params, closed.params);
  EXPECT_GT(other.loss, closed.loss);
}

}  // namespace
}  // namespace fit
