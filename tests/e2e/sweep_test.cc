// A sweep from its file to its scored forecast, undisturbed and with everything killed under it.
#include <signal.h>

#include <memory>
#include <set>

#include "core/hash.h"
#include "fmt/format.h"
#include "tests/e2e/harness.h"

namespace e2e {
namespace {

using core::Json;
using testing::HasSubstr;
using testing::Not;

constexpr char kForecast[] = "forecast: {at: [4e11], register: true}\n";

// The undisturbed run that the tests below compare with; made by the first of them.
struct Reference {
  Sandbox box;
  std::string file;
  Result first;
};
std::unique_ptr<Reference> undisturbed;
Reference& Undisturbed() {
  if (undisturbed == nullptr) {
    undisturbed = std::make_unique<Reference>();
    undisturbed->file = undisturbed->box.SweepFile("grid", "[1e11, 2e11]", 3, kForecast);
    undisturbed->first = undisturbed->box.Launch(undisturbed->file, {"--json"});
  }
  return *undisturbed;
}

class SweepTest : public testing::Test {
 public:
  static void TearDownTestSuite() { undisturbed.reset(); }
};

TEST_F(SweepTest, LaunchFitsRegistersBeforeTheTargetStartsAndScores) {
  Reference& run = Undisturbed();
  ASSERT_EQ(run.first.code, 0) << run.first.err;
  EXPECT_THAT(run.first.err, HasSubstr("6 trials added"));
  EXPECT_THAT(run.first.err, HasSubstr("registered grid/4e+11"));
  const Json out = Json::parse(run.first.out);
  EXPECT_EQ(out["counts"]["COMPLETED"], 7);
  ASSERT_EQ(out["forecasts"].size(), 1u);
  const Json& forecast = out["forecasts"][0];
  EXPECT_EQ(forecast["status"], "scored");
  EXPECT_LT(forecast["interval"]["lo"], forecast["loss"]);
  EXPECT_LT(forecast["loss"], forecast["interval"]["hi"]);
  EXPECT_EQ(out["forecasts"],
            Json::parse(run.box.Sweepctl({"forecasts", "--json"}).out)["forecasts"]);
  EXPECT_FALSE(out["fit"]["fits"].empty());

  // Blind: on record before the first attempt of the target, and after the last fit trial.
  const auto target = run.box.Rows(
      "SELECT f.registered_unix_ms, min(a.leased_unix_ms) AS leased, f.previous_hash, "
      "f.record_json, f.record_hash, f.outcome_loss, f.observations_hash, o.loss FROM v_forecasts "
      "f "
      "JOIN v_attempts a ON a.trial_id=f.target_trial_id "
      "JOIN v_observations o ON o.trial_id=f.target_trial_id AND o.stage='target'");
  ASSERT_EQ(target.size(), 1u);
  EXPECT_LE(target[0]["registered_unix_ms"], target[0]["leased"]);
  EXPECT_EQ(target[0]["outcome_loss"], target[0]["loss"]);
  EXPECT_LE(run.box.Number("SELECT max(ended_unix_ms) FROM v_attempts WHERE trial_id NOT IN "
                           "(SELECT target_trial_id FROM v_forecasts)"),
            target[0]["registered_unix_ms"].get<int64_t>());
  EXPECT_EQ(run.box.Number("SELECT (SELECT event_id FROM events WHERE kind LIKE '%regist%') < "
                           "(SELECT min(e.event_id) FROM events e JOIN v_forecasts f "
                           "ON e.trial_id=f.target_trial_id WHERE e.kind LIKE 'COMPLETED')"),
            1);
  EXPECT_EQ(target[0]["previous_hash"], "");
  EXPECT_EQ(target[0]["record_hash"],
            core::Sha256Hex("\n" + target[0]["record_json"].get<std::string>()));
  EXPECT_EQ(run.box.Number("SELECT count(*) FROM forecasts WHERE json_array_length("
                           "observations_json)=6"),
            1);
  const auto stored = run.box.Rows("SELECT observations_json FROM forecasts");
  EXPECT_EQ(target[0]["observations_hash"],
            core::Sha256Hex(stored[0]["observations_json"].get<std::string>()));
}

TEST_F(SweepTest, LaunchingTheFileAgainAddsNothingAndSaysTheSame) {
  Reference& run = Undisturbed();
  ASSERT_EQ(run.first.code, 0);
  const int64_t attempts = run.box.Number("SELECT count(*) FROM attempts");
  const Result again = run.box.Launch(run.file, {"--json"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("grid: 0 trials left of 6 and 0 targets, 0 FLOPs, 0 tokens\n"));
  EXPECT_THAT(again.err, HasSubstr("0 trials added, 6 shared with earlier sweeps or launches (6 "));
  EXPECT_EQ(Json::parse(again.out)["forecasts"], Json::parse(run.first.out)["forecasts"]);
  EXPECT_EQ(Json::parse(again.out)["fit"], Json::parse(run.first.out)["fit"]);
  EXPECT_EQ(Json::parse(again.out)["flops_spent"], Json::parse(run.first.out)["flops_spent"]);
  EXPECT_EQ(run.box.Number("SELECT count(*) FROM attempts"), attempts);
  EXPECT_EQ(run.box.Number("SELECT count(*) FROM forecasts"), 1);
  EXPECT_EQ(run.box.Number("SELECT count(*) FROM fits"), 1);
}

// A number is never printed without its warnings, whenever it is printed.
TEST_F(SweepTest, EveryWayBackToAForecastShowsItsWarnings) {
  Reference& run = Undisturbed();
  ASSERT_EQ(run.first.code, 0);
  const Json out = Json::parse(run.first.out);
  const Json warnings = out["forecasts"][0]["warnings"];
  std::set<std::string> codes;
  for (const Json& warning : warnings) codes.insert(warning["code"]);
  // Two budgets of three points, four times beyond: these cannot be absent.
  EXPECT_TRUE(codes.count("outside-range")) << warnings;
  EXPECT_TRUE(codes.count("few-degrees-of-freedom") || codes.count("too-few-points") ||
              codes.count("asymptote-unidentified") || codes.count("not-fitted"))
      << warnings;
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"resume", "grid"},
           {"watch", "grid"},
           {"forecasts"},
           {"launch", run.file, "--data-root", run.box.text(), "--yes"}}) {
    const Result result = run.box.Sweepctl(args);
    EXPECT_EQ(result.code, 0) << args[0] << result.err;
    EXPECT_THAT(result.out, HasSubstr("grid/4e+11")) << args[0];
    for (const Json& warning : warnings) {
      EXPECT_THAT(result.out, HasSubstr(warning["code"].get<std::string>() + ": " +
                                        warning["text"].get<std::string>()))
          << args[0];
    }
  }
  EXPECT_EQ(Json::parse(run.box.Sweepctl({"forecasts", "--json"}).out)["forecasts"][0]["warnings"],
            warnings);
}

