#include <gtest/gtest.h>

#include <fstream>

#include "core/hash.h"
#include "tests/worker/fixture_data.h"
#include "worker/trainer/cpu_trial.h"

namespace worker {
namespace {

class TrialTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    report_ = new PrepareReport(PrepareSynthetic(dir_->path()));
  }
  static void TearDownTestSuite() {
    delete report_;
    delete dir_;
  }
  static std::string Data() { return dir_->path() + "/data"; }
  static recipes::Plan Plan(int64_t steps = 20) { return PlanFor(report_->manifest, steps); }
  static std::unique_ptr<Dataset> Open(const recipes::Plan& plan) {
    auto dataset = Dataset::Open(Data(), plan, true);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return std::move(*dataset);
  }
  static std::unique_ptr<CpuTrial> Start(const recipes::Plan& plan, const Dataset* dataset,
                                         int threads = 1) {
    auto bytes = recipes::PlanBytes(plan);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    auto trial = CpuTrial::Create(*bytes, dataset, threads);
    EXPECT_TRUE(trial.ok()) << trial.status();
    return std::move(*trial);
  }
  static std::string WeightsHash(CpuTrial& trial) {
    core::Sha256 hash;
    for (const auto& array : trial.parameters().param)
      hash.Update(array.data(), array.size() * sizeof(float));
    return hash.FinishHex();
  }
  static TempDir* dir_;
  static PrepareReport* report_;
};
TempDir* TrialTest::dir_ = nullptr;
PrepareReport* TrialTest::report_ = nullptr;

TEST_F(TrialTest, TwentyStepsRepeatBitForBitWhateverTheThreads) {
  const recipes::Plan plan = Plan();
  const auto dataset = Open(plan);
  std::vector<double> first;
  std::string weights;
  for (int threads : {1, 1, 2, 3}) {
    auto trial = Start(plan, dataset.get(), threads);
    std::vector<double> losses;
    while (trial->step() < plan.steps) losses.push_back(trial->Step().loss);
    if (first.empty()) {
      first = losses;
      weights = WeightsHash(*trial);
    }
    EXPECT_EQ(losses, first) << threads << " threads";
    EXPECT_EQ(WeightsHash(*trial), weights) << threads << " threads";
  }
  EXPECT_LT(first.back(), first.front() - 0.5) << "it must learn something";
}

TEST_F(TrialTest, ResumeAtAnyStepEndsBitIdentical) {
  const recipes::Plan plan = Plan();
  const auto dataset = Open(plan);
  auto whole = Start(plan, dataset.get());
  std::vector<double> losses;
  while (whole->step() < plan.steps) losses.push_back(whole->Step().loss);
  const double score = whole->Score().sum_nats;
  for (int64_t stop : {1, 7, 13, 19}) {
    TempDir checkpoints;
    auto before = Start(plan, dataset.get(), 2);
    while (before->step() < stop) before->Step();
    const auto info = before->Save(checkpoints.path());
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->step, stop);
    before.reset();
    auto after = Start(plan, dataset.get(), 1);
    ASSERT_TRUE(after->Load(info->path).ok());
    ASSERT_EQ(after->step(), stop);
    while (after->step() < plan.steps) {
      const int64_t step = after->step();
      ASSERT_EQ(after->Step().loss, losses[step]) << "resumed at " << stop << ", step " << step;
    }
    EXPECT_EQ(WeightsHash(*after), WeightsHash(*whole));
    EXPECT_EQ(after->Score().sum_nats, score);
  }
}

TEST_F(TrialTest, ScoreCountsEveryTokenButTheFirstOfEachWindowOnce) {
  const recipes::Plan plan = Plan();
  const auto dataset = Open(plan);
  auto trial = Start(plan, dataset.get());
  const HeldoutScore score = trial->Score();
  const int64_t tokens = report_->manifest.heldout.tokens;
  EXPECT_EQ(score.scored_tokens, tokens - (tokens + plan.seq_len - 1) / plan.seq_len);
  EXPECT_EQ(score.scored_tokens, dataset->scored_tokens());
  EXPECT_GT(score.scored_bytes, score.scored_tokens / 2);
  // Untrained with small weights: close to uniform.
  EXPECT_NEAR(score.sum_nats / score.scored_tokens, std::log(257.0), 0.7);
}

TEST_F(TrialTest, BothSchedulesAndGradientAccumulationTrain) {
  recipes::Plan plan = Plan(30);
  plan.batch = 256;  // more than one micro-step
  plan.tokens = plan.batch * plan.seq_len * plan.steps;
  plan.schedule = {.kind = "cosine",
                   .warmup_steps = 3,
                   .stable_steps = 0,
                   .decay_steps = 27,
                   .final_fraction = 0.1};
  const auto dataset = Open(plan);
  auto trial = Start(plan, dataset.get(), 2);
  EXPECT_EQ(trial->microbatch(), 128);
  const double first = trial->Step().loss;
  double last = first;
  while (trial->step() < plan.steps) last = trial->Step().loss;
  EXPECT_LT(last, first - 0.5);
}

