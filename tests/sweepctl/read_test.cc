// The verbs that read a database, run as programs on databases made by the store.
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "orchestrator/lock_file.h"
#include "orchestrator/serve.h"
#include "orchestrator/store/schema.h"
#include "tests/sweepctl/planted_sweep.h"
#include "tests/sweepctl/program.h"

namespace sweepctl {
namespace {

using core::Json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// One finished sweep for all tests, which only read it.
class ReadTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new orchestrator::TempDir();
    PlantedSweep sweep(Db());
    sweep.Submit();
    sweep.Train(100, 1);
    sweep.Register("nano/1e13", 1e13, 0.005);
    sweep.Train(1);
    sweep.Register("nano/3e12-again", 3e12, 0.0);
    sweep.Cancel(sweep.Register("nano/1e14", 1e14, 0.01));
    open_target_ = sweep.Register("nano/3e13", 3e13, 0.01);
  }
  static void TearDownTestSuite() { delete dir_; }

  static std::string Db() { return dir_->File("test.db"); }
  static Result Run(const std::string& args) { return Sweepctl(args + " --db " + Db()); }
  static std::string AnyTrial() {
    return Run("query \"SELECT trial_id FROM v_attempts WHERE outcome='FAILED'\" --json")
        .json()["rows"][0]["trial_id"];
  }

  static orchestrator::TempDir* dir_;
  static std::string open_target_;
};
orchestrator::TempDir* ReadTest::dir_ = nullptr;
std::string ReadTest::open_target_;

TEST_F(ReadTest, StatusTellsCountsSpendForecastsAndTheNextCommand) {
  const Result text = Run("status nano");
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, StartsWith("nano: 24 trials: 1 CANCELLED, 21 COMPLETED, 2 PENDING\n"));
  EXPECT_THAT(text.out,
              HasSubstr("forecasts: 4 registered: 1 scored, 1 open, 1 abandoned, 1 void\n"));
  EXPECT_THAT(text.out, HasSubstr("no coordinator is running"));
  EXPECT_THAT(text.err, HasSubstr("sweepctl resume nano --db " + Db()));
  const Result json = Run("status nano --json");
  const Json out = json.json();
  EXPECT_EQ(json.err, "");
  EXPECT_EQ(out["counts"]["COMPLETED"], 21);
  EXPECT_EQ(out["rows"].size(), 24u);
  EXPECT_GT(out["flops_wasted"], 0.0);
  EXPECT_EQ(out["coordinator"]["running"], false);
  EXPECT_EQ(out["rows"][0]["progress"], 1.0);
  EXPECT_NEAR(out["rows"][0]["train_loss"].get<double>(), 5.0 / 30, 1e-12);
  const Json all = Run("status --json").json();
  EXPECT_EQ(all["sweeps"][0]["sweep"], "nano");
  EXPECT_FALSE(all["sweeps"][0].contains("rows"));
  EXPECT_THAT(Run("status").out, HasSubstr("21 COMPLETED"));
  const Result misspelt = Run("status nanno");
  EXPECT_EQ(misspelt.code, 65);
  EXPECT_THAT(misspelt.err, HasSubstr("did you mean 'nano'?"));
}

TEST_F(ReadTest, StatusSaysThatTrialsWaitForAWorkerUntilOneIsHeardOf) {
  const std::string copy = dir_->File("no-worker.db");
  std::filesystem::copy_file(Db(), copy, std::filesystem::copy_options::overwrite_existing);
  const auto lock = orchestrator::DatabaseLock::Take(copy);  // a coordinator runs
  ASSERT_OK(lock);
  const auto hear_of = [&](const std::string& host, int64_t pid) {
    auto store = orchestrator::Store::Open(copy).value();
    sweep::v1::RegisterRequest worker;
    worker.set_worker_id(host);
    worker.set_host(host);
    worker.set_pid(pid);
    ASSERT_OK(store->RegisterWorker(worker, core::SystemClock().UnixMs()));
  };
  char here[256] = "";
  gethostname(here, sizeof(here) - 1);
  hear_of(here, 1 << 30);  // a process that is gone, whenever it was heard of
  Result text = Sweepctl("status nano --db " + copy);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.err, StartsWith("no worker: 2 trials wait; next: "));
  EXPECT_THAT(text.err, HasSubstr("sweepctl resume nano --db " + copy));
  hear_of("elsewhere", 1 << 30);
  EXPECT_THAT(Sweepctl("status nano --db " + copy).err, StartsWith("running; next: "));
}

