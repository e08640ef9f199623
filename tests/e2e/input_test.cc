// Bad input, bad data and bad neighbours: each has its exit code and a message that says what to
// do, and nothing that was there is lost.
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "core/file.h"
#include "core/hash.h"
#include "core/version.h"
#include "fit/cohort.h"
#include "fit/fit.h"
#include "fmt/format.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/reader.h"
#include "orchestrator/store/sqlite.h"
#include "sweepctl/observations.h"
#include "tests/e2e/harness.h"
#include "worker/agent/coordinator_api.h"

namespace e2e {
namespace {

namespace fs = std::filesystem;
using core::Json;
using testing::AllOf;
using testing::HasSubstr;

std::string Replaced(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = *core::ReadFile(path);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  std::ofstream(path) << text;
  return path;
}

// The one folder of prepared data in the sandbox.
std::string PreparedFolder(const Sandbox& box) {
  return fs::directory_iterator(box.db() + ".data")->path().string();
}

std::string TrainingShard(const Sandbox& box) {
  for (const auto& entry : fs::recursive_directory_iterator(PreparedFolder(box))) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && name.find(".bin") != std::string::npos &&
        name.find("heldout") == std::string::npos)
      return entry.path().string();
  }
  return "";
}

// Submitted, prepared, and waiting for a worker.
void Submit(const Sandbox& box, const std::string& file) {
  const Result launch = box.Launch(file, {"--detach", "--no-workers"});
  ASSERT_EQ(launch.code, 0) << launch.err;
}

TEST(SweepFileTest, EveryMistakeIsPointedAtAndNothingIsMade) {
  Sandbox box;
  struct Case {
    const char *from, *to, *message;
  };
  const Case cases[] = {
      {"points: 3", "pionts: 3", "f.yaml:4:1: unknown key 'pionts'; did you mean 'points'?"},
      {"[1e11]", "[1e11, -2e11]", "f.yaml:3:17: budgets[1] is -2e11, not a number above 0"},
      {"[1e11]", "[1e9]", "f.yaml:3:11: recipe delphi-nano is made for 1e+11 to 1e+18"},
      {"seq_len: 128", "seq_len: 8192", "f.yaml:"},
      {"*.txt", "*.nothing", "f.yaml:7:3: no file matches '*.nothing' below"},
      {"tokenizer: bytes", "tokenizer: no-such.model", "no-such.model"},
      {"delphi-nano", "delphi-nono", "did you mean 'delphi-nano'?"},
  };
  for (const Case& c : cases) {
    const std::string file = Replaced(box.SweepFile("f", "[1e11]", 3), c.from, c.to);
    const Result result = box.Launch(file);
    EXPECT_EQ(result.code, 65) << c.to << "\n" << result.err;
    EXPECT_THAT(result.err, HasSubstr(c.message)) << c.to;
    EXPECT_FALSE(fs::exists(box.db())) << c.to;
  }
  const Result absent = box.Launch(box.dir() + "/absent.yaml");
  EXPECT_EQ(absent.code, 65);
  EXPECT_THAT(absent.err, HasSubstr("absent.yaml"));
  const Result root =
      box.Sweepctl({"launch", box.SweepFile("f", "[1e11]", 3), "--data-root", "/no/such", "--yes"});
  EXPECT_EQ(root.code, 65);
  EXPECT_THAT(root.err, HasSubstr("give one with --data-root"));
  const Result resume = box.Sweepctl({"resume", "nosuch"});
  EXPECT_EQ(resume.code, 65);
  EXPECT_THAT(resume.err, HasSubstr("does not exist; name another with --db"));
}

TEST(BadDataTest, AShardTruncatedBeforeTrainingFailsTheTrialByName) {
  Sandbox box;
  const std::string file = box.SweepFile("cut", "[1e11]", 1, "retry: {failure: 1}\n");
  Submit(box, file);
  const std::string shard = TrainingShard(box);
  const auto size = fs::file_size(shard);
  fs::resize_file(shard, size - 1000);
  const Result result = box.Sweepctl({"resume", "cut"});
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr(shard), HasSubstr("prepare the data again")));
  EXPECT_EQ(box.Number("SELECT count(*) FROM attempts WHERE outcome='FAILED'"), 2);
  EXPECT_EQ(box.Number("SELECT count(*) FROM trials WHERE state='FAILED'"), 1);
  // Launching again mends the data; the failed trial waits for `retry`.
  const Result again = box.Launch(file);
  EXPECT_EQ(again.code, 1) << again.err;
  EXPECT_THAT(again.err, HasSubstr("data: prepared again: shard '" + shard));
  EXPECT_EQ(fs::file_size(shard), size);
}

TEST(BadDataTest, OneChangedTokenIsFound) {
  Sandbox box;
  Submit(box, box.SweepFile("flip", "[1e11]", 1, "retry: {failure: 0}\n"));
  const std::string shard = TrainingShard(box);
  {
    std::fstream bytes(shard, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(5000);
    bytes.write("\x7f\x7f", 2);
  }
  const Result result = box.Sweepctl({"resume", "flip"});
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr(shard), HasSubstr("changed since it was prepared")));
}

