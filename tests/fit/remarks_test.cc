// What is said of a fit as a whole, on planted surfaces.
#include "fit/remarks.h"

#include "fit/kaplan.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "tests/fit/planted.h"
#include "tests/fit/quick_fit.h"

namespace fit {
namespace {

using testing::HasSubstr;

// richer-law of runs to which chinchilla was fitted; "" where it is not said.
std::string RicherThanChinchilla(const std::vector<Observation>& runs, LossKind loss) {
  FitOptions options = Quick();
  options.laws = {"chinchilla"};
  options.law.loss.kind = loss;
  options.law.bootstrap.resamples = 0;
  auto summary = RunFit(runs, options);
  EXPECT_TRUE(summary.ok()) << summary.status();
  if (!summary.ok()) return "";
  RemarkOnRicherLaws(runs, options.law, *summary);
  return TextOf(summary->warnings, kRicherLaw);
}

// Runs of a Chinchilla surface, their sizes and tokens drawn at random.
std::vector<Observation> Scattered(int n, uint64_t seed, double noise) {
  const Planted planted;
  core::Rng rng(seed);
  std::vector<Observation> runs;
  for (int i = 0; i < n; ++i) {
    Observation o;
    o.params = std::pow(10, 7.5 + 2 * rng.Uniform());
    o.tokens = o.params * std::pow(10, 0.7 + 1.3 * rng.Uniform());
    o.flops = 6 * o.params * o.tokens;
    o.loss = planted.Loss(o.params, o.tokens) * std::exp(noise * rng.Normal());
    o.cohort = {{"metric", "planted"}};
    runs.push_back(o);
  }
  return runs;
}

// AICc favours the law of fewer constants by its small-sample term alone there.
TEST(RicherLawTest, FewRunsOfTheLawItselfNameNoOther) {
  for (const int n : {8, 9, 10, 12, 16})
    for (uint64_t seed = 1; seed <= 3; ++seed)
      for (const LossKind loss : {LossKind::kHuber, LossKind::kL2})
        EXPECT_EQ(RicherThanChinchilla(Scattered(n, seed, .005), loss), "")
            << n << " runs, seed " << seed << ", " << Name(loss);
}

TEST(RicherLawTest, AnotherSurfaceIsNamedWithTheRatioOfTheResiduals) {
  std::vector<Observation> runs = Planted{.noise = .001}.Draw();
  const std::vector<double> theta = {std::log(5e13), std::log(9e12), .09, .103};
  core::Rng rng(4);
  for (Observation& o : runs)
    o.loss = KaplanLaw().Loss(theta.data(), std::log(o.params), std::log(o.tokens)) *
             std::exp(2e-4 * rng.Normal());
  FitOptions options = Quick();
  options.laws = {"chinchilla", "kaplan"};
  options.law.loss.kind = LossKind::kL2;
  options.law.bootstrap.resamples = 0;
  const auto both = RunFit(runs, options);
  ASSERT_TRUE(both.ok()) << both.status();
  // Half the sum of the squares, each.
  const double ratio =
      std::sqrt(FitOf(*both, "chinchilla").objective / FitOf(*both, "kaplan").objective);
  ASSERT_GT(ratio, 2);
  EXPECT_THAT(RicherThanChinchilla(runs, LossKind::kL2),
              HasSubstr(fmt::format("of kaplan are {:.2g} times smaller", ratio)));
  EXPECT_THAT(RicherThanChinchilla(runs, LossKind::kHuber), HasSubstr("of kaplan are"));
}

}  // namespace
}  // namespace fit