TEST_F(ReadTest, ForecastsAreCountedBeforeErrorsAndTheChainIsIntact) {
  const Result text = Run("forecasts");
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, StartsWith("4 registered: 1 scored, 1 open, 1 abandoned, 1 void\n"));
  EXPECT_THAT(text.out, HasSubstr("nano/3e12-again is void: "));
  EXPECT_THAT(text.out, HasSubstr("1 of 1 scored primary forecasts inside their interval"));
  EXPECT_THAT(text.out, HasSubstr("chain intact"));
  EXPECT_THAT(text.out, HasSubstr("nano/1e14\n  ! its warnings are unknown"));
  const Json out = Run("forecasts --sweep nano --json").json();
  EXPECT_EQ(out["summary"]["registered"], 4);
  EXPECT_EQ(out["coverage"]["scored"], 1);
  EXPECT_EQ(out["coverage_by_reach"].size(), 6u);
  EXPECT_EQ(out["forecasts"][0]["outcome_from"]["attempt"], 1);
  ASSERT_EQ(out["forecasts"].size(), 4u);
  for (const char* field :
       {"name", "status", "registered_at", "law", "primary", "target_trial_id", "budget_flops",
        "metric", "loss", "interval", "observations_hash", "outcome_loss", "error_rel", "inside"}) {
    for (const Json& forecast : out["forecasts"]) EXPECT_TRUE(forecast.contains(field)) << field;
  }
  const Json& scored = out["forecasts"][0];
  EXPECT_EQ(scored["status"], "scored");
  EXPECT_NEAR(scored["error_rel"].get<double>(), 0.005, 6e-4);
  EXPECT_EQ(scored["inside"], true);
  EXPECT_EQ(scored["primary"], true);
  EXPECT_THAT(scored["registered_at"], StartsWith("2023-11-14T"));
  EXPECT_EQ(out["forecasts"][1]["status"], "void");
  EXPECT_EQ(out["forecasts"][2]["status"], "abandoned");
  EXPECT_TRUE(out["forecasts"][3]["outcome_loss"].is_null());
}

TEST_F(ReadTest, AnAnchoredHeadMustStillBeInTheChain) {
  const Json out = Run("forecasts --json").json();
  const std::string head = out["chain"]["head"];
  EXPECT_THAT(Run("forecasts --expect " + head).err, HasSubstr("the head is the expected one"));
  const std::string first = out["forecasts"][0]["record_hash"];
  const Result extended = Run("forecasts --expect " + first);
  EXPECT_EQ(extended.code, 0);
  EXPECT_THAT(extended.err, HasSubstr("extends the expected head by "));
  EXPECT_EQ(Run("forecasts --expect " + std::string(64, '0')).code, 65);
  EXPECT_EQ(Run("forecasts --expect 12").code, 2);
}

TEST_F(ReadTest, ATamperedRecordIsShownAndExits65NamingTheRow) {
  const std::string copy = dir_->File("tampered.db");
  std::filesystem::copy_file(Db(), copy, std::filesystem::copy_options::overwrite_existing);
  {
    auto store = orchestrator::Store::Open(copy).value();
    ASSERT_OK(store->db().Execute("UPDATE forecasts SET loss=loss*1.01 WHERE name='nano/1e14'"));
  }
  const Result text = Sweepctl("forecasts --db " + copy);
  EXPECT_EQ(text.code, 65);
  EXPECT_THAT(text.out, AllOf(StartsWith("4 registered"), Not(HasSubstr("chain intact"))));
  EXPECT_THAT(text.err, HasSubstr("registration 'nano/1e14' was changed"));
  const Result json = Sweepctl("forecasts --json --db " + copy);
  EXPECT_EQ(json.code, 65);
  EXPECT_EQ(json.json()["chain"]["intact"], false);
  const Result status = Sweepctl("status --db " + copy);
  EXPECT_EQ(status.code, 65);
  EXPECT_THAT(status.out, HasSubstr("nano"));
  EXPECT_THAT(status.err, HasSubstr("chain broken: registration 'nano/1e14' was changed"));
}

