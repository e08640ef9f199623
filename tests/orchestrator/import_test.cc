// Imports: all or nothing, idempotent, written by whoever may write, and never the ground of a
// registration when something about them is unknown.
#include <cmath>

#include "orchestrator/direct_write.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/reader.h"
#include "orchestrator/serve.h"
#include "orchestrator/store/schema.h"
#include "tests/orchestrator/import_fixtures.h"

namespace orchestrator {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class ImportTest : public StoreTest {
 protected:
  int64_t Count(const std::string& sql) { return *store_->db().Int(-1, sql); }
};

TEST_F(ImportTest, ImportedRunsAreObservationsBesideThoseOfSweeps) {
  const auto response = store_->Import(MakeImport("theirs", 3), Now());
  ASSERT_OK(response);
  EXPECT_EQ(response->runs(), 3);
  EXPECT_FALSE(response->already_present());
  const auto reader = *Reader::Open(Path());
  const auto rows = *reader->Observations("theirs");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].trial_id, "run-0");
  EXPECT_EQ(rows[0].params, 1.5e8 + 0.5) << "published data are fractional";
  EXPECT_EQ(rows[0].budget_flops, 0) << "not given";
  EXPECT_EQ(rows[0].metric, "c4/nats_per_token");
  EXPECT_EQ(rows[0].eval_hash, "c4-validation");
  EXPECT_EQ(rows[0].tokenizer, "unknown");
  EXPECT_EQ(rows[0].schedule, "cooled");
  EXPECT_EQ(reader->ImportedObservations("theirs", "acc")->size(), 1u);
  const auto imports = *reader->Imports();
  ASSERT_EQ(imports.size(), 1u);
  EXPECT_THAT(imports[0].metrics, ElementsAre("c4", "acc"));
  EXPECT_EQ(imports[0].unknown, "tokenizer");
  EXPECT_EQ(Count("SELECT count(*) FROM v_isoflop_minima"), 0) << "no budgets, no minima";
}

TEST_F(ImportTest, TheSameContentTwiceAddsNothingAndOtherContentNeedsReplace) {
  ASSERT_OK(store_->Import(MakeImport("theirs", 3), Now()));
  v1::ImportRequest moved = MakeImport("theirs", 3);
  moved.set_source("elsewhere/runs.csv");
  const auto again = store_->Import(moved, Now());
  ASSERT_OK(again);
  EXPECT_TRUE(again->already_present());
  v1::ImportRequest other = MakeImport("theirs", 2);
  const auto refused = store_->Import(other, Now());
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("--replace"));
  EXPECT_EQ(Count("SELECT count(*) FROM imported_runs"), 3);
  other.set_replace(true);
  ASSERT_OK(store_->Import(other, Now()));
  EXPECT_EQ(Count("SELECT count(*) FROM imports"), 1);
  EXPECT_EQ(Count("SELECT count(*) FROM imported_runs"), 2);
  EXPECT_EQ(Count("SELECT count(*) FROM imported_values"), 3);
  EXPECT_EQ(Count("SELECT count(*) FROM events WHERE kind IN ('imported','import replaced')"), 2);
}

TEST_F(ImportTest, ABadRunLeavesNothingBehind) {
  for (int fault = 0; fault < 5; ++fault) {
    v1::ImportRequest request = MakeImport("theirs", 3);
    v1::ImportedRun* last = request.mutable_runs(2);
    if (fault == 0) last->set_flops(-1);
    if (fault == 1) last->mutable_values()->erase("c4");
    if (fault == 2) last->clear_tokenizer();
    if (fault == 3) last->set_source_row(2);            // a row twice
    if (fault == 4) last->set_schedule("nearly done");  // the table's own check
    EXPECT_TRUE(absl::IsInvalidArgument(store_->Import(request, Now()).status())) << fault;
    EXPECT_EQ(Count("SELECT count(*) FROM imports"), 0) << fault;
    EXPECT_EQ(Count("SELECT count(*) FROM imported_runs"), 0) << fault;
  }
}