TEST(BadDataTest, ATokenizerThatIsNotThePlansIsRefused) {
  Sandbox box;
  Submit(box, box.SweepFile("other", "[1e11]", 1, "retry: {failure: 0}\n"));
  const std::string manifest = PreparedFolder(box) + "/manifest.json";
  Json json = Json::parse(*core::ReadFile(manifest));
  json["tokenizer"]["hash"] = std::string(64, 'a');
  std::ofstream(manifest) << json.dump();
  const Result result = box.Sweepctl({"resume", "other"});
  EXPECT_EQ(result.code, 1) << result.err;
  EXPECT_THAT(result.err, HasSubstr("is not what the plan was made for: tokenizer is aaaa"));
}

TEST(DatabaseTest, ANewerSchemaIsLeftAloneByEveryVerb) {
  Sandbox box;
  const std::string file = box.SweepFile("new", "[1e11]", 1);
  Submit(box, file);
  kill(box.CoordinatorPid(), SIGTERM);
  ASSERT_TRUE(Eventually([&] { return box.CoordinatorPid() < 0; }, 10));
  {
    const auto db =
        orchestrator::Database::Open(box.db(), orchestrator::Database::Mode::kReadWrite);
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE((*db)->Execute("PRAGMA user_version=99").ok());
  }
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"resume", "new"}, {"watch", "new"}, {"serve"}}) {
    const Result result = box.Sweepctl(verb);
    EXPECT_EQ(result.code, 65) << verb[0] << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("schema version 99"), HasSubstr("use a newer")));
  }
  const Result launch = box.Launch(file);
  EXPECT_EQ(launch.code, 65) << launch.err;
  EXPECT_THAT(launch.err, HasSubstr("schema version 99"));
  const auto db = orchestrator::Database::Open(box.db(), orchestrator::Database::Mode::kReadWrite);
  EXPECT_EQ(*(*db)->Int(0, "SELECT count(*) FROM trials"), 1);
}

TEST(DatabaseTest, AFileThatIsNoDatabaseIsNotTouched) {
  Sandbox box;
  const std::string content = "my thesis, do not overwrite\n" + std::string(5000, 'x');
  std::ofstream(box.db()) << content;
  const Result result = box.Launch(box.SweepFile("none", "[1e11]", 1));
  EXPECT_EQ(result.code, 65) << result.err;
  EXPECT_THAT(result.err, HasSubstr(box.db()));
  EXPECT_EQ(*core::ReadFile(box.db()), content);
}

TEST(CoordinatorTest, ASecondOneIsRefusedAndTheFirstGoesOn) {
  Sandbox box;
  box.StartCoordinator();
  const int first = box.CoordinatorPid();
  const Result second = box.Sweepctl({"serve"}, 20);
  EXPECT_EQ(second.code, 65) << second.err;
  EXPECT_THAT(second.err, AllOf(HasSubstr("has a coordinator already"),
                                HasSubstr(std::to_string(first)), HasSubstr("kill")));
  EXPECT_EQ(box.CoordinatorPid(), first);
}

TEST(CoordinatorTest, AWorkerOfAnotherProtocolVersionIsRefused) {
  Sandbox box;
  box.StartCoordinator();
  const auto api = worker::ConnectToCoordinator("file:" + orchestrator::LockPath(box.db()));
  sweep::v1::RegisterRequest request;
  request.set_protocol_version(core::kProtocolVersion + 1);
  request.set_worker_id("future:1:1");
  const auto response = api->Register(request);
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(response.status().message()),
      AllOf(HasSubstr(fmt::format("speaks protocol version {}", core::kProtocolVersion + 1)),
            HasSubstr("install the same sweepctl on both")));
  EXPECT_EQ(box.Number("SELECT count(*) FROM workers"), 0);
}

TEST(CohortTest, TwoSweepsOnDifferentDataAreNotFittedTogether) {
  Sandbox box;
  ASSERT_EQ(box.Launch(box.SweepFile("one", "[1e11]", 3)).code, 0);
  const std::string file = Replaced(box.SweepFile("two", "[1e11]", 3), "*.txt", "1*.txt");
  const Result two = box.Launch(file);
  ASSERT_EQ(two.code, 0) << two.err;
  const auto reader = orchestrator::Reader::Open(box.db());
  ASSERT_TRUE(reader.ok());
  const auto observations = sweepctl::ObservationsOf(**reader, "");
  ASSERT_TRUE(observations.ok()) << observations.status();
  EXPECT_EQ(observations->fitted.size(), 6u);
  const auto fitted = fit::RunFit(observations->fitted, fit::FitOptions());
  ASSERT_FALSE(fitted.ok());
  EXPECT_THAT(std::string(fitted.status().message()),
              AllOf(HasSubstr("data"), HasSubstr("eval"), HasSubstr("allow-mixed")));
}

}  // namespace
}  // namespace e2e
