// Agents with real trainer processes and a real coordinator on loopback.
#include "worker/agent/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/subprocess.h"
#include "orchestrator/client.h"
#include "orchestrator/reader.h"
#include "orchestrator/serve.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;
using core::Json;
using orchestrator::Reader;
using testing::HasSubstr;

// Polls until the condition holds; real processes have no clock of ours.
bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

bool Alive(int pid) { return pid > 0 && kill(pid, 0) == 0; }

class AgentTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "agent_XXXXXX";
    dir_ = mkdtemp(pattern.data());
    StartCoordinator();
  }
  void TearDown() override {
    StopAgent();
    StopCoordinator();
    std::filesystem::remove_all(dir_);
  }

  void StartCoordinator() {
    orchestrator::ServeOptions options;
    options.db_path = dir_ + "/test.db";
    options.lease_ms = 2'000;
    options.exit_when_idle = true;
    options.idle_ms = idle_ms_;
    auto served = orchestrator::ServedCoordinator::Start(options, &core::SystemClock());
    ASSERT_TRUE(served.ok()) << served.status();
    served_ = *std::move(served);
    ticking_ = true;
    ticker_ = std::thread([this] {
      while (ticking_) {
        served_->coordinator().Tick();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    });
    client_ = orchestrator::Client::Connect(served_->endpoint());
    reader_ = *Reader::Open(dir_ + "/test.db");
  }
  void StopCoordinator() {
    if (served_ == nullptr) return;
    ticking_ = false;
    ticker_.join();
    served_.reset();
  }
  void StartAgent(int slots = 1, int threads = 4, int cuda_device = -1) {
    AgentOptions options;
    options.coordinator = "file:" + dir_ + "/test.db.lock";
    options.slots = slots;
    options.threads = threads;
    options.work_dir = dir_ + "/work";
    options.program = options.cuda_program = FAKE_SWEEP_WORKER;
    options.cuda_device = cuda_device;
    options.exit_when_drained = true;
    options.stop_grace_ms = 2'000;
    agent_ = std::make_unique<Agent>(options);
    agent_thread_ = std::thread([this] { exit_code_ = agent_->Run(); });
  }
  int StopAgent() {
    if (agent_ == nullptr) return -1;
    agent_->RequestStop();
    return JoinAgent();
  }
  int JoinAgent() {
    agent_thread_.join();
    agent_.reset();
    return exit_code_;
  }

  std::string AddSweep(const std::string& name, const std::vector<Json>& fakes,
                       const std::vector<std::string>& command = {}, int steps = 50) {
    v1::SubmitSweepRequest request;
    request.set_name(name);
    request.set_spec_json("{}");
    request.set_data_dir(dir_ + "/data");
    request.set_checkpoint_root(dir_ + "/ckpt");
    for (const std::string& word : command) request.add_trainer_command(word);
    request.mutable_retry()->set_failure(1);
    request.mutable_retry()->set_preemption(100);
    std::string first;
    for (size_t i = 0; i < fakes.size(); ++i) {
      const Json plan = {{"recipe", "r"},
                         {"recipe_version", "1"},
                         {"budget", {{"amount", 1e9}}},
                         {"params", 10},
                         {"tokens", 100},
                         {"seq_len", 16},
                         {"batch", 2},
                         {"steps", steps},
                         {"recipe_flops", 1e9},
                         {"init_seed", i},
                         {"data_seed", 3},
                         {"name", name},
                         {"numerics", numerics_},
                         {"data", {{"eval_hash", "eval"}}},
                         {"fake", fakes[i]}};
      v1::TrialSpec* spec = request.add_trials();
      spec->set_plan(core::CanonicalJson(plan).value());
      spec->set_trial_id(core::Sha256Hex(spec->plan()));
      if (i == 0) first = spec->trial_id();
    }
    auto response = client_->SubmitSweep(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return first;
  }
  orchestrator::TrialRow Row(const std::string& trial_id) {
    const auto sweeps = reader_->Sweeps();
    for (const auto& info : *sweeps) {
      const auto status = reader_->Status(info.sweep);
      for (const auto& row : status->rows)
        if (row.trial_id == trial_id) return row;
    }
    return {};
  }
  bool Reaches(const std::string& trial_id, const std::string& state) {
    return Eventually([&] { return Row(trial_id).state == state; });
  }
  int64_t Ask(const std::string& sql) {
    return (*reader_->Rows("SELECT (" + sql + ") AS n", ""))[0]["n"].get<int64_t>();
  }
  void Control(const std::string& sweep, v1::ControlRequest::Action action) {
    v1::ControlRequest request;
    request.set_sweep(sweep);
    request.set_action(action);
    ASSERT_TRUE(client_->Control(request).ok());
  }

  std::string dir_, numerics_ = "f32";
  int64_t idle_ms_ = 600'000;
  std::unique_ptr<orchestrator::ServedCoordinator> served_;
  std::atomic<bool> ticking_{false};
  std::thread ticker_;
  std::unique_ptr<orchestrator::Client> client_;
  std::unique_ptr<Reader> reader_;
  std::unique_ptr<Agent> agent_;
  std::thread agent_thread_;
  int exit_code_ = -1;
};

TEST_F(AgentTest, TrainsEverythingInOneLongLivedTrainerAndExitsWhenDrained) {
  StopCoordinator();
  idle_ms_ = 300;
  StartCoordinator();
  const std::string id = AddSweep("s", {Json::object(), Json::object(), {{"end", "diverged"}}});
  StartAgent();
  EXPECT_EQ(JoinAgent(), kExitDone);
  EXPECT_EQ(Ask("SELECT count(*) FROM v_observations"), 2);
  EXPECT_EQ(Ask("SELECT count(*) FROM v_trials WHERE state='DIVERGED'"), 1);
  EXPECT_EQ(Row(id).loss, 2.0);
  EXPECT_EQ(Ask("SELECT count(*) FROM metrics WHERE name='train_loss'"), 150);
  // 4 threads, one slot: all of them; one process logged all three trials.
  EXPECT_EQ(Ask("SELECT count(*) FROM attempts WHERE threads=4 AND trainer='fake'"), 3);
  // Of five checkpoints the newest and one before it stay; which one depends on how fast they came.
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/ckpt/" + id + "/e1/step-50"));
  int kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_ + "/ckpt/" + id + "/e1")) {
    kept += entry.path().filename().string().rfind("step-", 0) == 0;
  }
  EXPECT_LE(kept, 2);
}

