// sweepctl import, and what fit, export and query see of it, run as programs.
#include <zlib.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "tests/orchestrator/fixtures.h"
#include "tests/sweepctl/program.h"

namespace {

using core::Json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ImportVerbTest : public testing::Test {
 protected:
  std::string Db() const { return dir_.File("test.db"); }
  Result Run(const std::string& args) { return Sweepctl(args + " --db " + Db()); }
  std::string Write(const std::string& name, const std::string& text) {
    EXPECT_TRUE(core::WriteFileAtomically(dir_.File(name), text).ok());
    return dir_.File(name);
  }
  orchestrator::TempDir dir_;
};

constexpr char kLadder[] = "tests/data/olmo_ladder_excerpt.csv";

TEST_F(ImportVerbTest, NoRunsAreAddedToAnImportButItIsAPrior) {
  ASSERT_EQ(Run(fmt::format("import --map olmo-ladder {}", kLadder)).code, 0);
  for (const char* name : {"", "--sweep olmo-ladder "}) {
    const Result next = Run(fmt::format("plan --next --max-flops 1e15 {}", name));
    EXPECT_EQ(next.code, 65);
    EXPECT_THAT(next.err, AllOf(HasSubstr("olmo-ladder is an import"),
                                HasSubstr("plan FILE --prior " + Db() + ":olmo-ladder")));
  }
  for (const char* name : {"", ":olmo-ladder"}) {
    const Result plan =
        Sweepctl("plan sweeps/isoflop.yaml --json --simulations 1 --prior " + Db() + name);
    ASSERT_EQ(plan.code, 0) << plan.err;
    EXPECT_THAT(plan.json()["power"]["prior"]["source"].get<std::string>(),
                HasSubstr("chinchilla through 16 finished runs"));
  }
}

TEST_F(ImportVerbTest, RunsThatStandTwiceAreNamedBeforeAndAfterTheyAreStored) {
  const std::string map =
      Write("m.yaml",
            "name: m\ncolumns: {run: run, params: n, tokens: d, flops: c}\n"
            "metrics: [{name: loss, column: loss, unit: nats_per_token, eval: c4}]\n");
  const std::string path = Write("r.csv",
                                 "run,n,d,c,loss\na,1e8,1e9,6e17,3.1\na,1e8,2e9,12e17,3.0\n"
                                 "b,2e8,1e9,12e17,2.9\nb,2e8,1e9,12e17,2.9\n");
  const std::string import = fmt::format("import {} --map {}", path, map);
  for (const char* more : {" --dry-run", "", " --name other", " --name third --dry-run"}) {
    const Result result = Run(import + more);
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("duplicate-rows: lines 4, 5 hold one run"),
                                  HasSubstr("one-run-many-rows: run 'a' stands on lines 2, 3")));
    EXPECT_EQ(result.err.find("copies: 4 of 4 runs") != std::string::npos,
              std::string(more).find("--name") != std::string::npos);
  }
}

