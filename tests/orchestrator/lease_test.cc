// Leases, epochs and retries under a clock that moves only when told to.
#include "orchestrator/lease.h"

#include "tests/orchestrator/fixtures.h"

namespace orchestrator {
namespace {

using testing::HasSubstr;

class LeaseTest : public StoreTest {};

TEST_F(LeaseTest, ExpiredLeaseReturnsTrialToPendingWithItsCheckpointAndANewEpoch) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease first = LeaseOne("w1");
  ASSERT_OK(store_->PublishCheckpoint(CheckpointOf("w1", first, 30), Now()));
  clock_.AdvanceMs(kLeaseMs - 1);
  EXPECT_EQ(*store_->ExpireLeases(Now()), 0);
  clock_.AdvanceMs(1);
  EXPECT_EQ(*store_->ExpireLeases(Now()), 1);
  EXPECT_EQ(State(first.trial_id()), "PENDING");
  const v1::Lease second = LeaseOne("w2");
  EXPECT_EQ(second.trial_id(), first.trial_id());
  EXPECT_GT(second.epoch(), first.epoch());
  EXPECT_EQ(second.attempt(), 2);
  EXPECT_EQ(second.resume_step(), 30);
  EXPECT_THAT(second.resume_from(), HasSubstr("/e1/step-30"));
}

TEST_F(LeaseTest, RenewedLeaseDoesNotExpire) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("w");
  auto* held = heartbeat.add_held();
  held->set_trial_id(lease.trial_id());
  held->set_epoch(lease.epoch());
  held->set_step(12);
  for (int i = 0; i < 20; ++i) {
    clock_.AdvanceMs(kLeaseMs / 3);
    auto response = store_->RenewLeases(heartbeat, kLeaseMs, Now());
    ASSERT_OK(response);
    EXPECT_EQ(response->lost_trial_ids_size(), 0);
    EXPECT_EQ(*store_->ExpireLeases(Now()), 0);
  }
  EXPECT_EQ(Count("SELECT step FROM trials"), 12);
}

TEST_F(LeaseTest, AReportMovesTheProgressOnBetweenHeartbeats) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  v1::ReportRequest report = ReportOf("w", LeaseOne("w"), 1, 30);
  report.set_tokens_per_s(5e4);
  ASSERT_OK(store_->AppendReport(report, Now()));
  EXPECT_EQ(Count("SELECT step FROM trials"), 30);
  EXPECT_EQ(Count("SELECT tokens_per_s FROM v_trials"), 50'000);
}

TEST_F(LeaseTest, EveryWriteUnderAStaleEpochIsRefusedAndChangesNothing) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease stale = LeaseOne("w1");
  clock_.AdvanceMs(kLeaseMs);
  ASSERT_OK(store_->ExpireLeases(Now()));
  // Refused while nobody has it, and while somebody else has it.
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(absl::IsFailedPrecondition(
        store_->AppendReport(ReportOf("w1", stale, 1, 3), Now()).status()));
    EXPECT_TRUE(absl::IsFailedPrecondition(
        store_->PublishCheckpoint(CheckpointOf("w1", stale, 50), Now()).status()));
    EXPECT_TRUE(absl::IsFailedPrecondition(
        store_->CompleteAttempt(CompletionOf("w1", stale, v1::OUTCOME_COMPLETED), Now()).status()));
    v1::HeartbeatRequest heartbeat;
    heartbeat.set_worker_id("w1");
    auto* held = heartbeat.add_held();
    held->set_trial_id(stale.trial_id());
    held->set_epoch(stale.epoch());
    EXPECT_EQ(store_->RenewLeases(heartbeat, kLeaseMs, Now())->lost_trial_ids(0), stale.trial_id());
    if (round == 0) LeaseOne("w2");
  }
  EXPECT_EQ(Count("SELECT count(*) FROM metrics"), 0);
  EXPECT_EQ(Count("SELECT count(*) FROM checkpoints"), 0);
  EXPECT_EQ(Count("SELECT count(*) FROM evaluations"), 0);
  EXPECT_EQ(State(stale.trial_id()), "LEASED");
}

TEST_F(LeaseTest, AnEpochOfAnotherWorkerIsStaleToo) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w1");
  EXPECT_TRUE(absl::IsFailedPrecondition(
      store_->CompleteAttempt(CompletionOf("w2", lease, v1::OUTCOME_COMPLETED), Now()).status()));
}

TEST_F(LeaseTest, LargestTrialsAreLeasedFirst) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 5), Now()));
  auto response = store_->AcquireLeases(AcquireOf("w", 3), kLeaseMs, Now());
  ASSERT_OK(response);
  ASSERT_EQ(response->leases_size(), 3);
  EXPECT_EQ(response->leases(0).recipe_flops(), 5e12);
  EXPECT_EQ(response->leases(1).recipe_flops(), 4e12);
  EXPECT_EQ(response->leases(2).recipe_flops(), 3e12);
  EXPECT_EQ(response->leases(2).pending_behind(), 2);
}

