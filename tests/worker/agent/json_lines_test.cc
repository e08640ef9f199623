#include "worker/agent/json_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/rng.h"

namespace worker {
namespace {

using testing::HasSubstr;

absl::StatusOr<sweep::v1::FromTrainer> Parse(std::string_view line) {
  LineContext context;
  context.eval_hash = "of the plan";
  context.checkpoint_dir = testing::TempDir() + "ckpt";
  context.unix_ms = 7;
  std::filesystem::create_directories(context.checkpoint_dir + "/step-5");
  return ParseTrainerLine(line, context);
}

TEST(JsonLinesTest, EveryMessageIsUnderstood) {
  auto metric = Parse(R"({"type":"metric","name":"train_loss","step":3,"value":2.5,"extra":1})");
  ASSERT_TRUE(metric.ok()) << metric.status();
  EXPECT_EQ(metric->metric().name(), "train_loss");
  EXPECT_EQ(metric->metric().unix_ms(), 7);
  auto evaluation =
      Parse(R"({"type":"eval","step":9,"sum_nats":1e3,"scored_tokens":500,"scored_bytes":1500})");
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->evaluation().eval_hash(), "of the plan");
  auto checkpoint = Parse(R"({"type":"checkpoint","path":"step-5","step":5})");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->checkpoint().path(), testing::TempDir() + "ckpt/step-5");
  EXPECT_EQ(Parse(R"({"type":"progress","step":1})")->progress().step(), 1);
  EXPECT_EQ(Parse(R"({"type":"done","step":9})")->finished().outcome(),
            sweep::v1::OUTCOME_COMPLETED);
  EXPECT_EQ(Parse(R"({"type":"diverged"})")->finished().outcome(), sweep::v1::OUTCOME_DIVERGED);
  EXPECT_EQ(Parse(R"({"type":"oom","detail":"no"})")->finished().detail(), "no");
  EXPECT_EQ(Parse(R"({"type":"stopped"})")->finished().outcome(), sweep::v1::OUTCOME_PREEMPTED);
  EXPECT_EQ(Parse(R"({"type":"ready","trainer":"mine"})")->ready().provenance().trainer(), "mine");
}

TEST(JsonLinesTest, GarbageIsRefusedAndQuoted) {
  const char* lines[] = {
      "loss 3.2",
      "",
      "[1,2]",
      "42",
      "{}",
      R"({"type":7})",
      R"({"type":"metrics"})",
      R"({"type":"metric","name":"x","step":1})",
      R"({"type":"metric","name":"x","step":1,"value":NaN})",
      R"({"type":"metric","name":"x","step":1,"value":1e999})",
      R"({"type":"metric","name":"x","step":-1,"value":1})",
      R"({"type":"metric","name":"x","step":1.5,"value":1})",
      R"({"type":"metric","name":"x","step":1e300,"value":1})",
      R"({"type":"metric","name":"","step":1,"value":1})",
      R"({"type":"metric","name":["x"],"step":1,"value":1})",
      R"({"type":"eval","step":1,"sum_nats":-1,"scored_tokens":5,"scored_bytes":5})",
      R"({"type":"eval","step":1,"sum_nats":1,"scored_tokens":0,"scored_bytes":5})",
      R"({"type":"eval","step":1,"sum_nats":"1","scored_tokens":1,"scored_bytes":5})",
      R"({"type":"checkpoint","path":"/etc","step":1})",
      R"({"type":"checkpoint","path":"../../x","step":1})",
      R"({"type":"checkpoint","path":".","step":1})",
      R"({"type":"checkpoint","path":"step-6","step":1})",
      R"({"type":"done","train_seconds":-1})",
      "{\"type\":\"metric\xff\xfe\"}",
  };
  for (const char* line : lines) {
    const auto result = Parse(line);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << line;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("the trainer wrote a line"))
        << line;
  }
  EXPECT_THAT(std::string(Parse("loss 3.2").status().message()), HasSubstr("'loss 3.2'"));
}

TEST(JsonLinesTest, AbsurdLinesAreRefusedWithAShortQuote) {
  for (const std::string& line :
       {std::string(2 << 20, 'x'), std::string(1 << 19, '['), std::string(1000, '\0'),
        "{\"type\":\"" + std::string(100'000, 'y') + "\"}"}) {
    const auto result = Parse(line);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status()));
    EXPECT_LT(result.status().message().size(), 500u);
  }
}

TEST(JsonLinesTest, RandomDamageNeverCrashes) {
  const std::string good[] = {
      R"({"type":"metric","name":"train_loss","step":3,"value":2.5})",
      R"({"type":"eval","step":9,"sum_nats":1e3,"scored_tokens":500,"scored_bytes":1500})",
      R"({"type":"checkpoint","path":"step-5","step":5})"};
  core::Rng rng(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string line = good[rng.Below(3)];
    for (uint64_t edits = rng.Below(4) + 1; edits > 0 && !line.empty(); --edits) {
      const size_t at = rng.Below(line.size());
      switch (rng.Below(3)) {
        case 0:
          line[at] = static_cast<char>(rng.Below(256));
          break;
        case 1:
          line.erase(at, 1 + rng.Below(5));
          break;
        default:
          line.insert(at, line.substr(rng.Below(line.size()), rng.Below(9)));
      }
    }
    (void)Parse(line);
  }
}

}  // namespace
}  // namespace worker