TEST_F(ImportVerbTest, TheOlmoLadderIsFittedWithItsTargetsLeftOut) {
  const Result import = Run(fmt::format("import --map olmo-ladder {}", kLadder));
  ASSERT_EQ(import.code, 0) << import.err;
  EXPECT_THAT(import.out, StartsWith("olmo-ladder: 18 of 37 rows of "));
  EXPECT_THAT(import.out, HasSubstr("bits_per_byte on hellaswag_val, 18 of 18 runs"));
  EXPECT_THAT(import.err, AllOf(HasSubstr("left out: 17 rows that are not the last of their run"),
                                HasSubstr("! unknown: data, numerics, seq_len."),
                                HasSubstr("sweepctl fit --sweep olmo-ladder --db " + Db())));
  const Json status = Run("status --json").json();
  EXPECT_EQ(status["imports"][0]["name"], "olmo-ladder");
  EXPECT_EQ(status["imports"][0]["runs"], 18);
  EXPECT_THAT(Run("status").out, AllOf(StartsWith("import"), HasSubstr("data, numerics, seq_len")));
  EXPECT_THAT(Run("status olmo-ladder").err, HasSubstr("no forecast from it registered"));
  const Result doctor = Run("doctor");
  EXPECT_THAT(doctor.out, HasSubstr("olmo-ladder: 18 runs, "));
  EXPECT_THAT(doctor.out, HasSubstr("unknown: data, numerics, seq_len"));
  const Result fit = Run("fit --law chinchilla --bootstrap 0 --no-backtest --predict 1e23 --json");
  ASSERT_EQ(fit.code, 0) << fit.err;
  const Json out = fit.json();
  EXPECT_EQ(out["observations"], 16);
  EXPECT_THAT(out["warnings"].dump(), HasSubstr("unknown-cohort"));
  EXPECT_THAT(out["predictions"][0]["warnings"].dump(), HasSubstr("unknown-cohort"));
  EXPECT_THAT(out["fits"][0]["cohort"].get<std::string>(), HasSubstr("schedule=cooled"));
  EXPECT_TRUE(out["predictions"][0]["plan"].is_null()) << "no recipe here";
  const Result bpb = Run("fit --metric mmlu_stem_bpb --law chinchilla --bootstrap 0 --json");
  ASSERT_EQ(bpb.code, 0) << bpb.err;
  EXPECT_THAT(bpb.json()["fits"][0]["cohort"].get<std::string>(),
              HasSubstr("metric=mmlu_stem_bpb/bits_per_byte"));
  const Result accuracy = Run("fit --metric piqa_accuracy");
  EXPECT_EQ(accuracy.code, 65);
  EXPECT_THAT(accuracy.err, HasSubstr("is an accuracy"));
  EXPECT_THAT(Run("fit --metric mmlu_stm_bpb").err, HasSubstr("did you mean 'mmlu_stem_bpb'?"));
  const Json rows =
      Run("query \"SELECT count(*) AS n, sum(stage='target') AS targets FROM v_observations\" "
          "--json")
          .json();
  EXPECT_EQ(rows["rows"][0]["n"], 18);
  EXPECT_EQ(rows["rows"][0]["targets"], 2);
}

TEST_F(ImportVerbTest, ImportingTwiceAddsNothingAndOtherContentNeedsReplace) {
  const std::string args = fmt::format("import --map olmo-ladder {} --name l", kLadder);
  EXPECT_FALSE(Run(args + " --json").json()["already_present"]);
  EXPECT_TRUE(Run(args + " --json").json()["already_present"]);
  const Result other = Run(args + " --value data=olmo-mix");
  EXPECT_EQ(other.code, 65);
  EXPECT_THAT(other.err, HasSubstr("--replace"));
  const Result replaced = Run(args + " --value data=olmo-mix --replace --json");
  ASSERT_EQ(replaced.code, 0) << replaced.err;
  EXPECT_THAT(replaced.json()["unknown"].dump(), Not(HasSubstr("data")));
  EXPECT_EQ(Run("query 'SELECT count(*) AS n FROM v_imports' --json").json()["rows"][0]["n"], 1);
}

TEST_F(ImportVerbTest, ADryRunPrintsWhatWouldBeStoredAndStoresNothing) {
  const Result result =
      Run(fmt::format("import --map olmo-ladder --where size=1B {} --dry-run --json", kLadder));
  ASSERT_EQ(result.code, 0) << result.err;
  const Json out = result.json();
  EXPECT_EQ(out["stored"], false);
  ASSERT_EQ(out["rows"].size(), 4u);
  EXPECT_EQ(out["rows"][0]["params"], 1279395840.0);
  EXPECT_TRUE(out["rows"][0].contains("mmlu_other_accuracy"));
  EXPECT_FALSE(std::filesystem::exists(Db()));
  // The conditions of `fit --where`.
  const Result ordered = Run(fmt::format(
      "import --map olmo-ladder --where 'params>1.2e9' --where 'params<=1.3e9' --where size!=7B {} "
      "--dry-run --json",
      kLadder));
  ASSERT_EQ(ordered.code, 0) << ordered.err;
  EXPECT_EQ(ordered.json()["rows"].size(), 4u);
  EXPECT_EQ(Run(fmt::format("import --map olmo-ladder --where 'params<x' {}", kLadder)).code, 2);
  const Result text = Run(fmt::format("import --map olmo-ladder {} --dry-run", kLadder));
  EXPECT_THAT(text.out, HasSubstr("peteish7_eval_anneal"));
  EXPECT_THAT(text.err, HasSubstr("nothing is stored"));
}

TEST_F(ImportVerbTest, ABadRowIsRefusedByFileAndLineAndNothingIsStored) {
  const std::string path =
      Write("w.csv",
            "Name,State,params,tokens,flops,eval/loss\na,finished,1e8,2e9,1.2e18,3\n"
            "b,finished,1e8,2e9,1.2e18,NaN\n");
  const Result result = Run("import --map wandb " + path);
  EXPECT_EQ(result.code, 65);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr(path + ":3: column 'eval/loss' holds 'NaN'"));
  EXPECT_FALSE(std::filesystem::exists(Db()));
}

