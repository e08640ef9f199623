// Slots with real trainer processes (fake_trainer.cc) and a coordinator of this file: what a slot
// tells it, in which order, and what happens when it is away. Whole under ThreadSanitizer: no gRPC.
#include "worker/agent/slot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "core/canonical_json.h"
#include "core/hash.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;
using core::Json;

// Processes have no clock of ours.
bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// What a coordinator keeps of one attempt.
struct Attempt {
  std::vector<v1::MetricPoint> metrics;  // by sequence, without gaps
  std::vector<int64_t> checkpoints;      // steps, as published
  std::vector<v1::CompleteRequest> ends;
  int writes = 0;  // of any kind
};

class FakeCoordinator final : public CoordinatorApi {
 public:
  void SetAway(bool away) {
    core::MutexLock lock(&mu_);
    away_ = away;
  }
  Attempt Of(const std::string& trial_id) {
    core::MutexLock lock(&mu_);
    return attempts_[trial_id];
  }

  absl::StatusOr<v1::RegisterResponse> Register(const v1::RegisterRequest&) override {
    return v1::RegisterResponse();
  }
  absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest&) override {
    return v1::AcquireResponse();
  }
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest&) override {
    return v1::HeartbeatResponse();
  }
  absl::StatusOr<v1::ReportResponse> Report(const v1::ReportRequest& request) override {
    core::MutexLock lock(&mu_);
    if (away_) return absl::UnavailableError("away");
    Attempt& attempt = attempts_[request.trial_id()];
    ++attempt.writes;
    for (const v1::MetricPoint& point : request.metrics()) {
      const auto next = static_cast<int64_t>(attempt.metrics.size()) + 1;
      EXPECT_LE(point.sequence(), next) << "a gap";
      if (point.sequence() == next) attempt.metrics.push_back(point);
    }
    v1::ReportResponse response;
    response.set_acknowledged_sequence(static_cast<int64_t>(attempt.metrics.size()));
    return response;
  }
  absl::StatusOr<v1::PublishCheckpointResponse> PublishCheckpoint(
      const v1::PublishCheckpointRequest& request) override {
    core::MutexLock lock(&mu_);
    if (away_) return absl::UnavailableError("away");
    ++attempts_[request.trial_id()].writes;
    attempts_[request.trial_id()].checkpoints.push_back(request.checkpoint().step());
    return v1::PublishCheckpointResponse();
  }
  absl::StatusOr<v1::CompleteResponse> Complete(const v1::CompleteRequest& request) override {
    core::MutexLock lock(&mu_);
    if (away_) return absl::UnavailableError("away");
    ++attempts_[request.trial_id()].writes;
    attempts_[request.trial_id()].ends.push_back(request);
    return v1::CompleteResponse();
  }
  void StopWaiting() override {}

 private:
  core::Mutex mu_;
  bool away_ GUARDED_BY(mu_) = false;
  std::map<std::string, Attempt> attempts_ GUARDED_BY(mu_);
};

class SlotTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "slot_XXXXXX";
    dir_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<Slot> NewSlot(int index = 0) {
    SlotOptions options;
    options.index = index;
    options.worker_id = "w";
    options.program = FAKE_SWEEP_WORKER;
    options.work_dir = dir_;
    options.stop_grace_ms = 2'000;
    return std::make_unique<Slot>(options, &coordinator_, [] {});
  }
  // A trial of 50 steps that behaves like `fake` (fake_trainer.cc).
  v1::Lease LeaseOf(int number, const Json& fake = Json::object()) const {
    v1::Lease lease;
    lease.set_plan(
        core::CanonicalJson(
            {{"steps", 50}, {"number", number}, {"data", {{"eval_hash", "eval"}}}, {"fake", fake}})
            .value());
    lease.set_trial_id(core::Sha256Hex(lease.plan()));
    lease.set_epoch(1);
    lease.set_checkpoint_root(dir_ + "/ckpt");
    return lease;
  }
  std::string dir_;
  FakeCoordinator coordinator_;
};