TEST_F(TrialTest, ExportedCheckpointScoresTheSameInIndependentNumpy) {
  if (std::system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") != 0)
    GTEST_SKIP() << "needs python3-numpy";
  for (const bool variant : {false, true}) {
    recipes::Plan plan = Plan();
    if (variant) {
      plan.model.config["tie_word_embeddings"] = true;
      plan.model.config["residual_multiplier"] = 0.7;
      plan.model.config["rope_scaling"] = {{"factor", 8.0},
                                           {"low_freq_factor", 1.0},
                                           {"high_freq_factor", 4.0},
                                           {"original_max_position_embeddings", 16}};
      Parameters layout;
      ASSERT_TRUE(BuildStep(plan, 1, false, &layout).ok());
      plan.params = layout.total();
    }
    const auto dataset = Open(plan);
    auto trial = Start(plan, dataset.get());
    while (trial->step() < plan.steps) trial->Step();
    TempDir checkpoints;
    const auto info = trial->Save(checkpoints.path());
    ASSERT_TRUE(info.ok());
    const std::string out = checkpoints.path() + "/out.json";
    const std::string command = std::string("/usr/bin/python3 ") + SWEEP_SOURCE_DIR +
                                "/tests/peers/heldout_loss.py " + info->path + " " + Data() +
                                " > " + out;
    ASSERT_EQ(std::system(command.c_str()), 0);
    const auto json = core::Json::parse(*core::ReadFile(out));
    const HeldoutScore score = trial->Score();
    EXPECT_EQ(json["scored_tokens"].get<int64_t>(), score.scored_tokens);
    EXPECT_NEAR(json["loss"].get<double>(), score.sum_nats / score.scored_tokens, 2e-6);
  }
}

TEST_F(TrialTest, DamagedCheckpointIsRefusedByName) {
  const recipes::Plan plan = Plan();
  const auto dataset = Open(plan);
  TempDir checkpoints;
  auto trial = Start(plan, dataset.get());
  trial->Step();
  const auto info = trial->Save(checkpoints.path());
  ASSERT_TRUE(info.ok());
  const std::string file = info->path + "/model.safetensors";
  std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(-3, std::ios::end);
  out.put('x');
  out.close();
  const absl::Status status = trial->Load(info->path);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(std::string(status.message()).find("model.safetensors"), std::string::npos);
}

TEST_F(TrialTest, CheckpointOfAnotherPlanIsRefused) {
  recipes::Plan plan = Plan();
  const auto dataset = Open(plan);
  TempDir checkpoints;
  const auto info = Start(plan, dataset.get())->Save(checkpoints.path());
  ASSERT_TRUE(info.ok());
  plan.init_seed += 1;
  EXPECT_EQ(Start(plan, dataset.get())->Load(info->path).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrialTest, MemoryBeyondTheLimitIsPredictedBeforeAnyStep) {
  const recipes::Plan plan = Plan();
  const auto dataset = Open(plan);
  const auto trial = CpuTrial::Create(*recipes::PlanBytes(plan), dataset.get(), 1, 1000);
  EXPECT_EQ(trial.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(TrialTest, DataThatIsNotThePlansIsRefused) {
  const recipes::Plan plan = Plan();
  auto expect = [&](recipes::Plan changed, std::string_view word) {
    const auto dataset = Dataset::Open(Data(), changed, true);
    ASSERT_FALSE(dataset.ok());
    EXPECT_EQ(dataset.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(std::string(dataset.status().message()).find(word), std::string::npos)
        << dataset.status();
  };
  recipes::Plan changed = plan;
  changed.data.tokenizer_hash = "0";
  expect(changed, "tokenizer");
  changed = plan;
  changed.data.eval_hash = "0";
  expect(changed, "held-out");
  changed = plan;
  changed.data.sources[0].manifest_hash = "0";
  expect(changed, "source 'code'");
  changed = plan;
  changed.data.sources[0].name = "other";
  expect(changed, "source 'other'");
}

TEST(DatasetTest, TruncatedAndEditedShardsAreRefused) {
  TempDir dir;
  const PrepareReport report = PrepareSynthetic(dir.path(), 10, 100);
  const recipes::Plan plan = PlanFor(report.manifest);
  const std::string shard = dir.path() + "/data/code-000.bin";
  ASSERT_TRUE(Dataset::Open(dir.path() + "/data", plan, true).ok());
  {
    std::fstream out(shard, std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(-1, std::ios::end);
    out.put('\x7f');
  }
  EXPECT_EQ(Dataset::Open(dir.path() + "/data", plan, true).status().code(),
            absl::StatusCode::kDataLoss);
  std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
  const auto truncated = Dataset::Open(dir.path() + "/data", plan, false);
  EXPECT_EQ(truncated.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(std::string(truncated.status().message()).find("promises"), std::string::npos);
}

}  // namespace
}  // namespace worker