TEST_F(ReadTest, FitForecastsAndNamesTheModelToTrain) {
  const Result result = Run("fit --predict 1e14 --bootstrap 40 --no-backtest --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const Json out = result.json();
  EXPECT_EQ(out["observations"], 20) << "targets stay out";
  EXPECT_EQ(out["sweep"], "nano");
  const Json spent = Run("query 'SELECT flops FROM v_spend' --json").json();
  EXPECT_LT(out["spent_flops"], spent["rows"][0]["flops"]) << "targets are not spent before";
  const Json runs =
      Run("query \"SELECT sum(flops) AS flops FROM v_observations WHERE stage='fit'\" --json")
          .json();
  const double observed = runs["rows"][0]["flops"];
  EXPECT_GT(out["spent_flops"], observed * 1.001) << "the failed attempt counts";
  const Json& prediction = out["predictions"][0];
  EXPECT_EQ(prediction["primary"], true);
  EXPECT_EQ(prediction["law"], "average");
  EXPECT_THAT(out["warnings"].dump(), Not(HasSubstr("clamped-points")))
      << "beta2_steps does not distort";
  const Json& plan = prediction["plan"];
  EXPECT_NEAR(plan["flops"].get<double>(), 1e14, 1e13);
  EXPECT_EQ(plan["vocab"], 512);
  EXPECT_EQ(plan["seq_len"], 256);
  EXPECT_EQ(plan["trial_id"].get<std::string>().size(), 64u);
  EXPECT_GE(plan["tokens"].get<double>(), 0.5 * prediction["tokens"].get<double>());

  const Result text = Run("fit --law chinchilla --predict 1e14 --bootstrap 40 --no-backtest");
  EXPECT_THAT(text.out, HasSubstr("what to train at 1e+14 FLOPs (delphi-nano"));
  EXPECT_THAT(text.err, HasSubstr("1 completed targets are outcomes"));
  const Json with = Run("fit --include-targets --law chinchilla --bootstrap 0 --no-backtest "
                        "--predict 1e14 --json")
                        .json();
  EXPECT_EQ(with["observations"], 21);
  EXPECT_THAT(with["predictions"][0]["warnings"].dump(), HasSubstr("targets-included"));
  EXPECT_EQ(Run("fit --where a=b").code, 2);
  EXPECT_THAT(Run("fit --predict 1e14 --register").err, HasSubstr("--register is for imports"));
}

TEST_F(ReadTest, ExportedObservationsFitToTheSameLaw) {
  const std::string file = dir_->File("runs.csv");
  const Result wrote = Run("export --out " + file);
  ASSERT_EQ(wrote.code, 0) << wrote.err;
  EXPECT_EQ(wrote.out, "");
  EXPECT_THAT(wrote.err, HasSubstr("wrote 21 observations to " + file));
  const std::string law = " --law chinchilla --bootstrap 0 --no-backtest --json";
  const Result from_file = Sweepctl("fit --csv " + file + " --where stage=fit" + law);
  ASSERT_EQ(from_file.code, 0) << from_file.err;
  EXPECT_EQ(from_file.json()["fits"][0]["params"], Run("fit" + law).json()["fits"][0]["params"]);
  EXPECT_EQ(from_file.json()["fits"][0]["cohort"], Run("fit" + law).json()["fits"][0]["cohort"]);

  std::istringstream lines(Run("export --what metrics --output jsonl").out);
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_EQ(Json::parse(line)["name"], "train_loss");
  EXPECT_EQ(count, 21u * 30);
  EXPECT_THAT(Run("export --what forecasts").out, StartsWith("forecast_id,name,sweep,status"));
  EXPECT_EQ(Run("export --what trials --json").json()["rows"].size(), 24u);
  EXPECT_EQ(Run("export --sweep nanno").code, 65);
  EXPECT_EQ(Run("export --what nothing").code, 2);
  EXPECT_EQ(Run("export --out /no/such/folder/x.csv").code, 73);
}

TEST_F(ReadTest, QueryReadsAndRefusesToWrite) {
  const Result table = Run("query 'SELECT stage, count(*) AS n FROM v_trials GROUP BY 1'");
  EXPECT_EQ(table.out, "stage    n\nfit     20\ntarget   4\n");
  EXPECT_EQ(Run("query 'SELECT 1 AS a, NULL AS b' --output csv").out, "a,b\n1,\n");
  const Result cut = Run("query 'SELECT trial_id FROM v_trials' --max-rows 3 --json");
  EXPECT_EQ(cut.json()["rows"].size(), 3u);
  EXPECT_EQ(cut.json()["truncated"], true);
  EXPECT_THAT(cut.err, HasSubstr("--max-rows"));
  for (const char* sql : {"DELETE FROM trials", "PRAGMA user_version=9", "ATTACH 'x' AS y",
                          "CREATE TABLE t(x)", "UPDATE forecasts SET loss=0",
                          "CREATE VIEW v AS SELECT 1", "DROP TABLE trials", "VACUUM"}) {
    const Result refused = Run(std::string("query \"") + sql + "\"");
    EXPECT_EQ(refused.code, 77) << sql;
    EXPECT_EQ(refused.out, "");
  }
  EXPECT_EQ(Run("query \"UPDATE sqlite_master SET sql=''\"").code, 65);
  // A view over json_each.
  EXPECT_THAT(Run("query 'SELECT source, count(*) AS n FROM v_frontier GROUP BY 1'").out,
              HasSubstr("observed minimum  4"));
  EXPECT_EQ(Run("query 'SELEC 1'").code, 65);
  EXPECT_EQ(Run("query 'SELECT 1' --timeout soon").code, 2);
  EXPECT_EQ(Run("query \"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT "
                "sum(x) FROM c\" --timeout 0.2s")
                .code,
            75);
  EXPECT_EQ(Sweepctl("query 'SELECT 1' --endpoint 127.0.0.1:1").code, 69);
}

TEST(ShowTest, AnOutsideTrialIsRepeatedByTheCommandThatMadeIt) {
  orchestrator::TempDir dir;
  const std::string db = dir.File("outside.db");
  PlantedSweep sweep(db);
  sweep.Submit();
  sweep.Train(1);
  ASSERT_OK(sweep.store().db().Execute(
      R"(UPDATE sweeps SET trainer_command_json='["python3","my train.py"]')"));
  const std::string id = Sweepctl("query 'SELECT trial_id FROM v_attempts' --json --db " + db)
                             .json()["rows"][0]["trial_id"];
  const std::string command = Sweepctl("show " + id + " --repro --db " + db).out;
  EXPECT_THAT(command, HasSubstr(".plan.json SWEEP_DATA_DIR=/prepared SWEEP_CHECKPOINT_DIR="));
  EXPECT_THAT(command, HasSubstr(" SWEEP_FD=3 SWEEP_TRIAL_ID=" + id));
  EXPECT_THAT(command, HasSubstr(" python3 'my train.py' 3>&1 >&2 | tee "));
  EXPECT_THAT(command, Not(HasSubstr("sweep-worker")));
}

TEST_F(ReadTest, ShowTellsATrialsLifeAndItsPlanByteForByte) {
  const std::string id = AnyTrial();
  const Result text = Run("show " + id.substr(0, 10));
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, StartsWith("trial " + id + "\nsweep nano, fit trial: COMPLETED"));
  EXPECT_THAT(text.out, HasSubstr("(final)"));
  EXPECT_THAT(text.out, HasSubstr("killed by signal 9"));
  EXPECT_THAT(text.out, HasSubstr("try 2: trainer native-cpu, commit_hash abc123"));
  EXPECT_EQ(core::Sha256Hex(Run("show " + id + " --plan").out), id);
  EXPECT_THAT(Run("show " + id + " --repro").out, HasSubstr("sweep-worker run --plan "));
  EXPECT_THAT(Run("show " + id + " --repro").out, HasSubstr(" --data /prepared\n"));
  const Json out = Run("show " + id + " --json").json();
  EXPECT_EQ(out["attempts"].size(), 2u);
  EXPECT_EQ(out["fields"]["recipe"], "delphi-nano");
  EXPECT_EQ(out["plan"]["seq_len"], 256);
  EXPECT_EQ(Run("show " + open_target_).code, 0);
  EXPECT_EQ(Run("show abc").code, 65);
  EXPECT_EQ(Run("show 0000000000000000").code, 65);
}

