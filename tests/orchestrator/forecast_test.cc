// Registration: the record is blind, chained, and never changed.
#include <gtest/gtest.h>

#include "orchestrator/reader.h"
#include "tests/orchestrator/fixtures.h"

namespace orchestrator {
namespace {

using testing::HasSubstr;

class ForecastTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
    target_ = AddTarget("s", 1e15);
  }
  v1::TrialSpec AddTarget(const std::string& sweep, double budget) {
    v1::SubmitTargetRequest request;
    request.set_sweep(sweep);
    *request.mutable_trial() = MakeTrial(budget, 7);
    EXPECT_OK(store_->SubmitTarget(request, Now()));
    return request.trial();
  }
  void FinishFitTrials() {
    while (true) {
      auto response = store_->AcquireLeases(AcquireOf("fit", 1), kLeaseMs, Now());
      if (response->leases_size() == 0) return;
      ASSERT_OK(store_->CompleteAttempt(
          CompletionOf("fit", response->leases(0), v1::OUTCOME_COMPLETED), Now()));
    }
  }
  std::string Status(const std::string& name) {
    return *store_->db().Text("SELECT status FROM v_forecasts WHERE name=?1", name);
  }

  v1::TrialSpec target_;
};

TEST_F(ForecastTest, HeldTargetIsNeverLeasedUntilItsForecastIsRegistered) {
  EXPECT_EQ(State(target_.trial_id()), "HELD");
  FinishFitTrials();
  EXPECT_EQ(State(target_.trial_id()), "HELD");
  EXPECT_EQ(store_->GetActivity()->held, 1);
  auto response = store_->RegisterForecast(ForecastOf("s", "s/1e15", target_, 1e15), Now());
  ASSERT_OK(response);
  EXPECT_EQ(response->status(), "open");
  EXPECT_EQ(State(target_.trial_id()), "PENDING");
  EXPECT_EQ(LeaseOne("w").trial_id(), target_.trial_id());
}

TEST_F(ForecastTest, BudgetsBeyond2To53KeepTheirHash) {
  // Canonical JSON writes such a double with all digits, which read back as an integer.
  const double budget = 1.2345678901234567e18;
  v1::RegisterForecastRequest request = ForecastOf("s", "s/large", AddTarget("s", budget), budget);
  const core::Json row = {{"budget_flops", budget}, {"flops", 1e18}};
  request.set_observations_json(core::CanonicalJson(core::Json::array({row})).value());
  request.set_options_json(core::CanonicalJson(row).value());
  ASSERT_OK(store_->RegisterForecast(request, Now()));
  EXPECT_EQ(*store_->db().Text("SELECT observations_hash FROM forecasts"),
            core::Sha256Hex(request.observations_json()));
  EXPECT_OK(store_->VerifyForecastChain());
  EXPECT_TRUE(store_->RegisterForecast(request, Now())->already_registered());
}

TEST_F(ForecastTest, ControlAndResubmissionDoNotReleaseAHeldTarget) {
  for (auto action :
       {v1::ControlRequest::CANCEL, v1::ControlRequest::RESUME, v1::ControlRequest::RETRY,
        v1::ControlRequest::PAUSE, v1::ControlRequest::RESUME}) {
    v1::ControlRequest request;
    request.set_sweep("s");
    request.set_action(action);
    ASSERT_OK(store_->Control(request, Now()));
  }
  AddTarget("s", 1e15);
  EXPECT_EQ(State(target_.trial_id()), "HELD");
}

TEST_F(ForecastTest, CompletedTargetScoresTheForecast) {
  FinishFitTrials();
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "s/1e15", target_, 1e15, 2.05), Now()));
  const v1::Lease lease = LeaseOne("w");
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_COMPLETED, 2.0), Now()));
  EXPECT_EQ(Status("s/1e15"), "scored");
  EXPECT_NEAR(*store_->db().Double(0, "SELECT error_rel FROM v_forecasts"), 0.025, 1e-12);
  EXPECT_EQ(Count("SELECT inside FROM v_forecasts"), 1);
  EXPECT_OK(store_->VerifyForecastChain());
}

