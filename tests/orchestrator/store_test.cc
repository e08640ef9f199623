// What is stored: submission, control, metrics, checkpoints, views, schema.
#include "orchestrator/store/store.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>

#include "core/file.h"
#include "orchestrator/reader.h"
#include "orchestrator/store/guarded_query.h"
#include "orchestrator/store/schema.h"
#include "tests/orchestrator/fixtures.h"

namespace orchestrator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

v1::ControlRequest ControlOf(const std::string& sweep, v1::ControlRequest::Action action) {
  v1::ControlRequest request;
  request.set_sweep(sweep);
  request.set_action(action);
  return request;
}

class SubmitTest : public StoreTest {};

TEST_F(SubmitTest, SubmittingTwiceAddsNothing) {
  auto first = store_->SubmitSweep(MakeSweep("s", 3), Now());
  ASSERT_OK(first);
  EXPECT_EQ(first->trials_added(), 3);
  auto second = store_->SubmitSweep(MakeSweep("s", 3), Now() + 5);
  ASSERT_OK(second);
  EXPECT_EQ(second->trials_added(), 0);
  EXPECT_EQ(second->trials_shared(), 3);
  EXPECT_EQ(Count("SELECT count(*) FROM trials"), 3);
  EXPECT_EQ(Count("SELECT count(*) FROM sweep_trials"), 3);
  EXPECT_EQ(Count("SELECT count(*) FROM events"), 1);
}

TEST_F(SubmitTest, LargerSweepReusesWhatASmallerOneFinished) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("small", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_COMPLETED), Now()));
  auto large = store_->SubmitSweep(MakeSweep("large", 3), Now());
  ASSERT_OK(large);
  EXPECT_EQ(large->trials_added(), 2);
  EXPECT_EQ(large->trials_completed(), 1);
  EXPECT_EQ(Count("SELECT count(*) FROM v_observations WHERE sweep='large'"), 1);
}

TEST_F(SubmitTest, ATrialOfAnotherTrainerIsNotShared) {
  ASSERT_TRUE(store_->SubmitSweep(MakeSweep("native", 2), 0).ok());
  v1::SubmitSweepRequest outside = MakeSweep("outside", 2);
  outside.add_trainer_command("train");
  const auto refused = store_->SubmitSweep(outside, 0);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("another trainer"));
  EXPECT_TRUE(store_->SubmitSweep(MakeSweep("native-too", 2), 0).ok());
}

TEST_F(SubmitTest, OtherScienceUnderTheSameNameIsRefusedWithADiff) {
  v1::SubmitSweepRequest request = MakeSweep("s", 1);
  request.set_spec_json(R"({"budgets":[1,2],"seeds":1})");
  ASSERT_OK(store_->SubmitSweep(request, Now()));
  request.set_spec_json(R"({"budgets":[1,3],"seeds":1})");
  const absl::Status refused = store_->SubmitSweep(request, Now()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("budgets[1]: 2 -> 3"));
  request.set_extend(true);
  EXPECT_OK(store_->SubmitSweep(request, Now()));
}

TEST_F(SubmitTest, SameSpecWithOtherPlansIsRefusedUnlessExtended) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 2), Now()));
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->SubmitSweep(MakeSweep("s", 3), Now()).status()));
  EXPECT_EQ(Count("SELECT count(*) FROM trials"), 2) << "the refused call left nothing behind";
  v1::SubmitSweepRequest more = MakeSweep("s", 3);
  more.set_extend(true);
  EXPECT_EQ(store_->SubmitSweep(more, Now())->trials_added(), 1);
}

TEST_F(SubmitTest, BadPlansAndNamesAreRefusedAndNothingIsStored) {
  v1::SubmitSweepRequest tampered = MakeSweep("s", 2);
  tampered.mutable_trials(1)->set_plan(tampered.trials(1).plan() + " ");
  EXPECT_TRUE(absl::IsInvalidArgument(store_->SubmitSweep(tampered, Now()).status()));
  for (const char* plan : {"", "not json", "[1]", "{}", R"({"recipe":1,"steps":"many"})"}) {
    v1::SubmitSweepRequest request = MakeSweep("s", 1);
    request.mutable_trials(0)->set_plan(plan);
    request.mutable_trials(0)->set_trial_id(core::Sha256Hex(plan));
    EXPECT_TRUE(absl::IsInvalidArgument(store_->SubmitSweep(request, Now()).status())) << plan;
  }
  for (const char* name : {"", "a b", "../x", "sémantique"}) {
    v1::SubmitSweepRequest request = MakeSweep("s", 1);
    request.set_name(name);
    EXPECT_TRUE(absl::IsInvalidArgument(store_->SubmitSweep(request, Now()).status())) << name;
  }
  EXPECT_EQ(Count("SELECT count(*) FROM sweeps"), 0);
  EXPECT_EQ(Count("SELECT count(*) FROM trials"), 0);
}