TEST_F(SlotTest, EverythingIsReportedInOrderAndTheEndComesLast) {
  const auto slot = NewSlot();
  const v1::Lease lease = LeaseOf(1);
  slot->Assign(lease, 2);
  ASSERT_TRUE(Eventually([&] { return slot->idle(); }));
  const Attempt attempt = coordinator_.Of(lease.trial_id());
  ASSERT_EQ(attempt.metrics.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(attempt.metrics[i].step(), i + 1);
  ASSERT_FALSE(attempt.checkpoints.empty());
  EXPECT_TRUE(std::is_sorted(attempt.checkpoints.begin(), attempt.checkpoints.end()));
  EXPECT_EQ(attempt.checkpoints.back(), 50);
  ASSERT_EQ(attempt.ends.size(), 1u);
  EXPECT_EQ(attempt.ends[0].outcome(), v1::OUTCOME_COMPLETED);
  EXPECT_EQ(attempt.ends[0].final_evaluation().sum_nats(), 2000);
  EXPECT_EQ(attempt.ends[0].provenance().threads(), 2);
}

TEST_F(SlotTest, TrainingGoesOnWhileTheCoordinatorIsAwayAndNothingIsLost) {
  const auto slot = NewSlot();
  const v1::Lease lease = LeaseOf(1, {{"step_ms", 2}});
  coordinator_.SetAway(true);
  slot->Assign(lease, 1);
  ASSERT_TRUE(Eventually([&] {
    const auto held = slot->Held();
    return held.has_value() && held->step() == 50;
  })) << "it trains to its end without a coordinator";
  EXPECT_EQ(coordinator_.Of(lease.trial_id()).writes, 0);
  EXPECT_FALSE(slot->idle()) << "held until the coordinator knows";
  coordinator_.SetAway(false);
  ASSERT_TRUE(Eventually([&] { return slot->idle(); }));
  const Attempt attempt = coordinator_.Of(lease.trial_id());
  EXPECT_EQ(attempt.metrics.size(), 50u);
  ASSERT_EQ(attempt.ends.size(), 1u);
  EXPECT_EQ(attempt.ends[0].outcome(), v1::OUTCOME_COMPLETED);
}

TEST_F(SlotTest, ALostLeaseIsDroppedWithoutAnotherWriteAndTheTrainerServesTheNextTrial) {
  const auto slot = NewSlot();
  const v1::Lease lost = LeaseOf(1, {{"step_ms", 20}});
  slot->Assign(lost, 1);
  ASSERT_TRUE(Eventually([&] { return coordinator_.Of(lost.trial_id()).writes > 0; }));
  const int trainer = slot->trainer_pid();
  // Away, so that no call is under way when the lease is lost.
  coordinator_.SetAway(true);
  slot->Stop(lost.trial_id(), StopReason::kLost);
  ASSERT_TRUE(Eventually([&] { return slot->idle(); }));
  coordinator_.SetAway(false);
  const int writes = coordinator_.Of(lost.trial_id()).writes;
  const v1::Lease next = LeaseOf(2);
  slot->Assign(next, 1);
  ASSERT_TRUE(Eventually([&] { return slot->idle(); }));
  EXPECT_EQ(coordinator_.Of(lost.trial_id()).writes, writes);
  EXPECT_TRUE(coordinator_.Of(lost.trial_id()).ends.empty());
  EXPECT_EQ(coordinator_.Of(next.trial_id()).ends.size(), 1u);
  EXPECT_EQ(slot->trainer_pid(), trainer);
}

TEST_F(SlotTest, AnOutsideTrainerThatTellsNoTimesIsTimedByTheClock) {
  const auto slot = NewSlot();
  v1::Lease lease = LeaseOf(1);
  lease.set_plan(R"({"steps":50,"tokens":50000,"data":{"eval_hash":"eval"}})");
  lease.set_trial_id(core::Sha256Hex(lease.plan()));
  for (const std::string& word : std::vector<std::string>{
           "/bin/sh", "-c",
           R"(echo '{"type":"metric","name":"train_loss","step":10,"value":3}' >&3
              until [ -e "$0" ]; do sleep 0.02; done
              echo '{"type":"eval","step":50,"sum_nats":9,"scored_tokens":3,"scored_bytes":3}' >&3
              echo '{"type":"done","step":50}' >&3)",
           dir_ + "/go"})
    lease.add_trainer_command(word);
  slot->Assign(lease, 1);
  EXPECT_TRUE(Eventually([&] {
    const auto held = slot->Held();
    return held.has_value() && held->step() == 10 && held->tokens_per_s() > 0;
  }));
  std::ofstream(dir_ + "/go") << "now";
  ASSERT_TRUE(Eventually([&] { return slot->idle(); }));
  const Attempt attempt = coordinator_.Of(lease.trial_id());
  ASSERT_EQ(attempt.ends.size(), 1u);
  EXPECT_EQ(attempt.ends[0].outcome(), v1::OUTCOME_COMPLETED) << attempt.ends[0].detail();
  EXPECT_GT(attempt.ends[0].train_ms(), 0);
  EXPECT_EQ(attempt.ends[0].train_ms(), attempt.ends[0].total_ms());
}