TEST_F(ForecastTest, RegistrationAfterAnAttemptIsRefused) {
  FinishFitTrials();
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  const v1::Lease lease = LeaseOne("w");
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_PREEMPTED), Now()));
  auto second = ForecastOf("s", "b", target_, 1e15);
  second.set_primary(false);
  const absl::Status refused = store_->RegisterForecast(second, Now()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("not be blind"));
}

TEST_F(ForecastTest, TargetAtAnObservedBudgetIsVoidAndStaysVoidWhenItEnds) {
  FinishFitTrials();  // observes 1e12
  const v1::TrialSpec seen = AddTarget("s", 1e12);
  auto response = store_->RegisterForecast(ForecastOf("s", "seen", seen, 1e12), Now());
  ASSERT_OK(response);
  EXPECT_EQ(response->status(), "void");
  EXPECT_EQ(State(seen.trial_id()), "PENDING");
  const v1::Lease lease = LeaseOne("w");
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_COMPLETED), Now()));
  EXPECT_EQ(Status("seen"), "void");
}

TEST_F(ForecastTest, RepeatIsAnsweredAndAChangedPromiseIsRefused) {
  auto first = store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now());
  ASSERT_OK(first);
  clock_.AdvanceMs(1000);
  auto repeat = store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now());
  ASSERT_OK(repeat);
  EXPECT_TRUE(repeat->already_registered());
  EXPECT_EQ(repeat->record_hash(), first->record_hash());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15, 2.9), Now()).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      store_->RegisterForecast(ForecastOf("s", "b", target_, 1e15), Now()).status()))
      << "one primary forecast a target";
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->RegisterForecast(ForecastOf("s", "c", target_, 2e15), Now()).status()))
      << "a forecast for another budget than its target's";
}

TEST_F(ForecastTest, ChainDetectsAnyEditOfThePast) {
  const v1::TrialSpec second = AddTarget("s", 2e15);
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "b", second, 2e15), Now()));
  ASSERT_OK(store_->VerifyForecastChain());
  const char* edits[] = {
      "UPDATE forecasts SET loss=2.5 WHERE name='a'",
      "UPDATE forecasts SET interval_hi=9 WHERE name='b'",
      "UPDATE forecasts SET registered_unix_ms=registered_unix_ms-1 WHERE name='a'",
      "UPDATE forecasts SET record_json=replace(record_json,'chinchilla','kaplan') WHERE name='a'",
      "UPDATE forecasts SET observations_json='[[1,2,4]]' WHERE name='a'",
      "UPDATE forecasts SET previous_hash='' WHERE name='b'",
      "DELETE FROM forecasts WHERE name='a'",
  };
  for (const char* edit : edits) {
    Transaction undo(&store_->db());
    ASSERT_OK(store_->db().Execute(edit));
    EXPECT_EQ(store_->VerifyForecastChain().code(), absl::StatusCode::kDataLoss) << edit;
  }
  EXPECT_OK(store_->VerifyForecastChain());
}

