// sweepctl doctor, in health and with one thing wrong at a time.
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "core/file.h"
#include "fmt/format.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/sqlite.h"
#include "tests/e2e/harness.h"

namespace e2e {
namespace {

namespace fs = std::filesystem;
using core::Json;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

// The first finding of a check that is not ok; null when all are.
Json Complaint(const Result& result, const std::string& check) {
  const Json out = Json::parse(result.out);
  for (const Json& row : out["checks"])
    if (row["check"] == check && row["state"] != "ok") return row;
  return nullptr;
}

// What was found by the first check of that name ("gpu" finds "gpu 0").
std::string Found(const Result& result, const std::string& check) {
  const Json out = Json::parse(result.out);
  for (const Json& row : out["checks"])
    if ((row["check"].get<std::string>() + " ").rfind(check + " ", 0) == 0) return row["found"];
  return "";
}

TEST(DoctorTest, SaysSoWhenAllIsWell) {
  Sandbox box;
  const Result empty = box.Sweepctl({"doctor"});
  EXPECT_EQ(empty.code, 0) << empty.out;
  EXPECT_THAT(empty.out, StartsWith("check"));
  EXPECT_FALSE(fs::exists(box.db()));  // it only looks
  ASSERT_EQ(box.Launch(box.SweepFile("one", "[1e11]", 1)).code, 0);
  const Result after = box.Sweepctl({"doctor", "--json"});
  EXPECT_EQ(after.code, 0) << after.out;
  EXPECT_EQ(Json::parse(after.out)["problems"], 0);
  EXPECT_THAT(Found(after, "database"), HasSubstr("intact, 1 sweep, 1 trial, 0 imports"));
  EXPECT_THAT(Found(after, "coordinator"), HasSubstr(fmt::format("pid {}", box.CoordinatorPid())));
  EXPECT_THAT(Found(after, "worker"), HasSubstr("2 slots"));
  EXPECT_THAT(Found(after, "data"), HasSubstr("every shard is there"));
  EXPECT_THAT(Found(after, "gpu"), AnyOf(HasSubstr("no GPU"), HasSubstr("compute capability")));
}

TEST(DoctorTest, NamesWhatIsWrongAndWhatToDo) {
  Sandbox box;
  const std::string file = box.SweepFile("one", "[1e11]", 1);
  ASSERT_EQ(box.Launch(file, {"--detach", "--no-workers"}).code, 0);
  // A coordinator that is there and does not answer.
  const int coordinator = box.CoordinatorPid();
  kill(coordinator, SIGSTOP);
  const Result hanging = box.Sweepctl({"doctor", "--json"}, 30);
  kill(coordinator, SIGCONT);
  EXPECT_EQ(hanging.code, 1) << hanging.out;
  EXPECT_EQ(Complaint(hanging, "coordinator")["state"], "problem");
  EXPECT_THAT(Complaint(hanging, "coordinator")["to_do"].get<std::string>(),
              HasSubstr(fmt::format("kill {}", coordinator)));
  // Trials wait and nobody works.
  const Result idle = box.Sweepctl({"doctor", "--json"});
  EXPECT_EQ(idle.code, 0) << idle.out;
  EXPECT_EQ(Complaint(idle, "worker")["state"], "warning");
  // A shard that lost its end.
  std::string shard;
  for (const auto& entry : fs::recursive_directory_iterator(box.db() + ".data"))
    if (entry.path().filename().string().find(".bin") != std::string::npos) shard = entry.path();
  fs::resize_file(shard, 2000);
  const Result cut = box.Sweepctl({"doctor", "--json"});
  EXPECT_EQ(cut.code, 1);
  EXPECT_THAT(Complaint(cut, "data")["found"].get<std::string>(), HasSubstr(shard));
  // A database with a hole, and one from the future.
  kill(coordinator, SIGTERM);
  ASSERT_TRUE(Eventually([&] { return box.CoordinatorPid() < 0; }, 10));
  {
    const auto db =
        orchestrator::Database::Open(box.db(), orchestrator::Database::Mode::kReadWrite);
    ASSERT_TRUE((*db)->Execute("PRAGMA wal_checkpoint(TRUNCATE)").ok());
    ASSERT_TRUE((*db)->Execute("PRAGMA user_version=99").ok());
  }
  const Result future = box.Sweepctl({"doctor", "--json"});
  EXPECT_EQ(future.code, 1);
  EXPECT_THAT(Complaint(future, "database")["found"].get<std::string>(),
              HasSubstr("schema version 99"));
  {
    const auto db =
        orchestrator::Database::Open(box.db(), orchestrator::Database::Mode::kReadWrite);
    ASSERT_TRUE(
        (*db)->Execute(fmt::format("PRAGMA user_version={}", orchestrator::kSchemaVersion)).ok());
  }
  {
    std::fstream bytes(box.db(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(3 * 4096);
    bytes << std::string(8192, '\x5a');
  }
  const Result damaged = box.Sweepctl({"doctor", "--json"});
  EXPECT_EQ(damaged.code, 1) << damaged.out;
  EXPECT_EQ(Complaint(damaged, "database")["state"], "problem");
  EXPECT_THAT(Complaint(damaged, "database")["to_do"].get<std::string>(), HasSubstr("backup"));
}

}  // namespace
}  // namespace e2e