TEST_F(AgentTest, CrashedTrainerFailsTheAttemptAndTheNextOneResumes) {
  const std::string id = AddSweep("s", {{{"crash_at", 35}, {"step_ms", 5}}});
  StartAgent();
  ASSERT_TRUE(Reaches(id, "COMPLETED"));
  const auto attempts = *reader_->Rows("SELECT outcome, detail, start_step FROM v_attempts", "");
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[0]["outcome"], "FAILED");
  EXPECT_THAT(attempts[0]["detail"].get<std::string>(), HasSubstr("signal 9"));
  EXPECT_THAT(attempts[0]["detail"].get<std::string>(), HasSubstr("about to crash"));
  EXPECT_GE(attempts[1]["start_step"], 20);
}

TEST_F(AgentTest, TrainerKilledFromOutsideIsRestarted) {
  const std::string id = AddSweep("s", {{{"step_ms", 20}}});
  StartAgent();
  ASSERT_TRUE(Eventually([&] { return Row(id).step >= 10; }));
  const int pid = agent_->trainer_pid(0);
  ASSERT_GT(pid, 0);
  kill(pid, SIGKILL);
  EXPECT_TRUE(Reaches(id, "COMPLETED"));
  EXPECT_EQ(Ask("SELECT count(*) FROM attempts"), 2);
}