TEST_F(ForecastTest, ScoresAndStatusesAreLinksOfTheChainAndComparedWithTheirSources) {
  FinishFitTrials();
  const v1::TrialSpec other = AddTarget("s", 2e15);
  const v1::TrialSpec seen = AddTarget("s", 1e12);
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15, 2.05), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "open", other, 2e15), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "void", seen, 1e12), Now()));
  clock_.AdvanceMs(1000);
  const auto leased = store_->AcquireLeases(AcquireOf("w", 3), kLeaseMs, Now());
  ASSERT_OK(leased);
  for (const v1::Lease& lease : leased->leases())
    if (lease.trial_id() == target_.trial_id())
      ASSERT_OK(
          store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_COMPLETED, 2.3), Now()));
  EXPECT_EQ(Status("a"), "scored");
  ASSERT_OK(store_->VerifyForecastChain());
  EXPECT_EQ(Count("SELECT count(*) FROM forecast_verdicts"), 2) << "the void one and the score";
  EXPECT_EQ(Count("SELECT count(*) FROM v_forecasts WHERE name='a' AND "
                  "verdict_json->>'forecast'=record_hash AND "
                  "json_extract(verdict_json, '$.from.sum_nats')=2300 AND "
                  "json_extract(verdict_json, '$.from.attempt')=1"),
            1);
  const char* edits[] = {
      "UPDATE forecasts SET outcome_loss=loss, error_rel=0, inside=1 WHERE name='a'",
      "UPDATE forecasts SET error_rel=0.00001 WHERE name='a'",
      "UPDATE forecasts SET inside=1 WHERE name='a'",
      "UPDATE forecasts SET scored_unix_ms=scored_unix_ms+1 WHERE name='a'",
      "UPDATE forecasts SET status='void', status_reason='seen' WHERE name='a'",
      "UPDATE forecasts SET status='abandoned', outcome_loss=NULL, error_rel=NULL, inside=NULL",
      "UPDATE forecasts SET status='open', outcome_loss=NULL, error_rel=NULL, inside=NULL, "
      "scored_unix_ms=NULL WHERE name='a'",
      "UPDATE forecasts SET status='open', status_reason='' WHERE name='void'",
      "UPDATE forecasts SET status='abandoned' WHERE name='open'",
      "UPDATE forecasts SET interval_method='magic' WHERE name='a'",
      "UPDATE forecasts SET interval_kind='mean' WHERE name='a'",
      "UPDATE evaluations SET sum_nats=sum_nats*1.1",
      "UPDATE evaluations SET sum_nats=sum_nats*2, scored_tokens=scored_tokens*2",
      "DELETE FROM evaluations",
      "UPDATE attempts SET leased_unix_ms=leased_unix_ms-100000 WHERE trial_key=(SELECT target_key "
      "FROM forecasts WHERE name='a')",
      "UPDATE attempts SET leased_unix_ms=leased_unix_ms+1 WHERE trial_key=(SELECT target_key "
      "FROM forecasts WHERE name='a')",
      "UPDATE forecast_verdicts SET record_json=replace(record_json, 'scored', 'open')",
      "DELETE FROM forecast_verdicts WHERE place=(SELECT max(place) FROM forecast_verdicts)",
      "DELETE FROM forecast_verdicts",
  };
  for (const char* edit : edits) {
    Transaction undo(&store_->db());
    ASSERT_OK(store_->db().Execute(edit));
    EXPECT_EQ(store_->VerifyForecastChain().code(), absl::StatusCode::kDataLoss) << edit;
  }
  EXPECT_OK(store_->VerifyForecastChain());
}

TEST_F(ForecastTest, ALinkThatOnlyTheEventsKnowIsMissed) {
  const v1::TrialSpec second = AddTarget("s", 2e15);
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "b", second, 2e15), Now()));
  ASSERT_OK(store_->db().Execute("DELETE FROM forecasts WHERE name='b'"));
  const absl::Status missed = store_->VerifyForecastChain();
  EXPECT_TRUE(absl::IsDataLoss(missed));
  EXPECT_THAT(std::string(missed.message()), HasSubstr("'forecast registered'"));
  const auto reader = *Reader::Open(Path());
  EXPECT_EQ(reader->AuditForecasts()->agreement, missed) << "read-only";
}

