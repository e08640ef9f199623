// Sweep files written by a program, and the single runs that such files name.
#include "sweeps/write.h"

#include "core/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sweeps/expand.h"

namespace sweeps {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

SweepFile Parsed(const std::string& text) {
  auto file = ParseSweepFile(text, "s.yaml");
  EXPECT_TRUE(file.ok()) << file.status() << "\n" << text;
  return file.ok() ? *std::move(file) : SweepFile();
}

constexpr char kRuns[] = R"(name: s
recipe: delphi-nano
budgets: [1e11, 3e11]
points: 5
vocab: 512
seq_len: 256
runs:
  - {budget: 1e12, hidden: 40}
  - {budget: 1e11, hidden: 16, seed: 1}
)";

TEST(WriteTest, NumbersAreShortAndReadBackExactly) {
  EXPECT_EQ(ShortNumber(1e13), "1e13");
  EXPECT_EQ(ShortNumber(3.2e-5), "3.2e-05");
  EXPECT_EQ(ShortNumber(0.005), "0.005");
  EXPECT_EQ(ShortNumber(1.001e16), "1.001e16");
  EXPECT_EQ(ShortNumber(20), "20");
  for (const double value : {1. / 3, 1.7683e18, 9.999e-3, 1e5, 6.02214076e23})
    EXPECT_EQ(Parsed("name: s\nrecipe: r\nbudgets: [" + ShortNumber(value) + "]\n").budgets[0],
              value);
}

TEST(WriteTest, WhatIsWrittenReadsBackAsTheSameSweep) {
  std::vector<std::string> texts = {kRuns, R"(name: all
recipe: delphi-nano
budgets: [1e13, 3e13]
center: 25.5
data:
  mix:
    code: {paths: [a/**/*.c, "!b \" c"], weight: 0.8, max_epochs: 4}
    docs: {paths: [a, b], weight: 0.2}
  tokenizer: {model: ../tok.model}
  holdout: {fraction: 1%, by: directory}
vocab: 1000
numerics: bf16-mixed
seeds: 2
trainer: {command: [python, "train it.py"]}
resources: {gpus: 1, time: 2h}
retry: {failure: 3, preemption: 50, oom: 0}
limits: {flops: 1e17, gpu_hours: 10}
forecast: {at: [1e16, 1e17], register: false}
)"};
  for (const char* shipped : {"quickstart", "isoflop", "delphi", "delphi-nano-reference"})
    texts.push_back(*core::ReadFile(std::string(SWEEP_SOURCE_DIR "/sweeps/") + shipped + ".yaml"));
  for (const std::string& text : texts) {
    const SweepFile file = Parsed(text);
    const std::string written = WriteSweepFile(file, {"made by a test"});
    EXPECT_THAT(written, StartsWith("# made by a test\nname: "));
    const SweepFile back = Parsed(written);
    EXPECT_EQ(ResolvedSpec(back), ResolvedSpec(file)) << written;
    EXPECT_EQ(back.name, file.name);
  }
}

TEST(RunsTest, SingleRunsFollowTheBudgetsWithTheirOwnSeeds) {
  const auto trials = Expand(Parsed(kRuns));
  ASSERT_TRUE(trials.ok()) << trials.status();
  ASSERT_EQ(trials->size(), 12u);
  const recipes::Plan& first = (*trials)[10].plan;
  EXPECT_EQ(first.budget.amount, 1e12);
  EXPECT_EQ(first.model.config["hidden_size"], 40);
  EXPECT_EQ(first.init_seed, 0u);
  const recipes::Plan& second = (*trials)[11].plan;
  EXPECT_EQ(second.init_seed, 1u);
  EXPECT_EQ(second.data_seed, 1u);
  // Alone, without budgets.
  const SweepFile alone = Parsed(
      "name: s\nrecipe: delphi-nano\nvocab: 512\nseq_len: 256\nruns: [{budget: 1e12, hidden: "
      "40}]\n");
  EXPECT_EQ(Expand(alone)->size(), 1u);
}

TEST(RunsTest, MistakesPointAtTheirRun) {
  const auto error = [](const std::string& runs, const std::string& more = "") {
    const std::string text =
        "name: s\nrecipe: delphi-nano\nvocab: 512\nseq_len: 256\n" + more + "runs:\n" + runs;
    const auto file = ParseSweepFile(text, "s.yaml");
    if (!file.ok()) return std::string(file.status().message());
    const auto trials = Expand(*file);
    return trials.ok() ? std::string("accepted") : std::string(trials.status().message());
  };
  EXPECT_THAT(error("  - {budget: 1e12, hidden: 41}\n"),
              HasSubstr("s.yaml:6:28: recipe delphi-nano has no candidate of width 41 at 1e+12"));
  EXPECT_THAT(error("  - {budget: 1e12, hidden: 40}\n  - {budget: 1e12, hidden: 40, seed: 0}\n"),
              HasSubstr("s.yaml:7:5: repeats an earlier run"));
  EXPECT_THAT(error("  - {budget: 1e12, hidden: 40}\n", "budgets: [1e12]\n"),
              HasSubstr("s.yaml:7:5: is among the candidates of `budgets` already"));
  EXPECT_THAT(error("  - {budget: 1e12}\n"), HasSubstr("needs the key 'hidden'"));
  EXPECT_THAT(error("  []\n"), HasSubstr("runs is empty"));
  EXPECT_THAT(error("  - {budget: 1e12, hidden: 40}\n", "forecast: {at: [1e12]}\n"),
              HasSubstr("void, not blind"));
  EXPECT_THAT(error("  - {budget: 1e12, hidden: 40}\n", "method: search\n"),
              HasSubstr("key 'runs' belongs to method isoflop"));
}

}  // namespace
}  // namespace sweeps
