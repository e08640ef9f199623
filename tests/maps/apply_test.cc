#include "maps/apply.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "maps/overrides.h"
#include "tests/fit/test_data.h"

namespace maps {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kMap[] = R"(name: mine
columns: {run: id, params: {column: n_b, scale: 1e9}, tokens: {product: [steps, batch]}, flops: c, data: corpus}
values: {tokenizer: llama3, flop_convention: 6nd}
metrics:
  - {name: loss, column: l, unit: nats_per_token, eval: c4}
  - {name: acc, column: a, unit: accuracy}
schedule: last-of-run
where: [{column: state, is: finished}]
targets: [{column: n_b, at_least: 5}]
)";

constexpr char kRows[] = R"(id,n_b,steps,batch,c,corpus,l,a,state
x,0.5,100,2e6,6e17,c4,3.5,0.3,finished
x,0.5,200,2e6,1.2e18,c4,3.25,,finished
y,1,200,2e6,2.4e18,,3.0,0.5,finished
z,7,200,2e6,1.7e19,c4,2.5,0.75,finished
w,1,1,1,1,c4,nan,,crashed
)";

absl::StatusOr<Imported> ApplyTo(const std::string& map, const std::string& rows) {
  const auto parsed = ParseMap(map, "m.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const auto table = fit::ParseTable(rows, "r.csv");
  EXPECT_TRUE(table.ok()) << table.status();
  return Apply(*parsed, *table, "r.csv");
}

std::string ErrorOf(std::string_view from, std::string_view to) {
  std::string rows = kRows;
  rows.replace(rows.find(from), from.size(), to);
  const auto imported = ApplyTo(kMap, rows);
  EXPECT_FALSE(imported.ok());
  return std::string(imported.status().message());
}

TEST(ApplyTest, WhateverIsWrittenForNothingIsUnknown) {
  for (const char* cell :
       {"nan", "NaN", "None", " N/A ", "NA", "null", "?", "-", "  ", "UNKNOWN"}) {
    std::string rows = kRows;
    for (size_t at = rows.find(",c4,"); at != std::string::npos; at = rows.find(",c4,"))
      rows.replace(at, 4, "," + std::string(cell) + ",");
    const auto imported = ApplyTo(kMap, rows);
    ASSERT_TRUE(imported.ok()) << imported.status();
    for (const ImportedRun& run : imported->runs)
      EXPECT_EQ(run.labels.at("data"), kUnknown) << cell;
    MapFile map = ParseMap(kMap, "m.yaml").value();
    ASSERT_TRUE(SetValue(map, "tokenizer", cell).ok());
    EXPECT_EQ(map.values["tokenizer"], kUnknown) << cell;
    ASSERT_TRUE(SetValue(map, "eval", cell).ok());
    EXPECT_EQ(map.metrics[1].eval, kUnknown) << cell;
  }
  EXPECT_EQ(LabelOf(" c4 "), "c4");
  EXPECT_EQ(LabelOf("nano"), "nano");
}

TEST(ApplyTest, NumbersLabelsScheduleAndOutcomesComeFromTheMap) {
  const auto imported = ApplyTo(kMap, kRows);
  ASSERT_TRUE(imported.ok()) << imported.status();
  ASSERT_EQ(imported->runs.size(), 4u);
  const ImportedRun& first = imported->runs[0];
  EXPECT_EQ(first.row, 2);
  EXPECT_EQ(first.run, "x");
  EXPECT_EQ(first.params, 0.5e9);
  EXPECT_EQ(first.tokens, 2e8);
  EXPECT_EQ(first.flops, 6e17);
  EXPECT_EQ(first.schedule, "mid-run");
  EXPECT_EQ(first.labels.at("data"), "c4");
  EXPECT_EQ(first.labels.at("tokenizer"), "llama3");
  EXPECT_EQ(first.labels.at("recipe"), kUnknown);
  ASSERT_EQ(first.values.size(), 2u);
  EXPECT_EQ(first.values[1].value, 0.3);
  EXPECT_EQ(imported->runs[1].schedule, "cooled");
  EXPECT_EQ(imported->runs[1].values.size(), 1u) << "the accuracy is missing, not 0";
  EXPECT_EQ(imported->runs[2].labels.at("data"), kUnknown) << "an empty cell says nothing";
  EXPECT_FALSE(imported->runs[2].target);
  EXPECT_TRUE(imported->runs[3].target);
  ASSERT_EQ(imported->excluded.size(), 1u);
  EXPECT_EQ(imported->excluded[0].count, 1);
  EXPECT_THAT(imported->excluded[0].reason, HasSubstr("state is finished"));
  EXPECT_THAT(imported->unknown,
              ElementsAre("data", "eval", "n_convention", "numerics", "recipe", "seq_len"));
}

TEST(ApplyTest, OnlyTheLastRowOfARunIsKeptWhereTheMapSaysSo) {
  const auto imported = ApplyTo(std::string(kMap) + "rows: last-of-run\n", kRows);
  ASSERT_TRUE(imported.ok()) << imported.status();
  ASSERT_EQ(imported->runs.size(), 3u);
  EXPECT_EQ(imported->runs[0].row, 3);
  for (const ImportedRun& run : imported->runs) EXPECT_EQ(run.schedule, "cooled");
  EXPECT_EQ(imported->excluded.back().count, 1);
}

TEST(ApplyTest, ABadCellIsNamedByFileLineAndColumn) {
  EXPECT_THAT(ErrorOf("3.25", "NaN"), HasSubstr("r.csv:3: column 'l' holds 'NaN'"));
  EXPECT_THAT(ErrorOf("3.25", ""), HasSubstr("r.csv:3: column 'l' holds ''"));
  EXPECT_THAT(ErrorOf("y,1,", "y,-1,"), HasSubstr("r.csv:4: column 'n_b' holds '-1'"));
  EXPECT_THAT(ErrorOf("2.4e18", "lots"), HasSubstr("r.csv:4: column 'c' holds 'lots'"));
  EXPECT_THAT(ErrorOf("0.75", "75"), AllOf(HasSubstr("r.csv:5"), HasSubstr("scale 0.01")));
  EXPECT_THAT(ErrorOf("x,0.5,200", "x,0.5,100"), HasSubstr("as many tokens as on line 2"));
  EXPECT_THAT(ErrorOf("\nx,0.5,200", "\n,0.5,200"), HasSubstr("r.csv:3: the run has no name"));
  EXPECT_THAT(ErrorOf("2.4e18,", "2.4e18,\"a\tb\""), HasSubstr("r.csv:4: column 'corpus'"));
  EXPECT_THAT(ErrorOf("2.4e18,", "2.4e18,\xff"), HasSubstr("UTF-8"));
  EXPECT_THAT(ErrorOf("id,n_b", "id,nb"),
              AllOf(HasSubstr("no column for params"), HasSubstr("did you mean 'nb'?")));
  EXPECT_THAT(ErrorOf("state\n", "status\n"), HasSubstr("no column 'state'"));
}

TEST(ApplyTest, NoRowLeftSaysWhatLeftThemOut) {
  std::string map = kMap;
  map.replace(map.find("is: finished"), 12, "is: running ");
  const auto imported = ApplyTo(map, kRows);
  EXPECT_TRUE(absl::IsInvalidArgument(imported.status()));
  EXPECT_THAT(std::string(imported.status().message()),
              HasSubstr("none of 5 rows is left; 5 rows that do not meet: state is running"));
}

TEST(ApplyTest, TheScheduleCanStandInAColumn) {
  std::string map = kMap;
  map.replace(map.find("schedule: last-of-run"), 21,
              "schedule: {column: state, cooled: finished, mid_run: [crashed, killed]}");
  map.replace(map.find("where: [{column: state, is: finished}]"), 38,
              "where: [{column: l, is_not: nan}]");
  std::string rows = kRows;
  rows.replace(rows.find("3.5,0.3,finished"), 16, "3.5,0.3,killed");
  const auto imported = ApplyTo(map, rows);
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ(imported->runs[0].schedule, "mid-run");
  EXPECT_EQ(imported->runs[1].schedule, "cooled");
  rows.replace(rows.find("killed"), 6, "paused");
  EXPECT_THAT(std::string(ApplyTo(map, rows).status().message()),
              HasSubstr("r.csv:2: column 'state' holds 'paused'"));
}

TEST(ApplyTest, TenThousandDamagedTablesGiveSoundRunsOrAReasonWithTheirRow) {
  const auto map = ParseMap(kMap, "m.yaml");
  int refused = 0;
  for (uint64_t round = 0; round < 10000; ++round) {
    core::Rng rng(11, round);
    std::string rows = kRows;
    const char* damage[] = {"nan", "-1", "", "1e999", "0", "\xff", "inf", "9e307", "finished"};
    for (uint64_t i = 0; i <= rng.Below(3); ++i) {
      // A cell of a row below the header.
      const size_t header = rows.find('\n') + 1;
      const size_t begin = rows.find_first_of(",\n", header + rng.Below(rows.size() - header - 1));
      const size_t end = rows.find_first_of(",\n", begin + 1);
      if (end == std::string::npos || rows[begin] == '\n') continue;
      rows.replace(begin + 1, end - begin - 1, damage[rng.Below(9)]);
    }
    const auto table = fit::ParseTable(rows, "r.csv");
    ASSERT_TRUE(table.ok()) << table.status();
    const auto imported = Apply(*map, *table, "r.csv");
    if (!imported.ok()) {
      ++refused;
      EXPECT_THAT(std::string(imported.status().message()), HasSubstr("r.csv:"));
      continue;
    }
    for (const ImportedRun& run : imported->runs) {
      for (const double number : {run.flops, run.params, run.tokens})
        ASSERT_TRUE(std::isfinite(number) && number > 0) << rows;
      for (const MeasuredValue& value : run.values) ASSERT_TRUE(std::isfinite(value.value)) << rows;
    }
  }
  EXPECT_GT(refused, 3000);
  EXPECT_LT(refused, 9900);
}

TEST(ApplyTest, EveryColumnThatWasTakenIsNamedWithItsScale) {
  const auto imported = ApplyTo(kMap, kRows);
  ASSERT_TRUE(imported.ok()) << imported.status();
  const core::Json taken = TakenJson(imported->taken);
  EXPECT_THAT(taken, testing::Contains(
                         core::Json({{"field", "params"}, {"columns", {"n_b"}}, {"scale", 1e9}})));
  EXPECT_THAT(taken, testing::Contains(core::Json(
                         {{"field", "tokens"}, {"columns", {"steps", "batch"}}, {"scale", 1.0}})));
  for (const char* field : {"run", "flops", "data", "loss", "acc"})
    EXPECT_EQ(std::count_if(imported->taken.begin(), imported->taken.end(),
                            [&](const Taken& t) { return t.field == field; }),
              1)
        << field;
}

TEST(ApplyTest, OtherCandidatesThatDifferAreNamedByTheirFirstLine) {
  const auto rivals = [](const std::string& rows) {
    std::vector<Rival> all;
    const auto imported = Apply(*LoadMap("wandb"), *fit::ParseTable(rows, "w.csv"), "w.csv");
    EXPECT_TRUE(imported.ok()) << imported.status();
    for (const Taken& taken : imported->taken)
      all.insert(all.end(), taken.rivals.begin(), taken.rivals.end());
    return all;
  };
  const std::string head =
      "Name,State,params,tokens,total_flos,throughput/total_gflops,eval/loss\n";
  EXPECT_TRUE(
      rivals(head + "a,finished,1e8,2e9,1.2e18,1.2e9,3\nb,finished,1e8,2e9,1.2e18,,3\n").empty())
      << "the same number in another unit, and a cell that says nothing";
  const auto one = rivals(head +
                          "a,crashed,1e8,2e9,1,9e9,3\nb,finished,1e8,2e9,1.2e18,1.2e9,3\n"
                          "c,finished,1e8,2e9,1.2e18,3.6e9,3\n");
  ASSERT_EQ(one.size(), 1u) << "rows that are left out count for nothing";
  EXPECT_EQ(one[0].column, "throughput/total_gflops");
  EXPECT_EQ(one[0].line, 4);
  EXPECT_EQ(one[0].other, 3.6e18);
  // What is taken for one field is no rival of another.
  const auto marin = Apply(*LoadMap("marin"),
                           *fit::ParseTable("source,dataset,params,tokens,flops,budget,loss\n"
                                            "r,d,1e8,2e9,1.21e18,1.2e18,3\n",
                                            "m.csv"),
                           "m.csv");
  ASSERT_TRUE(marin.ok()) << marin.status();
  for (const Taken& taken : marin->taken) EXPECT_TRUE(taken.rivals.empty()) << taken.field;
}

TEST(ApplyTest, ATableWithoutRowsOrSeparatedOtherwiseSaysSo) {
  EXPECT_THAT(
      std::string(ApplyTo(kMap, "id,n_b,steps,batch,c,corpus,l,a,state\n").status().message()),
      HasSubstr("r.csv: a header and no row below it"));
  EXPECT_THAT(std::string(ApplyTo(kMap, "id;n_b;steps\nx;1;2\n").status().message()),
              AllOf(HasSubstr("no column for params"), HasSubstr("separated by ';'")));
  EXPECT_THAT(
      ErrorOf("2.4e18", "\"2,400,000\""),
      AllOf(HasSubstr("r.csv:4: column 'c' holds '2,400,000'"), HasSubstr("plain numbers")));
  EXPECT_THAT(ErrorOf("id,n_b,steps,batch,c", "id,n_b,steps,batch,cc"),
              AllOf(HasSubstr("no column for flops"), HasSubstr("--assume-6nd"),
                    HasSubstr("flops=COLUMN*1e9")));
}

// Rows as the three ready maps meet them.
TEST(ReadyMapTest, WandbReadsBothAnExportAndTheApi) {
  const MapFile map = *LoadMap("wandb");
  const auto csv = fit::ParseTable(
      "Name,State,parameter_count,throughput/total_tokens,throughput/total_gflops,eval/loss\n"
      "a,finished,1e8,2e9,1.2e9,3.1\nb,crashed,1e8,1e9,,\n",
      "w.csv");
  const auto of_csv = Apply(map, *csv, "w.csv");
  ASSERT_TRUE(of_csv.ok()) << of_csv.status();
  ASSERT_EQ(of_csv->runs.size(), 1u);
  EXPECT_EQ(of_csv->runs[0].flops, 1.2e18);
  EXPECT_THAT(of_csv->unknown,
              ElementsAre("data", "eval", "flop_convention", "n_convention", "numerics", "recipe",
                          "schedule", "seq_len", "tokenizer"));
  const auto api = fit::ParseTable(
      R"({"name":"a","state":"finished","config":{"num_params":100000000},"summary":)"
      R"({"train/num_input_tokens_seen":2000000000,"train/total_flos":1.2e18,"eval/loss":3.1}})",
      "w.jsonl");
  ASSERT_TRUE(api.ok()) << api.status();
  const auto of_api = Apply(map, *api, "w.jsonl");
  ASSERT_TRUE(of_api.ok()) << of_api.status();
  EXPECT_EQ(of_api->runs[0].params, 1e8);
  EXPECT_EQ(of_api->runs[0].values[0].value, 3.1);
}

TEST(ReadyMapTest, WandbReadsOlmosCountOfTrainingFlops) {
  for (const char* prefix : {"", "summary."}) {
    const auto table =
        fit::ParseTable(std::string("Name,State,params,tokens,eval/loss,") + prefix +
                            "throughput/total_training_Gflops\na,finished,1e8,2e9,3.1,1.2e9\n",
                        "w.csv");
    const auto imported = Apply(*LoadMap("wandb"), *table, "w.csv");
    ASSERT_TRUE(imported.ok()) << imported.status();
    EXPECT_EQ(imported->runs[0].flops, 1.2e18);
  }
}

TEST(ReadyMapTest, MarinKeepsTheDatasetApartFromTheRecipe) {
  const auto table = fit::ParseTable(
      "source,provenance,dataset,model,condition,experiment,tokens,params,budget,loss\n"
      "marin_202603,x,nemotron,llama_2,,e,2582970368.0,156508160.0,1.8e+18,3.9089\n",
      "m.csv");
  const auto imported = Apply(*LoadMap("marin"), *table, "m.csv");
  ASSERT_TRUE(imported.ok()) << imported.status();
  const ImportedRun& run = imported->runs[0];
  EXPECT_EQ(run.labels.at("recipe"), "marin_202603");
  EXPECT_EQ(run.labels.at("data"), "nemotron");
  EXPECT_EQ(run.flops, 1.8e18);
  EXPECT_EQ(run.budget_flops, 1.8e18);
  EXPECT_EQ(run.schedule, "cooled");
  EXPECT_TRUE(imported->unknown.empty());
}

// tests/data/olmo_ladder_excerpt.csv: the last two checkpoints of 19 runs (Apache-2.0).
TEST(ReadyMapTest, OlmoLadderKeepsFinalCheckpointsAndTheTwoTargets) {
  const std::string path = SWEEP_SOURCE_DIR "/tests/data/olmo_ladder_excerpt.csv";
  const auto table = fit::ReadTable(path);
  ASSERT_TRUE(table.ok()) << table.status();
  const auto imported = Apply(*LoadMap("olmo-ladder"), *table, path);
  ASSERT_TRUE(imported.ok()) << imported.status();
  std::set<std::string> targets;
  for (const ImportedRun& run : imported->runs) {
    EXPECT_EQ(run.schedule, "cooled");
    EXPECT_EQ(run.values.size(), 23u);
    EXPECT_EQ(run.labels.at("n_convention"), "no-input-embedding");
    if (run.target) targets.insert(run.run);
  }
  EXPECT_THAT(targets, ElementsAre("peteish13_eval_final", "peteish7_eval_anneal"));
  EXPECT_THAT(imported->unknown, ElementsAre("data", "numerics", "seq_len"));
}

// The whole published tables, which have no licence or are large: read where they lie.
TEST(ReadyMapTest, WholePublishedTablesPassTheirMaps) {
  SKIP_WITHOUT("marin_nemotron_attempt1.csv");
  SKIP_WITHOUT("olmo_ladder.csv");
  const auto marin = fit::ReadTable(fit::SharedData("marin_nemotron_attempt1.csv"));
  const auto olmo = fit::ReadTable(fit::SharedData("olmo_ladder.csv"));
  ASSERT_TRUE(marin.ok() && olmo.ok());
  const auto runs = Apply(*LoadMap("marin"), *marin, "marin");
  ASSERT_TRUE(runs.ok()) << runs.status();
  EXPECT_EQ(runs->runs.size(), 88u);
  const auto ladder = Apply(*LoadMap("olmo-ladder"), *olmo, "olmo");
  ASSERT_TRUE(ladder.ok()) << ladder.status();
  EXPECT_EQ(ladder->runs.size(), 32u);
  EXPECT_EQ(std::count_if(ladder->runs.begin(), ladder->runs.end(),
                          [](const ImportedRun& run) { return run.target; }),
            2);
}

}  // namespace
}  // namespace maps