TEST_F(AgentTest, OneProcessTrainsTheTrialsOfAGpuAndItsCrashCostsLeasesOnly) {
  const std::string on_cpu = AddSweep("f32", {Json::object()});
  numerics_ = "bf16-mixed";
  AddSweep("packed", {{{"step_ms", 10}}, {{"step_ms", 11}}, {{"step_ms", 12}}}, {}, 100);
  StartAgent(2, 4, 0);
  ASSERT_TRUE(Eventually([&] { return Ask("SELECT count(*) FROM trials WHERE step>20") == 2; }));
  const int pid = agent_->trainer_pid(0);
  ASSERT_GT(pid, 0);
  EXPECT_EQ(agent_->trainer_pid(1), pid);
  kill(pid, SIGKILL);
  ASSERT_TRUE(
      Eventually([&] { return Ask("SELECT count(*) FROM trials WHERE state='COMPLETED'") == 3; }));
  EXPECT_EQ(Ask("SELECT count(*) FROM attempts"), 5) << "two were running when it crashed";
  EXPECT_EQ(Row(on_cpu).state, "PENDING") << "a GPU does not compute f32";
}

TEST_F(AgentTest, ATrialThatCrashesTheSharedTrainerFailsAloneAndItsNeighboursDoNot) {
  numerics_ = "bf16-mixed";
  const std::string culprit =
      AddSweep("packed", {{{"crash_at", 8}, {"crash_always", true}, {"step_ms", 5}},
                          {{"step_ms", 6}},
                          {{"step_ms", 7}}});
  StartAgent(3, 4, 0);
  ASSERT_TRUE(Reaches(culprit, "FAILED"));
  ASSERT_TRUE(
      Eventually([&] { return Ask("SELECT count(*) FROM trials WHERE state='COMPLETED'") == 2; }));
  EXPECT_EQ(Ask("SELECT sum(failures) FROM trials WHERE state='COMPLETED'"), 0);
  EXPECT_EQ(Row(culprit).attempts, 4) << "twice with neighbours, then alone as often as allowed";
  EXPECT_THAT((*reader_->Rows("SELECT detail FROM v_attempts WHERE trial_id=?1 ORDER BY attempt",
                              culprit))[0]["detail"]
                  .get<std::string>(),
              HasSubstr("with 2 other trials in the process"));
}

TEST_F(AgentTest, AStoppedTrialOfASharedTrainerLeavesItsNeighbourAlone) {
  numerics_ = "bf16-mixed";
  AddSweep("a", {{{"step_ms", 50}}}, {}, 1000);
  const std::string stays = AddSweep("b", {{{"step_ms", 10}}}, {}, 100);
  StartAgent(2, 4, 0);
  ASSERT_TRUE(Eventually([&] { return Ask("SELECT count(*) FROM trials WHERE step>5") == 2; }));
  Control("a", v1::ControlRequest::CANCEL);
  ASSERT_TRUE(Reaches(stays, "COMPLETED"));
  EXPECT_EQ(Row(stays).attempts, 1);
  EXPECT_TRUE(
      Eventually([&] { return Ask("SELECT count(*) FROM trials WHERE state='CANCELLED'") == 1; }));
}

TEST_F(AgentTest, GarbageFromTheNativeTrainerIsAFailureWithAReason) {
  const std::string id = AddSweep("s", {{{"garbage_at", 5}}});
  StartAgent();
  ASSERT_TRUE(Reaches(id, "FAILED"));
  EXPECT_EQ(Row(id).attempts, 2);
  EXPECT_THAT(Row(id).detail, HasSubstr("not the trainer protocol"));
}

