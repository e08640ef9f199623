#include "maps/overrides.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace maps {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kMap[] = R"(name: mine
columns: {run: id, params: {column: n, scale: 1e9}, tokens: [d, {product: [steps, batch]}], flops: c}
values: {tokenizer: llama3, n_convention: with-embedding}
metrics:
  - {name: loss, column: l, unit: nats_per_token, eval: c4}
  - {name: acc, column: a, unit: accuracy, optional: true}
schedule: last-of-run
where: [{column: state, is: finished}, {column: n, at_least: 1}]
targets: [{column: big, is_not: [no]}]
)";

TEST(OverridesTest, ConditionsOfTheCommandLineJoinTheMaps) {
  auto map = ParseMap(kMap, "m.yaml");
  ASSERT_TRUE(map.ok());
  std::vector<fit::Where> given;
  for (const char* text : {"big=yes", "n<2e9", "big=no", "n>1", "state!=killed", "l<=9", "l>=1"}) {
    const auto where = fit::ParseWhere(text);
    ASSERT_TRUE(where.ok()) << where.status();
    given.push_back(*where);
  }
  AddWhere(*map, given);
  std::vector<std::string> texts;
  for (const Filter& filter : map->where) texts.push_back(filter.Text());
  EXPECT_THAT(texts,
              ::testing::ElementsAre("state is finished", "n is at least 1", "big is yes or no",
                                     "n is below 2e+09", "n is above 1", "state is not killed",
                                     "l is at most 9", "l is at least 1"));
}

TEST(OverridesTest, AColumnThatTheMapKnowsKeepsItsScaleAndItsUnit) {
  MapFile map = *LoadMap("wandb");
  EXPECT_TRUE(SetColumn(map, "flops", "throughput/total_gflops").ok());
  ASSERT_EQ(map.columns["flops"].size(), 1u);
  EXPECT_EQ(map.columns["flops"][0].scale, 1e9);
  EXPECT_TRUE(SetColumn(map, "flops", "mine").ok());
  EXPECT_EQ(map.columns["flops"][0].scale, 1);
  EXPECT_THAT(std::string(SetColumn(map, "loss", "eval/bpb").message()),
              HasSubstr("the map knows that column as bpb, in bits_per_byte"));
}

TEST(OverridesTest, TheCommandLineAddsToAMapAndMisspellingsAreNamed) {
  MapFile map = *ParseMap(kMap, "m.yaml");
  EXPECT_TRUE(SetColumn(map, "loss", "eval_loss").ok());
  EXPECT_EQ(map.metrics[0].sources[0].columns[0], "eval_loss");
  EXPECT_TRUE(SetColumn(map, "data", "corpus").ok());
  EXPECT_TRUE(SetValue(map, "data", "c4").ok());
  EXPECT_EQ(map.columns.count("data"), 0u) << "one of them holds, the later";
  EXPECT_TRUE(SetValue(map, "schedule", "cooled").ok());
  EXPECT_EQ(map.schedule.state, "cooled");
  EXPECT_TRUE(SetValue(map, "eval", "pile").ok());
  EXPECT_EQ(map.metrics[0].eval, "pile") << "of another column the map says nothing";
  EXPECT_EQ(map.metrics[1].eval, "pile");
  EXPECT_THAT(std::string(SetColumn(map, "parms", "x").message()),
              HasSubstr("did you mean 'params'?"));
  EXPECT_THAT(std::string(SetValue(map, "tokeniser", "x").message()),
              HasSubstr("did you mean 'tokenizer'?"));
  EXPECT_THAT(std::string(SetValue(map, "n_convention", "with-embeding").message()),
              HasSubstr("did you mean 'with-embedding'?"));
  EXPECT_FALSE(SetValue(map, "schedule", "last-of-run").ok());
}