TEST_F(ImportVerbTest, WrongMapsAndOptionsAreNamed) {
  EXPECT_EQ(Run("import").code, 2);
  EXPECT_THAT(Run(fmt::format("import --map olmo {}", kLadder)).err,
              HasSubstr("the ready ones are: marin, olmo-ladder, wandb"));
  const Result value = Run(fmt::format("import --map olmo-ladder {} --value tokeniser=x", kLadder));
  EXPECT_EQ(value.code, 2);
  EXPECT_THAT(value.err, HasSubstr("did you mean 'tokenizer'?"));
  const std::string map = Write("m.yaml", "name: m\ncolums: {params: n}\n");
  const Result wrong = Run(fmt::format("import --map {} {}", map, kLadder));
  EXPECT_EQ(wrong.code, 65);
  EXPECT_THAT(wrong.err, HasSubstr("m.yaml:2:1: unknown key 'colums'; did you mean 'columns'?"));
  EXPECT_THAT(Run("import --list-maps").out, HasSubstr("wandb"));
  EXPECT_THAT(Run("import --print-map marin").out, HasSubstr("name: marin"));
  const Json schema = Run("schema --map").json();
  EXPECT_EQ(schema["required"], (Json{"name", "columns", "metrics"}));
  EXPECT_EQ(schema["additionalProperties"], false);
}

TEST_F(ImportVerbTest, CompressedJsonLinesOfTheApiAreReadAndCheckpointsNeedTheirScheduleChosen) {
  std::string lines;
  for (int run = 0; run < 9; ++run)
    for (const double share : {0.5, 1.0}) {
      const double n = 1e8 * std::pow(2, run % 3), d = share * 2e9 * std::pow(2, run / 3);
      lines += Json{{"name", fmt::format("r{}", run)},
                    {"state", "finished"},
                    {"config", {{"num_params", n}}},
                    {"summary",
                     {{"tokens_seen", d},
                      {"total_flops", 6 * n * d},
                      {"eval/loss", 1.8 + 400 / std::pow(n, 0.34) + 1200 / std::pow(d, 0.37)}}}}
                   .dump() +
               "\n";
    }
  const std::string path = dir_.File("api.jsonl.gz");
  gzFile file = gzopen(path.c_str(), "wb");
  gzputs(file, lines.c_str());
  gzclose(file);
  std::string map = Sweepctl("import --print-map wandb").out;
  map += "schedule: last-of-run\n";
  const Result import = Run("import " + path + " --map " + Write("m.yaml", map));
  ASSERT_EQ(import.code, 0) << import.err;
  const std::string fit = "fit --law chinchilla --bootstrap 0 --no-backtest ";
  const Result mixed = Run(fit);
  EXPECT_EQ(mixed.code, 65);
  EXPECT_THAT(mixed.err, HasSubstr("cooled x9 | mid-run x9"));
  const Result cooled = Run(fit + "--where schedule=cooled --json");
  ASSERT_EQ(cooled.code, 0) << cooled.err;
  EXPECT_EQ(cooled.json()["observations"], 9);
  EXPECT_NEAR(cooled.json()["fits"][0]["params"]["E"].get<double>(), 1.8, 1e-4);
}

TEST_F(ImportVerbTest, AnImportsAccuracyIsForecastThroughItsLossAsFromAFile) {
  std::string map = Sweepctl("import --print-map olmo-ladder").out;
  for (const char* rule : {"\nrows: last-of-run", "\nschedule: last-of-run"})
    map.erase(map.find(rule), std::string(rule).size());
  const Result import = Run(
      fmt::format("import --map {} {} --value schedule=unknown", Write("all.yaml", map), kLadder));
  ASSERT_EQ(import.code, 0) << import.err;
  const std::string common =
      " --law two-step --checkpoints --bootstrap 0 --no-backtest --model 13202396160:5e12 --json";
  const Result here =
      Run("fit --sweep olmo-ladder --soft hellaswag_bpb --hard hellaswag_accuracy" + common);
  ASSERT_EQ(here.code, 0) << here.err;
  std::string runs;
  for (const char* size : {"190M", "370M", "760M", "1B"})
    for (const int times : {1, 2, 5, 10}) runs += fmt::format(" --where run={}-{}xC", size, times);
  const Result there = Sweepctl(fmt::format(
      "fit --csv {} --soft bpb_hellaswag_val --hard acc_hellaswag_val --column id=run{}{}", kLadder,
      runs, common));
  ASSERT_EQ(there.code, 0) << there.err;
  const Json a = here.json()["two_step"]["forecasts"][0];
  const Json b = there.json()["two_step"]["forecasts"][0];
  EXPECT_NEAR(a["hard"].get<double>(), b["hard"].get<double>(), 1e-6);
  EXPECT_NEAR(a["soft"].get<double>(), b["soft"].get<double>(), 1e-6);
  EXPECT_EQ(Run("fit --sweep olmo-ladder --hard c4").code, 2);
}

