#include "worker/trainer/write_inputs.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/file.h"
#include "core/hash.h"
#include "tests/worker/fixture_data.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/trainer/cpu_trial.h"

namespace worker {
namespace {

class WriteInputsTest : public ::testing::Test {
 protected:
  // Writes the plan and its inputs; the folder's path.
  std::string Write(const recipes::Plan& plan) {
    bytes_ = recipes::PlanBytes(plan).value();
    EXPECT_TRUE(core::WriteFileAtomically(dir_.path() + "/plan.json", bytes_).ok());
    status_ = WriteInputs({.plan_path = dir_.path() + "/plan.json",
                           .data_dir = dir_.path() + "/data",
                           .out_dir = dir_.path() + "/new/inputs"});
    return dir_.path() + "/new/inputs";
  }
  TempDir dir_;
  PrepareReport report_ = PrepareSynthetic(dir_.path());
  std::string bytes_;
  absl::Status status_;
};

TEST_F(WriteInputsTest, WeightsAreThoseATrialStartsWith) {
  for (const bool tied : {false, true}) {
    recipes::Plan plan = PlanFor(report_.manifest);
    if (tied) {
      plan.model.config["tie_word_embeddings"] = true;
      Parameters layout;
      ASSERT_TRUE(BuildStep(plan, 1, false, &layout).ok());
      plan.params = layout.total();
    }
    const std::string folder = Write(plan);
    ASSERT_TRUE(status_.ok()) << status_;
    const auto file = SafetensorsFile::Read(folder + "/initial.safetensors");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->metadata().at("trial_id"), core::Sha256Hex(bytes_));
    const auto dataset = Dataset::Open(dir_.path() + "/data", plan, true);
    ASSERT_TRUE(dataset.ok());
    const auto trial = CpuTrial::Create(bytes_, dataset->get(), 1);
    ASSERT_TRUE(trial.ok());
    ASSERT_FALSE((*trial)->layout().views().empty());
    for (const ParameterView& view : (*trial)->layout().views()) {
      const auto weights = file->Tensor(view.name, view.elements());
      ASSERT_TRUE(weights.ok()) << weights.status();
      EXPECT_EQ(
          std::memcmp(*weights, (*trial)->parameters().view(view), view.elements() * sizeof(float)),
          0)
          << view.name;
    }
  }
}

TEST_F(WriteInputsTest, SequencesAreTheOnesTheDatasetGivesInOrder) {
  const recipes::Plan plan = PlanFor(report_.manifest);
  const std::string folder = Write(plan);
  ASSERT_TRUE(status_.ok()) << status_;
  const auto content = core::ReadFile(folder + "/sequences.i32");
  ASSERT_TRUE(content.ok());
  const int64_t sequences = plan.steps * plan.batch, row_bytes = plan.seq_len * 4;
  ASSERT_EQ(static_cast<int64_t>(content->size()), sequences * row_bytes);
  const auto dataset = Dataset::Open(dir_.path() + "/data", plan, true);
  ASSERT_TRUE(dataset.ok());
  std::vector<int32_t> row(plan.seq_len), tokens(plan.seq_len), targets(plan.seq_len);
  for (int64_t i = 0; i < sequences; ++i) {
    std::memcpy(row.data(), content->data() + i * row_bytes, row_bytes);
    (*dataset)->TrainingSequence(i, tokens.data(), targets.data());
    ASSERT_EQ(row, tokens) << "sequence " << i;
    // The header's promise about targets.
    for (int64_t t = 0; t + 1 < plan.seq_len; ++t) ASSERT_EQ(targets[t], row[t + 1]);
    ASSERT_LT(targets.back(), 0);
  }
}

TEST_F(WriteInputsTest, APlanOfOtherDataOrAnotherModelIsRefused) {
  recipes::Plan plan = PlanFor(report_.manifest);
  plan.params += 1;
  Write(plan);
  EXPECT_EQ(status_.code(), absl::StatusCode::kInvalidArgument) << status_;
  plan.params -= 1;
  plan.data.eval_hash[0] = plan.data.eval_hash[0] == '0' ? '1' : '0';
  Write(plan);
  EXPECT_EQ(status_.code(), absl::StatusCode::kFailedPrecondition) << status_;
}

}  // namespace
}  // namespace worker
