#include "sweepctl/cli.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sweepctl/follow.h"
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

orchestrator::SweepStatus Running(int trials) {
  orchestrator::SweepStatus status;
  status.sweep = "a-sweep-with-a-long-name";
  status.counts = {{"COMPLETED", 120}, {"LEASED", trials}, {"OUT_OF_MEMORY", 3}, {"PENDING", 17}};
  status.flops_planned = 1e13;
  status.flops_per_second = 1.23e10;
  status.eta_seconds = 12345;
  for (int i = 0; i < trials; ++i) {
    orchestrator::TrialRow row;
    row.trial_id = "0123456789ab";
    row.stage = i == 0 ? "target" : "fit";
    row.state = "LEASED";
    row.budget_flops = 3e12;
    row.hidden = 1024;
    row.steps = 100;
    row.step = 50;
    row.tokens_per_s = 123456;
    row.train_loss = 3.25;
    status.rows.push_back(row);
  }
  return status;
}

TEST(StatusTextTest, NoLineIsWiderAndNoTableHigherThanTheTerminal) {
  const std::string stuck(100, 'x');
  const std::string text = StatusText(Running(30), stuck, false, 80, 24);
  std::istringstream lines(text);
  int height = 0;
  for (std::string line; std::getline(lines, line); ++height) {
    if (line == stuck) ++height;  // it wraps
    EXPECT_TRUE(line.size() < 80 || line == stuck) << line;
  }
  EXPECT_EQ(height, 23);
  EXPECT_THAT(text, testing::HasSubstr("01234567 target   3e+12 width 1024 [===    ]  50 %"));
  EXPECT_THAT(text, testing::HasSubstr("loss 3.250\n"));
  EXPECT_THAT(text, testing::HasSubstr("and 11 more running\n"));
  EXPECT_THAT(StatusText(Running(30), "", false, 0, 0), testing::Not(testing::HasSubstr("more")));
}

}  // namespace
}  // namespace sweepctl