TEST_F(ReadTest, LogsTellWhatHappened) {
  const std::string id = AnyTrial();
  const Result trial = Run("logs " + id.substr(0, 8) + " -n 2");
  ASSERT_EQ(trial.code, 0) << trial.err;
  EXPECT_THAT(trial.out,
              testing::AllOf(HasSubstr("killed by signal 9"), HasSubstr("train_loss    30")));
  const Json out = Run("logs " + id + " -n 2 --json").json();
  EXPECT_EQ(out["events"].size(), 2u);
  EXPECT_EQ(out["metrics"].size(), 2u);
  EXPECT_EQ(out["metrics"][1]["step"], 30);
  EXPECT_THAT(Run("logs --sweep nano").out, HasSubstr("forecast registered"));
  EXPECT_EQ(Run("logs --sweep nano " + id).code, 2);
  EXPECT_EQ(Run("logs --sweep other").code, 65);
}

TEST_F(ReadTest, AMissingDatabaseExits65AndSaysHowToMakeOne) {
  for (const char* verb : {"status", "forecasts", "fit", "export", "query 'SELECT 1'", "show abcd",
                           "logs", "cancel x", "pause x", "retry x"}) {
    const Result result = Sweepctl(std::string(verb) + " --db " + dir_->File("none.db"));
    EXPECT_EQ(result.code, 65) << verb;
    EXPECT_THAT(result.err, testing::AllOf(HasSubstr("none.db"), HasSubstr("sweepctl launch")))
        << verb;
  }
  EXPECT_FALSE(std::filesystem::exists(dir_->File("none.db")));
}