TEST(OverridesTest, AColumnTakesAScale) {
  MapFile map = *LoadMap("wandb");
  ASSERT_TRUE(SetColumn(map, "flops", "mine*1e12").ok());
  EXPECT_EQ(map.columns["flops"][0].columns[0], "mine");
  EXPECT_EQ(map.columns["flops"][0].scale, 1e12);
  ASSERT_TRUE(SetColumn(map, "flops", "throughput/total_gflops*1e6").ok());
  EXPECT_EQ(map.columns["flops"][0].scale, 1e6) << "what is said here holds";
  ASSERT_TRUE(SetColumn(map, "flops", "a*b").ok());
  EXPECT_EQ(map.columns["flops"][0].columns[0], "a*b");
  ASSERT_TRUE(SetColumn(map, "run", "name*2").ok());
  EXPECT_EQ(map.columns["run"][0].columns[0], "name*2") << "a name has no scale";
}

TEST(OverridesTest, ALossThatIsScaledIsRescaledWhoeverScalesIt) {
  const MapFile ready = *LoadMap("wandb");
  const auto told = [&](const MapFile& map) {
    std::string text;
    for (const Override& o : Overridden(ready, map)) text += o.code + ": " + o.text + "\n";
    return text;
  };
  for (const char* column : {"val_loss*0.97", "mine*1.0000001"}) {
    MapFile map = ready;
    ASSERT_TRUE(SetColumn(map, "loss", column).ok());
    ASSERT_TRUE(SetValue(map, "unit", "bits_per_token").ok());
    EXPECT_TRUE(IsRescaled(map.metrics[0])) << column;
    EXPECT_EQ(MapJson(map)["metrics"][0]["rescaled"], true);
  }
  MapFile map = ready;
  ASSERT_TRUE(SetColumn(map, "loss", "val_loss*1").ok());
  ASSERT_TRUE(SetColumn(map, "flops", "flops*3").ok());
  EXPECT_FALSE(IsRescaled(map.metrics[0]));
  EXPECT_EQ(told(map), "");
  EXPECT_FALSE(MapJson(map)["metrics"][0].contains("rescaled"));
  ASSERT_TRUE(SetColumn(map, "loss", "wrong*0.01").ok());
  EXPECT_TRUE(IsRescaled(map.metrics[0]));
  ASSERT_TRUE(SetValue(map, "unit", "error").ok());
  EXPECT_FALSE(IsRescaled(map.metrics[0])) << "percent";
  // A scale of the map's own changes what the file says as well.
  const MapFile own = *ParseMap(
      "name: m\ncolumns: {params: n, tokens: d, flops: c}\n"
      "metrics: [{name: loss, column: {column: l, scale: 1e-3}, unit: nats_per_token}]\n",
      "m.yaml");
  EXPECT_TRUE(IsRescaled(own.metrics[0]));
  map = own;
  ASSERT_TRUE(SetColumn(map, "loss", "l*1").ok());
  EXPECT_FALSE(IsRescaled(map.metrics[0]));
}

// A metric's evaluation set and unit are said of the map's own column.
TEST(OverridesTest, WhatTheCommandLineSaysHoldsAndIsTold) {
  const MapFile ready = *LoadMap("marin");
  MapFile map = ready;
  EXPECT_TRUE(Overridden(ready, map).empty());
  ASSERT_TRUE(SetValue(map, "eval", "c4").ok());
  ASSERT_TRUE(SetValue(map, "unit", "bits_per_token").ok());
  ASSERT_TRUE(SetValue(map, "tokenizer", "gpt2").ok());
  ASSERT_TRUE(SetValue(map, "data", "pile").ok());
  ASSERT_TRUE(SetValue(map, "schedule", "mid-run").ok());
  EXPECT_EQ(map.metrics[0].eval, "c4");
  EXPECT_EQ(map.metrics[0].unit, "bits_per_token");
  std::string told;
  for (const Override& o : Overridden(ready, map)) told += o.code + ": " + o.text + "\n";
  EXPECT_THAT(told, AllOf(HasSubstr("eval=c4 holds for metric loss in place of paloma-macro, which "
                                    "map marin says"),
                          HasSubstr("unit=bits_per_token holds for metric loss in place of nats"),
                          HasSubstr("tokenizer is gpt2 in place of llama3"),
                          HasSubstr("data is pile for all rows in place of column 'dataset'"),
                          HasSubstr("schedule is mid-run in place of cooled")));
}

