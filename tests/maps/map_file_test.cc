#include "maps/map_file.h"

#include <set>

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

std::string ErrorOf(const std::string& text) {
  const auto map = ParseMap(text, "m.yaml");
  EXPECT_FALSE(map.ok());
  return std::string(map.status().message());
}

// kMap with one text replaced by another.
std::string With(std::string_view from, std::string_view to) {
  std::string text = kMap;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(MapFileTest, ReadsSourcesMetricsRulesAndConditions) {
  const auto map = ParseMap(kMap, "m.yaml");
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_EQ(map->columns.at("params")[0].scale, 1e9);
  ASSERT_EQ(map->columns.at("tokens").size(), 2u);
  EXPECT_EQ(map->columns.at("tokens")[1].columns, (std::vector<std::string>{"steps", "batch"}));
  EXPECT_EQ(map->metrics[0].eval, "c4");
  EXPECT_EQ(map->metrics[1].eval, kUnknown);
  EXPECT_EQ(map->schedule.rule, Schedule::Rule::kLastOfRun);
  EXPECT_FALSE(map->last_of_run);
  ASSERT_EQ(map->where.size(), 2u);
  EXPECT_EQ(map->where[0].Text(), "state is finished");
  EXPECT_EQ(map->where[1].Text(), "n is at least 1");
  EXPECT_EQ(map->targets[0].Text(), "big is not no");
}

TEST(MapFileTest, EveryOrderIsACondition) {
  for (const auto& [key, text] :
       std::vector<std::pair<std::string, std::string>>{{"below", "n is below 1"},
                                                        {"at_most", "n is at most 1"},
                                                        {"above", "n is above 1"},
                                                        {"at_least", "n is at least 1"}}) {
    const auto map = ParseMap(With("at_least: 1", key + ": 1"), "m.yaml");
    ASSERT_TRUE(map.ok()) << map.status();
    EXPECT_EQ(map->where[1].Text(), text);
  }
}

TEST(MapFileTest, AWrongKeyIsNamedByItsPlaceWithTheRightOne) {
  EXPECT_THAT(ErrorOf(With("metrics:", "metricts:")),
              AllOf(HasSubstr("m.yaml:4:1: unknown key 'metricts'"), HasSubstr("'metrics'")));
  EXPECT_THAT(ErrorOf(With("tokenizer: llama3", "tokeniser: llama3")),
              AllOf(HasSubstr("m.yaml:3:10"), HasSubstr("did you mean 'tokenizer'?")));
  EXPECT_THAT(ErrorOf(With("unit: accuracy", "unit: acuracy")),
              AllOf(HasSubstr("m.yaml:6:"), HasSubstr("did you mean 'accuracy'?")));
  EXPECT_THAT(ErrorOf(With("name: mine", "eval: x")), HasSubstr("unknown key 'eval'"));
}

TEST(MapFileTest, WhatCannotBeMeantIsRefused) {
  EXPECT_THAT(ErrorOf(With(", flops: c", "")), HasSubstr("assume_6nd: true"));
  EXPECT_THAT(ErrorOf(With("run: id, ", "")), HasSubstr("give columns the key 'run'"));
  EXPECT_THAT(ErrorOf(With("{name: loss, column: l, unit: nats_per_token, eval: c4}",
                           "{name: loss, column: l, unit: accuracy}")),
              HasSubstr("put a loss before it"));
  EXPECT_THAT(ErrorOf(With("name: acc,", "name: loss,")), HasSubstr("'loss' is given twice"));
  EXPECT_THAT(ErrorOf(With("is: finished", "is: finished, at_most: 2")),
              HasSubstr("a condition takes one of"));
  EXPECT_THAT(ErrorOf(With("{product: [steps, batch]}", "{scale: 2}")),
              HasSubstr("one of the keys 'column' and 'product'"));
  EXPECT_THAT(ErrorOf(With("name: mine", "name: mine\nassume_6nd: true")),
              HasSubstr("a column of flops, and one is given"));
  EXPECT_THAT(ErrorOf(With("flops: c}\nvalues: {", "x: c}\nassume_6nd: true\nvalues: {")),
              HasSubstr("unknown key 'x'"));
  EXPECT_THAT(ErrorOf(With(", flops: c}\nvalues: {",
                           "}\nassume_6nd: true\nvalues: {flop_convention: given, ")),
              HasSubstr("assume_6nd counts 6 N D, flop_convention says given"));
}

TEST(MapFileTest, EveryKeyIsDocumentedOnce) {
  std::vector<const sweeps::Form*> queue = {&MapFileForm()};
  while (!queue.empty()) {
    const sweeps::Form* form = queue.back();
    queue.pop_back();
    std::set<std::string> names;
    for (const sweeps::Key& key : form->children) {
      EXPECT_FALSE(key.doc.empty()) << key.name;
      EXPECT_TRUE(names.insert(key.name).second) << key.name;
      for (const sweeps::Form& nested : key.forms) queue.push_back(&nested);
    }
  }
}

TEST(MapFileTest, EveryReadyMapParsesAndIsFoundByItsName) {
  EXPECT_EQ(ReadyMaps().size(), 3u);
  for (const auto& [name, text] : ReadyMaps()) {
    const auto map = LoadMap(name);
    ASSERT_TRUE(map.ok()) << map.status();
    EXPECT_EQ(map->name, name);
    EXPECT_FALSE(map->about.empty());
  }
  EXPECT_THAT(std::string(LoadMap("olmo-lader").status().message()),
              HasSubstr("did you mean 'olmo-ladder'?"));
  EXPECT_TRUE(absl::IsNotFound(LoadMap("./none.yaml").status()));
}

}  // namespace
}  // namespace maps
