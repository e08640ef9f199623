// Coordinators as processes: started on demand, found again, ending by themselves.
#include "orchestrator/launcher.h"

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "core/subprocess.h"
#include "orchestrator/client.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/reader.h"
#include "tests/orchestrator/fixtures.h"

namespace orchestrator {
namespace {

using testing::HasSubstr;

class LauncherTest : public testing::Test {
 protected:
  void TearDown() override {
    if (const auto address = FindCoordinator(Db()); address.has_value())
      kill(address->pid, SIGKILL);
  }
  std::string Db() const { return dir_.File("test.db"); }
  EnsureOptions Options(int64_t idle_ms = 600'000) const {
    EnsureOptions options;
    options.db_path = Db();
    options.sweepctl = SERVE_PROGRAM;
    options.idle_ms = idle_ms;
    return options;
  }
  // A process of another session has no clock of ours.
  bool Gone() const {
    for (int i = 0; i < 2000; ++i) {
      if (!FindCoordinator(Db()).has_value()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  TempDir dir_;
};

TEST_F(LauncherTest, CoordinatorIsStartedOnceAndFoundAgain) {
  std::vector<std::future<absl::StatusOr<std::string>>> callers;
  for (int i = 0; i < 4; ++i)
    callers.push_back(std::async(std::launch::async, [&] { return EnsureCoordinator(Options()); }));
  std::string endpoint;
  for (auto& caller : callers) {
    const auto result = caller.get();
    ASSERT_OK(result);
    if (endpoint.empty()) endpoint = *result;
    EXPECT_EQ(*result, endpoint) << "all callers get the same coordinator";
  }
  const auto address = FindCoordinator(Db());
  ASSERT_TRUE(address.has_value());
  EXPECT_EQ(getsid(address->pid), address->pid) << "a session of its own survives the terminal";
}

TEST_F(LauncherTest, TerminatedCoordinatorEndsCleanlyAndKilledOneIsReplacedWithNothingLost) {
  auto first = EnsureCoordinator(Options());
  ASSERT_OK(first);
  ASSERT_OK(Client::Connect(*first)->SubmitSweep(MakeSweep("s", 3)));
  kill(FindCoordinator(Db())->pid, SIGKILL);
  ASSERT_TRUE(Gone());
  auto second = EnsureCoordinator(Options());
  ASSERT_OK(second);
  EXPECT_EQ(Client::Connect(*second)->Info()->pending_trials(), 3);
  kill(FindCoordinator(Db())->pid, SIGTERM);
  ASSERT_TRUE(Gone());
  bool told = false;
  const auto events = (*Reader::Open(Db()))->Events("", 0, 100);
  for (const EventRow& event : *events)
    told = told || (event.kind == "coordinator stopped" && event.detail == "signal 15");
  EXPECT_TRUE(told);
}

TEST_F(LauncherTest, IdleCoordinatorEndsByItself) {
  auto endpoint = EnsureCoordinator(Options(200));
  ASSERT_OK(endpoint);
  EXPECT_TRUE(Gone());
}

TEST_F(LauncherTest, AnAgentThatHasNotRegisteredGetsNoTwinUntilItHasEnded) {
  const std::string program = dir_.File("agent");
  std::ofstream(program) << "#!/bin/sh\nexec sleep 600\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  WorkerOptions options;
  options.db_path = Db();
  options.sweep_worker = program;
  options.work_dir = dir_.File("work");
  options.threads = 1;
  const auto first = StartLocalWorkers(options);
  ASSERT_OK(first);
  ASSERT_EQ(first->size(), 1u);
  EXPECT_EQ(StartLocalWorkers(options)->size(), 0u);
  EXPECT_TRUE(LocalWorkerLives(options.db_path));
  options.count = 2;
  const auto second = StartLocalWorkers(options);
  ASSERT_OK(second);
  EXPECT_EQ(second->size(), 1u) << "another agent beside it, when two are asked for";
  for (const int pid : {first->front(), second->front()}) {
    kill(pid, SIGKILL);
    ASSERT_TRUE(core::WaitExit(pid, 10'000).has_value());
  }
  EXPECT_FALSE(LocalWorkerLives(options.db_path));
  options.count = 1;
  const auto again = StartLocalWorkers(options);
  ASSERT_OK(again);
  ASSERT_EQ(again->size(), 1u);
  kill(again->front(), SIGKILL);
  ASSERT_TRUE(core::WaitExit(again->front(), 10'000).has_value());
}

TEST_F(LauncherTest, ProgramThatDoesNotComeUpIsReportedWithItsLog) {
  EnsureOptions options = Options();
  options.sweepctl = "/no/such/sweepctl";
  EXPECT_TRUE(absl::IsNotFound(EnsureCoordinator(options).status()));
  std::ofstream(Db()) << "this is no database, whatever its name says; it is long enough, though";
  options = Options();
  const absl::Status status = EnsureCoordinator(options).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("not a database"));
}

}  // namespace
}  // namespace orchestrator