TEST_F(ForecastTest, DamageOfAnyKindIsDataLossAndNoCrash) {
  FinishFitTrials();
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15, 2.05), Now()));
  ASSERT_OK(
      store_->CompleteAttempt(CompletionOf("w", LeaseOne("w"), v1::OUTCOME_COMPLETED, 2.0), Now()));
  ASSERT_OK(store_->VerifyForecastChain());
  Database& db = store_->db();
  for (const char* edit :
       {"UPDATE forecasts SET record_json='no JSON'", "UPDATE forecasts SET record_json='5'",
        "UPDATE forecasts SET observations_json='no JSON'",
        "UPDATE forecasts SET budget_flops=9e999", "UPDATE forecasts SET loss=9e999",
        "UPDATE forecast_verdicts SET record_json='[]'",
        "DROP VIEW v_forecasts; DROP TABLE forecast_verdicts",
        "DROP VIEW v_forecasts; DROP TABLE forecast_verdicts; DROP TABLE forecasts"}) {
    Transaction undo(&db);
    ASSERT_OK(db.Execute(edit));
    const auto audit = AuditForecasts(&db);
    ASSERT_TRUE(audit.ok()) << edit;
    EXPECT_TRUE(absl::IsDataLoss(audit->agreement)) << edit;
  }
  // Fields of other types, under hashes that hold.
  const std::string previous = *db.Text("SELECT record_hash FROM forecasts");
  const core::Json stored =
      core::ParseJson(*db.Text("SELECT record_json FROM forecast_verdicts"), "").value();
  for (const char* key : {"status", "reason", "forecast", "sequence", "from", "decided_unix_ms"}) {
    core::Json changed = stored;
    changed[key] = key == std::string("status") ? core::Json(5) : core::Json{{"a", 1}};
    const std::string bytes = core::CanonicalJson(changed).value();
    Transaction undo(&db);
    ASSERT_OK(db.Run("UPDATE forecast_verdicts SET record_json=?1, record_hash=?2", bytes,
                     core::Sha256Hex(previous + "\n" + bytes)));
    EXPECT_TRUE(absl::IsDataLoss(store_->VerifyForecastChain())) << key;
  }
}

TEST_F(ForecastTest, ALinkThatNoEventKnowsIsMissed) {
  const v1::TrialSpec second = AddTarget("s", 2e15);
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "b", second, 2e15), Now()));
  ASSERT_OK(store_->VerifyForecastChain());
  ASSERT_OK(store_->db().Execute("DELETE FROM events WHERE detail LIKE 'b (%'"));
  const absl::Status missed = store_->VerifyForecastChain();
  EXPECT_TRUE(absl::IsDataLoss(missed));
  EXPECT_THAT(std::string(missed.message()), HasSubstr("'b': link 2 of the chain"));
}

TEST_F(ForecastTest, ALinkThatTellsAnEarlierTimeThanTheOneBeforeItIsRemarked) {
  const v1::TrialSpec second = AddTarget("s", 2e15);
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "b", second, 2e15), Now() - 59'000));
  EXPECT_TRUE(AuditForecasts(&store_->db())->remarks.empty()) << "clocks do step";
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "c", AddTarget("s", 3e15), 3e15),
                                     Now() - 3'600'000));
  const ForecastAudit audit = AuditForecasts(&store_->db()).value();
  EXPECT_OK(audit.agreement);
  ASSERT_EQ(audit.remarks.size(), 1u);
  EXPECT_EQ(audit.remarks[0].name, "c");
  EXPECT_THAT(audit.remarks[0].text, HasSubstr("link 3 of the chain"));
}

TEST_F(ForecastTest, AClockThatStepsBackLeasesNoTargetBeforeItsRegistration) {
  FinishFitTrials();
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  ASSERT_OK(store_->AcquireLeases(AcquireOf("w", 1), kLeaseMs, Now() - 5).status());
  EXPECT_EQ(State(target_.trial_id()), "LEASED");
  EXPECT_OK(store_->VerifyForecastChain());
}

TEST_F(ForecastTest, AnEditedReasonIsNamedAsSuch) {
  FinishFitTrials();
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "v", AddTarget("s", 1e12), 1e12), Now()));
  ASSERT_OK(store_->db().Execute("UPDATE forecasts SET status_reason='bad luck'"));
  EXPECT_THAT(std::string(store_->VerifyForecastChain().message()),
              HasSubstr("the reason of its status, 'bad luck', is not the one on record"));
}

