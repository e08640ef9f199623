// The real program: what it prints, where, and with which exit code.
#include "tests/sweepctl/program.h"

#include <cstdlib>
#include <map>
#include <sstream>

#include "gmock/gmock.h"

namespace {

using core::Json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::map<std::string, std::string>> CsvRows(const std::string& text) {
  std::istringstream lines(text);
  std::string line, cell;
  std::vector<std::string> header;
  std::getline(lines, line);
  for (std::istringstream cells(line); std::getline(cells, cell, ',');) header.push_back(cell);
  std::vector<std::map<std::string, std::string>> rows;
  while (std::getline(lines, line)) {
    std::map<std::string, std::string> row;
    size_t i = 0;
    for (std::istringstream cells(line); std::getline(cells, cell, ',');) row[header[i++]] = cell;
    rows.push_back(row);
  }
  return rows;
}

TEST(ProgramTest, ThePlanOfTheDelphiSuiteIsThePublishedGrid) {
  const Result result = Sweepctl("plan sweeps/delphi.yaml --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const Json trials = result.json()["trials"];
  const auto rows =
      CsvRows(*core::ReadFile(SWEEP_SOURCE_DIR "/tests/data/delphi_v6_candidate_grid.csv"));
  ASSERT_EQ(trials.size(), rows.size());
  const std::pair<const char*, const char*> columns[] = {{"budget_flops", "budget"},
                                                         {"hidden", "hidden"},
                                                         {"layers", "layers"},
                                                         {"heads", "heads"},
                                                         {"ffn", "ffn"},
                                                         {"params_no_qk_norm", "params_noqk"},
                                                         {"params", "params_total"},
                                                         {"batch", "batch"},
                                                         {"steps", "steps"},
                                                         {"tokens", "tokens_realised"},
                                                         {"flops", "flops_realised"},
                                                         {"lr", "lr_adamh"},
                                                         {"adam_lr", "lr_adam"},
                                                         {"beta2", "beta2"},
                                                         {"epsilon", "epsilon"},
                                                         {"warmup_steps", "warmup_steps"},
                                                         {"stable_steps", "stable_steps"},
                                                         {"decay_steps", "decay_steps"}};
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const auto& [ours, published] : columns) {
      EXPECT_EQ(trials[i][ours].get<double>(), std::strtod(rows[i].at(published).c_str(), nullptr))
          << rows[i].at("run_name") << " " << ours;
    }
    EXPECT_EQ(trials[i]["vocab"], 128256);
    EXPECT_EQ(trials[i]["seq_len"], 4096);
    EXPECT_TRUE(trials[i]["trial_id"].is_null());
    EXPECT_TRUE(trials[i]["epochs"].is_null());
  }
}

TEST(ProgramTest, PlanSaysWhichTrialsFitNoDevice) {
  const std::string file = testing::TempDir() + "/large.yaml";
  ASSERT_TRUE(core::WriteFileAtomically(file,
                                        "name: large\nrecipe: delphi\nnumerics: bf16-mixed\n"
                                        "runs: [{budget: 3e20, hidden: 2816, seed: 0}, {budget: "
                                        "1e24, hidden: 12800, seed: 0}]\n")
                  .ok());
  const Result json = Sweepctl("plan " + file + " --json");
  ASSERT_EQ(json.code, 0) << json.err;
  const Json warning = json.json()["warnings"][0];
  EXPECT_EQ(warning["code"], "memory");
  EXPECT_EQ(warning["budget_flops"], 1e24);
  EXPECT_EQ(warning["fits_no_gpu"], true);
  const Result text = Sweepctl("plan " + file);
  EXPECT_THAT(text.out, HasSubstr("! trials at 1e+24: 1 of 1 needs "));
  EXPECT_THAT(text.out, HasSubstr("fits no GPU known, a trial may use 133 GB of the largest"));
  EXPECT_THAT(text.out, Not(HasSubstr("GiB on one GPU")));
  EXPECT_EQ(Sweepctl("plan sweeps/quickstart.yaml --json").json()["warnings"], Json::array());
}