TEST_F(LeaseTest, AsListedSweepKeepsItsOrder) {
  v1::SubmitSweepRequest sweep = MakeSweep("s", 3);
  sweep.set_lease_order("as-listed");
  ASSERT_OK(store_->SubmitSweep(sweep, Now()));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(LeaseOne("w" + std::to_string(i)).trial_id(), sweep.trials(i).trial_id());
  sweep.set_lease_order("smallest");
  sweep.set_name("t");
  EXPECT_TRUE(absl::IsInvalidArgument(store_->SubmitSweep(sweep, Now()).status()));
}

TEST_F(LeaseTest, LeaseWhoseAnswerWasLostIsAnsweredAgainWithTheSameEpoch) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 2), Now()));
  const v1::Lease lost = LeaseOne("w");
  const v1::Lease again = LeaseOne("w");  // lists nothing as held
  EXPECT_EQ(again.trial_id(), lost.trial_id());
  EXPECT_EQ(again.epoch(), lost.epoch());
  v1::AcquireRequest request = AcquireOf("w", 1);
  request.add_held_trial_ids(lost.trial_id());
  EXPECT_NE(store_->AcquireLeases(request, kLeaseMs, Now())->leases(0).trial_id(), lost.trial_id());
}

TEST_F(LeaseTest, FailuresAreRetriedUpToTheLimitAndPreemptionsHaveTheirOwn) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  std::string id;
  for (int i = 0; i < 3; ++i) {
    const v1::Lease preempted = LeaseOne("w");
    id = preempted.trial_id();
    ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", preempted, v1::OUTCOME_PREEMPTED), Now()));
    const v1::Lease failed = LeaseOne("w");
    EXPECT_EQ(failed.run_alone(), i == 2) << "a trial twice present at a crash runs alone";
    ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", failed, v1::OUTCOME_FAILED), Now()));
    EXPECT_EQ(State(id), i < 2 ? "PENDING" : "FAILED");
  }
  v1::ControlRequest retry;
  retry.set_sweep("s");
  retry.set_action(v1::ControlRequest::RETRY);
  EXPECT_EQ(store_->Control(retry, Now())->trials_changed(), 1);
  EXPECT_EQ(State(id), "PENDING");
  EXPECT_FALSE(LeaseOne("w").run_alone());
}

TEST_F(LeaseTest, OutOfMemoryAndDivergenceAreStoredFacts) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 2), Now()));
  const v1::Lease diverged = LeaseOne("w");
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", diverged, v1::OUTCOME_DIVERGED), Now()));
  EXPECT_EQ(State(diverged.trial_id()), "DIVERGED");
  for (const char* after : {"PENDING", "OUT_OF_MEMORY"}) {
    const v1::Lease lease = LeaseOne("w");
    ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_OUT_OF_MEMORY), Now()));
    EXPECT_EQ(State(lease.trial_id()), after);
  }
  EXPECT_EQ(store_->AcquireLeases(AcquireOf("w", 9), kLeaseMs, Now())->leases_size(), 0);
}

TEST_F(LeaseTest, TrialThatMustRunAloneIsGivenOnlyToAnEmptyWorkerAndNothingBesideIt) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 3), Now()));
  // The largest is leased first and crashes twice.
  std::string suspect;
  for (int i = 0; i < 2; ++i) {
    const v1::Lease lease = LeaseOne("w");
    suspect = lease.trial_id();
    ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_FAILED), Now()));
  }
  auto both = store_->AcquireLeases(AcquireOf("w", 2), kLeaseMs, Now());
  ASSERT_EQ(both->leases_size(), 1);
  EXPECT_EQ(both->leases(0).trial_id(), suspect);
  EXPECT_TRUE(both->leases(0).run_alone());
  v1::AcquireRequest more = AcquireOf("w", 1);
  more.add_held_trial_ids(suspect);
  EXPECT_EQ(store_->AcquireLeases(more, kLeaseMs, Now())->leases_size(), 0);
  EXPECT_EQ(store_->AcquireLeases(AcquireOf("w2", 2), kLeaseMs, Now())->leases_size(), 2);
}

TEST_F(LeaseTest, RepeatedCompletionIsAcceptedAndAContradictingOneIsNot) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  const auto completion = CompletionOf("w", lease, v1::OUTCOME_COMPLETED);
  ASSERT_OK(store_->CompleteAttempt(completion, Now()));
  const int64_t events = Count("SELECT count(*) FROM events");
  EXPECT_OK(store_->CompleteAttempt(completion, Now()));
  EXPECT_EQ(Count("SELECT count(*) FROM events"), events);
  EXPECT_TRUE(absl::IsFailedPrecondition(
      store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_FAILED), Now()).status()));
  EXPECT_EQ(State(lease.trial_id()), "COMPLETED");
}

