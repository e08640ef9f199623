// What a fit says beside its numbers: warnings, what was left out and why, text and JSON.
#include <cmath>
#include <set>

#include "fit/csv.h"
#include "fit/fit.h"
#include "fit/outliers.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "tests/fit/planted.h"
#include "tests/fit/quick_fit.h"
#include "tests/fit/test_data.h"

namespace fit {
namespace {

using ::testing::HasSubstr;

TEST(ReportTest, EdgeMinimaAreLeftOutAndNamed) {
  Planted planted;
  auto runs = planted.Draw();
  Planted off = planted;
  off.budgets = {1e21};
  off.shift = 2.5;  // every size too large
  for (const Observation& o : off.Draw()) runs.push_back(o);
  FitOptions options = Quick();
  options.predict = {1e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const LawFit& frontier = FitOf(*summary, "frontier");
  EXPECT_EQ(frontier.n, 6u);
  EXPECT_THAT(TextOf(frontier.warnings, kEdgeMinimum), HasSubstr("1e+21"));
  EXPECT_THAT(TextOf(frontier.warnings, kEdgeMinimum), HasSubstr("smaller"));
  // And beside every number that hangs on it, the primary one first.
  ASSERT_TRUE(summary->predictions[0].primary);
  EXPECT_THAT(
      TextOf(summary->predictions[0].warnings, kBudgetsLeftOut),
      testing::AllOf(HasSubstr("1 of 7 budgets"), HasSubstr("1e+21; the largest it keeps is")));
  // In full once, at the table of minima; frontier, which shares them, refers to it.
  const std::string text = FitText(*summary), full = "! edge-minimum: ";
  const size_t first = text.find(full);
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(text.find(full, first + 1), std::string::npos) << text;
  EXPECT_THAT(text.substr(first), HasSubstr("! as above: edge-minimum"));
}

// Sizes with standard errors weigh by them, and the report says so; left out, they weigh alike.
TEST(ReportTest, WeightsOfATableOfOptimaAreSaid) {
  Planted planted;
  std::string csv = "flops,params,tokens,loss,params_log_se\n";
  for (size_t i = 0; i < planted.budgets.size(); ++i) {
    const Optimum best = planted.Best(planted.budgets[i]);
    csv += fmt::format("{},{},{},{},{}\n", planted.budgets[i], best.params * (i == 1 ? 1.5 : 1),
                       best.tokens, best.loss, i == 1 ? .5 : .05);
  }
  FitOptions options = Quick();
  options.law.observations_are_optima = true;
  const auto fitted = [&](const CsvOptions& reading) {
    const auto read = ObservationsFromCsv(csv, "optima.csv", reading);
    EXPECT_TRUE(read.ok()) << read.status();
    return *RunFit(read->observations, options);
  };
  const FitSummary weighed = fitted({}), alike = fitted({.columns = {{"params_log_se", ""}}});
  EXPECT_THAT(FitText(weighed), HasSubstr("1 / params_log_se^2, of 0.05 to 0.5"));
  EXPECT_THAT(FitJson(weighed)["fits"][0]["weights"].get<std::string>(), HasSubstr("0.05 to 0.5"));
  EXPECT_TRUE(FitJson(alike)["fits"][0]["weights"].is_null());
  EXPECT_THAT(FitText(alike), testing::Not(HasSubstr("params_log_se")));
  EXPECT_NE(weighed.predictions[0].params, alike.predictions[0].params);
  const auto cohort = ObservationsFromCsv(csv, "optima.csv", {.columns = {{"recipe", ""}}});
  EXPECT_THAT(std::string(cohort.status().message()), HasSubstr("cannot be left out"));
}

// One run at the largest budget that diverged: named, and what the forecast is without it.
TEST(ReportTest, ARunFarFromAllOthersIsNamedBesideTheForecastThatItMoves) {
  Planted planted;
  planted.noise = .003;
  const auto clean = planted.Draw(5);
  auto runs = clean;
  runs.back().loss *= 1.25;
  runs.back().row = 49;
  FitOptions options = Quick();
  options.sensitivity = true;
  options.predict = {1e22};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const std::string said = TextOf(summary->predictions[0].warnings, kOutliers);
  EXPECT_THAT(said, HasSubstr("1 of " + std::to_string(runs.size()) + " runs lie far"));
  EXPECT_THAT(said, HasSubstr("row 49: loss +2"));
  EXPECT_THAT(said, HasSubstr("without them average at 1e+22 is "));
  EXPECT_FALSE(Has(RunFit(clean, options)->warnings, kOutliers));
}

TEST(ReportTest, RowsOfOneRunThatCountAsManyAreSaidAndBlockRegistration) {
  auto runs = Planted{}.Draw(2);
  for (size_t i = 0; i < runs.size(); ++i) runs[i].id = "run " + std::to_string(i / 3);
  const auto summary = RunFit(runs, Quick());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(TextOf(summary->warnings, kOneRunManyRows),
              HasSubstr(std::to_string(runs.size()) + " rows are of " +
                        std::to_string(runs.size() / 3) + " runs"));
  EXPECT_FALSE(summary->registration_blocked.empty());
  for (size_t i = 0; i < runs.size(); ++i) runs[i].seed = static_cast<int64_t>(i);
  EXPECT_FALSE(Has(RunFit(runs, Quick())->warnings, kOneRunManyRows)) << "seeds are runs";
}

TEST(ReportTest, NoiseAndAWrongLawAreNoOutliers) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Planted planted;
    planted.noise = seed % 2 == 0 ? .003 : .02;
    EXPECT_TRUE(FindOutliers(planted.Draw(seed)).empty()) << seed;
  }
  // A third of the runs in another unit: the surface means nothing, and mixed-columns is its place.
  auto runs = Planted{}.Draw(1);
  for (size_t i = 0; i < runs.size(); i += 3) runs[i].loss *= 1.44;
  EXPECT_TRUE(FindOutliers(runs).empty());
}

// The parabola's N* is some 20 % off and knows it.
TEST(ReportTest, AveragesTakeOptimaWithoutTheCurvesKnownBiasAndSaySo) {
  Planted planted;
  planted.theta = {std::log(2e4), std::log(60.), 1.8, .55, .2};
  planted.width = 4.2;
  planted.noise = 3e-4;
  for (const int resamples : {0, 60}) {
    FitOptions options = Quick();
    options.law.bootstrap.resamples = resamples;
    options.predict = {1e20, 1e22};
    const auto summary = RunFit(planted.Draw(3), options);
    ASSERT_TRUE(summary.ok()) << summary.status();
    for (const double flops : options.predict) {
      const Optimum truth = planted.Best(flops);
      const Forecast *average = nullptr, *frontier = nullptr;
      for (const Forecast& f : summary->predictions) {
        if (f.flops == flops && f.law == "average") average = &f;
        if (f.flops == flops && f.law == "frontier") frontier = &f;
      }
      ASSERT_TRUE(average != nullptr && frontier != nullptr);
      EXPECT_GT(frontier->params / truth.params, 1.15) << "printed as its parabolas have it";
      EXPECT_NEAR(frontier->params / frontier->params_ratio / truth.params, 1, 0.03);
      EXPECT_NEAR(average->params / truth.params, 1, 0.03);
      EXPECT_NEAR(average->tokens / truth.tokens, 1, 0.03);
      EXPECT_NEAR(6 * average->params * average->tokens / flops, 1, 1e-3);
      EXPECT_EQ(average->params_ratio, 1) << "nothing is divided twice";
      if (resamples == 0) continue;
      EXPECT_LT(frontier->params_interval.lo, truth.params);
      EXPECT_GT(frontier->params_interval.hi, frontier->params) << "both are covered";
      EXPECT_LT(average->params_interval.lo, truth.params);
      EXPECT_GT(average->params_interval.hi, truth.params);
      const AverageMember& member = average->members.at(0);
      ASSERT_EQ(member.law, "frontier");
      EXPECT_THAT(FitText(*summary),
                  HasSubstr(fmt::format("of frontier without its curve's known bias: N* divided "
                                        "by {:.3f}, D* by {:.3f}",
                                        member.params_ratio, member.tokens_ratio)));
      for (const core::Json& prediction : FitJson(*summary)["predictions"]) {
        if (prediction["law"] != "average" || prediction["budget_flops"] != flops) continue;
        EXPECT_EQ(prediction["members"][0]["known_bias"]["params"], member.params_ratio - 1);
      }
    }
  }
}

TEST(ReportTest, OptimaWithoutTheKnownBiasStillSpendTheirBudget) {
  FlopsRelation spent = ProportionalFlops(6.7);
  spent.slope = -6.7 * 6000., spent.gamma = 0.5;
  Planted planted;
  planted.theta = {std::log(2e4), std::log(60.), 1.8, .55, .2};
  planted.width = 4.2;
  auto runs = planted.Draw();
  for (Observation& o : runs) {
    o.tokens = std::exp(spent.LogTokens(std::log(o.params), o.flops));
    o.loss = planted.Loss(o.params, o.tokens);
  }
  FitOptions options = Quick();
  options.predict = {1e20, 1e23};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  for (const Forecast& f : summary->predictions) {
    if (f.law != "average") continue;
    const Optimum truth = ChinchillaLaw().ComputeOptimalUnder(planted.theta, f.flops, spent);
    EXPECT_GT(f.members.at(0).params_ratio, 1.1);
    EXPECT_NEAR(spent.PerParamToken(f.params) * f.params * f.tokens / f.flops, 1, 5e-3);
    // Beyond the budgets the bias grows on, and what is taken away stays that of the last one.
    const double uncorrected = f.params * f.members[0].params_ratio / truth.params - 1;
    EXPECT_LT(std::fabs(f.params / truth.params - 1), std::max(.07, .6 * uncorrected));
    EXPECT_LT(std::fabs(f.tokens / truth.tokens - 1), std::max(.07, .6 * uncorrected));
    EXPECT_LE(f.params_interval.lo, truth.params);
    EXPECT_GE(f.tokens_interval.hi, truth.tokens);
  }
}

TEST(ReportTest, ConstantTokensPerParameterIsCalledCollinear) {
  Planted planted;
  planted.points = 1;
  planted.noise = 0.001;
  planted.budgets = {1e18, 2e18, 4e18, 8e18, 1.6e19, 3e19, 6e19, 1e20, 2e20, 4e20};
  FitOptions options = Quick();
  options.laws = {"chinchilla"};
  const auto summary = RunFit(planted.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_TRUE(Has(summary->fits[0].warnings, kCollinear));
  ASSERT_FALSE(summary->predictions.empty());
  EXPECT_TRUE(Has(summary->predictions[0].warnings, kCollinear));  // the forecast carries it too
}

TEST(ReportTest, ClampedPointsAreReportedWithTheirEffect) {
  auto runs = Planted().Draw();
  for (Observation& o : runs)
    if (o.flops == 3e20) {
      o.clamps = {"lr"};
      o.loss *= 1.01;
    }
  const auto summary = RunFit(runs, Quick());
  ASSERT_TRUE(summary.ok()) << summary.status();
  const std::string text = TextOf(summary->warnings, kClampedPoints);
  EXPECT_THAT(text, HasSubstr("8 of 48"));
  EXPECT_THAT(text, HasSubstr("lr"));
  // Without the clamped points the planted truth comes back.
  EXPECT_THAT(text, HasSubstr(fmt::format("without them chinchilla at 1e+22 is {:.4f}",
                                          Planted().Best(1e22).loss)));
}

// The smallest budget follows another law; leaving it out gives the planted truth back, and the
// report says by how much everything moves.
TEST(ReportTest, TheEffectOfTheSmallestBudgetAndOfTheNConventionIsReported) {
  auto runs = Planted().Draw();
  for (Observation& o : runs) {
    if (o.flops == 1e18) o.loss *= 1.02;
    o.params_no_embedding = o.params * 0.8;
  }
  FitOptions options = Quick();
  options.laws = {"chinchilla"};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  ASSERT_EQ(summary->sensitivities.size(), 2u);
  const Sensitivity& smallest = summary->sensitivities[0];
  EXPECT_EQ(smallest.change, "without the smallest budget 1e+18 (8 runs)");
  EXPECT_NEAR(smallest.loss / Planted().Best(1e22).loss, 1, 1e-8);
  EXPECT_NEAR(ByName(smallest.exponents).at("alpha"), .3478, 1e-7);
  EXPECT_GT(std::fabs(ByName(smallest.exponents_before).at("alpha") - .3478), 1e-3);
  EXPECT_EQ(summary->sensitivities[1].change, "with N without embeddings");
  EXPECT_THAT(FitText(*summary),
              HasSubstr("without the smallest budget 1e+18 (8 runs), chinchilla: "));
}

TEST(ReportTest, MixedCohortIsRefusedOrMarkedEverywhere) {
  auto runs = Planted().Draw();
  runs[0].cohort["metric"] = "other";
  EXPECT_EQ(RunFit(runs, Quick()).status().code(), absl::StatusCode::kFailedPrecondition);
  FitOptions options = Quick();
  options.allow_mixed = {"metric"};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_TRUE(Has(summary->warnings, kMixedCohort));
  for (const Forecast& f : summary->predictions) EXPECT_TRUE(Has(f.warnings, kMixedCohort));
}

TEST(ReportTest, ExclusionsAreNeverHidden) {
  auto runs = Planted().Draw();
  runs.push_back(runs[0]);
  const auto summary = RunFit(runs, Quick(), {{"not selected by --where a=b", 7}});
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->observations, 48u);
  ASSERT_EQ(summary->excluded.size(), 2u);
  EXPECT_THAT(FitText(*summary), HasSubstr("7 rows left out: not selected by --where a=b"));
}

TEST(ReportTest, FlopConventionThatDoesNotHoldIsNamed) {
  auto runs = Planted().Draw();
  for (Observation& o : runs) o.flops = o.budget_flops *= 1.4;
  FitOptions options = Quick();
  options.learn_flops = false;
  EXPECT_THAT(TextOf(RunFit(runs, options)->warnings, kFlopConvention), HasSubstr("40 %"));
  options.law.flops = ProportionalFlops(8.4);
  EXPECT_FALSE(Has(RunFit(runs, options)->warnings, kFlopConvention));
  const auto learned = RunFit(runs, Quick());
  EXPECT_FALSE(Has(learned->warnings, kFlopConvention));
  EXPECT_NEAR(learned->flops.limit, 8.4, 1e-9);
  EXPECT_THAT(FitText(*learned), HasSubstr("C / (N D) of the runs: 8.4 at every size"));
  for (Observation& o : runs) o.flops *= std::exp(.2 * std::sin(1e3 * std::log(o.params)));
  EXPECT_TRUE(Has(RunFit(runs, Quick())->warnings, kFlopConvention)) << "C is no function of N, D";
}

// Estimates need not lie among their own resamples; a report says so.
TEST(ReportTest, EstimatesOutsideTheirIntervalAreRemarked) {
  EXPECT_TRUE(IsOutside(2, {0, 1}));
  EXPECT_FALSE(IsOutside(.5, {0, 1}));
  EXPECT_FALSE(IsOutside(.5, {std::nan(""), std::nan("")}));
  const auto summary = RunFit(Planted{.noise = .003}.Draw(), Quick());
  ASSERT_TRUE(summary.ok());
  const core::Json json = FitJson(*summary);
  for (size_t i = 0; i < summary->fits.size(); ++i) {
    bool any = false;
    for (const auto& [name, interval] : json["fits"][i]["intervals"].items())
      any = any || interval["estimate_outside_interval"].get<bool>();
    EXPECT_EQ(any, Has(summary->fits[i].warnings, kEstimateOutside));
  }
  EXPECT_FALSE(json["predictions"][0]["interval"]["estimate_outside_interval"].get<bool>());
  for (const auto& prediction : json["predictions"]) {
    if (prediction["joint"].is_null()) continue;
    EXPECT_EQ(prediction["joint"]["kind"], "mean");
    EXPECT_EQ(prediction["joint"]["level"], .9);
    EXPECT_FALSE(prediction["joint"]["method"].get<std::string>().empty());
  }
}

TEST(ReportTest, LawsLeftOutOfTheAverageAreNamedWithTheReason) {
  FitOptions options = Quick();
  options.laws = {"default", "overtrain", "kaplan"};
  const auto summary = RunFit(Planted{.noise = .002}.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const Forecast& primary = summary->predictions[0];
  ASSERT_EQ(primary.law, "average");
  std::set<std::string> named;
  for (const AverageMember& member : primary.members) named.insert(member.law);
  for (const auto& [law, why] : primary.left_out) {
    EXPECT_FALSE(why.empty()) << law;
    EXPECT_TRUE(named.insert(law).second) << law;
    EXPECT_THAT(FitText(*summary), HasSubstr("without " + law + ": "));
  }
  EXPECT_FALSE(primary.left_out.empty());
  for (const LawFit& fit : summary->fits)
    EXPECT_TRUE(fit.law == "isoflop" || named.count(fit.law) > 0) << fit.law;
}

// The numbers that matter stand before the tables.
TEST(ReportTest, PrimaryForecastStandsBeforeTheLaws) {
  const auto summary = RunFit(Planted{.noise = .002}.Draw(), Quick());
  ASSERT_TRUE(summary.ok());
  const std::string text = FitText(*summary);
  const size_t primary = text.find("(primary)");
  ASSERT_NE(primary, std::string::npos);
  EXPECT_LT(primary, text.find("objective"));
  EXPECT_GT(text.rfind("\nforecast at"), text.rfind("objective"));
}

TEST(ReportTest, JsonHasThePromisedFields) {
  Planted planted;
  planted.noise = 0.002;
  FitOptions options = Quick();
  options.backtest = true;
  options.backtest_options.resamples = 25;
  const auto summary = RunFit(planted.Draw(), options);
  ASSERT_TRUE(summary.ok());
  const auto parsed = core::ParseJson(FitJson(*summary).dump(), "fit");
  ASSERT_TRUE(parsed.ok());
  for (const char* key : {"law", "loss", "delta", "params", "objective", "n", "starts",
                          "starts_at_best", "intervals", "cohort", "warnings", "elapsed_s"})
    EXPECT_TRUE((*parsed)["fits"][2].contains(key)) << key;
  for (const char* key : {"law", "budget_flops", "metric", "loss", "interval", "params", "tokens",
                          "reach", "leverage", "asymptote"})
    EXPECT_TRUE((*parsed)["predictions"][0].contains(key)) << key;
  for (const char* key : {"E_lo", "E_hi", "loss_at_E_lo", "loss_at_E_hi"})
    EXPECT_TRUE((*parsed)["predictions"][0]["asymptote"].contains(key)) << key;
  for (const char* key :
       {"law", "cut_flops", "n_train", "n_test", "rms_rel", "max_rel", "bias_rel", "coverage"})
    EXPECT_TRUE((*parsed)["backtest"][0].contains(key)) << key;
  const auto& interval = (*parsed)["fits"][2]["intervals"]["alpha"];
  EXPECT_EQ(interval["kind"], "parameter");
  EXPECT_EQ(interval["level"], 0.9);
  EXPECT_LT(interval["lo"], interval["hi"]);
  EXPECT_EQ((*parsed)["predictions"][0]["interval"]["kind"], "prediction");
}

TEST(ReportTest, EveryIntervalOfTheTextHasLevelAndKindAndThereIsOneRangeOfE) {
  Planted planted;
  planted.noise = 0.003;
  FitOptions options = Quick();
  options.predict = {3e23};
  options.law.bootstrap.level = 0.8;
  const auto summary = RunFit(planted.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const std::string text = FitText(*summary);
  EXPECT_THAT(text, HasSubstr("80 % prediction interval"));
  EXPECT_THAT(text, HasSubstr("an average run: 80 % mean interval"));
  EXPECT_THAT(text, HasSubstr("; D* "));
  EXPECT_THAT(text, HasSubstr("in brackets 80 % mean intervals (residual bootstrap"));
  EXPECT_THAT(text, HasSubstr("80 % parameter interval"));
  for (const Forecast& f : summary->predictions) {
    ASSERT_TRUE(f.asymptote.has_value()) << f.law;
    if (f.law == "average") continue;
    bool found = false;
    for (const auto& [name, interval] : FitOf(*summary, f.law).intervals)
      if (name == "E") {
        found = true;
        EXPECT_EQ(interval.lo, f.asymptote->E.lo) << f.law;
        EXPECT_EQ(interval.hi, f.asymptote->E.hi) << f.law;
        EXPECT_EQ(interval.method, f.asymptote->E.method);
      }
    EXPECT_TRUE(found) << f.law;
  }
  options.law.bootstrap.resamples = 0;
  EXPECT_THAT(FitText(*RunFit(planted.Draw(), options)), HasSubstr("no 80 % prediction interval"));
}

// Where the range of E decides, it decides about the mean; a run scatters beyond it.
TEST(ReportTest, APredictionIntervalReachesBeyondTheMeanIntervalOnBothSides) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Planted planted;
    planted.noise = 0.004;
    planted.budgets = {1e18, 3e18, 1e19, 3e19};
    FitOptions options = Quick();
    options.predict = {1e20, 1e24};
    const auto summary = RunFit(planted.Draw(seed), options);
    ASSERT_TRUE(summary.ok()) << summary.status();
    for (const Forecast& f : summary->predictions) {
      EXPECT_LT(f.interval.lo, f.mean_interval.lo) << f.law << " " << f.flops;
      EXPECT_GT(f.interval.hi, f.mean_interval.hi) << f.law << " " << f.flops;
    }
  }
}

TEST(ReportTest, ALevelBeyondTheResamplesIsNamedWithWhatWouldReachIt) {
  FitOptions options = Quick();
  options.law.bootstrap.level = 0.999;
  const auto summary = RunFit(Planted{.noise = 0.01}.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(TextOf(summary->warnings, kFewResamples), HasSubstr("--bootstrap 2000"));
  EXPECT_THAT(FitText(*summary), HasSubstr("99.9 % prediction interval"));
  options.law.bootstrap.level = 0.999999;
  const auto far = RunFit(Planted{.noise = 0.01}.Draw(), options);
  ASSERT_TRUE(far.ok()) << far.status();
  EXPECT_THAT(FitText(*far), HasSubstr("99.9999 % prediction interval"));
  const auto usual = RunFit(Planted{.noise = 0.01}.Draw(), Quick());
  EXPECT_FALSE(Has(usual->warnings, kFewResamples));
}

TEST(ReportTest, OpenEndsAndWhatIsTooLargeAreSaidInWords) {
  FitSummary summary;
  summary.input = "FLOPs";
  LawFit fit;
  fit.law = "kaplan";
  fit.starts = 2;
  const double infinity = std::numeric_limits<double>::infinity();
  fit.condition = infinity;
  fit.params = {{"N_c", infinity}, {"alpha", 0.3}};
  fit.profiles = {{"alpha", Interval{0.1, infinity, 0.9, IntervalKind::kParameter, "profile"}}};
  summary.fits = {fit};
  const std::string text = FitText(summary);
  EXPECT_THAT(text, ::testing::AllOf(HasSubstr("too large"), HasSubstr("0.1 .. no upper end"),
                                     HasSubstr("cond singular")));
}

TEST(ReportTest, TargetsOutsideTheFittedBudgetsAreNamedOnBothSides) {
  FitOptions options = Quick();
  options.predict = {1e17, 1e19, 1e22};
  const auto summary = RunFit(Planted().Draw(), options);
  ASSERT_TRUE(summary.ok());
  for (const Forecast& f : summary->predictions) {
    const std::string text = TextOf(f.warnings, kOutsideRange);
    if (f.flops == 1e17) {
      EXPECT_THAT(text, HasSubstr("below the smallest fitted budget 1e+18, by a factor of 10"));
    } else if (f.flops == 1e19) {
      EXPECT_EQ(text, "");
    } else {
      EXPECT_THAT(text, HasSubstr("33.3 times the largest"));
    }
  }
}

// Over-trained runs alone say little of the optimum, however near in C it is.
TEST(ReportTest, AnOptimumOfAnotherShapeThanAllRunsIsSaid) {
  const Planted planted;
  std::vector<Observation> runs;
  for (const double params : {5e7, 1e8, 2e8, 4e8})
    for (const double ratio : {200., 400., 800., 1600.}) {
      Observation o;
      o.params = params, o.tokens = ratio * params, o.flops = 6 * o.params * o.tokens;
      o.loss = planted.Loss(o.params, o.tokens);
      runs.push_back(o);
    }
  FitOptions options = Quick();
  options.laws = {"chinchilla"};
  options.predict = {1e21};
  const auto summary = RunFit(runs, options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  for (const Forecast& f : summary->predictions)
    EXPECT_THAT(TextOf(f.warnings, kOutsideRange),
                testing::AllOf(HasSubstr("tokens a parameter (its optimum's) lie outside the 200 "),
                               HasSubstr("1.6e+03 of the fitted runs")));
}

TEST(ReportTest, TextShowsEveryWarningOfEveryNumber) {
  auto runs = Planted().Draw();
  runs[3].clamps = {"batch"};
  const auto summary = RunFit(runs, Quick());
  ASSERT_TRUE(summary.ok());
  const std::string text = FitText(*summary);
  for (const Forecast& f : summary->predictions)
    for (const Warning& w : f.warnings) EXPECT_THAT(text, HasSubstr(w.text));
  for (const LawFit& fit : summary->fits)
    for (const Warning& w : fit.warnings) EXPECT_THAT(text, HasSubstr(w.text));
  EXPECT_THAT(text, HasSubstr("clamped-points"));
}

}  // namespace
}  // namespace fit