class ControlTest : public StoreTest {};

TEST_F(ControlTest, CancelledTrialThatAnotherSweepWantsGoesOn) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("a", 2), Now()));
  ASSERT_OK(store_->SubmitSweep(MakeSweep("b", 1), Now()));
  EXPECT_EQ(store_->Control(ControlOf("a", v1::ControlRequest::CANCEL), Now())->trials_changed(),
            2);
  EXPECT_EQ(Count("SELECT count(*) FROM trials WHERE state='PENDING'"), 1);
  EXPECT_EQ(Count("SELECT count(*) FROM trials WHERE state='CANCELLED'"), 1);
  ASSERT_OK(store_->Control(ControlOf("a", v1::ControlRequest::RESUME), Now()));
  EXPECT_EQ(Count("SELECT count(*) FROM trials WHERE state='PENDING'"), 2);
}

TEST_F(ControlTest, RunningTrialIsToldToStopAndThenStaysCancelled) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  ASSERT_OK(store_->Control(ControlOf("s", v1::ControlRequest::CANCEL), Now()));
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_worker_id("w");
  auto* held = heartbeat.add_held();
  held->set_trial_id(lease.trial_id());
  held->set_epoch(lease.epoch());
  EXPECT_THAT(store_->RenewLeases(heartbeat, kLeaseMs, Now())->cancel_trial_ids(),
              ElementsAre(lease.trial_id()));
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_CANCELLED), Now()));
  EXPECT_EQ(State(lease.trial_id()), "CANCELLED");
}

TEST_F(ControlTest, PausedSweepLeasesNothingAndResumeGoesOn) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 2), Now()));
  const v1::Lease lease = LeaseOne("w");
  ASSERT_OK(store_->Control(ControlOf("s", v1::ControlRequest::PAUSE), Now()));
  EXPECT_EQ(store_->AcquireLeases(AcquireOf("v", 2), kLeaseMs, Now())->leases_size(), 0);
  EXPECT_FALSE(store_->GetActivity()->runnable);
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_PREEMPTED), Now()));
  EXPECT_EQ(State(lease.trial_id()), "PENDING");
  EXPECT_EQ(Count("SELECT sum(preemptions) FROM trials"), 0) << "a pause costs no retry";
  ASSERT_OK(store_->Control(ControlOf("s", v1::ControlRequest::RESUME), Now()));
  EXPECT_EQ(store_->AcquireLeases(AcquireOf("v", 2), kLeaseMs, Now())->leases_size(), 2);
}

TEST_F(ControlTest, UnknownSweepOrTrialIsNotFound) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  EXPECT_TRUE(absl::IsNotFound(
      store_->Control(ControlOf("t", v1::ControlRequest::CANCEL), Now()).status()));
  v1::ControlRequest one = ControlOf("s", v1::ControlRequest::CANCEL);
  one.add_trial_ids("nonesuch");
  EXPECT_TRUE(absl::IsNotFound(store_->Control(one, Now()).status()));
  EXPECT_EQ(Count("SELECT count(*) FROM trials WHERE state='PENDING'"), 1);
}

class ReportTest : public StoreTest {};

TEST_F(ReportTest, ResentMetricsChangeNothingAndGapsAreNotAcknowledged) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  EXPECT_EQ(store_->AppendReport(ReportOf("w", lease, 1, 5), Now())->acknowledged_sequence(), 5);
  EXPECT_EQ(store_->AppendReport(ReportOf("w", lease, 3, 8), Now())->acknowledged_sequence(), 8);
  EXPECT_EQ(store_->AppendReport(ReportOf("w", lease, 11, 12), Now())->acknowledged_sequence(), 8);
  EXPECT_EQ(Count("SELECT count(*) FROM metrics"), 8);
  auto changed = ReportOf("w", lease, 8, 8);
  changed.mutable_metrics(0)->set_value(99);
  ASSERT_OK(store_->AppendReport(changed, Now()));
  EXPECT_EQ(Count("SELECT count(*) FROM metrics WHERE value=99"), 0);
}