TEST_F(SweepTest, ALargerSweepReusesWhatASmallerOneFinished) {
  Reference& run = Undisturbed();
  ASSERT_EQ(run.first.code, 0);
  const auto before = run.box.SumNats("grid");
  const std::string file = run.box.SweepFile("larger", "[1e11, 1.5e11, 2e11]", 3);
  const Result larger = run.box.Launch(file);
  ASSERT_EQ(larger.code, 0) << larger.err;
  EXPECT_THAT(larger.err, HasSubstr("larger: 3 trials left of 9 and 0 targets"));
  EXPECT_THAT(larger.err,
              HasSubstr("3 trials added, 6 shared with earlier sweeps or launches (6 "));
  EXPECT_EQ(run.box.Number("SELECT count(*) FROM v_observations WHERE sweep='larger'"), 9);
  EXPECT_EQ(run.box.Number("SELECT count(*) FROM v_attempts WHERE sweep='larger'"), 3);
  for (const auto& [id, nats] : before) EXPECT_EQ(run.box.SumNats("larger").at(id), nats) << id;
  // The same file under another name: nothing is trained at all.
  const Result copy = run.box.Launch(run.box.SweepFile("copy", "[1e11, 2e11]", 3), {"--json"});
  ASSERT_EQ(copy.code, 0) << copy.err;
  EXPECT_EQ(run.box.Number("SELECT count(*) FROM v_attempts WHERE sweep='copy'"), 0);
}