TEST_F(ImportVerbTest, WhatExportWritesOfAnImportFitReadsBackAlike) {
  ASSERT_EQ(Run(fmt::format("import --map olmo-ladder {}", kLadder)).code, 0);
  const std::string out = dir_.File("out.csv");
  ASSERT_EQ(Run("export --sweep olmo-ladder --out " + out).code, 0);
  const std::string options = "--law chinchilla --bootstrap 0 --no-backtest --json";
  const Json here = Run("fit --sweep olmo-ladder " + options).json();
  const Result there = Sweepctl("fit --csv " + out + " --where stage=fit " + options);
  ASSERT_EQ(there.code, 0) << there.err;
  EXPECT_EQ(there.json()["fits"][0]["params"], here["fits"][0]["params"]);
}

// Rows that the wandb map reads, without flops.
constexpr char kThree[] =
    "Name,State,params,tokens,eval/loss\na,finished,1e8,2e9,3.1\nb,finished,2e8,2e9,3.0\n"
    "a,finished,1e8,3e9,3.05\n";

TEST_F(ImportVerbTest, WhatTheCommandLineSaysAgainstTheMapHoldsAndIsSaid) {
  const std::string path = Write(
      "m.csv", "source,dataset,params,tokens,budget,loss,other\nr,d,1e8,2e9,1.2e18,3.1,2.9\n");
  const std::string import = "import --map marin --dry-run --json " + path;
  const Json said = Run(import + " --value eval=c4 --value unit=bits_per_token").json();
  EXPECT_EQ(said["metrics"][0]["eval"], "c4");
  EXPECT_EQ(said["metrics"][0]["unit"], "bits_per_token");
  EXPECT_THAT(said["warnings"].dump(),
              AllOf(HasSubstr("eval=c4 holds for metric loss in place of paloma-macro"),
                    HasSubstr("unit=bits_per_token")));
  const Json redirected = Run(import + " --column loss=other").json();
  EXPECT_EQ(redirected["unknown"], Json({"eval"}));
  EXPECT_THAT(redirected["warnings"].dump(), HasSubstr("its evaluation set is unknown"));
  const Json named = Run(import + " --column loss=other --value eval=c4").json();
  EXPECT_TRUE(named["unknown"].empty());
  for (const char* twice : {" --value eval=a --value eval=b", " --column loss=a --column loss=b"}) {
    const Result result = Run(import + twice);
    EXPECT_EQ(result.code, 2);
    EXPECT_THAT(result.err, HasSubstr("is given twice: as a and as b"));
  }
  EXPECT_EQ(Run(import + " --value eval=a --value eval=a").code, 0);
  const Result both = Run(import + " --column recipe=source --value recipe=r");
  EXPECT_EQ(both.code, 2);
  EXPECT_THAT(both.err, HasSubstr("--column recipe=source and --value recipe=r both say what "
                                  "recipe is; leave one out"));
}