TEST_F(ImportTest, SweepsAndImportsShareOneSpaceOfNames) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("mine", 1), Now()));
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Import(MakeImport("mine", 1), Now()).status()));
  ASSERT_OK(store_->Import(MakeImport("theirs", 1), Now()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(store_->SubmitSweep(MakeSweep("theirs", 1), Now()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Import(MakeImport("a/b", 1), Now()).status()));
}

TEST_F(ImportTest, AnUnknownKeyBlocksRegistrationAndIsNamed) {
  ASSERT_OK(store_->SubmitSweep(MakeSweep("s", 1), Now()));
  v1::SubmitTargetRequest target;
  target.set_sweep("s");
  *target.mutable_trial() = MakeTrial(1e15, 7);
  ASSERT_OK(store_->SubmitTarget(target, Now()));
  v1::RegisterForecastRequest request = ForecastOf("s", "s/1e15", target.trial(), 1e15);
  request.set_cohort_json(R"({"eval":"unknown","metric":"c4","tokenizer":"unknown"})");
  const auto refused = store_->RegisterForecast(request, Now());
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("eval, tokenizer"));
  request.set_cohort_json("{}");
  request.set_observations_json(R"([{"loss":3,"cohort":{"data":"unknown"}}])");
  EXPECT_THAT(std::string(store_->RegisterForecast(request, Now()).status().message()),
              HasSubstr("data of its observations is unknown"));
  EXPECT_EQ(State(target.trial().trial_id()), "HELD");
  request.set_observations_json(R"([{"loss":3,"cohort":{"data":"c4"}}])");
  EXPECT_OK(store_->RegisterForecast(request, Now()));
}

TEST_F(ImportTest, AForecastOfAnImportIsOnTheChainAndScoredByTheRunItWasAbout) {
  v1::ImportRequest import = MakeImport("theirs", 3);
  for (auto& run : *import.mutable_runs()) run.set_tokenizer("t");
  EXPECT_TRUE(
      absl::IsNotFound(store_->RegisterForecast(ForecastElsewhere("theirs/1e20"), Now()).status()));
  ASSERT_OK(store_->Import(import, Now()));
  const auto registered = store_->RegisterForecast(ForecastElsewhere("theirs/1e20"), Now());
  ASSERT_OK(registered);
  EXPECT_EQ(registered->status(), "open");
  EXPECT_TRUE(
      store_->RegisterForecast(ForecastElsewhere("theirs/1e20"), Now())->already_registered());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      store_->RegisterForecast(ForecastElsewhere("another"), Now()).status()))
      << "one primary forecast a budget";
  v1::RegisterForecastRequest seen = ForecastElsewhere("seen");
  seen.set_budget_flops(3.01e18);  // the largest run has 3e18
  EXPECT_EQ(store_->RegisterForecast(seen, Now())->status(), "void");
  EXPECT_OK(store_->VerifyForecastChain());

  // A model of another size, and a run of another cohort, are not what was forecast.
  import.set_replace(true);
  const auto add = [&](int row, double params, const std::string& tokenizer, double loss) {
    v1::ImportedRun* run = import.add_runs();
    *run = import.runs(0);
    run->set_source_row(row);
    run->set_flops(1.005e20);
    run->set_params(params);
    run->set_tokens(1.6e10);
    run->set_tokenizer(tokenizer);
    run->set_target(true);
    import.set_source_hash(core::Sha256Hex(std::to_string(row)));
    (*run->mutable_values())["c4"] = loss;
    return store_->Import(import, Now())->forecasts_scored();
  };
  EXPECT_EQ(add(10, 3e9, "t", 2.5), 0);
  EXPECT_EQ(add(11, 1e9, "u", 2.5), 0);
  EXPECT_EQ(add(12, 1.1e9, "t", 3.05), 1);
  EXPECT_EQ(Count("SELECT count(*) FROM v_forecasts WHERE name='theirs/1e20' AND status='scored' "
                  "AND inside=1 AND abs(outcome_loss-3.05)<1e-9"),
            1);
  EXPECT_OK(store_->VerifyForecastChain());
  ASSERT_OK(store_->db().Execute("UPDATE forecasts SET target_params=2e9 WHERE name='seen'"));
  EXPECT_TRUE(absl::IsDataLoss(store_->VerifyForecastChain()));
}