TEST_F(ReportTest, LaterAttemptReplacesTheStepsItRepeats) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease first = LeaseOne("w");
  ASSERT_OK(store_->AppendReport(ReportOf("w", first, 1, 9), Now()));
  clock_.AdvanceMs(kLeaseMs);
  ASSERT_OK(store_->ExpireLeases(Now()));
  const v1::Lease second = LeaseOne("w2");
  auto report = ReportOf("w2", second, 1, 1);
  report.mutable_metrics(0)->set_value(42);
  ASSERT_OK(store_->AppendReport(report, Now()));
  EXPECT_EQ(Count("SELECT value FROM metrics WHERE step=1"), 42);
  EXPECT_EQ(Count("SELECT count(*) FROM metrics"), 9);
}

TEST_F(ReportTest, NonFiniteMetricIsStoredAsNull) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  auto report = ReportOf("w", lease, 1, 2);
  report.mutable_metrics(0)->set_value(std::numeric_limits<double>::quiet_NaN());
  report.mutable_metrics(1)->set_value(std::numeric_limits<double>::infinity());
  EXPECT_EQ(store_->AppendReport(report, Now())->acknowledged_sequence(), 2);
  EXPECT_EQ(Count("SELECT count(*) FROM metrics WHERE value IS NULL"), 2);
}

TEST_F(ReportTest, TwoNewestCheckpointsStayAndALateRepeatDoesNotMoveTheCurrentOne) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  const v1::Lease lease = LeaseOne("w");
  for (int64_t step : {10, 20, 30}) {
    auto response = store_->PublishCheckpoint(CheckpointOf("w", lease, step), Now());
    ASSERT_OK(response);
    EXPECT_EQ(response->obsolete_paths_size(), step == 30 ? 1 : 0);
    if (step == 30) {
      EXPECT_THAT(response->obsolete_paths(0), HasSubstr("step-10"));
    }
  }
  ASSERT_OK(store_->PublishCheckpoint(CheckpointOf("w", lease, 20), Now()));
  EXPECT_EQ(Count("SELECT checkpoint_step FROM trials"), 30);
}

class ViewTest : public StoreTest {};

TEST_F(ViewTest, EveryViewAnswersAndObservationIsTheFinalEvaluation) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 3), Now()));
  for (int i = 0; i < 2; ++i) {
    const v1::Lease lease = LeaseOne("w");
    ASSERT_OK(store_->AppendReport(ReportOf("w", lease, 1, 5), Now()));
    ASSERT_OK(
        store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_COMPLETED, 2.0 + i), Now()));
  }
  v1::RecordFitRequest fit;
  fit.set_sweep("s");
  fit.set_fit_json(
      R"({"predictions":[{"law":"chinchilla","budget_flops":1e15,"loss":2.5,"params":10,)"
      R"("tokens":20,"interval":{"lo":2.4,"hi":2.6}}]})");
  ASSERT_OK(store_->RecordFit(fit, Now()));
  EXPECT_EQ(store_->RecordFit(fit, Now())->fit_id(), 1) << "a repeat adds nothing";
  for (const char* view :
       {"v_trials", "v_attempts", "v_loss_latest", "v_observations", "v_isoflop_minima",
        "v_frontier", "v_forecasts", "v_spend", "v_metrics"}) {
    EXPECT_GE(Count(std::string("SELECT count(*) FROM ") + view), 0) << view;
  }
  auto reader = Reader::Open(Path());
  ASSERT_OK(reader);
  auto rows = (*reader)->Observations("s");
  ASSERT_OK(rows);
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_DOUBLE_EQ((*rows)[1].loss, 2.0);
  EXPECT_NEAR(*(*rows)[1].bits_per_byte, 2.0 * 1000 / (std::log(2.0) * 3000), 1e-12);
  EXPECT_EQ((*rows)[1].recipe, "delphi-nano@1");
  EXPECT_THAT((*rows)[1].clamps, ElementsAre("batch_min"));
  auto frontier = (*reader)->Rows("SELECT * FROM v_frontier WHERE source='fit'", "");
  ASSERT_OK(frontier);
  ASSERT_EQ(frontier->size(), 1u);
  EXPECT_EQ((*frontier)[0]["interval_hi"], 2.6);
  auto status = (*reader)->Status("s");
  ASSERT_OK(status);
  EXPECT_EQ(status->counts["COMPLETED"], 2);
  EXPECT_EQ(status->counts["PENDING"], 1);
  EXPECT_DOUBLE_EQ(*status->rows[2].train_loss, 1.0);
  EXPECT_TRUE(absl::IsNotFound((*reader)->Status("t").status()));
}

