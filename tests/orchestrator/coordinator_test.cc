// The coordinator and its writer without a network: waiting, waking, idleness, a full disk.
#include "orchestrator/coordinator.h"

#include <atomic>
#include <deque>
#include <thread>

#include "orchestrator/reader.h"
#include "tests/orchestrator/fixtures.h"

namespace orchestrator {
namespace {

using testing::HasSubstr;

// Collects one answer; Get() waits for it.
template <typename Response>
class Inbox {
 public:
  Answer<Response> Callback() {
    return [this](absl::StatusOr<Response> result) {
      core::MutexLock lock(&mu_);
      result_ = std::move(result);
      arrived_ = true;
      wake_.SignalAll();
    };
  }
  bool arrived() {
    core::MutexLock lock(&mu_);
    return arrived_;
  }
  absl::StatusOr<Response> Get() {
    core::MutexLock lock(&mu_);
    while (!arrived_) wake_.Wait(&mu_);
    return result_;
  }

 private:
  core::Mutex mu_;
  core::CondVar wake_;
  bool arrived_ GUARDED_BY(mu_) = false;
  absl::StatusOr<Response> result_ GUARDED_BY(mu_) = absl::UnknownError("no answer yet");
};

class CoordinatorTest : public testing::Test {
 protected:
  void SetUp() override { StartCoordinator(false); }
  void StartCoordinator(bool exit_when_idle, const char* setup = nullptr) {
    coordinator_.reset();
    auto store = Store::Open(dir_.File("test.db"));
    ASSERT_OK(store);
    if (setup != nullptr) ASSERT_OK((*store)->db().Execute(setup));
    CoordinatorOptions options;
    options.coordinator_id = "c";
    options.database = dir_.File("test.db");
    options.lease_ms = kLeaseMs;
    options.exit_when_idle = exit_when_idle;
    auto coordinator = Coordinator::Start(*std::move(store), &clock_, options);
    ASSERT_OK(coordinator);
    coordinator_ = *std::move(coordinator);
  }
  // Everything queued so far has been committed and answered.
  void Settle() {
    for (int i = 0; i < 3; ++i)
      ASSERT_OK(coordinator_->writer().Run([](Store&) { return absl::OkStatus(); }));
  }
  void Acquire(const std::string& worker, int64_t wait_ms, Inbox<v1::AcquireResponse>* inbox) {
    v1::AcquireRequest request = AcquireOf(worker, 1);
    request.set_wait_ms(wait_ms);
    coordinator_->Acquire(
        request, [] { return false; }, inbox->Callback());
  }
  absl::StatusOr<v1::SubmitSweepResponse> Submit(const v1::SubmitSweepRequest& request) {
    Inbox<v1::SubmitSweepResponse> inbox;
    coordinator_->SubmitSweep(request, inbox.Callback());
    return inbox.Get();
  }
  absl::StatusOr<v1::CompleteResponse> Complete(const std::string& worker, const v1::Lease& lease,
                                                v1::Outcome outcome) {
    Inbox<v1::CompleteResponse> inbox;
    coordinator_->Complete(CompletionOf(worker, lease, outcome), inbox.Callback());
    return inbox.Get();
  }
  v1::InfoResponse Info() {
    Inbox<v1::InfoResponse> inbox;
    coordinator_->Info(inbox.Callback());
    return *inbox.Get();
  }

