// plan: what forecasts would be worth, designs for a width, and runs to add.
#include <algorithm>
#include <cmath>
#include <set>

#include "gmock/gmock.h"
#include "sweepctl/plan_memory.h"
#include "tests/sweepctl/planted_sweep.h"
#include "tests/sweepctl/program.h"

namespace sweepctl {
namespace {

using core::Json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Temp(const std::string& name) { return testing::TempDir() + "/" + name; }

std::string Write(const std::string& name, const std::string& text) {
  EXPECT_TRUE(core::WriteFileAtomically(Temp(name), text).ok());
  return Temp(name);
}

const std::string kQuickstart = "plan sweeps/quickstart.yaml --json ";

TEST(PlanPowerTest, EveryTargetHasAnExpectedWidthAndWhatItRestsOn) {
  const Result result = Sweepctl(kQuickstart + "--predict 3e13");
  ASSERT_EQ(result.code, 0) << result.err;
  const Json power = result.json()["power"];
  EXPECT_EQ(power["prior"]["name"], "nano");
  EXPECT_EQ(power["prior"]["law"], "chinchilla");
  EXPECT_EQ(power["level"], 0.9);
  EXPECT_EQ(power["kind"], "prediction");
  EXPECT_THAT(power["method"].get<std::string>(), HasSubstr("40 simulated sweeps"));
  EXPECT_THAT(power["caveats"].dump(), HasSubstr("it is a guess"));
  ASSERT_EQ(power["targets"].size(), 2u);
  const Json &near = power["targets"][0], &far = power["targets"][1];
  EXPECT_NEAR(near["budget_flops"].get<double>(), 1e13, 1e11);
  EXPECT_NEAR(far["reach"].get<double>(), 10, 0.1);
  EXPECT_GT(near["half_width"].get<double>(), 0.01);
  EXPECT_LT(near["half_width"].get<double>(), far["half_width"].get<double>());
  EXPECT_LE(near["half_width_range"][0].get<double>(), near["half_width"].get<double>());
  for (const char* chance : {"chance_close", "covered", "asymptote_identified"}) {
    EXPECT_GE(near[chance].get<double>(), 0) << chance;
    EXPECT_LE(near[chance].get<double>(), 1) << chance;
  }
  const Result text = Sweepctl("plan sweeps/quickstart.yaml");
  EXPECT_THAT(text.out, AllOf(HasSubstr("expected forecast, if the prior is true: 90 % prediction"),
                              HasSubstr("prior nano: L = E + A/N^alpha + B/D^beta"),
                              HasSubstr("noise of ln L: 1.2 % a run"), HasSubstr("half-width"),
                              HasSubstr("identified: 25 % or less")));
  EXPECT_TRUE(Sweepctl(kQuickstart + "--simulations 0").json()["power"].is_null());
  // One simulation knows no error of its chance.
  const std::string one = " --simulations 1 --noise 3%";
  EXPECT_THAT(Sweepctl("plan sweeps/quickstart.yaml" + one).out, Not(HasSubstr("nan ")));
  EXPECT_TRUE(
      Sweepctl(kQuickstart + one).json()["power"]["targets"][0]["chance_close_se"].is_null());
  // Without noise nothing is left to miss by: budgets buy what the recipe says, and the target is
  // forecast at its own size.
  const Json quiet =
      Sweepctl(kQuickstart + "--simulations 8 --noise 0.02%").json()["power"]["targets"][0];
  EXPECT_LT(quiet["error"].get<double>(), 0.002);
  EXPECT_GT(quiet["covered"].get<double>(), 0.8);
  EXPECT_TRUE(Sweepctl("plan sweeps/delphi.yaml --json").json()["power"].is_null()) << "no target";
}

TEST(PlanPowerTest, TargetsOfPredictAreNotInTheFileAndBindNothing) {
  const std::string plan = "plan sweeps/isoflop.yaml --simulations 0 ";
  const Result asked = Sweepctl(plan + "--predict 1e18,1e16"), plain = Sweepctl(plan);
  ASSERT_EQ(asked.code, 0) << asked.err;
  EXPECT_THAT(asked.err, Not(HasSubstr("refuse")));
  EXPECT_EQ(asked.err, plain.err);
  EXPECT_THAT(asked.out, AllOf(HasSubstr("forecast at 1e+16: held until registered"),
                               HasSubstr("forecast at 1e+18: of --predict, not in the file")));
  const Json targets = Sweepctl(plan + "--predict 1e18 --json").json()["targets"];
  ASSERT_EQ(targets.size(), 3u);
  EXPECT_EQ(targets[1]["in_file"], true);
  EXPECT_EQ(targets[2]["in_file"], false);
}

// Noise widens intervals faster than the range of E, so the warning of `fit` is no measure of it.
TEST(PlanPowerTest, TheNoisierTheRunsTheLessIsEIdentified) {
  const std::string plan =
      "plan sweeps/isoflop.yaml --json --prior delphi --seed-noise 0.1% --simulations 8 --noise ";
  std::vector<double> identified, half_range;
  for (const char* noise : {"0.1%", "0.3%", "1%", "3%"}) {
    const Result result = Sweepctl(plan + noise);
    ASSERT_EQ(result.code, 0) << result.err;
    const Json target = result.json()["power"]["targets"][0];
    EXPECT_EQ(target["asymptote_within"], 0.25);
    identified.push_back(target["asymptote_identified"].get<double>());
    half_range.push_back(target["asymptote_half_range"].get<double>());
  }
  EXPECT_EQ(identified[0], 1);
  EXPECT_EQ(identified[3], 0);
  EXPECT_TRUE(std::is_sorted(identified.rbegin(), identified.rend()));
  EXPECT_TRUE(std::is_sorted(half_range.begin(), half_range.end()));
}

TEST(PlanPowerTest, PriorAndNoiseAreTheUsers) {
  const auto half_width = [](const std::string& options) {
    const Result result = Sweepctl(kQuickstart + "--simulations 8 " + options);
    EXPECT_EQ(result.code, 0) << result.err;
    return result.json()["power"]["targets"][0]["half_width"].get<double>();
  };
  EXPECT_LT(half_width("--noise 0.2%"), 0.5 * half_width("--noise 2%"));
  EXPECT_LT(half_width("--level 50%"), half_width("--level 95%"));
  const Json named = Sweepctl(kQuickstart + "--simulations 1 --prior chinchilla").json()["power"];
  EXPECT_EQ(named["prior"]["params"]["E"], 1.81686);
  EXPECT_THAT(named["caveats"].dump(), HasSubstr("out of its range"));
  const std::string file = Write(
      "prior.json",
      R"({"law":"chinchilla","params":{"E":0.9,"A":33,"B":25,"alpha":0.32,"beta":0.22},"noise":0.01})");
  const Json by_file = Sweepctl(kQuickstart + "--simulations 1 --prior " + file).json()["power"];
  EXPECT_EQ(by_file["prior"]["params"]["E"], 0.9);
  EXPECT_EQ(by_file["noise"]["shape"], 0.01);
  const Json ranged =
      Sweepctl(kQuickstart + "--simulations 2 --prior nano,E=0.5..1.0,alpha=0.3..0.35")
          .json()["power"];
  EXPECT_EQ(ranged["prior"]["draws"], 33);
  EXPECT_EQ(ranged["prior"]["params"]["E"], 0.75);
  EXPECT_EQ(
      Sweepctl(kQuickstart + "--simulations 2 --prior range").json()["power"]["prior"]["draws"],
      33);
}

TEST(PlanPowerTest, WrongOptionsExit2AndSayWhatTheyTake) {
  const std::string plan = "plan sweeps/quickstart.yaml ";
  const std::pair<const char*, const char*> wrong[] = {
      {"--prior chinchila", "did you mean 'chinchilla'?"},
      {"--prior E=2..1", "LETTER=LOW..HIGH"},
      {"--prior gamma=1..2", "no constant 'gamma'"},
      {"--prior nano,chinchilla", "names one prior"},
      {"--noise lots", "--noise is a standard deviation"},
      {"--noise 0.1% --seed-noise 1%", "a part of --noise"},
      {"--noise 0", "name it with --noise"},
      {"--level 2", "--level lies between"},
      {"--max-flops 1e12", "belongs to --target-width or --next"},
      {"--out x.yaml", "belongs to --target-width or --next"},
      {"--sweep x", "belongs to --next"},
      {"--target-width 1%", "needs --max-flops"},
      {"--target-width wide --max-flops 1e13", "is a half-width"},
      {"--target-width 1% --next --max-flops 1e13", "plans a sweep"},
      {"--next", "needs --max-flops"},
      {"--next --sweep x --max-flops 1e13", "not both"}};
  for (const auto& [options, message] : wrong) {
    const Result result = Sweepctl(plan + options);
    EXPECT_EQ(result.code, 2) << options;
    EXPECT_THAT(result.err, HasSubstr(message)) << options;
  }
  EXPECT_EQ(Sweepctl("plan").code, 2);
  EXPECT_EQ(Sweepctl("plan --predict 2e13,3e13 sweeps/quickstart.yaml --simulations 0").code, 0);
  EXPECT_EQ(Sweepctl(plan + "--prior none.json").code, 65);
  EXPECT_EQ(Sweepctl(plan + "--prior none.db").code, 65);
}

TEST(PlanDesignTest, TheCheapestDesignReachesTheWidthAndItsFilePlans) {
  const std::string out = Temp("design.yaml");
  const std::string width = "--simulations 4 --target-width 9% --max-flops ";
  const Result result = Sweepctl(kQuickstart + width + "3e13 --out " + out);
  ASSERT_EQ(result.code, 0) << result.err;
  const Json answer = result.json();
  ASSERT_FALSE(answer["design"].is_null()) << result.out;
  EXPECT_LE(answer["design"]["flops"].get<double>(), 3e13);
  EXPECT_LE(answer["power"]["targets"][0]["half_width"].get<double>(), 0.09);
  EXPECT_EQ(answer["power"]["simulations"], 16) << "simulated anew";
  EXPECT_THAT(result.err, HasSubstr("launch " + out + " --data-root "));
  const Json planned = Sweepctl("plan " + out + " --json --simulations 0").json();
  EXPECT_EQ(planned["sweep"], "quickstart-design");
  EXPECT_NEAR(planned["totals"]["flops"].get<double>(), answer["design"]["flops"].get<double>(), 1);

  const Result poor = Sweepctl(kQuickstart + width + "2e12");
  EXPECT_EQ(poor.code, 65) << "a script must not go on without a design";
  EXPECT_TRUE(poor.json()["design"].is_null());
  EXPECT_GT(poor.json()["beyond"]["flops"].get<double>(), 2e12);
  EXPECT_GT(poor.json()["needed_flops"].get<double>(), 2e12);
  EXPECT_TRUE(poor.json()["reached_half_width"].is_null()) << "none ends with an interval";
  EXPECT_THAT(poor.err, HasSubstr("it takes about"));
  const Result impossible =
      Sweepctl("plan sweeps/quickstart.yaml --simulations 2 --target-width 0.1% --max-flops 1e13");
  EXPECT_EQ(impossible.code, 65);
  EXPECT_THAT(impossible.err, HasSubstr("the narrowest reaches"));
  EXPECT_THAT(impossible.out, AllOf(HasSubstr("no design within 1e+13 FLOPs"),
                                    HasSubstr("the target's own run alone")));
  EXPECT_EQ(Sweepctl("plan sweeps/delphi.yaml --target-width 1% --max-flops 1e20").code, 2);
}

TEST(PlanMemoryTest, TheHostsOwnDeviceIsComparedWithTheLeastThatATrialNeeds) {
  const auto warnings = [](const std::string& numerics, const Devices& devices) {
    const auto file = sweeps::ParseSweepFile(
                          "name: g\nrecipe: delphi\nbudgets: [3e19]\npoints: "
                          "all\nnumerics: " +
                              numerics + "\n",
                          "g.yaml")
                          .value();
    return MemoryWarnings(sweeps::Expand(file, {}).value(), {}, devices);
  };
  Devices small, large;
  small.gpu_bytes = 20e9;
  small.gpu = "Small";
  small.host_bytes = 16e9;
  large.gpu_bytes = 130e9;
  large.host_bytes = 1e12;
  const auto too_small = warnings("bf16-mixed", small);
  ASSERT_EQ(too_small.size(), 1u);
  EXPECT_EQ(too_small[0].of, 9u);
  EXPECT_LT(too_small[0].trials, 9u) << "the smallest fit";
  EXPECT_GT(too_small[0].least_bytes, 20e9);
  EXPECT_FALSE(too_small[0].fits_no_gpu);
  EXPECT_THAT(too_small[0].text, HasSubstr("of Small"));
  EXPECT_TRUE(warnings("bf16-mixed", large).empty());
  EXPECT_EQ(warnings("bf16-mixed", Devices())[0].code, "no-gpu");
  EXPECT_THAT(warnings("f32", small)[0].text, HasSubstr("of memory in f32 on a CPU"));
  EXPECT_TRUE(warnings("f32", large).empty());
}

// One sweep with all its fit trials finished, for the tests of --next.
class PlanNextTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new orchestrator::TempDir();
    PlantedSweep sweep(Db());
    sweep.Submit();
    sweep.Train(100);
  }
  static void TearDownTestSuite() { delete dir_; }
  static std::string Db() { return dir_->File("test.db"); }
  static orchestrator::TempDir* dir_;
};
orchestrator::TempDir* PlanNextTest::dir_ = nullptr;