TEST_F(AgentTest, ResultsThatTheCoordinatorRefusesAreFailures) {
  const std::string other = AddSweep("other", {{{"end", "other_eval"}}});
  const std::string none = AddSweep("none", {{{"end", "no_eval"}}});
  StartAgent(2);
  ASSERT_TRUE(Reaches(other, "FAILED"));
  ASSERT_TRUE(Reaches(none, "FAILED"));
  EXPECT_THAT(Row(other).detail, HasSubstr("evaluation set 'another'"));
  EXPECT_THAT(Row(none).detail, HasSubstr("without an evaluation"));
}

TEST_F(AgentTest, CoordinatorRestartOnAnotherPortCostsNoAttempt) {
  const std::string id = AddSweep("s", {{{"step_ms", 30}}}, {}, 100);
  StartAgent();
  ASSERT_TRUE(Eventually([&] { return Row(id).step >= 10; }));
  StopCoordinator();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // training goes on meanwhile
  StartCoordinator();
  ASSERT_TRUE(Reaches(id, "COMPLETED"));
  EXPECT_EQ(Ask("SELECT count(*) FROM attempts"), 1);
  EXPECT_EQ(Ask("SELECT count(*) FROM metrics WHERE name='train_loss'"), 100);
}

TEST_F(AgentTest, StopSavesGivesBackAndAsksToBeRequeued) {
  const std::string id = AddSweep("s", {{{"step_ms", 20}}}, {}, 1000);
  StartAgent();
  ASSERT_TRUE(Eventually([&] { return Row(id).step >= 5; }));
  const int trainer = agent_->trainer_pid(0);
  EXPECT_EQ(StopAgent(), kExitRequeue);
  EXPECT_EQ(Row(id).state, "PENDING");
  EXPECT_GE(Ask("SELECT checkpoint_step FROM trials"), 5);
  EXPECT_EQ(Ask("SELECT count(*) FROM attempts WHERE outcome='PREEMPTED'"), 1);
  EXPECT_FALSE(Alive(trainer));
}

TEST_F(AgentTest, TrialThatDoesNotStopIsKilledAfterTheGraceTime) {
  const std::string id = AddSweep("s", {{{"step_ms", 20}, {"deaf", true}}}, {}, 1000);
  StartAgent();
  ASSERT_TRUE(Eventually([&] { return Row(id).step >= 2; }));
  const int trainer = agent_->trainer_pid(0);
  EXPECT_EQ(StopAgent(), kExitRequeue);
  EXPECT_EQ(Row(id).state, "PENDING");
  EXPECT_FALSE(Alive(trainer));
}

TEST_F(AgentTest, CancelAndPauseReachTheTrainer) {
  const std::string id = AddSweep("s", {{{"step_ms", 20}}}, {}, 1000);
  StartAgent();
  ASSERT_TRUE(Eventually([&] { return Row(id).step >= 5; }));
  Control("s", v1::ControlRequest::PAUSE);
  ASSERT_TRUE(Reaches(id, "PENDING"));
  EXPECT_GE(Ask("SELECT checkpoint_step FROM trials"), 5);
  Control("s", v1::ControlRequest::RESUME);
  ASSERT_TRUE(Reaches(id, "LEASED"));
  Control("s", v1::ControlRequest::CANCEL);
  EXPECT_TRUE(Reaches(id, "CANCELLED"));
}