  TempDir dir_;
  core::FakeClock clock_;
  std::unique_ptr<Coordinator> coordinator_;
};

TEST_F(CoordinatorTest, WaitingAcquireIsAnsweredWhenWorkAppears) {
  Inbox<v1::AcquireResponse> inbox;
  Acquire("w", 30'000, &inbox);
  Settle();
  EXPECT_FALSE(inbox.arrived());
  ASSERT_OK(Submit(MakeSweep("s", 1)));
  EXPECT_EQ(inbox.Get()->leases_size(), 1) << "woken by the submission, no Tick and no time";
}

TEST_F(CoordinatorTest, WaitingAcquireIsWokenByAnExpiredLease) {
  ASSERT_OK(Submit(MakeSweep("s", 1)));
  Inbox<v1::AcquireResponse> first, second;
  Acquire("dies", 0, &first);
  ASSERT_EQ(first.Get()->leases_size(), 1);
  clock_.AdvanceMs(kLeaseMs - 1000);
  Acquire("waits", 30'000, &second);
  Settle();
  EXPECT_FALSE(second.arrived());
  clock_.AdvanceMs(1000);
  coordinator_->Tick();
  EXPECT_EQ(second.Get()->leases(0).epoch(), 2);
}

TEST_F(CoordinatorTest, WaitEndsWithNothingAtItsDeadline) {
  Inbox<v1::AcquireResponse> inbox, at_once;
  Acquire("w", 5'000, &inbox);
  Acquire("v", 0, &at_once);
  EXPECT_EQ(at_once.Get()->leases_size(), 0);
  clock_.AdvanceMs(4'999);
  coordinator_->Tick();
  Settle();
  EXPECT_FALSE(inbox.arrived());
  clock_.AdvanceMs(1);
  coordinator_->Tick();
  EXPECT_EQ(inbox.Get()->leases_size(), 0);
}

TEST_F(CoordinatorTest, CallerThatIsGoneGetsNoLease) {
  Inbox<v1::AcquireResponse> inbox;
  v1::AcquireRequest request = AcquireOf("w", 1);
  request.set_wait_ms(30'000);
  coordinator_->Acquire(
      request, [] { return true; }, inbox.Callback());
  ASSERT_OK(inbox.Get());
  ASSERT_OK(Submit(MakeSweep("s", 1)));
  EXPECT_EQ(Info().leased_trials(), 0);
}

TEST_F(CoordinatorTest, OtherProtocolVersionIsRefusedNamingBoth) {
  v1::RegisterRequest request;
  request.set_worker_id("w");
  request.set_protocol_version(core::kProtocolVersion + 1);
  Inbox<v1::RegisterResponse> inbox;
  coordinator_->Register(request, inbox.Callback());
  EXPECT_TRUE(absl::IsFailedPrecondition(inbox.Get().status()));
  EXPECT_THAT(std::string(inbox.Get().status().message()),
              HasSubstr("version " + std::to_string(core::kProtocolVersion + 1)));
}

TEST_F(CoordinatorTest, RestartKeepsLeasesAliveAndAsksWorkersToRegisterAgain) {
  ASSERT_OK(Submit(MakeSweep("s", 1)));
  Inbox<v1::AcquireResponse> inbox;
  Acquire("w", 0, &inbox);
  const v1::Lease lease = inbox.Get()->leases(0);
  clock_.AdvanceMs(10 * kLeaseMs);  // down for long
  StartCoordinator(false);
  coordinator_->Tick();
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("w");
  heartbeat.add_held()->set_trial_id(lease.trial_id());
  heartbeat.mutable_held(0)->set_epoch(lease.epoch());
  Inbox<v1::HeartbeatResponse> answer;
  coordinator_->Heartbeat(heartbeat, answer.Callback());
  EXPECT_EQ(answer.Get()->lost_trial_ids_size(), 0);
  EXPECT_TRUE(answer.Get()->register_again());
  EXPECT_OK(Complete("w", lease, v1::OUTCOME_COMPLETED));
}

// Every field there is; texts and numbers differ between salts.
v1::Provenance FilledProvenance(int salt) {
  v1::Provenance provenance;
  const auto* descriptor = v1::Provenance::descriptor();
  const auto* reflection = v1::Provenance::GetReflection();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    using Field = google::protobuf::FieldDescriptor;
    if (field->cpp_type() == Field::CPPTYPE_STRING) {
      reflection->SetString(&provenance, field, field->name() + std::to_string(salt));
    } else if (field->cpp_type() == Field::CPPTYPE_INT64) {
      reflection->SetInt64(&provenance, field, 100 * (i + 1) + salt);
    } else {
      reflection->SetInt32(&provenance, field, 100 * (i + 1) + salt);
    }
  }
  return provenance;
}

TEST_F(CoordinatorTest, ProvenanceIsKeptWithTheAttemptAndNeverTouchesTheTrial) {
  const v1::SubmitSweepRequest sweep = MakeSweep("s", 1);
  const v1::TrialSpec& spec = sweep.trials(0);
  ASSERT_OK(Submit(sweep));
  for (const int salt : {1, 2}) {  // two hosts, two devices, two of everything
    const std::string worker = "w" + std::to_string(salt);
    Inbox<v1::AcquireResponse> inbox;
    Acquire(worker, 0, &inbox);
    const v1::Lease lease = inbox.Get()->leases(0);
    EXPECT_EQ(lease.trial_id(), spec.trial_id());
    EXPECT_EQ(lease.plan(), spec.plan());
    v1::CompleteRequest request =
        CompletionOf(worker, lease, salt == 1 ? v1::OUTCOME_FAILED : v1::OUTCOME_COMPLETED);
    *request.mutable_provenance() = FilledProvenance(salt);
    Inbox<v1::CompleteResponse> completed;
    coordinator_->Complete(request, completed.Callback());
    ASSERT_OK(completed.Get());
  }
  const auto reader = *Reader::Open(dir_.File("test.db"));
  const auto attempts = *reader->Rows("SELECT * FROM v_attempts ORDER BY attempt", "");
  ASSERT_EQ(attempts.size(), 2u);
  const auto* descriptor = v1::Provenance::descriptor();
  for (int salt = 1; salt <= 2; ++salt) {
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const auto* field = descriptor->field(i);
      const std::string column = field->name() == "commit" ? "commit_hash" : field->name();
      const core::Json& kept = attempts[salt - 1].at(column);
      if (kept.is_string()) {
        EXPECT_EQ(kept, field->name() + std::to_string(salt));
      } else {
        EXPECT_EQ(kept, 100 * (i + 1) + salt) << column;
      }
    }
  }
  // One trial, the same bytes, and nothing to train when the file is launched again.
  const auto trials = *reader->Rows("SELECT trial_id FROM trials", "");
  ASSERT_EQ(trials.size(), 1u);
  EXPECT_EQ(trials[0]["trial_id"], core::Sha256Hex(*reader->Plan(spec.trial_id())));
  EXPECT_EQ(*reader->Plan(spec.trial_id()), spec.plan());
  const auto again = Submit(sweep);
  ASSERT_OK(again);
  EXPECT_EQ(again->trials_added(), 0);
  EXPECT_EQ(again->trials_completed(), 1);
}

TEST_F(CoordinatorTest, IdleCoordinatorDrainsWorkersAndExitsOnlyAfterItsQuietTime) {
  StartCoordinator(true);
  ASSERT_OK(Submit(MakeSweep("s", 1)));
  Inbox<v1::AcquireResponse> inbox;
  Acquire("w", 0, &inbox);
  const v1::Lease lease = inbox.Get()->leases(0);
  clock_.AdvanceMs(kLeaseMs - 1);
  coordinator_->Tick();
  EXPECT_FALSE(coordinator_->ShouldExit()) << "a trial is running";
  ASSERT_OK(Complete("w", lease, v1::OUTCOME_COMPLETED));
  Inbox<v1::AcquireResponse> waits;
  Acquire("w", 30'000, &waits);
  clock_.AdvanceMs(20'000);
  coordinator_->Tick();
  Info();  // a client is still there
  clock_.AdvanceMs(20'000);
  coordinator_->Tick();
  EXPECT_FALSE(coordinator_->ShouldExit());
  clock_.AdvanceMs(10'000);
  coordinator_->Tick();
  ASSERT_OK(waits.Get());
  Inbox<v1::AcquireResponse> last;
  Acquire("w", 30'000, &last);
  EXPECT_TRUE(last.Get()->drained());
  EXPECT_TRUE(coordinator_->ShouldExit());
}

TEST_F(CoordinatorTest, HeldTargetDoesNotKeepAnIdleCoordinatorUpButAPendingTrialDoes) {
  StartCoordinator(true);
  ASSERT_OK(Submit(MakeSweep("s", 1)));
  clock_.AdvanceMs(10 * 60'000);
  coordinator_->Tick();
  EXPECT_FALSE(coordinator_->ShouldExit());
  Inbox<v1::AcquireResponse> inbox;
  Acquire("w", 0, &inbox);
  ASSERT_OK(Complete("w", inbox.Get()->leases(0), v1::OUTCOME_COMPLETED));
  v1::SubmitTargetRequest target;
  target.set_sweep("s");
  *target.mutable_trial() = MakeTrial(1e15, 1);
  Inbox<v1::SubmitTargetResponse> submitted;
  coordinator_->SubmitTarget(target, submitted.Callback());
  EXPECT_EQ(submitted.Get()->state(), "HELD");
  for (int i = 0; i < 3; ++i) {
    clock_.AdvanceMs(31'000);
    coordinator_->Tick();
  }
  EXPECT_TRUE(coordinator_->ShouldExit());
}

TEST_F(CoordinatorTest, FullDiskPausesLeasingLosesNothingAcknowledgedAndRecovers) {
  StartCoordinator(false);
  ASSERT_OK(Submit(MakeSweep("s", 3)));
  Inbox<v1::AcquireResponse> inbox;
  Acquire("w", 0, &inbox);
  const v1::Lease lease = inbox.Get()->leases(0);
  ASSERT_OK(coordinator_->writer().Run([](Store& store) {
    return store.db()
        .Int(0, "PRAGMA max_page_count=1")  // SQLite raises it to the pages that there are
        .status();
  }));
  int64_t acknowledged = 0, next = 1;
  absl::Status refused;
  while (refused.ok()) {
    Inbox<v1::ReportResponse> report;
    coordinator_->Report(ReportOf("w", lease, next, next + 499), report.Callback());
    auto answer = report.Get();
    refused = answer.status();
    if (answer.ok()) acknowledged = answer->acknowledged_sequence();
    next += 500;
    ASSERT_LT(next, 1'000'000);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_TRUE(Info().leasing_paused());
  EXPECT_THAT(Info().notice(), HasSubstr("no room"));
  Inbox<v1::AcquireResponse> waits;
  Acquire("v", 30'000, &waits);
  clock_.AdvanceMs(3'000);
  coordinator_->Tick();
  Settle();
  EXPECT_FALSE(waits.arrived()) << "nothing is leased while the disk is full";

  ASSERT_OK(coordinator_->writer().Run(
      [](Store& store) { return store.db().Int(0, "PRAGMA max_page_count=1000000").status(); }));
  clock_.AdvanceMs(3'000);
  coordinator_->Tick();
  EXPECT_EQ(waits.Get()->leases_size(), 1);
  EXPECT_FALSE(Info().leasing_paused());
  auto reader = *Reader::Open(dir_.File("test.db"));
  EXPECT_EQ(static_cast<int64_t>(reader->Metrics(lease.trial_id(), "")->size()), acknowledged);
  bool told = false;
  const auto events = reader->Events("", 0, 1000);
  for (const EventRow& event : *events) told = told || event.kind == "disk full";
  EXPECT_TRUE(told);
  // The worker sends what was not acknowledged again.
  Inbox<v1::ReportResponse> again;
  coordinator_->Report(ReportOf("w", lease, acknowledged + 1, acknowledged + 10), again.Callback());
  EXPECT_EQ(again.Get()->acknowledged_sequence(), acknowledged + 10);
}

TEST_F(CoordinatorTest, ConcurrentWorkersEachGetTheirOwnTrialsAndWritesAreGrouped) {
  constexpr int kWorkers = 8, kTrials = 120;
  ASSERT_OK(Submit(MakeSweep("s", kTrials)));
  std::atomic<int> completed{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      const std::string worker = "w" + std::to_string(w);
      while (true) {
        Inbox<v1::AcquireResponse> inbox;
        Acquire(worker, 0, &inbox);
        const auto answer = inbox.Get();
        if (!answer.ok() || answer->leases_size() == 0) return;
        const v1::Lease& lease = answer->leases(0);
        std::vector<Inbox<v1::ReportResponse>> reports(4);
        for (int i = 0; i < 4; ++i) {
          coordinator_->Report(ReportOf(worker, lease, 10 * i + 1, 10 * i + 10),
                               reports[i].Callback());
        }
        for (auto& report : reports) EXPECT_OK(report.Get());
        EXPECT_OK(Complete(worker, lease, v1::OUTCOME_COMPLETED));
        ++completed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(completed, kTrials);
  auto reader = *Reader::Open(dir_.File("test.db"));
  EXPECT_EQ(reader->Observations("s")->size(), kTrials);
  EXPECT_EQ((*reader->Rows("SELECT count(*) AS n FROM attempts", ""))[0]["n"], kTrials);
  EXPECT_EQ((*reader->Rows("SELECT count(*) AS n FROM metrics", ""))[0]["n"], kTrials * 40);
  const auto [operations, commits] = coordinator_->writer().Counts();
  EXPECT_GT(operations, commits) << "waiting operations share a commit";
}

TEST_F(CoordinatorTest, OneFailingOperationOfAGroupDoesNotUndoItsNeighbours) {
  ASSERT_OK(Submit(MakeSweep("s", 1)));
  // Hold the writer so that the rest lands in one group.
  core::Mutex mu;
  core::CondVar go;
  bool released = false;
  std::thread holder([&] {
    EXPECT_OK(coordinator_->writer().Run([&](Store&) {
      core::MutexLock lock(&mu);
      while (!released) go.Wait(&mu);
      return absl::OkStatus();
    }));
  });
  std::deque<Inbox<v1::SubmitSweepResponse>> inboxes(3);
  v1::SubmitSweepRequest bad = MakeSweep("b", 2);
  bad.mutable_trials(1)->set_trial_id("wrong");
  coordinator_->SubmitSweep(MakeSweep("a", 2), inboxes[0].Callback());
  coordinator_->SubmitSweep(bad, inboxes[1].Callback());
  coordinator_->SubmitSweep(MakeSweep("c", 3), inboxes[2].Callback());
  {
    core::MutexLock lock(&mu);
    released = true;
    go.SignalAll();
  }
  holder.join();
  EXPECT_OK(inboxes[0].Get());
  EXPECT_TRUE(absl::IsInvalidArgument(inboxes[1].Get().status()));
  EXPECT_OK(inboxes[2].Get());
  auto reader = *Reader::Open(dir_.File("test.db"));
  EXPECT_EQ(reader->Sweeps()->size(), 3u);
  EXPECT_TRUE(absl::IsNotFound(reader->Sweep("b").status()));
}

}  // namespace
}  // namespace orchestrator
