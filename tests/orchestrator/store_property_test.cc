// Random interleavings of everything that clients, workers, time and restarts do to a store, with
// workers that die, freeze, come back late and repeat themselves. After every step the invariants
// of DESIGN.md section 8 must hold. A failure names its seed; a seed that found a bug stays in
// kSeeds.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/rng.h"
#include "tests/orchestrator/fixtures.h"

namespace orchestrator {
namespace {

// 3, 8, 11, 16: trials that one sweep cancelled and another wanted were lost between the states.
constexpr uint64_t kSeeds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr int kSteps = 400;

// SWEEP_PROPERTY_SEEDS=N runs the seeds 1 to N instead.
std::vector<uint64_t> Seeds() {
  std::vector<uint64_t> seeds(std::begin(kSeeds), std::end(kSeeds));
  const char* more = getenv("SWEEP_PROPERTY_SEEDS");
  for (uint64_t seed = seeds.size() + 1; more != nullptr && seed <= strtoull(more, nullptr, 10);
       ++seed)
    seeds.push_back(seed);
  return seeds;
}

class World {
 public:
  explicit World(uint64_t seed) : rng_(seed), path_(dir_.File("test.db")) { Reopen(); }

  void Step() {
    switch (rng_.Below(16)) {
      case 0:
        Submit();
        break;
      case 1:
        SubmitTarget();
        break;
      case 2:
        Register();
        break;
      case 3:
        Control();
        break;
      case 4:
      case 5:
      case 6:
        Acquire();
        break;
      case 7:
      case 8:
        Heartbeat();
        break;
      case 9:
      case 10:
        Report();
        break;
      case 11:
        Checkpoint();
        break;
      case 12:
      case 13:
        Complete();
        break;
      case 14:
        clock_.AdvanceMs(static_cast<int64_t>(rng_.Below(kLeaseMs)));
        ASSERT_OK(store_->ExpireLeases(Now()));
        break;
      default:
        if (rng_.Below(8) == 0) Reopen();
    }
  }

  void CheckInvariants() {
    Database& db = store_->db();
    const auto zero = [&](const char* what, const char* sql) {
      const auto n = db.Int(-1, sql);
      ASSERT_TRUE(n.ok()) << n.status();
      EXPECT_EQ(*n, 0) << what;
    };
    zero(
        "one running attempt for each leased trial, none for others",
        "SELECT count(*) FROM trials t WHERE (t.state='LEASED') <> ((SELECT count(*) FROM attempts "
        "a WHERE a.trial_key=t.trial_key AND a.outcome='RUNNING')=1)");
    zero("the running attempt has the trial's epoch and worker",
         "SELECT count(*) FROM attempts a JOIN trials t USING(trial_key) WHERE "
         "a.outcome='RUNNING' AND (a.epoch<>t.epoch OR a.worker_id IS NOT t.worker_id)");
    zero("epochs have no gaps and count the attempts",
         "SELECT count(*) FROM trials t WHERE t.epoch<>(SELECT count(*) FROM attempts a WHERE "
         "a.trial_key=t.trial_key)");
    zero("at most one accepted completion, with its evaluation",
         "SELECT count(*) FROM trials t WHERE (t.state='COMPLETED') <> ((SELECT count(*) FROM "
         "attempts a WHERE a.trial_key=t.trial_key AND a.outcome='COMPLETED')=1) OR "
         "(t.state='COMPLETED') <> ((SELECT count(*) FROM evaluations e WHERE "
         "e.trial_key=t.trial_key AND e.final=1)=1)");
    zero("a held trial has no attempt, and waits in every sweep that wants it",
         "SELECT count(*) FROM trials t WHERE t.state='HELD' AND (t.epoch>0 OR EXISTS(SELECT 1 "
         "FROM sweep_trials st WHERE st.trial_key=t.trial_key AND st.released=1 AND "
         "st.cancelled=0))");
    zero("a pending trial can be leased by some sweep",
         "SELECT count(*) FROM trials t WHERE t.state='PENDING' AND NOT EXISTS(SELECT 1 FROM "
         "sweep_trials st WHERE st.trial_key=t.trial_key AND st.released=1 AND st.cancelled=0)");
    zero("no target was leased before its registration, unless it was also a fit trial",
         "SELECT count(*) FROM attempts a WHERE NOT EXISTS(SELECT 1 FROM sweep_trials st WHERE "
         "st.trial_key=a.trial_key AND st.released=1)");
    zero("every registration was made before the first attempt",
         "SELECT count(*) FROM forecasts f JOIN attempts a ON a.trial_key=f.target_key WHERE "
         "a.leased_unix_ms < f.registered_unix_ms");
    zero("forecasts are scored exactly when their target is completed",
         "SELECT count(*) FROM v_forecasts WHERE (target_state='COMPLETED') <> (outcome_loss IS "
         "NOT NULL) OR (status='scored' AND target_state<>'COMPLETED')");
    zero("leased trials expire, others do not",
         "SELECT count(*) FROM trials WHERE (state='LEASED') <> (lease_expires_unix_ms IS NOT "
         "NULL)");
    zero("retries stay within the policy",
         "SELECT count(*) FROM trials WHERE state='PENDING' AND (failures>2 OR out_of_memory>1)");
    zero("cancelled trials have no sweep that wants them",
         "SELECT count(*) FROM trials t WHERE t.state='CANCELLED' AND EXISTS(SELECT 1 FROM "
         "sweep_trials st WHERE st.trial_key=t.trial_key AND st.cancelled=0)");
    zero("the current checkpoint is the newest epoch's furthest",
         "SELECT count(*) FROM trials t WHERE t.checkpoint_path IS NOT (SELECT c.path FROM "
         "checkpoints c WHERE c.trial_key=t.trial_key ORDER BY c.epoch DESC, c.step DESC LIMIT 1)");
    zero("spend adds up",
         "SELECT count(*) FROM v_spend WHERE abs(flops-flops_useful-flops_in_progress-"
         "flops_wasted) > 1e-6*flops+1");
    EXPECT_OK(store_->VerifyForecastChain());
    // Everything that was acknowledged is there.
    for (const auto& [key, acknowledged] : acknowledged_) {
      const auto n = db.Int(-1,
                            "SELECT count(*) FROM metrics m JOIN trials t USING(trial_key) WHERE "
                            "t.trial_id=?1",
                            key);
      EXPECT_GE(*n, acknowledged) << "acknowledged metrics";
    }
    for (const auto& [trial_id, loss] : completed_) {
      const auto stored = db.Double(-1,
                                    "SELECT e.sum_nats/e.scored_tokens FROM evaluations e JOIN "
                                    "trials t USING(trial_key) WHERE t.trial_id=?1 AND e.final=1",
                                    trial_id);
      EXPECT_EQ(*stored, loss) << "an accepted result never changes";
    }
  }