TEST_F(ImportTest, OneTargetHasOnePrimaryForecastWhateverItsImportIsCalled) {
  ASSERT_OK(store_->Import(KnownImport("theirs", 3), Now()));
  ASSERT_OK(store_->Import(KnownImport("again", 2), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastElsewhere("theirs/1e20"), Now()));
  v1::RegisterForecastRequest other = ForecastElsewhere("again/1e20");
  other.set_sweep("again");
  other.set_target_params(1.3e9);
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->RegisterForecast(other, Now()).status()));
  other.set_budget_flops(1.015e20);  // one run could score both
  EXPECT_THAT(std::string(store_->RegisterForecast(other, Now()).status().message()),
              HasSubstr("theirs/1e20"));
  other.set_cohort_json(R"({"recipe":"x","tokenizer":"u"})");
  EXPECT_OK(store_->RegisterForecast(other, Now()));
}

TEST_F(ImportTest, ForecastsOfOneFitAreRegisteredAllOrNone) {
  ASSERT_OK(store_->Import(KnownImport("theirs", 3), Now()));
  v1::RegisterForecastsRequest request;
  request.mutable_fit()->set_sweep("theirs");
  request.mutable_fit()->set_fit_json("{}");
  *request.add_forecasts() = ForecastElsewhere("a");
  *request.add_forecasts() = ForecastElsewhere("b");
  request.mutable_forecasts(1)->set_budget_flops(1.005e20);
  const absl::Status refused = store_->RegisterForecasts(request, Now()).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("none of the 2 forecasts"));
  EXPECT_EQ(Count("SELECT count(*) FROM forecasts"), 0);
  EXPECT_EQ(Count("SELECT count(*) FROM fits"), 0);
  request.mutable_forecasts(1)->set_budget_flops(5e20);
  EXPECT_EQ(store_->RegisterForecasts(request, Now())->forecasts_size(), 2);
  EXPECT_OK(store_->VerifyForecastChain());
}

TEST_F(ImportTest, ATargetWithinTheFittedRunsIsNoForecast) {
  ASSERT_OK(store_->Import(KnownImport("theirs", 3), Now()));
  v1::RegisterForecastRequest request = ForecastElsewhere("a");
  request.set_observations_json(R"([{"flops":1e18},{"flops":1e20}])");
  EXPECT_THAT(std::string(store_->RegisterForecast(request, Now()).status().message()),
              HasSubstr("does not reach beyond the fitted runs"));
  request.set_observations_json(R"([{"flops":1e18},{"flops":1e19}])");
  ASSERT_OK(store_->RegisterForecast(request, Now()));
  EXPECT_NEAR(*store_->db().Double(0, "SELECT reach FROM v_forecasts"), 10, 1e-9);
}

TEST_F(ImportTest, NothingIsRegisteredFromPerplexities) {
  ASSERT_OK(store_->Import(KnownImport("theirs", 3), Now()));
  v1::RegisterForecastRequest request = ForecastElsewhere("a");
  request.set_observations_json(R"([{"flops":1e18,"loss":13.5,"trial_id":"run-0"}])");
  EXPECT_THAT(std::string(store_->RegisterForecast(request, Now()).status().message()),
              AllOf(HasSubstr("run-0\": 13.5 nats_per_token"), HasSubstr("probably a perplexity")));
  request.set_metric("c4/bits_per_token");
  EXPECT_OK(store_->RegisterForecast(request, Now()));  // 9.4 nats
  request.set_name("bytes");
  request.set_metric("c4/bits_per_byte");
  request.set_observations_json(R"([{"flops":1e18,"loss":8.1,"trial_id":"run-0"}])");
  EXPECT_THAT(std::string(store_->RegisterForecast(request, Now()).status().message()),
              HasSubstr("run-0\": 8.1 bits_per_byte is above the 8"));
}