TEST(ProgramTest, PlanSaysWhatItCannotUseAndWhatTheFitWillMiss) {
  const Result price = Sweepctl("plan sweeps/quickstart.yaml --dollars-per-hour 2");
  EXPECT_EQ(price.code, 2);
  EXPECT_THAT(price.err, HasSubstr("--flops-per-second"));
  const std::string file = testing::TempDir() + "/few.yaml";
  ASSERT_TRUE(core::WriteFileAtomically(
                  file, "name: few\nrecipe: delphi-nano\nbudgets: [1e12]\npoints: 4\n")
                  .ok());
  EXPECT_EQ(Sweepctl("plan " + file + " --json").json()["warnings"][0]["code"], "few-points");
  EXPECT_THAT(Sweepctl("plan " + file).out, HasSubstr("! points: 4 a budget"));
}

TEST(ProgramTest, PlanHasEveryFieldOtherProgramsRelyOn) {
  const Result result = Sweepctl("plan sweeps/quickstart.yaml --json");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const Json plan = result.json();
  EXPECT_EQ(plan["trials"].size(), 20u);
  for (const char* field : {"trial_id",
                            "budget_flops",
                            "recipe",
                            "hidden",
                            "layers",
                            "heads",
                            "ffn",
                            "vocab",
                            "seq_len",
                            "params",
                            "params_no_qk_norm",
                            "tokens",
                            "batch",
                            "steps",
                            "flops",
                            "lr",
                            "adam_lr",
                            "beta2",
                            "epsilon",
                            "warmup_steps",
                            "stable_steps",
                            "decay_steps",
                            "init_seed",
                            "data_seed"})
    EXPECT_TRUE(plan["trials"][0].contains(field)) << field;
  EXPECT_EQ(plan["totals"]["trials"], 20);
  EXPECT_EQ(plan["targets"][0]["budget_flops"], 1e13);
  EXPECT_TRUE(plan["totals"]["seconds"].is_null());
  EXPECT_TRUE(plan["trials"][0]["trial_id"].is_null());
  EXPECT_EQ(plan["data"]["prepared"], false);
  EXPECT_THAT(plan["data"]["reason"], HasSubstr("name the folder of the text with --data-root"));
}

TEST(ProgramTest, ShowPrintsTheSeedCardOfTheModelFamily) {
  const Result result = Sweepctl("recipe show delphi --budget 3e20 --hidden 2816 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.json()["params"], 4275080960);
  EXPECT_EQ(result.json()["tokens"], 10956570624);
  EXPECT_EQ(result.json()["lr"], 0.004044078657637111);
  EXPECT_THAT(result.out, HasSubstr("\"lr\":0.004044078657637111"));
  const Result held_out =
      Sweepctl("recipe show delphi --budget 1e23 --hidden 5376 --batch 2048 --json");
  EXPECT_EQ(held_out.json()["lr"], 0.0067900638904718254);
  EXPECT_EQ(held_out.json()["steps"], 74884);
}

TEST(ProgramTest, HumansGetATableWithTotalsAndTheNextCommandOnStderr) {
  const Result result =
      Sweepctl("plan sweeps/quickstart.yaml --flops-per-second 1e10 --dollars-per-hour 2");
  ASSERT_EQ(result.code, 0);
  EXPECT_THAT(result.out, StartsWith("budget  width  layers"));
  EXPECT_THAT(result.out, HasSubstr("20 trials, 2.2e+13 FLOPs"));
  EXPECT_THAT(result.out, HasSubstr("$1.01"));
  EXPECT_THAT(result.out, HasSubstr("forecast at 1e+13: held until registered"));
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(result.err, HasSubstr("sweepctl launch sweeps/quickstart.yaml\n"));
}

TEST(ProgramTest, RowsComeAsCsvAndJsonLines) {
  const Result csv = Sweepctl("plan sweeps/quickstart.yaml --output csv");
  EXPECT_EQ(CsvRows(csv.out).size(), 20u);
  EXPECT_EQ(CsvRows(csv.out)[0].at("hidden"), "8");
  const Result lines = Sweepctl("--output jsonl plan sweeps/quickstart.yaml");
  std::istringstream in(lines.out);
  size_t count = 0;
  for (std::string line; std::getline(in, line); ++count)
    EXPECT_EQ(Json::parse(line)["recipe"], "delphi-nano");
  EXPECT_EQ(count, 20u);
}

TEST(ProgramTest, ABrokenFileExits65WithItsPlaceOnStderr) {
  const std::string path = testing::TempDir() + "/broken.yaml";
  ASSERT_TRUE(
      core::WriteFileAtomically(path, "name: b\nrecipe: delphi-nano\nbudgts: [1e12]\n").ok());
  const Result result = Sweepctl("plan " + path + " --json");
  EXPECT_EQ(result.code, 65);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr(path + ":3:1: unknown key 'budgts'; did you mean 'budgets'?"));
  EXPECT_EQ(Sweepctl("plan /no/such.yaml").code, 65);
}