TEST(OlderDatabaseTest, ReadingNamesACommandThatEndsAndWritingBringsItUpToDate) {
  orchestrator::TempDir dir;
  const std::string db = dir.File("old.db"), copy = dir.File("second copy.db");
  {
    const auto old =
        orchestrator::Database::Open(db, orchestrator::Database::Mode::kReadWrite).value();
    ASSERT_OK(old->Execute(orchestrator::kTablesSql));
    ASSERT_OK(
        old->Execute("INSERT INTO sweeps VALUES('old','','{}','','','[]',0,0,0,0,'as-listed',0,0);"
                     "PRAGMA user_version=1; PRAGMA wal_checkpoint(TRUNCATE)"));
  }
  std::filesystem::copy_file(db, copy);
  for (const char* verb :
       {"status", "fit", "forecasts", "export", "query 'SELECT 1'", "watch old"}) {
    const Result result = Sweepctl(std::string(verb) + " --db " + db);
    EXPECT_EQ(result.code, 65) << verb;
    EXPECT_THAT(result.err, HasSubstr("sweepctl serve --migrate-only --db " + db)) << verb;
  }
  const Result cancel = Sweepctl("cancel old --db " + db);
  EXPECT_EQ(cancel.code, 0) << cancel.err;
  EXPECT_THAT(cancel.err, HasSubstr("schema 1 brought up to"));
  EXPECT_THAT(cancel.err, HasSubstr(db + ".schema-1.bak"));
  EXPECT_EQ(Sweepctl("status --db " + db).code, 0);
  // The command as printed, for a path that a shell would split.
  std::string advice = Sweepctl("status --db '" + copy + "'").err;
  advice.pop_back();  // the line's end
  const Result migrated = Sweepctl(advice.substr(advice.find(" serve --migrate-only")));
  EXPECT_EQ(migrated.code, 0) << migrated.err;
  EXPECT_THAT(migrated.err, HasSubstr("has schema "));
  EXPECT_EQ(Sweepctl("status --db '" + copy + "'").code, 0);
}

TEST(CompletionTest, TheScriptIsBashAndCompletesVerbsAndOptions) {
  const std::string file = testing::TempDir() + "/completion.bash";
  ASSERT_EQ(Sweepctl("completion bash", file).code, 0);
  const std::string probe =
      "COMP_WORDS=(sweepctl forec); COMP_CWORD=1; _sweepctl; echo $COMPREPLY; "
      "COMP_WORDS=(sweepctl fit --pred); COMP_CWORD=2; _sweepctl; "
      "echo $COMPREPLY";
  core::SpawnOptions options;
  options.argv = {"bash", "-c", ". " + file + " && { " + probe + "; } > " + file + ".out"};
  ASSERT_EQ(core::WaitExit(*core::Spawn(options), 10000), 0);
  EXPECT_EQ(*core::ReadFile(file + ".out"), "forecasts\n--predict\n");
}