TEST_F(SlotTest, ASlotThatGoesAwayTakesItsTrainerWithIt) {
  auto slot = NewSlot();
  slot->Assign(LeaseOf(1, {{"step_ms", 20}}), 1);
  ASSERT_TRUE(Eventually([&] { return slot->trainer_pid() > 0; }));
  const int trainer = slot->trainer_pid();
  slot.reset();
  EXPECT_TRUE(Eventually([&] { return kill(trainer, 0) != 0; }));
}

TEST_F(SlotTest, ManyTrialsInManySlotsAskedFromManyThreadsEachEndOnce) {
  constexpr int kSlots = 3, kTrials = 12;
  std::vector<std::unique_ptr<Slot>> slots;
  for (int i = 0; i < kSlots; ++i) slots.push_back(NewSlot(i));
  std::atomic<bool> over{false};
  std::vector<std::thread> askers;
  for (int i = 0; i < 2; ++i) {
    askers.emplace_back([&] {  // heartbeats, requests to stop, a coordinator that comes and goes
      for (int turn = 0; !over; ++turn) {
        coordinator_.SetAway(turn % 7 == 0);
        for (const auto& slot : slots) {
          if (const auto held = slot->Held(); held.has_value() && turn % 50 == 49)
            slot->Stop(held->trial_id(), StopReason::kPause);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    });
  }
  std::vector<v1::Lease> leases;
  while (leases.size() < kTrials) {
    leases.push_back(LeaseOf(static_cast<int>(leases.size()), {{"step_ms", 1}}));
    ASSERT_TRUE(Eventually([&] {
      for (const auto& slot : slots) {
        if (!slot->idle()) continue;
        slot->Assign(leases.back(), 1);
        return true;
      }
      return false;
    }));
  }
  over = true;
  for (std::thread& asker : askers) asker.join();
  coordinator_.SetAway(false);
  for (const auto& slot : slots) EXPECT_TRUE(Eventually([&] { return slot->idle(); }));
  for (const v1::Lease& lease : leases) {
    const Attempt attempt = coordinator_.Of(lease.trial_id());
    ASSERT_EQ(attempt.ends.size(), 1u);
    const v1::CompleteRequest& end = attempt.ends[0];
    EXPECT_TRUE(end.outcome() == v1::OUTCOME_COMPLETED || end.outcome() == v1::OUTCOME_PREEMPTED);
    EXPECT_EQ(static_cast<int64_t>(attempt.metrics.size()), end.step()) << "every step, once";
  }
}

}  // namespace
}  // namespace worker