TEST_F(ImportVerbTest, EveryColumnThatWasTakenIsPrintedGivenAndStored) {
  const std::string path =
      Write("w.csv",
            "Name,State,params,tokens,throughput/total_gflops,total_flops,eval/loss\n"
            "a,finished,1e8,2e9,1.2e9,3.6e18,3.1\n");
  const Json flops = {{"field", "flops"}, {"columns", {"throughput/total_gflops"}}, {"scale", 1e9}};
  const Result stored = Run("import --map wandb " + path);
  EXPECT_THAT(stored.out, AllOf(HasSubstr("flops            throughput/total_gflops x 1e+09"),
                                HasSubstr("1 of 1 runs, from eval/loss")));
  EXPECT_THAT(stored.err,
              HasSubstr("other-columns: flops is taken from 'throughput/total_gflops'; the file "
                        "has 'total_flops' too, which differs: 1.2e+18 and 3.6e+18 on line 2"));
  const Json again = Run("import --map wandb --json " + path).json();
  EXPECT_TRUE(again["already_present"]);
  EXPECT_THAT(again["columns"], testing::Contains(flops));
  const Json row =
      Run("query \"SELECT map_json->'$.taken' AS taken FROM imports\" --json").json()["rows"][0];
  EXPECT_THAT(row["taken"].get<std::string>(), HasSubstr("throughput/total_gflops"));
  const Json chosen =
      Run("import --map wandb --dry-run --json --column flops=total_flops*0.5 " + path).json();
  EXPECT_EQ(chosen["rows"][0]["flops"], 1.8e18);
  EXPECT_THAT(chosen["warnings"].dump(), Not(HasSubstr("other-columns")));
}

TEST_F(ImportVerbTest, WithoutFlopsSixNDIsTakenWhereItIsAskedFor) {
  const std::string path = Write("w.csv", kThree);
  EXPECT_THAT(Run("import --map wandb " + path).err, HasSubstr("--assume-6nd"));
  const Result assumed = Run("import --map wandb --assume-6nd --dry-run --json " + path);
  ASSERT_EQ(assumed.code, 0) << assumed.err;
  EXPECT_EQ(assumed.json()["rows"][0]["flops"], 1.2e18);
  EXPECT_EQ(assumed.json()["rows"][0]["flop_convention"], "6nd");
  const std::string with =
      Write("c.csv", "Name,State,params,tokens,flops,eval/loss\na,finished,1e8,2e9,1.3e18,3.1\n");
  const Result given = Run("import --map wandb --assume-6nd --dry-run " + with);
  EXPECT_EQ(given.code, 2);
  EXPECT_THAT(given.err, HasSubstr("map wandb takes them from column 'flops' of this one; leave "
                                   "--assume-6nd out"));
  const std::string marin = Write("m.csv", "source,dataset,params,tokens,loss\nr,d,1e8,2e9,3.1\n");
  const Result nominal = Run("import --map marin --assume-6nd --dry-run --json " + marin);
  ASSERT_EQ(nominal.code, 0) << nominal.err;
  EXPECT_TRUE(nominal.json()["rows"][0]["budget_flops"].is_null());
  EXPECT_THAT(nominal.json()["warnings"].dump(), HasSubstr("flop_convention is 6nd in place of"));
  EXPECT_THAT(Run("import --map marin --assume-6nd --column budget_flops=x " + marin).err,
              HasSubstr("no column for budget_flops"));
  for (const char* more : {" --column flops=x", " --value flop_convention=recipe"})
    EXPECT_EQ(Run("import --map wandb --assume-6nd " + path + more).code, 2) << more;
}

TEST_F(ImportVerbTest, TheCommandLineChoosesTheRowsOfARun) {
  const std::string import =
      "import --map wandb --assume-6nd --dry-run --json " + Write("w.csv", kThree);
  EXPECT_EQ(Run(import).json()["runs"], 3);
  const Json last = Run(import + " --rows last-of-run").json();
  EXPECT_EQ(last["runs"], 2);
  EXPECT_EQ(last["rows"][1]["tokens"], 3e9);
  EXPECT_EQ(Run(import + " --rows newest").code, 2);
}

TEST_F(ImportVerbTest, APerplexityIsNoLossAndIsNamedByRunAndLine) {
  const std::string path = Write("w.csv",
                                 "Name,State,params,tokens,flops,eval/loss\n"
                                 "a,finished,1e8,2e9,1.2e18,3.1\nb,finished,2e8,1e9,1.2e18,22.2\n");
  const std::string import = "import --map wandb --dry-run " + path;
  EXPECT_THAT(
      Run(import).err,
      AllOf(HasSubstr("impossible-loss: 1 of 2 runs (line 3, first run 'b')"),
            HasSubstr("22.2 nats_per_token is above the 13"), HasSubstr("natural logarithm")));
  EXPECT_THAT(Run(import + " --value unit=bits_per_token").err, HasSubstr("is above the 18.8"));
  EXPECT_THAT(Run(import + " --value unit=bits_per_byte").err,
              AllOf(HasSubstr("impossible-loss: 1 of 2 runs"), HasSubstr("is above the 8 of")));
  EXPECT_THAT(Run(import + " --column 'loss=eval/loss*0.5'").err,
              Not(HasSubstr("impossible-loss")));
}