TEST(WaitingTest, AFinishedFitStageWithAHeldTargetAsksForResume) {
  orchestrator::TempDir dir;
  const std::string db = dir.File("test.db");
  {
    auto store = orchestrator::Store::Open(db).value();
    ASSERT_OK(store->SubmitSweep(orchestrator::MakeSweep("a", 0), 0));
    ASSERT_OK(store->SubmitSweep(orchestrator::MakeSweep("b", 0), 0));
    v1::SubmitTargetRequest target;
    target.set_sweep("b");
    *target.mutable_trial() = orchestrator::MakeTrial(1e15, 7);
    ASSERT_OK(store->SubmitTarget(target, 0));
  }
  const Result status = Sweepctl("status b --db " + db);
  EXPECT_THAT(status.out, HasSubstr("HELD: registration"));
  EXPECT_THAT(status.err, HasSubstr("waiting for registration"));
  EXPECT_THAT(status.err, HasSubstr("sweepctl resume b"));
  const Result which = Sweepctl("fit --db " + db);
  EXPECT_EQ(which.code, 2);
  EXPECT_THAT(which.err, HasSubstr("2 sweeps, name one: a, b"));
  const Result none = Sweepctl("fit --sweep b --db " + db);
  EXPECT_EQ(none.code, 65);
  EXPECT_THAT(none.err, HasSubstr("no completed fit trial yet"));
}

TEST(ControlTest, CancelPauseAndRetryGoThroughTheRunningCoordinator) {
  orchestrator::TempDir dir;
  orchestrator::ServeOptions options;
  options.db_path = dir.File("test.db");
  const std::string flag = " --db " + options.db_path;
  std::string failed;
  {
    PlantedSweep sweep(options.db_path);
    sweep.Submit();
    sweep.Train(1, 3);  // three failures end a trial
    sweep.Train(1);
    failed = sweep.store().db().Text("SELECT trial_id FROM trials WHERE state='FAILED'").value();
  }
  auto served = orchestrator::ServedCoordinator::Start(options, &core::SystemClock());
  ASSERT_OK(served);
  EXPECT_EQ(Sweepctl("status nano --json" + flag).json()["coordinator"]["running"], true);
  EXPECT_THAT(Sweepctl("status nano" + flag).err,
              testing::AllOf(HasSubstr("no worker: 17 trials wait"), HasSubstr("resume nano")));
  EXPECT_EQ(Sweepctl("query 'SELECT count(*) AS n FROM v_trials' --output csv --endpoint " +
                     (*served)->endpoint())
                .out,
            "n\n20\n");

  EXPECT_EQ(Sweepctl("retry nano --oom --json" + flag).json()["trials_changed"], 0);
  const Result retried = Sweepctl("retry nano --failed" + flag);
  EXPECT_EQ(retried.code, 0) << retried.err;
  EXPECT_THAT(retried.out, HasSubstr("1 trials wait to be tried again"));
  EXPECT_THAT(retried.err, HasSubstr("sweepctl resume nano"));

  const Result one = Sweepctl("cancel nano --trial " + failed.substr(0, 12) + " --json" + flag);
  EXPECT_EQ(one.json()["trials_changed"], 1) << one.err;
  EXPECT_EQ(Sweepctl("pause nano" + flag).code, 0);
  EXPECT_THAT(Sweepctl("pause nano" + flag).out, HasSubstr("paused already"));
  EXPECT_THAT(Sweepctl("status nano" + flag).out, StartsWith("nano (paused): "));
  EXPECT_GT(Sweepctl("cancel nano --json" + flag).json()["trials_changed"], 0);
  EXPECT_THAT(Sweepctl("cancel nano" + flag).out, HasSubstr("no trial to cancel"));
  EXPECT_EQ(Sweepctl("cancel nano --trial 0000" + flag).code, 65);
  EXPECT_EQ(Sweepctl("cancel nanno" + flag).code, 65);
}

}  // namespace
}  // namespace sweepctl