TEST_F(ImportTest, AScoreIsToldWithOutcomeErrorAndInterval) {
  ASSERT_OK(store_->Import(KnownImport("theirs", 3), Now()));
  v1::RegisterForecastRequest request = ForecastElsewhere("a");
  request.set_loss(3.06);
  request.set_interval_lo(3.0);
  request.set_interval_hi(3.1);
  request.set_interval_level(0.9);
  ASSERT_OK(store_->RegisterForecast(request, Now()));
  v1::ImportRequest later = KnownImport("later", 1);
  AddOutcome(&later, 10, 1e9, 3.4);
  EXPECT_THAT(store_->Import(later, Now())->notes(),
              ElementsAre("forecast a: scored: outcome 3.4, forecast 3.06: error -10.00 %, outside "
                          "its 90 % interval, 3 .. 3.1"));
}

TEST_F(ImportTest, AnOutcomeUnderAnyNameScoresAndAllItsRowsAreOnRecord) {
  ASSERT_OK(store_->Import(KnownImport("theirs", 3), Now()));
  ASSERT_OK(store_->RegisterForecast(ForecastElsewhere("a"), Now()));
  v1::ImportRequest later = KnownImport("later", 1);
  AddOutcome(&later, 10, 1.2e9, 3.5);  // of another size
  AddOutcome(&later, 11, 1e9, 3.0);    // two seeds of the promised one
  AddOutcome(&later, 12, 1.001e9, 3.1);
  EXPECT_EQ(store_->Import(later, Now())->forecasts_scored(), 1);
  EXPECT_NEAR(*store_->db().Double(0, "SELECT outcome_loss FROM v_forecasts"), std::sqrt(3.0 * 3.1),
              1e-12);
  EXPECT_EQ(Count("SELECT json_array_length(verdict_json, '$.from.rows') FROM v_forecasts"), 3);
  EXPECT_EQ(Count("SELECT json_extract(verdict_json, '$.from.spread.hi')=3.5 FROM v_forecasts"), 1);
  ForecastAudit audit = AuditForecasts(&store_->db()).value();
  EXPECT_OK(audit.agreement);
  EXPECT_TRUE(audit.remarks.empty());
  for (const char* edit : {"UPDATE imported_values SET value=3.01 WHERE source_row=11",
                           "DELETE FROM imported_runs WHERE source_row=12",
                           "UPDATE forecasts SET outcome_loss=3, error_rel=0"}) {
    Transaction undo(&store_->db());
    ASSERT_OK(store_->db().Execute("PRAGMA defer_foreign_keys=1"));
    ASSERT_OK(store_->db().Execute(edit));
    EXPECT_TRUE(absl::IsDataLoss(store_->VerifyForecastChain())) << edit;
  }

  // What an import says later does not change the score, and is said.
  later.set_replace(true);
  (*later.mutable_runs(2)->mutable_values())["c4"] = 2.9;
  EXPECT_EQ(store_->Import(later, Now())->forecasts_scored(), 0);
  audit = AuditForecasts(&store_->db()).value();
  EXPECT_OK(audit.agreement);
  ASSERT_EQ(audit.remarks.size(), 1u);
  EXPECT_THAT(audit.remarks[0].text, HasSubstr("the imports say 2.99"));
  EXPECT_EQ(Count("SELECT count(*) FROM forecasts WHERE status='scored'"), 1);
}

