// sweepctl fit over CSV files: planted truth comes back, and every wrong input is named.
#include <cmath>

#include "core/rng.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "tests/sweepctl/program.h"

namespace {

using core::Json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Chinchilla's surface of Besiroglu et al. 2024, which the test plants.
double Loss(double params, double tokens) {
  return 1.817 + 482.0 / std::pow(params, 0.3478) + 2085.0 / std::pow(tokens, 0.3658);
}
double BestLoss(double flops) {
  double best = HUGE_VAL;
  for (double x = std::log(1e6); x < std::log(1e12); x += 1e-3)
    best = std::min(best, Loss(std::exp(x), flops / 6 / std::exp(x)));
  return best;
}

// An IsoFLOP design with 0.1 % noise. `spoil` replaces the loss of row 5 (line 6 of the file).
std::string PlantedCsv(const std::string& spoil = "", bool mixed = false) {
  core::Rng rng(3);
  std::string csv = "flops,params,tokens,loss_c4,recipe\n";
  int row = 0;
  for (const double budget : {1e18, 3e18, 1e19, 3e19, 1e20}) {
    const double centre = std::sqrt(budget / 6 / 20);
    for (int i = -3; i <= 3; ++i) {
      const double params = centre * std::exp(0.4 * i), tokens = budget / 6 / params;
      const double loss = Loss(params, tokens) * std::exp(1e-3 * rng.Normal());
      ++row;
      csv += fmt::format("{},{},{},{},{}\n", budget, params, tokens,
                         row == 5 && !spoil.empty() ? spoil : fmt::format("{}", loss),
                         mixed && row > 20 ? "delphi@2" : "delphi@1");
    }
  }
  return csv;
}

std::string Write(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + name;
  EXPECT_TRUE(core::WriteFileAtomically(path, text).ok());
  return path;
}

TEST(FitVerbTest, APlantedSurfaceIsForecastWithinItsInterval) {
  const std::string path = Write("planted.csv", PlantedCsv());
  const Result result = Sweepctl("fit --csv " + path +
                                 " --column loss=loss_c4 --law chinchilla,frontier "
                                 "--bootstrap 200 --no-backtest --predict 1e21,1e22 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const Json out = result.json();
  EXPECT_EQ(out["observations"], 35);
  ASSERT_EQ(out["predictions"].size(), 6u);
  for (const Json& p : out["predictions"]) {
    if (p["law"] != "chinchilla") continue;
    const double truth = BestLoss(p["budget_flops"]);
    EXPECT_NEAR(p["loss"].get<double>(), truth, 0.03 * truth);
    EXPECT_LE(p["interval"]["lo"].get<double>(), truth);
    EXPECT_GE(p["interval"]["hi"].get<double>(), truth);
    EXPECT_EQ(p["interval"]["level"], 0.9);
    EXPECT_FALSE(p.contains("plan")) << "no sweep, no recipe";
  }
  EXPECT_NEAR(out["fits"][1]["params"]["E"].get<double>(), 1.817, 0.1);

  const Result text = Sweepctl("fit --csv " + path +
                               " --column loss=loss_c4 --law chinchilla --bootstrap 0 "
                               "--no-backtest");
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr("35 observations"));
  EXPECT_THAT(text.err, HasSubstr("sweepctl fit --csv"));
}

TEST(FitVerbTest, OptionsReachTheFit) {
  const std::string path = Write("options.csv", PlantedCsv());
  const std::string base = "fit --csv " + path + " --column loss=loss_c4 --no-backtest --json ";
  const Json l1 =
      Sweepctl(base + "--law chinchilla --loss l1 --residual linear --bootstrap 0").json();
  EXPECT_EQ(l1["fits"][0]["loss"], "l1");
  EXPECT_EQ(l1["fits"][0]["residual"], "linear");
  EXPECT_EQ(l1["fits"][0]["resamples"], 0);
  const Json pinned =
      Sweepctl(base + "--law frontier --pin-e 1.8 --bootstrap 30 --level 80%").json();
  EXPECT_EQ(pinned["fits"][0]["params"]["E"], 1.8);
  EXPECT_EQ(pinned["fits"][0]["intervals"]["p"]["level"], 0.8);
  const std::string mixed = Write("where.csv", PlantedCsv("", true));
  const Json some = Sweepctl("fit --csv " + mixed +
                             " --column loss=loss_c4 --no-backtest --json --law isoflop "
                             "--bootstrap 0 --where recipe=delphi@1")
                        .json();
  EXPECT_EQ(some["observations"], 20);
  EXPECT_EQ(some["excluded"][0]["count"], 15);
}

TEST(FitVerbTest, AnOptionThatNothingFittedUsesIsSaid) {
  const std::string file = Write("idle.csv", PlantedCsv());
  const std::string fit =
      "fit --csv " + file + " --column loss=loss_c4 --bootstrap 20 --no-backtest --json --law ";
  const std::pair<std::string, std::string> idle[] = {
      {"isoflop,frontier --loss l1", "--loss changes no estimate"},
      {"chinchilla --loss l2 --delta 0.1", "it is of --loss huber"},
      {"chinchilla --isoflop-window 1", "it is of isoflop, frontier"},
      {"chinchilla --no-exponent-prior", "it is of the average over laws"},
      {"envelope --within 0.5%", "--within changes no estimate"}};
  for (const auto& [options, said] : idle) {
    const Result result = Sweepctl(fit + options);
    ASSERT_EQ(result.code, 0) << options << result.err;
    EXPECT_THAT(result.err, HasSubstr(said)) << options;
    EXPECT_THAT(result.json()["warnings"].dump(), HasSubstr("option-without-effect")) << options;
  }
  for (const char* used : {"chinchilla --loss l1", "frontier --within 0.5%",
                           "isoflop --isoflop-curve akima", "frontier,envelope --loss l1"})
    EXPECT_THAT(Sweepctl(fit + used).json()["warnings"].dump(),
                ::testing::Not(HasSubstr("option-without-effect")))
        << used;
}

TEST(FitVerbTest, AMisspeltLawOrOptionExits2WithTheRightWord) {
  const std::string path = Write("law.csv", PlantedCsv());
  const Result law = Sweepctl("fit --csv " + path + " --column loss=loss_c4 --law chinchila");
  EXPECT_EQ(law.code, 2);
  EXPECT_THAT(law.err, HasSubstr("did you mean 'chinchilla'?"));
  for (const char* args :
       {"--predict lots", "--predict -1", "--loss cubic", "--level 2", "--delta 0",
        "--n-convention some", "--sweep x", "--include-targets", "--column loss", "--output csv"})
    EXPECT_EQ(Sweepctl("fit --csv " + path + " " + args).code, 2) << args;
}

TEST(FitVerbTest, ABadRowIsNamedByFileAndLine) {
  const std::string path = Write("nan.csv", PlantedCsv("nan"));
  const Result result = Sweepctl("fit --csv " + path + " --column loss=loss_c4");
  EXPECT_EQ(result.code, 65);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr(path + ":6: column 'loss_c4' holds 'nan'"));
  const Result column = Sweepctl("fit --csv " + path);
  EXPECT_EQ(column.code, 65);
  EXPECT_THAT(column.err, HasSubstr("--column loss=COLUMN"));
  EXPECT_EQ(Sweepctl("fit --csv /no/such.csv").code, 65);
}