TEST_F(PlanNextTest, NextRunsStayWithinTheFlopsAndMakeAFileThatSharesTheFinishedTrials) {
  const std::string out = Temp("next.yaml");
  const Result result = Sweepctl("plan --next --max-flops 1e13 --simulations 6 --json --db " +
                                 Db() + " --out " + out);
  ASSERT_EQ(result.code, 0) << result.err;
  const Json answer = result.json();
  EXPECT_EQ(answer["sweep"], "nano");
  EXPECT_EQ(answer["known"], 20);
  EXPECT_EQ(answer["unfinished"], 0);
  EXPECT_LE(answer["flops"].get<double>(), 1e13);
  ASSERT_FALSE(answer["runs"].empty());
  EXPECT_LT(answer["runs"].back()["half_width"].get<double>(),
            answer["linear_half_width_before"].get<double>());
  EXPECT_EQ(answer["half_widths"], "geometric mean over targets");
  for (const char* list : {"runs", "choices"})
    for (const Json& row : answer[list]) {
      EXPECT_EQ(row["level"], 0.9) << list;
      EXPECT_EQ(row["kind"], "prediction") << list;
    }
  // A tenth of the money was looked at too, and no choice costs more for as wide an interval.
  std::set<double> limits;
  for (const Json& choice : answer["choices"]) {
    limits.insert(choice["max_flops"].get<double>());
    EXPECT_LE(choice["flops"].get<double>(), choice["max_flops"].get<double>());
  }
  EXPECT_GE(limits.size(), 2u);
  EXPECT_LE(*limits.begin(), 1e13 / 2);
  EXPECT_EQ(answer["after"]["simulations"], 24);
  EXPECT_THAT(result.err, AllOf(HasSubstr("launch " + out), HasSubstr("--data-root FOLDER")));
  const Json planned = Sweepctl("plan " + out + " --json --simulations 0").json();
  EXPECT_EQ(planned["sweep"], "nano-next");
  ASSERT_EQ(planned["trials"].size(), 20 + answer["runs"].size());
  const Json first = Sweepctl(
                         "query 'SELECT params, tokens FROM v_trials ORDER BY position' --json "
                         "--db " +
                         Db())
                         .json()["rows"];
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(planned["trials"][i]["params"], first[i]["params"]);
    EXPECT_EQ(planned["trials"][i]["tokens"], first[i]["tokens"]);
  }
  for (size_t i = 0; i < answer["runs"].size(); ++i) {
    EXPECT_EQ(planned["trials"][20 + i]["params"], answer["runs"][i]["params"]);
    EXPECT_EQ(planned["trials"][20 + i]["init_seed"], answer["runs"][i]["seed"]);
  }

  const Result text = Sweepctl(
      "plan --next --max-flops 1e13 --predict 1e14 --criterion d "
      "--simulations 0 --db " +
      Db() + " --out " + out);
  EXPECT_EQ(text.code, 0) << text.err;
  // The sweep's own limit covers one target of 1e13.
  EXPECT_THAT(text.out, AllOf(HasSubstr("; registered targets 1"), HasSubstr("; limits.flops")));
  const Result again = Sweepctl("plan " + out + " --simulations 0");
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.err, Not(HasSubstr("refuse")));
  EXPECT_THAT(text.out, AllOf(HasSubstr("runs to add to sweep nano (20 finished runs), D-optimal"),
                              HasSubstr("not simulated")));
}