TEST_F(ViewTest, ObservedMinimumOfABudgetSaysWhetherItLiesAtTheEdge) {
  v1::SubmitSweepRequest sweep = MakeSweep("s", 0);
  for (int i = 0; i < 3; ++i) *sweep.add_trials() = MakeTrial(1e12, i, 1000 * (i + 1));
  for (int i = 0; i < 3; ++i) *sweep.add_trials() = MakeTrial(2e12, i, 1000 * (i + 1));
  ASSERT_OK(store_->SubmitSweep(sweep, Now()));
  // 1e12: the best in the middle; 2e12: the best at the largest model.
  std::map<std::string, double> loss;
  for (int i = 0; i < 6; ++i)
    loss[sweep.trials(i).trial_id()] = i < 3 ? 3 + std::abs(i - 1) : 3 - 0.1 * i;
  for (int i = 0; i < 6; ++i) {
    const v1::Lease lease = LeaseOne("w");
    ASSERT_OK(store_->CompleteAttempt(
        CompletionOf("w", lease, v1::OUTCOME_COMPLETED, loss[lease.trial_id()]), Now()));
  }
  EXPECT_EQ(Count("SELECT count(*) FROM v_isoflop_minima WHERE points=3"), 2);
  EXPECT_EQ(Count("SELECT params FROM v_isoflop_minima WHERE budget_flops=1e12 AND NOT at_edge"),
            2000);
  EXPECT_EQ(Count("SELECT params FROM v_isoflop_minima WHERE budget_flops=2e12 AND at_edge"), 3000);
}

TEST_F(ViewTest, SpendSplitsUsefulFromWastedSteps) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  // 40 steps of 100 run, 30 of them in a checkpoint; then 30..100 run to the end.
  const v1::Lease first = LeaseOne("w");
  ASSERT_OK(store_->PublishCheckpoint(CheckpointOf("w", first, 30), Now()));
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", first, v1::OUTCOME_FAILED), Now()));
  const v1::Lease second = LeaseOne("w");
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", second, v1::OUTCOME_COMPLETED), Now()));
  EXPECT_NEAR(*store_->db().Double(0, "SELECT flops FROM v_spend"), 1.1e12, 1);
  EXPECT_NEAR(*store_->db().Double(0, "SELECT flops_useful FROM v_spend"), 1.0e12, 1);
  EXPECT_NEAR(*store_->db().Double(0, "SELECT flops_wasted FROM v_spend"), 0.1e12, 1);
  EXPECT_NEAR(*store_->db().Double(0, "SELECT trainer_seconds_wasted FROM v_spend"), 0.25, 1e-9);
}

class SchemaTest : public StoreTest {};

TEST_F(SchemaTest, DatabaseOfANewerVersionIsRefusedNamingBothVersions) {
  ASSERT_OK(store_->db().Execute("PRAGMA user_version=99"));
  store_.reset();
  for (const absl::Status& status : {Store::Open(Path()).status(), Reader::Open(Path()).status()}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr("version 99"));
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("up to " + std::to_string(kSchemaVersion)));
  }
}

TEST_F(SchemaTest, ReopeningKeepsEverythingAndTheFileIsSound) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 4), Now()));
  store_.reset();
  store_ = *Store::Open(Path());
  EXPECT_EQ(Count("SELECT count(*) FROM trials"), 4);
  EXPECT_EQ(*store_->db().Text("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(*store_->db().Text("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(Count("PRAGMA synchronous"), 2);
}

TEST_F(SchemaTest, NetworkFilesystemsAreKnown) {
  EXPECT_TRUE(IsNetworkFilesystem(0x6969));
  EXPECT_TRUE(IsNetworkFilesystem(0x0BD00BD0));
  EXPECT_FALSE(IsNetworkFilesystem(0xEF53));  // ext4
}

class QueryTest : public StoreTest {
 protected:
  absl::StatusOr<v1::QueryResponse> Ask(const std::string& sql, int64_t max_rows = 0,
                                        int64_t timeout_ms = 0) {
    v1::QueryRequest request;
    request.set_sql(sql);
    request.set_max_rows(max_rows);
    request.set_timeout_ms(timeout_ms);
    return RunGuardedQuery(Path(), request);
  }
};

TEST_F(QueryTest, ReadsRowsAsJson) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 3), Now()));
  auto answer = Ask("SELECT budget_flops, state, NULL AS n FROM v_trials ORDER BY 1", 2);
  ASSERT_OK(answer);
  EXPECT_THAT(answer->columns(), ElementsAre("budget_flops", "state", "n"));
  EXPECT_EQ(answer->rows_json(0), R"([1000000000000.0,"PENDING",null])");
  EXPECT_EQ(answer->rows_json_size(), 2);
  EXPECT_TRUE(answer->truncated());
}