TEST_F(ImportVerbTest, TheLadderIsReadFromJsonLinesToo) {
  std::istringstream lines(*core::ReadFile(std::string(SWEEP_SOURCE_DIR "/") + kLadder));
  const auto split = [](const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    return cells;
  };
  std::string line, json;
  std::getline(lines, line);
  const std::vector<std::string> header = split(line);
  while (std::getline(lines, line)) {
    Json object = Json::object();
    const std::vector<std::string> cells = split(line);
    for (size_t i = 0; i < cells.size(); ++i) object[header[i]] = cells[i];
    json += object.dump() + "\n";
  }
  const std::string packed = dir_.File("ladder.jsonl.gz");
  gzFile file = gzopen(packed.c_str(), "wb");
  gzputs(file, json.c_str());
  gzclose(file);
  const auto of = [&](const std::string& path) {
    const Result result = Run("import --map olmo-ladder --dry-run --json " + path);
    EXPECT_EQ(result.code, 0) << result.err;
    Json rows = result.json()["rows"];
    for (Json& row : rows) row.erase("row"), row.erase("source_row");
    return rows;
  };
  const Json csv = of(kLadder);
  EXPECT_EQ(csv.size(), 18u);
  EXPECT_EQ(of(Write("ladder.jsonl", json)), csv);
  EXPECT_EQ(of(packed), csv);
}

// compare, on files, by a column, and on imports.
class CompareVerbTest : public ImportVerbTest {
 protected:
  static double Loss(double params, double tokens, double scale) {
    return 1.8 + scale * (482 / std::pow(params, 0.35) + 2085 / std::pow(tokens, 0.37));
  }
  // Two recipes; the second has `scale` times the reducible loss.
  std::string Csv(double scale, const std::string& tokenizer_b = "t") {
    std::string csv = "flops,params,tokens,loss,recipe,tokenizer,metric\n";
    for (const bool b : {false, true})
      for (const double budget : {1e18, 3e18, 1e19, 3e19, 1e20})
        for (int i = -3; i <= 3; ++i) {
          const double params = std::sqrt(budget / 6 / 20) * std::exp(0.4 * i);
          const double tokens = budget / 6 / params;
          const double noise = 1 + 1e-4 * std::sin(static_cast<double>(i) + budget / 1e17);
          csv += fmt::format("{},{},{},{},{},{},nats\n", budget, params, tokens,
                             Loss(params, tokens, b ? scale : 1) * noise, b ? "new" : "old",
                             b ? tokenizer_b : "t");
        }
    return Write("two.csv", csv);
  }
};

TEST_F(CompareVerbTest, ColumnOfAFileDividesTheCohortsAndThePlantedMultiplierIsFound) {
  const double p = 0.35 * 0.37 / 0.72;
  const std::string path = Csv(std::pow(1.5, -p));
  const Result result = Sweepctl("compare --at 3e19,1e21 old new --by recipe --csv " + path +
                                 " --bootstrap 100 --no-backtest --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const Json out = result.json();
  EXPECT_EQ(out["comparable"], true);
  EXPECT_EQ(out["factors"], Json({"recipe"}));
  const Json& in_range = out["multipliers"][0];
  EXPECT_NEAR(in_range["multiplier"].get<double>(), 1.5, 0.1);
  EXPECT_LT(in_range["interval"]["lo"].get<double>(), 1.5);
  EXPECT_GT(in_range["interval"]["hi"].get<double>(), 1.5);
  EXPECT_THAT(out["multipliers"][1]["warnings"].dump(), HasSubstr("outside-range"));
  EXPECT_EQ(out["deciding_run"]["decided"], true);
  const Result text =
      Sweepctl("compare old new --by recipe --csv " + path + " --bootstrap 50 --no-backtest");
  EXPECT_THAT(text.out, AllOf(HasSubstr("compute multiplier"), HasSubstr("trend: CM x"),
                              HasSubstr("crossover: none"), HasSubstr("what would decide")));
}

TEST_F(CompareVerbTest, AColumnThatNobodyNamedIsADifferenceToo) {
  std::istringstream lines(*core::ReadFile(Csv(0.95)));
  std::string csv, line;
  while (std::getline(lines, line))
    csv += line + (csv.empty()                               ? ",optimizer\n"
                   : line.find(",new,") != std::string::npos ? ",muon\n"
                                                             : ",adam\n");
  const std::string compare =
      "compare old new --by recipe --csv " + Write("labels.csv", csv) + " --bootstrap 0";
  const Result refused = Sweepctl(compare);
  EXPECT_EQ(refused.code, 65);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("they differ in recipe, optimizer"),
                                 HasSubstr("--factor recipe --factor optimizer")));
  const Result named = Sweepctl(compare + " --factor recipe --factor optimizer");
  EXPECT_EQ(named.code, 0) << named.err;
  EXPECT_THAT(named.out, AllOf(HasSubstr("optimizer        adam | muon"),
                               HasSubstr("! confounded: old and new differ in recipe, optimizer")));
}