TEST_F(ImportTest, AFileOfVersion1IsBroughtUpToDateWithItsRows) {
  const std::string path = dir_.File("old.db");
  {
    const auto db = *Database::Open(path, Database::Mode::kReadWrite);
    ASSERT_OK(db->Execute(kTablesSql));
    ASSERT_OK(db->Execute(
        "CREATE VIEW v_observations AS SELECT sweep FROM sweeps; "
        "CREATE VIEW v_of_theirs AS SELECT name FROM forecasts; PRAGMA user_version=1"));
    ASSERT_OK(
        db->Execute("INSERT INTO sweeps VALUES('old','','{}','','','[]',0,0,0,0,'as-listed',0,0)"));
    // With a fit and a registration, whose tables are made again.
    ASSERT_OK(db->Execute(
        "INSERT INTO trials(trial_key, trial_id, plan, state, lease_rank, created_unix_ms, recipe, "
        "recipe_version, budget_flops, params, tokens, seq_len, batch, steps, recipe_flops, data) "
        "VALUES(5,'t','{}','HELD',1,0,'r','1',1e9,1,1,1,1,1,1e9,'d');"
        "INSERT INTO fits VALUES(1,'old','{}','h','o',0);"
        "INSERT INTO forecasts VALUES(1,'old/1','old',5,'law',1,1e9,'loss',2,1,3,.9,'prediction',"
        "'m','[]','o',0,'{}','','r','open','',NULL,NULL,NULL,NULL)"));
  }
  EXPECT_THAT(std::string(Reader::Open(path).status().message()),
              AllOf(HasSubstr("schema version 1"), HasSubstr("serve --migrate-only --db " + path)));
  EXPECT_EQ(*SchemaVersionOf(path), 1);
  {
    const auto lock = *DatabaseLock::Take(path);
    CoordinatorAddress older;
    older.endpoint = "127.0.0.1:1";
    older.pid = 4321;
    ASSERT_OK(lock->Publish(older));
    EXPECT_THAT(std::string(BringUpToDate(path).status().message()), HasSubstr("`kill 4321`"));
  }
  const auto done = BringUpToDate(path);
  ASSERT_OK(done);
  EXPECT_EQ(done->from, 1);
  EXPECT_EQ(done->backup, path + ".schema-1.bak");
  EXPECT_EQ(*SchemaVersionOf(done->backup), 1) << "the copy is as it was";
  EXPECT_EQ(BringUpToDate(path)->backup, "") << "nothing to do";
  EXPECT_FALSE(FindCoordinator(path).has_value()) << "let go";
  const auto store = *Store::Open(path);
  EXPECT_EQ(*store->db().Text("SELECT name || target_trial_id FROM v_forecasts"), "old/1t");
  EXPECT_EQ(*store->db().Int(0, "SELECT count(*) FROM fits"), 1);
  EXPECT_EQ(*store->db().Int(-1, "SELECT shared_crashes FROM trials"), 0);
  EXPECT_EQ(*store->db().Int(0, "PRAGMA user_version"), kSchemaVersion);
  EXPECT_EQ(*store->db().Int(0, "SELECT count(*) FROM sweeps"), 1);
  EXPECT_EQ(*store->db().Int(-1, "SELECT count(schedule) FROM v_observations"), 0);
  EXPECT_EQ(*store->db().Int(0, "SELECT count(*) FROM v_of_theirs"), 1) << "not ours to drop";
  EXPECT_OK(store->Import(MakeImport("theirs", 1), Now()));
}

TEST_F(ImportTest, WithoutACoordinatorTheImporterHoldsTheLockAndMakesTheDatabase) {
  const std::string path = dir_.File("new.db");
  const auto response = WriteImport(path, MakeImport("theirs", 2));
  ASSERT_OK(response);
  EXPECT_FALSE(FindCoordinator(path).has_value()) << "let go";
  EXPECT_EQ((*Reader::Open(path))->Observations("theirs")->size(), 2u);
}

TEST_F(ImportTest, ARunningCoordinatorWritesTheImport) {
  ServeOptions options;
  options.db_path = dir_.File("served.db");
  const auto served = *ServedCoordinator::Start(options, &core::SystemClock());
  ASSERT_OK(WriteImport(options.db_path, MakeImport("theirs", 2)));
  EXPECT_EQ((*Reader::Open(options.db_path))->Observations("theirs")->size(), 2u);
  const auto refused = WriteImport(options.db_path, MakeImport("theirs", 1));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
}

}  // namespace
}  // namespace orchestrator