TEST_F(SweepTest, KillingTrainerAgentAndCoordinatorChangesNoResult) {
  Sandbox box;
  const std::string file = box.SweepFile("grid", "[1e11, 2e11]", 3, kForecast);
  box.StartCoordinator();
  Running agent = box.StartAgent();
  Running launch = box.StartLaunch(file, {"--no-workers"});
  const std::string checkpointed =
      "SELECT count(*) FROM trials WHERE state='LEASED' AND checkpoint_step>0 AND step<steps";
  ASSERT_TRUE(Eventually([&] { return box.Number(checkpointed) > 0; })) << launch.err();

  // The trainer.
  std::vector<int> trainers = ChildrenOf(agent.pid());
  ASSERT_FALSE(trainers.empty());
  for (const int pid : trainers) kill(pid, SIGKILL);
  ASSERT_TRUE(Eventually([&] {
    return box.Number("SELECT count(*) FROM attempts WHERE outcome='FAILED'") > 0;
  })) << box.Logs();
  // The agent: its trainers must go with it, its leases run out.
  ASSERT_TRUE(Eventually([&] { return box.Number(checkpointed) > 0; }));
  trainers = ChildrenOf(agent.pid());
  agent.Signal(SIGKILL);
  EXPECT_EQ(agent.Wait().code, 128 + SIGKILL);
  for (const int pid : trainers) EXPECT_TRUE(Eventually([&] { return !Alive(pid); }, 5)) << pid;
  ASSERT_TRUE(Eventually(
      [&] { return box.Number("SELECT count(*) FROM attempts WHERE outcome='EXPIRED'") > 0; }));
  agent = box.StartAgent();
  // The coordinator, with nobody to start it again until somebody resumes.
  launch.Signal(SIGINT);
  const Result detached = launch.Wait(10);
  EXPECT_EQ(detached.code, 130) << detached.err;
  ASSERT_TRUE(Eventually([&] {
    return box.Number("SELECT count(*) FROM trials WHERE state='LEASED' AND step<steps") > 0;
  })) << box.Logs();
  const int coordinator = box.CoordinatorPid();
  ASSERT_GT(coordinator, 0);
  ASSERT_EQ(kill(coordinator, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return box.CoordinatorPid() < 0; }, 5));

  const Result resumed = box.Sweepctl({"resume", "grid", "--json"}, 120);
  ASSERT_EQ(resumed.code, 0) << resumed.err << box.Logs();
  Reference& reference = Undisturbed();
  ASSERT_EQ(reference.first.code, 0) << reference.first.err;
  EXPECT_EQ(box.SumNats("grid"), reference.box.SumNats("grid"));
  EXPECT_EQ(box.SumNats("grid", "target"), reference.box.SumNats("grid", "target"));
  EXPECT_EQ(box.SumNats("grid").size(), 6u);
  EXPECT_EQ(box.Weights("grid"), reference.box.Weights("grid"));
  EXPECT_EQ(box.Weights("grid").size(), 7u);
  EXPECT_EQ(Json::parse(resumed.out)["forecasts"][0]["loss"],
            Json::parse(reference.first.out)["forecasts"][0]["loss"]);
  // It was really resumed, and by more than one worker.
  EXPECT_GT(box.Number("SELECT count(*) FROM attempts WHERE start_step>0"), 0);
  EXPECT_GT(box.Number("SELECT count(DISTINCT worker_id) FROM attempts"), 1);
  EXPECT_EQ(box.Number("SELECT count(*) FROM attempts WHERE outcome='RUNNING'"), 0);
  EXPECT_EQ(box.Number("SELECT count(*) FROM evaluations WHERE final=1"), 7);
}

TEST_F(SweepTest, CtrlCDetachesAndTheSweepGoesOn) {
  Sandbox box;
  const std::string file = box.SweepFile("away", "[1e11, 1.5e11]", 2);
  Running launch = box.StartLaunch(file);
  ASSERT_TRUE(Eventually([&] {
    return box.Number("SELECT count(*) FROM trials WHERE state='LEASED'") > 0 &&
           launch.err().find("Ctrl-C") != std::string::npos;
  })) << launch.err();
  launch.Signal(SIGINT);
  const Result left = launch.Wait(10);
  EXPECT_EQ(left.code, 130);
  EXPECT_THAT(left.err, HasSubstr("detached: 'away' goes on"));
  EXPECT_THAT(left.err, HasSubstr("sweepctl watch away"));
  EXPECT_GT(box.CoordinatorPid(), 0);
  const int64_t done = box.Number("SELECT count(*) FROM trials WHERE state='COMPLETED'");
  EXPECT_LT(done, 4);
  // Somebody who looks can go again, too.
  Running look = box.StartSweepctl({"watch", "away"});
  ASSERT_TRUE(Eventually([&] {
    return box.Number("SELECT count(*) FROM trials WHERE state='COMPLETED'") > done;
  })) << box.Logs();
  look.Signal(SIGINT);
  const Result looked = look.Wait(10);
  EXPECT_TRUE(looked.code == 130 || looked.code == 0) << looked.code << looked.err;
  const Result resumed = box.Sweepctl({"resume", "away"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr("4 trials completed, 0 not"));
  EXPECT_EQ(box.Number("SELECT count(*) FROM attempts"), 4);
  const Result watched = box.Sweepctl({"watch", "away"});
  EXPECT_EQ(watched.code, 0) << watched.err;
}

}  // namespace
}  // namespace e2e