TEST_F(QueryTest, NothingButReadingPasses) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  for (const char* sql :
       {"DELETE FROM trials", "UPDATE trials SET state='COMPLETED'", "DROP TABLE trials",
        "CREATE TEMP TABLE x(y)", "ATTACH ':memory:' AS other", "PRAGMA query_only=0",
        "PRAGMA journal_mode=DELETE", "VACUUM INTO '/tmp/copy.db'", "SELECT load_extension('x')",
        "INSERT INTO probe VALUES(zeroblob(1))", "WITH x AS (SELECT 1) DELETE FROM trials"}) {
    EXPECT_FALSE(Ask(sql).ok()) << sql;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Ask("SELECT 1; SELECT 2").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask("SELEC 1").status()));
  EXPECT_EQ(Count("SELECT count(*) FROM trials"), 1);
}

TEST_F(QueryTest, EndlessQueryIsStopped) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      Ask("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n", 0,
          50)
          .status()));
}

// Runs as a user who may not write where a mode says so.
bool AsAnother(const std::function<bool()>& works) {
  const pid_t child = fork();
  if (child == 0) _exit((geteuid() != 0 || setuid(65534) == 0) && works() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(OpenTest, ACopyIsReadWhereNothingMayBeWritten) {
  TempDir dir;
  const std::string made = dir.File("made.db"), folder = dir.File("50% #1?");
  const std::string copy = folder + "/a b.db";
  ASSERT_OK(Store::Open(made).status());
  ASSERT_EQ(mkdir(folder.c_str(), 0755), 0);
  std::filesystem::copy_file(made, copy);
  chmod(dir.File("").c_str(), 0755), chmod(copy.c_str(), 0444), chmod(folder.c_str(), 0555);
  EXPECT_TRUE(AsAnother([&] { return Reader::Open(copy).ok(); }));
  EXPECT_FALSE(AsAnother([&] { return Store::Open(copy).ok(); }));
  std::ofstream(copy + "-wal") << "what was written last";
  EXPECT_TRUE(AsAnother([&] {
    const auto status = Reader::Open(copy).status();
    return absl::IsPermissionDenied(status) &&
           std::string(status.message()).find("copy both") != std::string::npos;
  }));
  chmod(folder.c_str(), 0755);
}

TEST(OpenTest, AnotherProgramsFileIsLeftAsItIs) {
  TempDir dir;
  const std::string path = dir.File("photos.db");
  for (const int version : {0, 3}) {
    std::filesystem::remove(path);
    {
      const auto db = Database::Open(path, Database::Mode::kReadWrite).value();
      ASSERT_OK(
          db->Execute(fmt::format("PRAGMA journal_mode=DELETE; CREATE TABLE photo(x); CREATE "
                                  "VIEW album AS SELECT x FROM photo; PRAGMA user_version={}",
                                  version)));
    }
    const std::string before = *core::ReadFile(path);
    for (const absl::Status& status : {Store::Open(path).status(), Reader::Open(path).status()}) {
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("not a sweepctl database"));
    }
    EXPECT_EQ(*core::ReadFile(path), before);
  }
}

TEST(OpenTest, APlaceThatIsNoneIsNamed) {
  TempDir dir;
  EXPECT_THAT(std::string(Store::Open(dir.File("")).status().message()),
              HasSubstr("this is a folder; name a file"));
  EXPECT_THAT(std::string(Store::Open(dir.File("no/such/a.db")).status().message()),
              HasSubstr("there is no folder " + dir.File("no/such/") + "; create it"));
  EXPECT_EQ(ImmutableUri("/a?b#c%d e"), "file:///a%3Fb%23c%25d e?immutable=1");
  EXPECT_EQ(ImmutableUri("a.db"), "file:a.db?immutable=1");
}

}  // namespace
}  // namespace orchestrator