TEST_F(PlanNextTest, WidthsBeyondLinearTheoryAreNoNumbersAndTheGapToSimulationsIsExplained) {
  const Result far = Sweepctl(
      "plan --next --max-flops 1e13 --simulations 1 --criterion v --noise 3% --predict 1e18 "
      "--level 80% --db " +
      Db());
  ASSERT_EQ(far.code, 0) << far.err;
  EXPECT_THAT(far.out,
              AllOf(HasSubstr("linear half-width then (80 % prediction)"),
                    HasSubstr("shrinks the 80 % prediction interval"),
                    HasSubstr("(half-width over 50 % before, geometric mean over targets)"),
                    HasSubstr("simulated half-widths of 80 % prediction intervals, "
                              "geometric mean over targets"),
                    HasSubstr("Linear theory above ranks runs")));
}

TEST_F(PlanNextTest, WhatFitPrintsAsJsonIsAPriorAndNoiseOverridesIts) {
  for (const char* weights : {"", "--noise-by-flops "}) {
    const std::string path = Temp("fit.json");
    ASSERT_EQ(
        Sweepctl("fit --bootstrap 0 --no-backtest --json --db " + Db() + " " + weights, path).code,
        0);
    const std::string plan = kQuickstart + "--simulations 1 --prior " + path;
    const Json own = Sweepctl(plan).json()["power"];
    EXPECT_THAT(own["prior"]["source"].get<std::string>(), HasSubstr("constants of chinchilla in"));
    // Planted: 3.5e-4, of which 20 runs tell little.
    EXPECT_GT(own["noise"]["shape"].get<double>(), 1e-4) << weights;
    EXPECT_LT(own["noise"]["shape"].get<double>(), 6e-4) << weights;
    // Its runs end at 3e12.
    EXPECT_THAT(Sweepctl("plan sweeps/isoflop.yaml --simulations 1 --prior " + path).out,
                HasSubstr("out of its range"));
    const Json named = Sweepctl(plan + " --noise 0.5%").json()["power"];
    EXPECT_EQ(named["noise"]["shape"], 0.005);
    EXPECT_EQ(named["noise"]["source"], "--noise");
  }
}