TEST(FitVerbTest, APerplexityInAFileThatNamesNoUnitIsSaidAndFitted) {
  const std::string args = " --column loss=loss_c4 --law frontier --no-backtest --json";
  const Result result = Sweepctl("fit --csv " + Write("ppl.csv", PlantedCsv("38.5")) + args);
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(
      result.json()["warnings"].dump(),
      AllOf(HasSubstr("impossible-loss"), HasSubstr("row 6: 38.5"), HasSubstr("said the unit")));
  EXPECT_THAT(
      Sweepctl("fit --csv " + Write("nats.csv", PlantedCsv()) + args).json()["warnings"].dump(),
      Not(HasSubstr("impossible-loss")));
}

// A run of a size of its own, over-trained: what it loses against the optimum is in its forecast.
TEST(FitVerbTest, ARunIsForecastAtItsOwnSize) {
  const std::string path = Write("run.csv", PlantedCsv());
  const std::string args = "fit --csv " + path +
                           " --column loss=loss_c4 --law chinchilla --bootstrap 100 "
                           "--no-backtest --model 1e9:1e12";
  const Result result = Sweepctl(args + " --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const core::Json forecast = result.json()["predictions"][0];
  EXPECT_EQ(forecast["run"]["params"], 1e9);
  EXPECT_EQ(forecast["run"]["tokens"], 1e12);
  EXPECT_NEAR(forecast["budget_flops"].get<double>() / 6e21, 1, 1e-3);
  EXPECT_GT(forecast["run"]["off_optimum"].get<double>(), 0.005);
  EXPECT_THAT(Sweepctl(args).out, HasSubstr("forecast of N 1B, D 1T (6e+21 FLOPs)"));
  EXPECT_EQ(Sweepctl(args + " --register").code, 2);
}

TEST(FitVerbTest, ARunIsAnsweredByLawsThatSeeItsSizeOrRefused) {
  const std::string fit = "fit --csv " + Write("runs.csv", PlantedCsv()) +
                          " --column loss=loss_c4 --bootstrap 20 --no-backtest --json ";
  for (const char* laws : {"chinchilla,two-step", "chinchilla,envelope"}) {
    const Result result = Sweepctl(fit + "--model 1e9:2e10 --law " + laws);
    ASSERT_EQ(result.code, 0) << result.err;
    const Json forecasts = result.json()["predictions"];
    EXPECT_FALSE(forecasts.empty()) << laws;
    for (const Json& forecast : forecasts) EXPECT_NE(forecast["law"], "envelope");
  }
  const Result refused = Sweepctl(fit + "--model 1e8:1e13 --law envelope");
  EXPECT_EQ(refused.code, 65);
  EXPECT_THAT(refused.err, HasSubstr("envelope is a law in C"));
  const Result curve = Sweepctl(fit + "--x tokens --model 1e9:2e10");
  EXPECT_EQ(curve.code, 2);
  EXPECT_THAT(curve.err, testing::AllOf(HasSubstr("--model"), HasSubstr("--x tokens")));
}

TEST(FitVerbTest, AMixedCohortIsRefusedWithItsDiffAndMarkedWhenAllowed) {
  const std::string path = Write("mixed.csv", PlantedCsv("", true));
  const std::string args =
      "fit --csv " + path + " --column loss=loss_c4 --law chinchilla --bootstrap 0 --no-backtest ";
  const Result refused = Sweepctl(args);
  EXPECT_EQ(refused.code, 65);
  EXPECT_THAT(refused.err, HasSubstr("delphi@1 x20 | delphi@2 x15"));
  EXPECT_THAT(refused.err, HasSubstr("--allow-mixed recipe"));
  const Result allowed = Sweepctl(args + "--allow-mixed recipe --predict 1e21 --json");
  ASSERT_EQ(allowed.code, 0) << allowed.err;
  EXPECT_THAT(allowed.json()["predictions"][0]["warnings"].dump(), HasSubstr("mixed-cohort"));
}

}  // namespace