TEST(ProgramTest, AWrongCommandLineExits2) {
  for (const char* args :
       {"", "plan", "plan a b", "recipe", "recipe show delphy", "plan x --output xml",
        "recipe show delphi --hidden 512", "recipe show delphi --budget 3e20 --hidden 513",
        "recipe show delphi --budget -1", "recipe show delphi-nano --budget 1e12 --set nope=1",
        "plan sweeps/quickstart.yaml --flops-per-second fast",
        "plan sweeps/quickstart.yaml --data-root /no/such"})
    EXPECT_EQ(Sweepctl(args).code, 2) << args;
  const Result misspelt = Sweepctl("plam");
  EXPECT_EQ(misspelt.code, 2);
  EXPECT_THAT(misspelt.err, HasSubstr("did you mean 'plan'?"));
}

TEST(ProgramTest, HelpAndVersionGoToStdout) {
  for (const char* args : {"--help", "plan --help", "recipe show --help", "--version"}) {
    const Result result = Sweepctl(args);
    EXPECT_EQ(result.code, 0) << args;
    EXPECT_NE(result.out, "") << args;
    EXPECT_EQ(result.err, "") << args;
  }
}

TEST(ProgramTest, AFullDiskExits73) {
  EXPECT_EQ(Sweepctl("schema", "/dev/full").code, 73);
  EXPECT_EQ(Sweepctl("plan sweeps/delphi.yaml --json", "/dev/full").code, 73);
  EXPECT_EQ(Sweepctl("--help", "/dev/full").code, 73);
}

TEST(ProgramTest, TheSchemaIsJsonAndConstantsCarryTheirSource) {
  EXPECT_EQ(Sweepctl("schema").json()["type"], "object");
  const Json recipe = Sweepctl("recipe show delphi-nano --json").json();
  for (const Json& constant : recipe["constants"]) EXPECT_NE(constant["source"], "");
  EXPECT_EQ(Sweepctl("recipe list --json").json()["rows"].size(), 3u);
}

TEST(LaunchTest, WithoutATerminalItWantsYesAndWithoutAFolderItMakesNone) {
  const std::string folder = testing::TempDir() + "no-such-folder";
  const Result unasked =
      Sweepctl("launch sweeps/quickstart.yaml --db " + testing::TempDir() + "unasked.db");
  EXPECT_EQ(unasked.code, 2);
  EXPECT_THAT(unasked.err, testing::HasSubstr("--yes"));
  const Result nowhere = Sweepctl("launch sweeps/quickstart.yaml --yes --db " + folder + "/s.db");
  EXPECT_EQ(nowhere.code, 65);
  EXPECT_THAT(nowhere.err, testing::HasSubstr("there is no folder " + folder));
}

}  // namespace