TEST_F(PlanNextTest, WhatCannotBePlannedSaysWhy) {
  const std::string next = "plan --next --db " + Db() + " --max-flops ";
  const Result poor = Sweepctl(next + "1e9");
  EXPECT_EQ(poor.code, 65);
  EXPECT_THAT(poor.err, HasSubstr("within 1e+09 FLOPs"));
  EXPECT_EQ(Sweepctl(next + "1e13 --output csv").code, 2);
  EXPECT_EQ(Sweepctl(next + "1e13 --sweep nanno").code, 65);
  EXPECT_EQ(Sweepctl(next + "1e13 --out /no/such/folder/x.yaml").code, 73);
  orchestrator::TempDir dir;
  {
    PlantedSweep sweep(dir.File("new.db"));
    sweep.Submit();
  }
  const Result empty = Sweepctl("plan --next --max-flops 1e13 --db " + dir.File("new.db"));
  EXPECT_EQ(empty.code, 65);
  EXPECT_THAT(empty.err, HasSubstr("no finished run"));
  {
    PlantedSweep sweep(dir.File("done.db"));
    sweep.Submit();
    sweep.Train(100);
    sweep.Register("nano/1e13", 1e13, 0.005);
    sweep.Train(1);
  }
  const Result done = Sweepctl("plan --next --max-flops 1e13 --db " + dir.File("done.db"));
  EXPECT_EQ(done.code, 65);
  EXPECT_THAT(done.err, HasSubstr("say what to forecast next with --predict"));
  std::string rows = "flops,params,tokens,loss,optimizer\n";
  for (int i = 0; i < 24; ++i)
    rows += fmt::format("{},{},{},{},{}\n", 6e11 * (1 + i / 2), 1e5 * (1 + i / 2 % 4),
                        1e6 * (1 + i / 2) / (1 + i / 2 % 4), 3 - 0.01 * i + (i % 2) * 0.3,
                        i % 2 == 0 ? "adamh" : "muon");
  const std::string mixed = Write("mixed.csv", rows);
  const Result two = Sweepctl(kQuickstart + "--prior " + mixed);
  EXPECT_NE(two.code, 0);
  EXPECT_THAT(two.err, AllOf(HasSubstr("optimizer"), HasSubstr("--where")));
  const Result prior = Sweepctl(kQuickstart + "--simulations 1 --prior " + dir.File("done.db"));
  EXPECT_THAT(prior.out, HasSubstr("through 20 finished runs"));
}

}  // namespace
}  // namespace sweepctl