TEST_F(AgentTest, AgentThatIsKilledLeavesNoTrainerAndItsTrialGoesOnElsewhere) {
  const std::string id = AddSweep("s", {{{"step_ms", 20}}}, {}, 200);
  core::SpawnOptions spawn;
  spawn.argv = {FAKE_SWEEP_WORKER, "agent",      "--coordinator", served_->endpoint(),
                "--work-dir",      dir_ + "/w2", "--slots",       "1"};
  spawn.log_path = dir_ + "/agent.log";
  const auto pid = core::Spawn(spawn);
  ASSERT_TRUE(pid.ok());
  ASSERT_TRUE(Eventually([&] { return Row(id).step >= 15; }));
  // The trainer is the agent's only child.
  std::ifstream children("/proc/" + std::to_string(*pid) + "/task/" + std::to_string(*pid) +
                         "/children");
  std::string any;
  int trainer = -1;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(*pid) + "/task")) {
    std::ifstream list(task.path() / "children");
    int child = 0;
    while (list >> child) trainer = child;
  }
  ASSERT_TRUE(Alive(trainer));
  kill(*pid, SIGKILL);
  ASSERT_TRUE(core::WaitExit(*pid, 5'000).has_value());
  EXPECT_TRUE(Eventually([&] { return !Alive(trainer); }));
  StartAgent();
  EXPECT_TRUE(Reaches(id, "COMPLETED"));
  EXPECT_EQ(Ask("SELECT count(*) FROM attempts WHERE outcome='EXPIRED'"), 1);
  EXPECT_GT(Ask("SELECT max(start_step) FROM attempts"), 0);
}

TEST_F(AgentTest, TwoAgentsDoNotShareAWorkFolder) {
  StartAgent();
  ASSERT_TRUE(Eventually([&] { return Ask("SELECT count(*) FROM workers") == 1; }));
  core::SpawnOptions spawn;
  spawn.argv = {FAKE_SWEEP_WORKER,   "agent",      "--coordinator",
                served_->endpoint(), "--work-dir", dir_ + "/work"};
  spawn.log_path = dir_ + "/twin.log";
  const auto twin = core::Spawn(spawn);
  ASSERT_TRUE(twin.ok());
  EXPECT_EQ(core::WaitExit(*twin, 20'000), kExitTaken);
  EXPECT_THAT(*core::ReadFile(dir_ + "/twin.log"), HasSubstr("pid " + std::to_string(getpid())));
  EXPECT_EQ(Ask("SELECT count(*) FROM workers"), 1);
}

TEST_F(AgentTest, TerminatedAgentProcessExitsWith75) {
  const std::string id = AddSweep("s", {{{"step_ms", 20}}}, {}, 1000);
  core::SpawnOptions spawn;
  spawn.argv = {FAKE_SWEEP_WORKER,   "agent",      "--coordinator",
                served_->endpoint(), "--work-dir", dir_ + "/w2"};
  spawn.log_path = dir_ + "/agent.log";
  const auto pid = core::Spawn(spawn);
  ASSERT_TRUE(pid.ok());
  ASSERT_TRUE(Eventually([&] { return Row(id).step >= 5; }));
  kill(*pid, SIGTERM);
  EXPECT_EQ(core::WaitExit(*pid, 20'000), 75);
  EXPECT_EQ(Row(id).state, "PENDING");
}

class OutsideTest : public AgentTest {
 protected:
  // A byte-level data folder of repeating text.
  void PrepareData() {
    std::filesystem::create_directories(dir_ + "/data");
    std::string text;
    for (int i = 0; i < 300; ++i) text += "the quick brown fox " + std::to_string(i % 7) + "\n";
    const auto write = [&](const std::string& name, const std::string& content) {
      std::string shard(1024, '\0');
      const int32_t header[3] = {20240520, 1, static_cast<int32_t>(content.size())};
      memcpy(shard.data(), header, sizeof(header));
      for (const char c : content) {
        shard += c;
        shard += '\0';
      }
      ASSERT_TRUE(core::WriteFileAtomically(dir_ + "/data/" + name, shard).ok());
    };
    write("train.bin", text);
    write("heldout.bin", text.substr(0, 500));
    std::vector<int> bytes(257, 1);
    bytes[256] = 0;
    const Json manifest = {
        {"vocab_size", 257},
        {"token_bytes", bytes},
        {"sources",
         Json::array(
             {{{"name", "t"},
               {"shards", Json::array({{{"path", "train.bin"}, {"tokens", text.size()}}})}}})},
        {"heldout",
         {{"path", "heldout.bin"}, {"tokens", 500}, {"bytes", 500}, {"eval_hash", "eval"}}}};
    ASSERT_TRUE(core::WriteFileAtomically(dir_ + "/data/manifest.json", manifest.dump()).ok());
  }
  // A shell script as a trainer.
  std::vector<std::string> Shell(const std::string& script) { return {"/bin/sh", "-c", script}; }
};

TEST_F(OutsideTest, ExampleTrainsHonestlyAndAKilledRunEndsWithTheSameLoss) {
  PrepareData();
  const std::vector<std::string> command = {"python3",
                                            SWEEP_SOURCE_DIR "/examples/outside_trainer.py"};
  const std::string whole = AddSweep("whole", {{{"copy", 1}}}, command, 2000);
  StartAgent();
  ASSERT_TRUE(Reaches(whole, "COMPLETED")) << Row(whole).detail;
  EXPECT_LT(*Row(whole).loss, 1.5) << "an untrained model has ln 257 = 5.55";
  EXPECT_GT(*Row(whole).bits_per_byte, 0);
  const std::string broken = AddSweep("broken", {{{"copy", 2}}}, command, 2000);
  ASSERT_TRUE(Eventually([&] {
    return Ask("SELECT max(checkpoint_step) FROM trials WHERE "
               "trial_id='" +
               broken + "'") >= 10;
  }));
  kill(agent_->trainer_pid(0), SIGKILL);
  ASSERT_TRUE(Reaches(broken, "COMPLETED")) << Row(broken).detail;
  EXPECT_EQ(Row(broken).attempts, 2);
  EXPECT_EQ(*Row(broken).loss, *Row(whole).loss) << "exact resume";
}

TEST_F(OutsideTest, GarbageOnTheDescriptorIsAFailureThatQuotesTheLine) {
  struct Case {
    const char* script;
    const char* reason;
  };
  const Case cases[] = {
      {"echo 'epoch 1: loss 3.2' >&3; sleep 60", "'epoch 1: loss 3.2'"},
      {"echo '{\"type\":\"metric\",\"name\":\"x\",\"step\":1,\"value\":NaN}' >&3; sleep 60", "NaN"},
      {"head -c 3000000 /dev/zero | tr '\\0' x >&3; sleep 60", "xxxx"},
      {"echo goodbye; exit 3", "code 3"},
      {"echo '{\"type\":\"done\"}' >&3", "without an evaluation"},
      {"echo '{\"type\":\"failed\",\"detail\":\"no gas\"}' >&3", "no gas"},
      {"kill -SEGV $$", "signal 11"},
  };
  StartAgent(2);
  int i = 0;
  for (const Case& c : cases) {
    const std::string id = AddSweep("s" + std::to_string(i++), {Json::object()}, Shell(c.script));
    ASSERT_TRUE(Reaches(id, "FAILED")) << c.script;
    EXPECT_THAT(Row(id).detail, HasSubstr(c.reason)) << c.script;
  }
  const std::string missing = AddSweep("missing", {Json::object()}, {"/no/such/program"});
  ASSERT_TRUE(Reaches(missing, "FAILED"));
  EXPECT_THAT(Row(missing).detail, HasSubstr("No such file"));
}

TEST_F(OutsideTest, ChildrenOfAnOutsideTrainerEndWithIt) {
  const std::string id =
      AddSweep("s", {Json::object()},
               Shell("sleep 300 & echo $! > " + dir_ + "/grandchild; echo garbage >&3; wait"));
  StartAgent();
  ASSERT_TRUE(Reaches(id, "FAILED"));
  std::ifstream file(dir_ + "/grandchild");
  int grandchild = 0;
  file >> grandchild;
  ASSERT_GT(grandchild, 0);
  EXPECT_TRUE(Eventually([&] { return !Alive(grandchild); }));
}

}  // namespace
}  // namespace worker
