// Runs that are forecast at their own N and D: who may answer, and what is said of their FLOPs.
#include <cmath>

#include "fit/report.h"
#include "gmock/gmock.h"
#include "tests/fit/planted.h"
#include "tests/fit/quick_fit.h"

namespace fit {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

FitOptions OfRun(std::vector<std::string> laws, const RunTarget& run) {
  FitOptions options = Quick();
  options.laws = std::move(laws);
  options.predict.clear();
  options.predict_runs = {run};
  return options;
}

constexpr double kParams = 1e9, kTokens = 2e10;

// Without scores two-step has nothing to say of a run; the others do.
TEST(RunTargetTest, ModelsOfTwoStepAreForecastByTheOtherLawsWhereItIsNotFitted) {
  const auto runs = Planted{.noise = .001}.Draw();
  FitOptions options = Quick();
  options.predict.clear();
  options.models = {{0, kParams, kTokens}};
  for (const std::vector<std::string>& laws : {std::vector<std::string>{"chinchilla", "two-step"},
                                               {"chinchilla", "frontier", "two-step"},
                                               {"default"}}) {
    options.laws = laws;
    const auto summary = RunFit(runs, options);
    ASSERT_TRUE(summary.ok()) << summary.status();
    FitOptions plain = OfRun(laws, {0, kParams, kTokens});
    const auto same = RunFit(runs, plain);
    ASSERT_EQ(summary->predictions.size(), same->predictions.size());
    ASSERT_THAT(summary->predictions, Not(IsEmpty()));
    EXPECT_EQ(summary->predictions[0].run_params, kParams);
    EXPECT_EQ(summary->predictions[0].loss, same->predictions[0].loss);
  }
}

TEST(RunTargetTest, LawsInComputeDeclineARunAndSayWhy) {
  const auto runs = Planted{.noise = .001}.Draw();
  for (const char* law : {"envelope", "bnsl", "isoflop"}) {
    const auto refused = RunFit(runs, OfRun({law}, {0, 1e8, 1e13}));
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << law;
    EXPECT_THAT(std::string(refused.status().message()),
                AllOf(HasSubstr(law), HasSubstr("chinchilla")));
  }
  const auto summary = RunFit(runs, OfRun({"chinchilla", "envelope", "bnsl"}, {0, 1e8, 1e13}));
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(TextOf(summary->warnings, kNoForecast),
              AllOf(HasSubstr("envelope and bnsl are laws in C"),
                    HasSubstr("cannot forecast a run away from the optimum")));
  for (const Forecast& forecast : summary->predictions) {
    EXPECT_TRUE(forecast.law == "chinchilla" || forecast.law == "average") << forecast.law;
    for (const auto& [law, why] : forecast.left_out)
      EXPECT_THAT(why, Not(HasSubstr("no optimum"))) << law;
  }
  for (const Sensitivity& s : summary->sensitivities)
    EXPECT_THAT(s.failed, Not(HasSubstr("no optimum"))) << s.law << ", " << s.change;
  const auto budget = RunFit(runs, [] {
    FitOptions options = Quick();
    options.laws = {"envelope"};
    return options;
  }());
  ASSERT_TRUE(budget.ok());
  EXPECT_THAT(budget->predictions, SizeIs(1)) << "the optimum of a budget is theirs to forecast";
}

TEST(RunTargetTest, RowsThatAreOptimaSayNothingOfARunOffThem) {
  std::vector<Observation> optima;
  const Planted planted;
  for (const double budget : planted.budgets) {
    Observation o;
    o.flops = o.budget_flops = budget;
    o.params = planted.Best(budget).params, o.tokens = planted.Best(budget).tokens;
    o.loss = planted.Best(budget).loss;
    optima.push_back(o);
  }
  FitOptions options = OfRun({"default"}, {0, 1e8, 1e13});
  options.law.observations_are_optima = true;
  const auto refused = RunFit(optima, options);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("optima"));
}

// The loss of a run follows from its N and D, whatever C is said of it.
TEST(RunTargetTest, FlopsThatAreNotThoseOfTheRunsAreSaidAndMoveNoLoss) {
  const auto runs = Planted{.noise = .001}.Draw();
  const auto with = [&](double flops) {
    const auto summary = RunFit(runs, OfRun({"chinchilla", "frontier"}, {flops, kParams, kTokens}));
    EXPECT_TRUE(summary.ok()) << summary.status();
    EXPECT_THAT(summary->predictions, SizeIs(3));
    return summary->predictions;
  };
  const double own = 6 * kParams * kTokens;
  const std::vector<Forecast> without = with(0);
  for (const double factor : {1e10, 2., 1.4, 1., .99, 1 / 1.4}) {
    const std::vector<Forecast> forecasts = with(factor * own);
    const std::string said = TextOf(forecasts[0].warnings, kFlopConvention);
    if (std::fabs(factor - 1) < .02)
      EXPECT_EQ(said, "") << factor;
    else
      EXPECT_THAT(said, AllOf(HasSubstr("C / (N D)"), HasSubstr("fitted runs"))) << factor;
    for (size_t i = 0; i < forecasts.size(); ++i) {
      EXPECT_EQ(forecasts[i].law, without[i].law);
      // An average's weights hang on reach.
      const double off = forecasts[i].law != "average" ? 1e-12 : factor > 1.5 ? 5e-3 : 1e-3;
      EXPECT_NEAR(forecasts[i].loss / without[i].loss, 1, off) << forecasts[i].law << " " << factor;
    }
  }
}

// Of a run that approach 2 declines, what hangs on what says no more and no less.
TEST(RunTargetTest, ALawThatDeclinesARunHasItsConstantsAmongTheSensitivities) {
  const Planted planted{.noise = .001};
  const auto summary = RunFit(planted.Draw(), OfRun({"chinchilla", "frontier"}, {0, 1e8, 1e13}));
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(summary->sensitivities, Not(IsEmpty()));
  bool frontier = false;
  for (const Sensitivity& s : summary->sensitivities) {
    EXPECT_EQ(s.failed, "") << s.law << ", " << s.change;
    frontier = frontier || (s.law == "frontier" && !s.exponents.empty());
  }
  EXPECT_TRUE(frontier);
}

TEST(RunTargetTest, WhyNothingIsForecastNamesNoLawThatWasAskedFor) {
  const auto huge = RunFit(Planted{.noise = .001}.Draw(), OfRun({"chinchilla"}, {0, 1e300, 1e300}));
  ASSERT_TRUE(huge.ok()) << huge.status();
  EXPECT_THAT(TextOf(huge->warnings, kNoForecast),
              AllOf(HasSubstr("beyond what can be computed"), Not(HasSubstr("--law chinchilla"))));
  const auto far = RunFit(Planted{.noise = .001}.Draw(), OfRun({"frontier"}, {0, 1e8, 1e13}));
  ASSERT_TRUE(far.ok()) << far.status();
  EXPECT_THAT(TextOf(far->warnings, kNoForecast), HasSubstr("--law chinchilla"));
}

}  // namespace
}  // namespace fit
