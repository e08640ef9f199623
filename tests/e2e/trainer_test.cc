// The real trainer process through its socket: what it does with the checkpoints it is given.
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "core/file.h"
#include "core/hash.h"
#include "fmt/format.h"
#include "recipes/plan.h"
#include "sweepctl/sweep_data.h"
#include "sweeps/expand.h"
#include "tests/e2e/harness.h"
#include "worker/agent/trainer_link.h"

namespace e2e {
namespace {

namespace fs = std::filesystem;
namespace v1 = ::sweep::v1;
using core::Json;
using testing::HasSubstr;
using testing::Not;

// How a trial ended, to the bit.
struct Ended {
  v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED;
  std::string detail, weights;  // SHA-256 of the final model.safetensors
  double sum_nats = 0;
  std::set<int64_t> saved;  // steps of its checkpoints
};

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = box_.SweepFile("ckpt", "[1e11]", 1);
    const Result prepared =
        box_.Sweepctl({"data", "prepare", path, "--data-root", box_.text(), "--json"});
    ASSERT_EQ(prepared.code, 0) << prepared.err;
    data_dir_ = Json::parse(prepared.out)["data_dir"];
    const auto file = sweeps::LoadSweepFile(path);
    sweeps::ExpandOptions expand;
    expand.data = sweepctl::DataSpecOf(*file, worker::ReadManifest(data_dir_).value());
    recipes::Plan plan = sweeps::Expand(*file, expand).value().front().plan;
    plan.steps = 60;  // a short one of the same shape
    plan.phases = {{"train", 60}};
    plan.schedule.warmup_steps = 6;
    plan.schedule.stable_steps = 42;
    plan.schedule.decay_steps = 12;
    plan.tokens = plan.seq_len * plan.batch * plan.steps;
    plan_ = recipes::PlanBytes(plan).value();
    auto trainer = worker::StartNativeTrainer({SWEEP_WORKER_PROGRAM, log_});
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    trainer_ = *std::move(trainer);
  }

  // Trains the plan, checkpoints at 20, 40 and the end.
  Ended Train(const std::string& resume_from) {
    static int count = 0;
    v1::StartTrial start;
    start.set_plan(plan_);
    start.set_trial_id(core::Sha256Hex(plan_));
    start.set_data_dir(data_dir_);
    start.set_checkpoint_dir(fmt::format("{}/out-{}", box_.dir(), ++count));
    start.set_resume_from(resume_from);
    start.set_threads(2);
    start.set_checkpoint_every_steps(20);
    fs::create_directories(start.checkpoint_dir());
    Ended ended;
    EXPECT_TRUE(trainer_->Start(start).ok());
    for (int i = 0; i < 1000; ++i) {
      const auto message = trainer_->Next(100);
      if (!message.ok()) {
        ADD_FAILURE() << message.status();
        return ended;
      }
      if (!message->has_value()) continue;
      if ((*message)->has_evaluation()) ended.sum_nats = (*message)->evaluation().sum_nats();
      if ((*message)->has_checkpoint()) {
        ended.saved.insert((*message)->checkpoint().step());
        last_ = (*message)->checkpoint().path();
      }
      if (!(*message)->has_finished()) continue;
      ended.outcome = (*message)->finished().outcome();
      ended.detail = (*message)->finished().detail();
      ended.weights = core::Sha256HexOfFile(last_ + "/model.safetensors").value_or("none");
      return ended;
    }
    ADD_FAILURE() << "the trial did not end";
    return ended;
  }
  // A copy of the checkpoint, to be damaged.
  std::string Copy(const std::string& checkpoint) {
    static int count = 0;
    const std::string copy = fmt::format("{}/copy-{}", box_.dir(), ++count);
    fs::copy(checkpoint, copy, fs::copy_options::recursive);
    return copy;
  }
  std::string Log() const { return core::ReadFile(log_).value_or(""); }

  Sandbox box_;
  const std::string log_ = box_.dir() + "/trainer.log";
  std::string data_dir_, plan_, last_;
  std::unique_ptr<worker::TrainerLink> trainer_;
};

void Flip(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-2, std::ios::end);
  const int byte = file.get();
  file.seekp(-2, std::ios::end);
  file.put(static_cast<char>(byte ^ 1));
}

// state.json with another step, and a manifest that vouches for it.
void Restate(const std::string& checkpoint, const Json& step) {
  const std::string path = checkpoint + "/state.json";
  Json state = Json::parse(*core::ReadFile(path));
  state["step"] = step;
  std::ofstream(path) << state.dump();
  Json manifest = Json::parse(*core::ReadFile(checkpoint + "/checkpoint.json"));
  manifest["state.json"]["sha256"] = core::Sha256HexOfFile(path).value();
  std::ofstream(checkpoint + "/checkpoint.json") << manifest.dump();
}

