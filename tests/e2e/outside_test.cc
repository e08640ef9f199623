// Trainers that are not ours, through a sweep file.
#include <signal.h>

#include <filesystem>

#include "core/file.h"
#include "fmt/format.h"
#include "tests/e2e/harness.h"

namespace e2e {
namespace {

using core::Json;
using testing::HasSubstr;

std::string Command(const std::string& program, const std::string& argument) {
  return fmt::format("trainer: {{command: [{}, \"{}\"]}}\n", program, argument);
}

// The Python processes of the outside trainer that run below the database's agents.
std::vector<int> OutsideTrainers(const Sandbox& box) {
  std::vector<int> found;
  for (const Json& row : box.Rows("SELECT pid FROM workers")) {
    for (const int pid : ChildrenOf(row["pid"].get<int>())) {
      const auto exe = core::ReadFile(fmt::format("/proc/{}/cmdline", pid));
      if (exe.ok() && exe->find("_trainer.py") != std::string::npos) found.push_back(pid);
    }
  }
  return found;
}

TEST(OutsideTrainerTest, TheExampleIsKilledResumedAndCompletes) {
  Sandbox box;
  const std::string file = box.SweepFile(
      "bigram", "[1e11]", 1, Command("python3", SWEEP_SOURCE_DIR "/examples/outside_trainer.py"));
  Running launch = box.StartLaunch(file);
  ASSERT_TRUE(Eventually(
      [&] { return box.Number("SELECT count(*) FROM trials WHERE checkpoint_step>0") > 0; }, 150))
      << launch.err() << box.Logs();
  const std::vector<int> trainers = OutsideTrainers(box);
  ASSERT_EQ(trainers.size(), 1u);
  kill(trainers[0], SIGKILL);
  const Result result = launch.Wait(200);
  ASSERT_EQ(result.code, 0) << result.err << box.Logs();
  const auto attempts = box.Rows(
      "SELECT outcome, detail, start_step, steps, trainer FROM v_attempts ORDER BY attempt");
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[0]["outcome"], "FAILED");
  EXPECT_THAT(attempts[0]["detail"].get<std::string>(), HasSubstr("signal 9"));
  EXPECT_EQ(attempts[1]["outcome"], "COMPLETED");
  EXPECT_GE(attempts[1]["start_step"], attempts[1]["steps"].get<int64_t>() / 4);
  EXPECT_EQ(attempts[1]["trainer"], "outside_trainer.py");
  // It learnt something: less than the 5.55 nats of 257 equal bytes.
  EXPECT_EQ(box.Number("SELECT count(*) FROM v_observations WHERE loss<3.5"), 1);
}

TEST(OutsideTrainerTest, ASweepOfThemIsFittedAndForecastLikeANativeOne) {
  Sandbox box;
  const std::string file =
      box.SweepFile("planted", "[1e11, 2e11, 4e11]", 3,
                    Command("python3", SWEEP_SOURCE_DIR "/tests/e2e/planted_trainer.py") +
                        "forecast: {at: [1e12], register: true}\n");
  Running launch = box.StartLaunch(file, {"--json"});
  ASSERT_TRUE(Eventually(
      [&] {
        return box.Number(
                   "SELECT count(*) FROM trials WHERE state='LEASED' AND checkpoint_step>0 "
                   "AND checkpoint_step<steps/2") > 0;
      },
      60))
      << launch.err() << box.Logs();
  for (const int pid : OutsideTrainers(box)) kill(pid, SIGKILL);
  const Result result = launch.Wait(150);
  ASSERT_EQ(result.code, 0) << result.err << box.Logs();
  const Json out = Json::parse(result.out);
  EXPECT_EQ(out["counts"]["COMPLETED"], 10);
  EXPECT_EQ(out["forecasts"][0]["status"], "scored");
  EXPECT_GT(box.Number("SELECT count(*) FROM attempts WHERE start_step>0 AND "
                       "outcome='COMPLETED'"),
            0);
  EXPECT_EQ(box.Number("SELECT count(*) FROM attempts WHERE outcome='COMPLETED' AND "
                       "trainer='planted'"),
            10);
}

TEST(OutsideTrainerTest, GarbageFailsTheTrialAndIsQuoted) {
  Sandbox box;
  const std::string script = box.Write("garbage.sh", "echo 'Epoch 1/3: loss=2.25' >&3\nsleep 5\n");
  const std::string file =
      box.SweepFile("garbage", "[1e11]", 1, Command("sh", script) + "retry: {failure: 1}\n");
  const Result result = box.Launch(file);
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.out + result.err, HasSubstr("'Epoch 1/3: loss=2.25'"));
  EXPECT_THAT(result.out + result.err, HasSubstr("prints belong on stdout"));
  EXPECT_EQ(box.Number("SELECT count(*) FROM attempts WHERE outcome='FAILED' AND detail LIKE "
                       "'%Epoch 1/3: loss=2.25%'"),
            2);
  EXPECT_EQ(box.Number("SELECT count(*) FROM trials WHERE state='FAILED'"), 1);
  // Nothing more is tried by coming back, and it still says so.
  EXPECT_EQ(box.Sweepctl({"resume", "garbage"}).code, 1);
}

TEST(OutsideTrainerTest, ACommandThatDoesNotExistSaysWhatToDo) {
  Sandbox box;
  const std::string file = box.SweepFile("absent", "[1e11]", 1,
                                         Command("no-such-trainer", "x") + "retry: {failure: 0}\n");
  const Result result = box.Launch(file);
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no-such-trainer"));
  EXPECT_THAT(result.err, HasSubstr("is it installed, and in PATH?"));
}

}  // namespace
}  // namespace e2e