TEST_F(ForecastTest, ScoresOfAnOlderFileAreRecomputedAndCalledWhatTheyAre) {
  FinishFitTrials();
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15, 2.05), Now()));
  const v1::Lease lease = LeaseOne("w");
  ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_COMPLETED, 2.0), Now()));
  ASSERT_OK(
      store_->db().Execute("DROP VIEW v_forecasts; DROP TABLE forecast_verdicts; DROP TABLE "
                           "import_files; DROP TABLE seen_runs; DELETE FROM "
                           "events WHERE kind='forecast "
                           "scored'; PRAGMA user_version=3"));
  store_.reset();
  Migration done;
  store_ = Store::Open(Path(), &done).value();
  EXPECT_EQ(done.from, 3);
  const ForecastAudit audit = AuditForecasts(&store_->db()).value();
  EXPECT_OK(audit.agreement);
  ASSERT_EQ(audit.remarks.size(), 1u);
  EXPECT_EQ(audit.remarks[0].text, "scored before outcomes were chained");
  EXPECT_EQ(Status("a"), "scored");
  for (const char* edit : {"UPDATE forecasts SET error_rel=0", "UPDATE forecasts SET status='void'",
                           "UPDATE evaluations SET sum_nats=sum_nats*1.1"}) {
    Transaction undo(&store_->db());
    ASSERT_OK(store_->db().Execute(edit));
    EXPECT_TRUE(absl::IsDataLoss(store_->VerifyForecastChain())) << edit;
  }
}

TEST_F(ForecastTest, ARecordCarriesTheSizeOfItsTargetAndAnOlderOneWithoutItStillVerifies) {
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  Database& db = store_->db();
  EXPECT_EQ(Count("SELECT count(*) FROM v_forecasts v JOIN trials t ON t.trial_id=target_trial_id "
                  "WHERE v.target_params=t.params AND v.target_tokens=t.tokens AND "
                  "json_extract(v.record_json, '$.target.params')=t.params AND "
                  "json_extract(v.record_json, '$.target.tokens')=t.tokens"),
            1);
  {
    Transaction undo(&db);
    ASSERT_OK(db.Execute("UPDATE trials SET params=params+1"));
    EXPECT_EQ(store_->VerifyForecastChain().code(), absl::StatusCode::kDataLoss);
  }
  core::Json older = core::ParseJson(*db.Text("SELECT record_json FROM forecasts"), "").value();
  older.erase("target");
  const std::string bytes = core::CanonicalJson(older).value();
  ASSERT_OK(db.Run("UPDATE forecasts SET record_json=?1, record_hash=?2", bytes,
                   core::Sha256Hex("\n" + bytes)));
  ASSERT_OK(db.Execute("DELETE FROM events"));  // which name the hash
  EXPECT_OK(store_->VerifyForecastChain());
  EXPECT_EQ(Count("SELECT target_params IS NOT NULL FROM v_forecasts"), 1);
  EXPECT_TRUE(
      store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now())->already_registered());
}

TEST_F(ForecastTest, TargetThatEndsWithoutALossAbandonsItsForecastAndRetryReopensIt) {
  FinishFitTrials();
  ASSERT_OK(store_->RegisterForecast(ForecastOf("s", "a", target_, 1e15), Now()));
  for (int i = 0; i < 3; ++i) {
    const v1::Lease lease = LeaseOne("w");
    ASSERT_OK(store_->CompleteAttempt(CompletionOf("w", lease, v1::OUTCOME_FAILED), Now()));
  }
  EXPECT_EQ(Status("a"), "abandoned");
  v1::ControlRequest retry;
  retry.set_sweep("s");
  retry.set_action(v1::ControlRequest::RETRY);
  ASSERT_OK(store_->Control(retry, Now()));
  EXPECT_EQ(Status("a"), "open");
  EXPECT_OK(store_->VerifyForecastChain());
}

TEST_F(ForecastTest, FitTrialCannotBecomeATargetOfItsOwnSweep) {
  v1::SubmitTargetRequest request;
  request.set_sweep("s");
  *request.mutable_trial() = MakeSweep("s", 1).trials(0);
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->SubmitTarget(request, Now()).status()));
}

}  // namespace
}  // namespace orchestrator
