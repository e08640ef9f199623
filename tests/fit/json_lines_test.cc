#include "fit/json_lines.h"

#include <zlib.h>

#include "core/rng.h"
#include "fit/read_table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  const auto table = ParseJsonLines(text, "r.jsonl");
  EXPECT_FALSE(table.ok());
  return std::string(table.status().message());
}

TEST(JsonLinesTest, NestedObjectsBecomeColumnsAndMissingKeysEmptyCells) {
  const auto table = ParseJsonLines(
      "{\"name\":\"a\",\"config\":{\"n\":12345678901234567890,\"tags\":[1,2]},\"loss\":0.1}\n"
      "\n{\"name\":\"b\",\"extra\":null,\"loss\":1e-300,\"ok\":true}\n",
      "r.jsonl");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->header, ElementsAre("config.n", "config.tags", "loss", "name", "extra", "ok"));
  EXPECT_THAT(table->rows[0], ElementsAre("12345678901234567890", "[1,2]", "0.1", "a", "", ""));
  EXPECT_THAT(table->rows[1], ElementsAre("", "", "1e-300", "b", "", "true"));
  EXPECT_THAT(table->lines, ElementsAre(1, 3));
}

TEST(JsonLinesTest, WhatIsNotOneObjectALineIsNamedByLine) {
  EXPECT_THAT(ErrorOf("{\"a\":1}\n{\"a\":NaN}\n"), HasSubstr("r.jsonl:2: not JSON"));
  EXPECT_THAT(ErrorOf("[1]\n"), HasSubstr("r.jsonl:1: a line holds one JSON object, not a array"));
  EXPECT_THAT(ErrorOf("{\"a\":1,\"a\":2}"), HasSubstr("key 'a' is given twice"));
  EXPECT_THAT(ErrorOf("{\"a\":{\"b\":1},\"a.b\":2}"), HasSubstr("two keys are both called 'a.b'"));
  EXPECT_THAT(ErrorOf("\n \n"), HasSubstr("empty"));
  std::string deep = "1";
  for (int i = 0; i < 40; ++i) deep = "{\"a\":" + deep + "}";
  EXPECT_THAT(ErrorOf(deep), HasSubstr("nested"));
}

TEST(JsonLinesTest, RandomBytesGiveATableOrAReason) {
  const std::string seed =
      "{\"name\":\"a\",\"config\":{\"n\":1,\"x\":[{}]},\"loss\":0.1}\n{\"loss\":2}\n";
  for (uint64_t round = 0; round < 5000; ++round) {
    core::Rng rng(7, round);
    std::string text = seed;
    for (uint64_t i = 0; i <= rng.Below(6); ++i) {
      const size_t at = rng.Below(text.size());
      if (rng.Below(2) == 0) {
        text[at] = static_cast<char>(rng.Below(256));
      } else {
        text.insert(at, text.substr(rng.Below(text.size()), rng.Below(12)));
      }
    }
    const auto table = ParseJsonLines(text, "r.jsonl");
    if (!table.ok()) {
      EXPECT_THAT(std::string(table.status().message()), HasSubstr("r.jsonl"));
      continue;
    }
    for (const auto& row : table->rows) ASSERT_EQ(row.size(), table->header.size());
  }
}

TEST(ReadTableTest, TheNameDecidesAndCompressionIsLookedPast) {
  const std::string path = testing::TempDir() + "/rows.csv.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzputs(file, "a,b\n1,2\n");
  gzclose(file);
  const auto csv = ReadTable(path);
  ASSERT_TRUE(csv.ok()) << csv.status();
  EXPECT_THAT(csv->header, ElementsAre("a", "b"));
  EXPECT_TRUE(ParseTable("{\"a\":1}", "x.jsonl.zst").ok());
  EXPECT_TRUE(ParseTable("{\"a\":1}", "x.txt", TableFormat::kJsonLines).ok());
  EXPECT_FALSE(ParseTable("{\"a\":1,\"b\":2}\n{}", "x.txt").ok()) << "CSV, ragged";
  EXPECT_TRUE(absl::IsNotFound(ReadTable("/no/such.csv.gz").status()));
}

}  // namespace
}  // namespace fit