TEST_F(LeaseTest, CompletionNeedsAFinalEvaluationOfTheLastStepOnThePlansSet) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  const auto good = CompletionOf("w", lease, v1::OUTCOME_COMPLETED);
  auto none = good, early = good, other = good, infinite = good;
  none.clear_final_evaluation();
  early.mutable_final_evaluation()->set_step(99);
  other.mutable_final_evaluation()->set_eval_hash("another");
  infinite.mutable_final_evaluation()->set_sum_nats(std::numeric_limits<double>::infinity());
  for (const auto& bad : {none, early, other, infinite})
    EXPECT_TRUE(absl::IsInvalidArgument(store_->CompleteAttempt(bad, Now()).status()));
  EXPECT_EQ(State(lease.trial_id()), "LEASED");
  EXPECT_OK(store_->CompleteAttempt(good, Now()));
}

TEST_F(LeaseTest, FlopLimitStopsLeasingBeforeItIsBroken) {
  v1::SubmitSweepRequest sweep = MakeSweep("s", 3);  // 1e12, 2e12, 3e12
  sweep.set_limit_flops(4.5e12);
  ASSERT_OK(store_->SubmitSweep(sweep, Now()));
  auto response = store_->AcquireLeases(AcquireOf("w", 3), kLeaseMs, Now());
  ASSERT_EQ(response->leases_size(), 2);
  EXPECT_EQ(response->leases(0).recipe_flops(), 3e12);
  EXPECT_EQ(response->leases(1).recipe_flops(), 1e12);
  for (const v1::Lease& lease : response->leases())
    ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_COMPLETED), Now()));
  EXPECT_EQ(store_->AcquireLeases(AcquireOf("w", 3), kLeaseMs, Now())->leases_size(), 0);
  EXPECT_FALSE(store_->GetActivity()->runnable);
  EXPECT_EQ(store_->GetActivity()->pending, 1);
}

TEST(AfterAttemptTest, PauseCostsNoRetryAndCancelIsNotTriedAgain) {
  const RetryLimits limits{2, 100, 1};
  const RetryCounts none;
  auto paused = AfterAttempt(AttemptEnd::kPreempted, StopRequest::kPause, none, limits);
  EXPECT_EQ(paused.next, TrialState::kPending);
  EXPECT_EQ(paused.counts.preemptions, 0);
  EXPECT_EQ(AfterAttempt(AttemptEnd::kFailed, StopRequest::kCancel, none, limits).next,
            TrialState::kCancelled);
  EXPECT_EQ(AfterAttempt(AttemptEnd::kExpired, StopRequest::kNone, {0, 100, 0}, limits).next,
            TrialState::kFailed);
  EXPECT_EQ(AfterAttempt(AttemptEnd::kCompleted, StopRequest::kCancel, none, limits).next,
            TrialState::kCompleted);
}

TEST_F(LeaseTest, ACrashOfASharedTrainerIsNobodysFailureUntilTheTrialIsAlone) {
  v1::SubmitSweepRequest sweep = MakeSweep("s", 1);
  sweep.mutable_retry()->set_failure(0);
  ASSERT_OK(store_->SubmitSweep(sweep, Now()));
  std::string id;
  for (int crash = 0; crash < 3; ++crash) {
    const v1::Lease lease = LeaseOne("w");
    id = lease.trial_id();
    EXPECT_EQ(lease.run_alone(), crash == 2);
    v1::CompleteRequest end = CompletionOf("w", lease, v1::OUTCOME_FAILED);
    end.set_crashed_with(3);  // also when it was alone: the coordinator knows better
    ASSERT_OK(store_->CompleteAttempt(end, Now()));
    EXPECT_EQ(State(id), crash < 2 ? "PENDING" : "FAILED");
  }
  EXPECT_EQ(Count("SELECT failures FROM trials"), 1);
  EXPECT_EQ(Count("SELECT shared_crashes FROM trials"), 2);
  EXPECT_EQ(Count("SELECT count(*) FROM attempts WHERE outcome='FAILED'"), 3);
}

TEST(AfterAttemptTest, WhatRanOutOfMemoryIsTriedAgainAlone) {
  const RetryLimits limits{2, 100, 1};
  const auto first = AfterAttempt(AttemptEnd::kOutOfMemory, StopRequest::kNone, {}, limits);
  EXPECT_EQ(first.next, TrialState::kPending);
  EXPECT_TRUE(first.run_alone);
  EXPECT_EQ(AfterAttempt(AttemptEnd::kOutOfMemory, StopRequest::kNone, first.counts, limits).next,
            TrialState::kOutOfMemory);
  EXPECT_FALSE(AfterAttempt(AttemptEnd::kFailed, StopRequest::kNone, {}, limits).run_alone);
}

}  // namespace
}  // namespace orchestrator