TEST_F(CheckpointTest, AnyDamageStartsTheTrialOverAndItEndsWithTheSameBits) {
  const Ended whole = Train("");
  ASSERT_EQ(whole.outcome, v1::OUTCOME_COMPLETED) << whole.detail;
  ASSERT_EQ(whole.saved, (std::set<int64_t>{20, 40, 60}));
  const std::string middle = fs::path(last_).parent_path().string() + "/step-40";

  const Ended resumed = Train(Copy(middle));
  EXPECT_EQ(resumed.saved, (std::set<int64_t>{60})) << "it went on from step 40";
  EXPECT_EQ(resumed.sum_nats, whole.sum_nats);
  EXPECT_EQ(resumed.weights, whole.weights);
  EXPECT_THAT(Log(), Not(HasSubstr("training starts over")));

  const std::map<std::string, std::function<void(const std::string&)>> damages = {
      {"a bit of the weights", [](const std::string& c) { Flip(c + "/model.safetensors"); }},
      {"a bit of the moments", [](const std::string& c) { Flip(c + "/optimizer.safetensors"); }},
      {"a bit of the plan", [](const std::string& c) { Flip(c + "/plan.json"); }},
      {"half the weights",
       [](const std::string& c) { fs::resize_file(c + "/model.safetensors", 100); }},
      {"an empty manifest",
       [](const std::string& c) { fs::resize_file(c + "/checkpoint.json", 0); }},
      {"a manifest of another shape",
       [](const std::string& c) {
         std::ofstream(c + "/checkpoint.json") << R"({"model.safetensors": 3})";
       }},
      {"no moments", [](const std::string& c) { fs::remove(c + "/optimizer.safetensors"); }},
      {"no folder", [](const std::string& c) { fs::remove_all(c); }},
      {"a step beyond the plan's last", [](const std::string& c) { Restate(c, 61); }},
      {"a step that is no number", [](const std::string& c) { Restate(c, "forty"); }},
  };
  for (const auto& [what, damage] : damages) {
    const std::string copy = Copy(middle);
    damage(copy);
    const size_t before = Log().size();
    const Ended again = Train(copy);
    EXPECT_EQ(again.outcome, v1::OUTCOME_COMPLETED) << what << ": " << again.detail;
    EXPECT_EQ(again.saved, whole.saved) << what << ": from the start";
    EXPECT_EQ(again.sum_nats, whole.sum_nats) << what;
    EXPECT_EQ(again.weights, whole.weights) << what;
    EXPECT_THAT(Log().substr(before), HasSubstr("training starts over")) << what;
  }
}

TEST_F(CheckpointTest, TheCheckpointBeforeADamagedOneIsTheNextBest) {
  const Ended whole = Train("");
  ASSERT_EQ(whole.outcome, v1::OUTCOME_COMPLETED) << whole.detail;
  const fs::path saved = fs::path(last_).parent_path(), trial = box_.dir() + "/trial";
  fs::create_directories(trial / "e1");
  fs::create_directories(trial / "e2");
  fs::copy(saved / "step-20", trial / "e1" / "step-20", fs::copy_options::recursive);
  fs::copy(saved / "step-40", trial / "e2" / "step-40", fs::copy_options::recursive);
  Flip((trial / "e2" / "step-40" / "optimizer.safetensors").string());
  const Ended again = Train((trial / "e2" / "step-40").string());
  EXPECT_EQ(again.outcome, v1::OUTCOME_COMPLETED) << again.detail;
  EXPECT_EQ(again.saved, (std::set<int64_t>{40, 60})) << "it went on from step 20";
  EXPECT_EQ(again.sum_nats, whole.sum_nats);
  EXPECT_EQ(again.weights, whole.weights);
  EXPECT_THAT(Log(), HasSubstr("step-20'"));

  Flip((trial / "e1" / "step-20" / "model.safetensors").string());
  EXPECT_EQ(Train((trial / "e2" / "step-40").string()).saved, whole.saved);
  EXPECT_THAT(Log(), HasSubstr("training starts over"));
}

TEST_F(CheckpointTest, AnotherPlansCheckpointIsRefusedNotTrainedOver) {
  const Ended whole = Train("");
  ASSERT_EQ(whole.outcome, v1::OUTCOME_COMPLETED) << whole.detail;
  const std::string checkpoint = last_;
  recipes::Plan other = recipes::ParsePlan(plan_).value();
  other.init_seed += 1;
  plan_ = recipes::PlanBytes(other).value();
  const Ended refused = Train(checkpoint);
  EXPECT_EQ(refused.outcome, v1::OUTCOME_FAILED);
  EXPECT_THAT(refused.detail, HasSubstr("belongs to another plan"));
}

}  // namespace
}  // namespace e2e