 private:
  int64_t Now() const { return clock_.UnixMs(); }
  std::string Worker() { return "w" + std::to_string(rng_.Below(4)); }
  std::string Sweep() { return "s" + std::to_string(rng_.Below(3)); }
  const v1::Lease* AnyLease(std::string* worker) {
    if (leases_.empty()) return nullptr;
    // Any lease that was ever given out: most are stale.
    const auto& [w, lease] =
        leases_[rng_.Below(2) == 0 ? leases_.size() - 1 : rng_.Below(leases_.size())];
    *worker = rng_.Below(20) == 0 ? Worker() : w;
    return &lease;
  }

  void Reopen() {
    store_.reset();
    auto store = Store::Open(path_);
    ASSERT_OK(store);
    store_ = *std::move(store);
    ASSERT_OK(store_->ExtendLeases(kLeaseMs, Now()));
  }
  void Submit() {
    v1::SubmitSweepRequest request = MakeSweep(Sweep(), static_cast<int>(rng_.Below(6)) + 1, 1e12);
    request.set_extend(rng_.Below(2) == 0);
    (void)store_->SubmitSweep(request, Now());
  }
  void SubmitTarget() {
    v1::SubmitTargetRequest request;
    request.set_sweep(Sweep());
    *request.mutable_trial() = MakeTrial(1e12 * static_cast<double>(1 + rng_.Below(12)), 77);
    if (store_->SubmitTarget(request, Now()).ok())
      targets_.emplace_back(request.sweep(), request.trial());
  }
  void Register() {
    if (targets_.empty()) return;
    const auto& [sweep, trial] = targets_[rng_.Below(targets_.size())];
    const double budget = core::ParseJson(trial.plan(), "plan").value()["recipe_flops"];
    auto request = ForecastOf(sweep, sweep + "/" + std::to_string(rng_.Below(12)), trial, budget);
    request.set_primary(rng_.Below(2) == 0);
    (void)store_->RegisterForecast(request, Now());
  }
  void Control() {
    v1::ControlRequest request;
    request.set_sweep(Sweep());
    request.set_action(static_cast<v1::ControlRequest::Action>(1 + rng_.Below(4)));
    (void)store_->Control(request, Now());
  }
  void Acquire() {
    const std::string worker = Worker();
    v1::AcquireRequest request = AcquireOf(worker, 1 + static_cast<int>(rng_.Below(3)));
    for (const auto& [w, lease] : leases_)
      if (w == worker && rng_.Below(4) != 0) request.add_held_trial_ids(lease.trial_id());
    auto response = store_->AcquireLeases(request, kLeaseMs, Now());
    ASSERT_OK(response);
    for (const v1::Lease& lease : response->leases()) {
      // The fence: an epoch belongs to one worker for ever.
      const auto owner = owners_.emplace(std::pair(lease.trial_id(), lease.epoch()), worker).first;
      EXPECT_EQ(owner->second, worker) << "two workers got one epoch";
      int64_t& newest = newest_epoch_[lease.trial_id()];
      EXPECT_GE(lease.epoch(), newest) << "epochs go back";
      newest = lease.epoch();
      leases_.emplace_back(worker, lease);
    }
  }
  void Heartbeat() {
    v1::HeartbeatRequest request;
    request.set_worker_id(Worker());
    for (const auto& [w, lease] : leases_) {
      if (w != request.worker_id() || rng_.Below(5) == 0) continue;
      auto* held = request.add_held();
      held->set_trial_id(lease.trial_id());
      held->set_epoch(lease.epoch());
      held->set_step(static_cast<int64_t>(rng_.Below(101)));
    }
    ASSERT_OK(store_->RenewLeases(request, kLeaseMs, Now()));
  }
  void Report() {
    std::string worker;
    const v1::Lease* lease = AnyLease(&worker);
    if (lease == nullptr) return;
    const int64_t first = static_cast<int64_t>(rng_.Below(20)) + 1;
    auto response = store_->AppendReport(
        ReportOf(worker, *lease, first, first + static_cast<int64_t>(rng_.Below(20))), Now());
    CheckFence(*lease, response.status());
    if (response.ok()) {
      int64_t& most = acknowledged_[lease->trial_id()];
      most = std::max(most, response->acknowledged_sequence());
    }
  }
  void Checkpoint() {
    std::string worker;
    const v1::Lease* lease = AnyLease(&worker);
    if (lease == nullptr) return;
    CheckFence(*lease, store_
                           ->PublishCheckpoint(CheckpointOf(worker, *lease,
                                                            lease->resume_step() +
                                                                static_cast<int64_t>(rng_.Below(
                                                                    101 - lease->resume_step()))),
                                               Now())
                           .status());
  }
  void Complete() {
    std::string worker;
    const v1::Lease* lease = AnyLease(&worker);
    if (lease == nullptr) return;
    const auto outcome = static_cast<v1::Outcome>(1 + rng_.Below(6));
    const double loss = 2 + rng_.Uniform();
    const auto status =
        store_->CompleteAttempt(CompletionOf(worker, *lease, outcome, loss), Now()).status();
    if (outcome != v1::OUTCOME_COMPLETED || !status.ok()) {
      if (!status.ok()) CheckFence(*lease, status);
      return;
    }
    // A repeat is answered OK and changes nothing, so the first accepted loss is the one.
    completed_.emplace(lease->trial_id(), loss * 1000 / 1000);
  }
  // A write is either refused or was made under the newest epoch.
  void CheckFence(const v1::Lease& lease, const absl::Status& status) {
    if (status.ok()) {
      EXPECT_EQ(lease.epoch(), newest_epoch_[lease.trial_id()]) << "a stale epoch wrote";
    } else {
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    }
  }

  core::Rng rng_;
  TempDir dir_;
  const std::string path_;
  core::FakeClock clock_;
  std::unique_ptr<Store> store_;
  std::vector<std::pair<std::string, v1::Lease>> leases_;
  std::vector<std::pair<std::string, v1::TrialSpec>> targets_;
  std::map<std::pair<std::string, int64_t>, std::string> owners_;
  std::map<std::string, int64_t> newest_epoch_;
  std::map<std::string, int64_t> acknowledged_;
  std::map<std::string, double> completed_;
};

class StorePropertyTest : public testing::TestWithParam<uint64_t> {};

TEST_P(StorePropertyTest, InvariantsHoldAfterEveryStep) {
  World world(GetParam());
  for (int step = 0; step < kSteps; ++step) {
    world.Step();
    world.CheckInvariants();
    ASSERT_FALSE(HasFailure()) << "seed " << GetParam() << ", step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, StorePropertyTest, testing::ValuesIn(Seeds()));

}  // namespace
}  // namespace orchestrator
