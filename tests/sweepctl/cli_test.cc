#include "sweepctl/cli.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sweepctl/table.h"

namespace sweepctl {
namespace {

TEST(ExitCodeTest, EveryKindOfFailureHasItsCode) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(UsageError("x")), 2);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("x")), 65);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("x")), 65);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("x")), 65);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("x")), 69);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("x")), 73);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("x")), 75);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("x")), 77);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("x")), 130);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), 70);
}

TEST(ShellWordTest, OnlyWhatAShellWouldChangeIsQuoted) {
  EXPECT_EQ(ShellWord("a/b-c_1.yaml"), "a/b-c_1.yaml");
  EXPECT_EQ(ShellWord(""), "''");
  EXPECT_EQ(ShellWord("two words"), "'two words'");
  EXPECT_EQ(ShellWord("it's $HOME"), "'it'\\''s $HOME'");
  GlobalOptions options;
  options.db = "my sweeps.db";
  EXPECT_THAT(CommandLine(options, "status"), testing::EndsWith(" status --db 'my sweeps.db'"));
}

Table Sample() {
  Table table({{"name", "name", true}, {"n", "count"}, {"secret", ""}, {"tags", "tags", true}});
  table.AddRow({{"a,\"b\"", ""}, {1.5e20, "1.5e+20"}, {7, ""}, {{"x", "y"}, "x y"}});
  table.AddRow({{"\xc3\xa9t\xc3\xa9", ""}, {nullptr, ""}, {8, ""}, {core::Json::array(), "-"}});
  return table;
}

TEST(TableTest, TextIsAlignedByCodePointsAndLeavesOutUntitledColumns) {
  EXPECT_EQ(Sample().Text(false),
            "name     count  tags\n"
            "a,\"b\"  1.5e+20  x y\n"
            "\xc3\xa9t\xc3\xa9          -  -\n");
  EXPECT_THAT(Sample().Text(true), testing::StartsWith("\x1b[1mname"));
}

TEST(TableTest, CsvQuotesAndKeepsEveryColumn) {
  EXPECT_EQ(Sample().Csv(),
            "name,n,secret,tags\n"
            "\"a,\"\"b\"\"\",1.5e+20,7,\"[\"\"x\"\",\"\"y\"\"]\"\n"
            "\xc3\xa9t\xc3\xa9,,8,[]\n");
}

TEST(TableTest, JsonLinesReadBackToTheExactValues) {
  const std::string lines = Sample().JsonLines();
  const core::Json first = core::Json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(first["n"], 1.5e20);
  EXPECT_EQ(first["tags"], (core::Json{"x", "y"}));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
}

}  // namespace
}  // namespace sweepctl