TEST(OverridesTest, ARedirectedMetricHasNoEvaluationSetUntilItIsSaid) {
  const MapFile ready = *LoadMap("olmo-ladder");
  MapFile map = ready;
  ASSERT_TRUE(SetColumn(map, "c4", "loss_pile").ok());
  EXPECT_EQ(map.metrics[0].eval, kUnknown);
  EXPECT_EQ(map.metrics[1].eval, "hellaswag_val");
  ASSERT_EQ(Overridden(ready, map).size(), 1u);
  EXPECT_EQ(Overridden(ready, map)[0].code, "redirected");
  EXPECT_THAT(Overridden(ready, map)[0].text,
              AllOf(HasSubstr("column 'loss_pile' in place of column 'loss_c4'"),
                    HasSubstr("evaluation set is unknown"), HasSubstr("--value eval=")));
  ASSERT_TRUE(SetValue(map, "eval", "pile").ok());
  EXPECT_EQ(map.metrics[0].eval, "pile");
  EXPECT_EQ(map.metrics[1].eval, "hellaswag_val") << "other sets than the redirected one's stay";
  map = ready;
  ASSERT_TRUE(SetValue(map, "eval", "pile").ok());
  EXPECT_EQ(map.metrics[0].eval, "pile");
  EXPECT_EQ(map.metrics[1].eval, "hellaswag_val");
  // One of the map's own candidates is where the map says it is.
  map = ready;
  ASSERT_TRUE(SetColumn(map, "c4", "loss_c4").ok());
  EXPECT_EQ(map.metrics[0].eval, "c4_en-validation");
  EXPECT_TRUE(Overridden(ready, map).empty());
}

TEST(OverridesTest, AUnitIsOneThatMapsKnowAndTheFirstMetricALoss) {
  MapFile map = *LoadMap("wandb");
  EXPECT_THAT(std::string(SetValue(map, "unit", "bits_per_tokn").message()),
              HasSubstr("did you mean 'bits_per_token'?"));
  EXPECT_THAT(std::string(SetValue(map, "unit", "accuracy").message()),
              HasSubstr("must be a loss"));
  map = *LoadMap("olmo-ladder");
  ASSERT_TRUE(SetColumn(map, "piqa_accuracy", "mine").ok());
  ASSERT_TRUE(SetValue(map, "unit", "error").ok());
  EXPECT_EQ(map.metrics[0].unit, "nats_per_token") << "it is said of the one that was redirected";
}

TEST(OverridesTest, RowsAreChosenWhereRunsAreKnown) {
  MapFile map = *LoadMap("wandb");
  ASSERT_TRUE(SetRows(map, "last-of-run").ok());
  EXPECT_TRUE(map.last_of_run);
  ASSERT_TRUE(SetRows(map, "all").ok());
  EXPECT_FALSE(map.last_of_run);
  EXPECT_THAT(std::string(SetRows(map, "last").message()), HasSubstr("all or last-of-run"));
  MapFile nameless = *LoadMap("marin");
  EXPECT_THAT(std::string(SetRows(nameless, "last-of-run").message()),
              HasSubstr("--column run=COLUMN"));
  MapFile ladder = *LoadMap("olmo-ladder");
  const MapFile ready = ladder;
  ASSERT_TRUE(SetRows(ladder, "all").ok());
  EXPECT_THAT(Overridden(ready, ladder)[0].text, HasSubstr("all rows of a run are kept"));
}

}  // namespace
}  // namespace maps