TEST_F(CompareVerbTest, AColumnThatDiffersWithinCohortsIsAllowedByTheOptionThatTheRefusalNames) {
  std::string csv = "flops,params,tokens,loss,recipe,optimizer\n";
  for (const bool b : {false, true})
    for (const double budget : {1e18, 3e18, 1e19, 3e19, 1e20})
      for (int i = -3; i <= 3; ++i) {
        const double params = std::sqrt(budget / 6 / 20) * std::exp(0.4 * i);
        const double tokens = budget / 6 / params;
        const bool muon = i % 2 == 0;
        csv += fmt::format("{},{},{},{},{},{}\n", budget, params, tokens,
                           Loss(params, tokens, b ? 0.95 : 1) * (muon ? 1.02 : 1),
                           b ? "new" : "old", muon ? "muon" : "adam");
      }
  const std::string compare =
      "compare old new --by recipe --csv " + Write("mixed.csv", csv) + " --bootstrap 0";
  const Result refused = Sweepctl(compare);
  EXPECT_EQ(refused.code, 65);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("--allow-mixed optimizer"), Not(HasSubstr("--experiment"))));
  const Result allowed = Sweepctl(compare + " --allow-mixed optimizer");
  EXPECT_EQ(allowed.code, 0) << allowed.err;
  EXPECT_THAT(allowed.out, AllOf(HasSubstr("! mixed-columns"), Not(HasSubstr("--experiment"))));
  // What --by divides is compared whatever else is.
  const Result factor = Sweepctl(compare + " --allow-mixed optimizer --factor numerics --json");
  EXPECT_EQ(factor.code, 0) << factor.err;
  EXPECT_EQ(factor.json()["factors"], Json({"recipe"}));
}

TEST_F(CompareVerbTest, WhatIsNotComparableSaysWhyAndExits65) {
  const Result result =
      Sweepctl("compare old new --by recipe --csv " + Csv(0.9, "other") + " --bootstrap 0 --json");
  EXPECT_EQ(result.code, 65);
  EXPECT_EQ(result.json()["comparable"], false);
  EXPECT_THAT(result.json()["reasons"].dump(), HasSubstr("tokenizer differs"));
  EXPECT_THAT(result.err, HasSubstr("not comparable: tokenizer differs: old is t, new is other"));
  for (const char* args : {"compare a.csv b.csv --sweep x", "compare a b --by recipe --at lots",
                           "compare a b --level 3 --by r --csv x.csv", "compare a", "compare a a"})
    EXPECT_EQ(Sweepctl(args).code, 2) << args;
  EXPECT_THAT(Sweepctl("compare a b --factor recpie").err,
              AllOf(HasSubstr("did you mean 'recipe'?"), HasSubstr("data, numerics, recipe")));
  EXPECT_THAT(Sweepctl("compare a b --factor eval").err, HasSubstr("no common scale"));
  EXPECT_EQ(Run("compare a b").code, 65) << "no database";
}

