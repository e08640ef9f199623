// cancel, pause, retry and resume on a database whose coordinator is gone: they start it and say
// what comes next.
#include <signal.h>

#include "tests/e2e/harness.h"

namespace e2e {
namespace {

using core::Json;
using testing::HasSubstr;

void KillCoordinator(const Sandbox& box) {
  kill(box.CoordinatorPid(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return box.CoordinatorPid() < 0; }, 10));
}

TEST(ControlTest, PauseCancelAndResumeStartTheCoordinatorThatIsGone) {
  Sandbox box;
  const std::string file = box.SweepFile("gone", "[1e11]", 2);
  ASSERT_EQ(box.Launch(file, {"--detach", "--no-workers"}).code, 0);

  KillCoordinator(box);
  const Result paused = box.Sweepctl({"pause", "gone"});
  EXPECT_EQ(paused.code, 0) << paused.err;
  EXPECT_THAT(paused.err, HasSubstr("sweepctl resume gone --db " + box.db()));
  EXPECT_EQ(box.Number("SELECT paused FROM sweeps"), 1);
  EXPECT_GT(box.CoordinatorPid(), 0) << "unfinished trials wait for workers";

  KillCoordinator(box);
  const Result cancelled = box.Sweepctl({"cancel", "gone", "--json"});
  EXPECT_EQ(cancelled.code, 0) << cancelled.err;
  EXPECT_EQ(Json::parse(cancelled.out)["trials_changed"], 2);
  EXPECT_EQ(box.Number("SELECT count(*) FROM trials WHERE state='CANCELLED'"), 2);

  KillCoordinator(box);
  const Result resumed = box.Sweepctl({"resume", "gone"});
  EXPECT_EQ(resumed.code, 0) << resumed.err << box.Logs();
  EXPECT_THAT(resumed.err, HasSubstr("2 cancelled trials taken up again"));
  EXPECT_EQ(box.Number("SELECT count(*) FROM trials WHERE state='COMPLETED'"), 2);

  // Nothing left to change: no coordinator is started for it.
  KillCoordinator(box);
  const Result nothing = box.Sweepctl({"cancel", "gone"});
  EXPECT_EQ(nothing.code, 0) << nothing.err;
  EXPECT_THAT(nothing.out, HasSubstr("gone: no trial to cancel"));
  EXPECT_LT(box.CoordinatorPid(), 0);
}

TEST(ControlTest, RetryAfterACrashTakesTheFailedTrialUpAgain) {
  Sandbox box;
  // Fails until the file is there.
  const std::string script =
      box.Write("trainer.sh", "test -e " + box.dir() +
                                  "/fixed || exit 3\nexec python3 " SWEEP_SOURCE_DIR
                                  "/tests/e2e/planted_trainer.py\n");
  const std::string file = box.SweepFile(
      "broken", "[1e11]", 1, "trainer: {command: [sh, " + script + "]}\nretry: {failure: 0}\n");
  const Result failed = box.Launch(file);
  ASSERT_EQ(failed.code, 1);
  EXPECT_THAT(failed.err, HasSubstr("sweepctl retry broken --failed"));
  const size_t why = failed.err.find("exited with code 3");
  ASSERT_NE(why, std::string::npos);
  EXPECT_EQ(failed.err.find("exited with code 3", why + 1), std::string::npos) << "said twice";
  ASSERT_EQ(box.Number("SELECT count(*) FROM trials WHERE state='FAILED'"), 1);
  box.Write("fixed", "");
  if (box.CoordinatorPid() > 0) KillCoordinator(box);
  const Result retried = box.Sweepctl({"retry", "broken"});
  EXPECT_EQ(retried.code, 0) << retried.err;
  EXPECT_THAT(retried.out, HasSubstr("broken: 1 trials wait to be tried again"));
  EXPECT_THAT(retried.err, HasSubstr("sweepctl resume broken"));
  EXPECT_EQ(box.Number("SELECT count(*) FROM trials WHERE state='PENDING'"), 1);
  EXPECT_GT(box.CoordinatorPid(), 0);
  const Result resumed = box.Sweepctl({"resume", "broken"});
  EXPECT_EQ(resumed.code, 0) << resumed.err << box.Logs();
}

TEST(ControlTest, WhatCannotBeServedIsSaidAndNothingIsStarted) {
  Sandbox box;
  for (const std::string verb : {"pause", "cancel", "retry"}) {
    const Result none = box.Sweepctl({verb, "x"});
    EXPECT_EQ(none.code, 65) << verb;
    EXPECT_THAT(none.err, HasSubstr("does not exist; name another with --db, or make it with "
                                    "`sweepctl launch SWEEP.yaml"));
  }
  ASSERT_EQ(box.Launch(box.SweepFile("real", "[1e11]", 1), {"--detach", "--no-workers"}).code, 0);
  KillCoordinator(box);
  for (const std::string verb : {"pause", "cancel", "retry"}) {
    const Result misspelt = box.Sweepctl({verb, "reel"});
    EXPECT_EQ(misspelt.code, 65) << verb << misspelt.err;
    EXPECT_THAT(misspelt.err, HasSubstr("reel")) << verb;
    EXPECT_LT(box.CoordinatorPid(), 0) << verb;
  }
}

}  // namespace
}  // namespace e2e