TEST_F(CompareVerbTest, AForecastOfAnImportIsRegisteredWhenAllIsKnownAndScoredByALaterImport) {
  const std::string path = Csv(0.95);
  const std::string map = Write(
      "m.yaml",
      "name: old\ncolumns: {params: params, tokens: tokens, flops: flops, budget_flops: flops, "
      "recipe: recipe, tokenizer: tokenizer}\n"
      "metrics: [{name: loss, column: loss, unit: nats_per_token, eval: c4}]\nschedule: cooled\n");
  const std::string import = fmt::format(
      "import {} --map {} --where recipe=old --value data=d --value seq_len=2048 "
      "--value n_convention=with-embedding --value flop_convention=6nd",
      path, map);
  ASSERT_EQ(Run(import).code, 0);
  const std::string fit = "fit --predict 1e21 --register ";
  const Result refused = Run(fit);
  EXPECT_EQ(refused.code, 65);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("numerics of its runs is unknown"),
                                 HasSubstr("--replace --value numerics=")));
  EXPECT_THAT(Run(fit + "--law chinchilla").err, HasSubstr("leave out --law"));
  ASSERT_EQ(Run(import + " --value numerics=bf16 --replace").code, 0);
  const Result registered = Run(fit + "--json");
  ASSERT_EQ(registered.code, 0) << registered.err;
  const Json entry = registered.json()["registered"][0];
  EXPECT_EQ(entry["status"], "open");
  EXPECT_EQ(entry["name"], "old/loss/nats_per_token/1e+21");
  const Json record = Run("forecasts --sweep old --json").json();
  EXPECT_EQ(record["forecasts"][0]["status"], "open");
  EXPECT_EQ(record["forecasts"][0]["target_params"], entry["params"]);
  EXPECT_EQ(record["chain"]["intact"], true);
  EXPECT_FALSE(record["forecasts"][0]["warnings"].empty());
  EXPECT_THAT(Run(fit + "--level 0.5").err, HasSubstr("leave out --level"));
  EXPECT_THAT(Run(fit + "--bootstrap 40").err, HasSubstr("leave out --bootstrap"));
  // What was said beside a forecast stays, whatever else is registered from the same runs.
  ASSERT_EQ(Run("fit --predict 1e22 --register").code, 0);
  const Json later = Run("forecasts --sweep old --json").json()["forecasts"];
  ASSERT_EQ(later.size(), 2u);
  for (const Json& forecast : later) {
    EXPECT_FALSE(forecast["warnings"].empty()) << forecast["name"];
    if (forecast["name"] == record["forecasts"][0]["name"]) {
      EXPECT_EQ(forecast["warnings"], record["forecasts"][0]["warnings"]);
    }
  }
  EXPECT_THAT(Run("watch old").err, HasSubstr("is an import, not a sweep"));

  const double params = entry["params"], tokens = 1e21 / 6 / params;
  Write("two.csv", *core::ReadFile(path) + fmt::format("1e21,{},{},{},old,t,nats\n", params, tokens,
                                                       Loss(params, tokens, 1)));
  const std::string again = import + " --value numerics=bf16 --dry-run --json";
  EXPECT_THAT(Run(again).json()["warnings"].dump(),
              AllOf(HasSubstr("would-fail"), HasSubstr("--replace")));
  const Json tried = Run(again + " --replace").json();
  EXPECT_EQ(tried["stored"], false);
  EXPECT_EQ(tried["forecasts_scored"], 1);
  EXPECT_EQ(Run("forecasts --json").json()["forecasts"][0]["status"], "open");
  const Result outcome = Run(import + " --value numerics=bf16 --replace");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("forecast old/loss/nats_per_token/1e+21: scored: outcome "),
                    HasSubstr(" %, inside its 90 % interval"), HasSubstr("sweepctl forecasts")));
  EXPECT_EQ(tried["notes"], Json({"would score forecast old/loss/nats_per_token/1e+21"}));
  const Json scored = Run("forecasts --json").json()["forecasts"][0];
  EXPECT_EQ(scored["status"], "scored");
  EXPECT_LT(std::fabs(scored["error_rel"].get<double>()), 0.01);
}

TEST_F(CompareVerbTest, ImportsAreComparedByNameUnderOneMetric) {
  const std::string path = Csv(0.95);
  const std::string map = Write(
      "m.yaml",
      "name: m\ncolumns: {params: params, tokens: tokens, flops: flops, budget_flops: flops, "
      "recipe: recipe, tokenizer: tokenizer}\n"
      "metrics: [{name: loss, column: loss, unit: nats_per_token, eval: c4}]\nschedule: cooled\n");
  for (const char* recipe : {"old", "new"})
    ASSERT_EQ(Run(fmt::format("import {} --map {} --name {} --where recipe={}", path, map, recipe,
                              recipe))
                  .code,
              0);
  const Result result = Run("compare old new --bootstrap 50 --no-backtest --json");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_GT(result.json()["multipliers"][0]["multiplier"], 1.0);
  EXPECT_THAT(result.json()["warnings"].dump(), HasSubstr("unknown-cohort"));
}

}  // namespace
