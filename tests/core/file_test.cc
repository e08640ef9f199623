#include "core/file.h"

#include <signal.h>
#include <sys/resource.h>

#include <filesystem>

#include "core/subprocess.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace core {
namespace {

using ::testing::HasSubstr;

std::string FreshFolder(const std::string& name) {
  const std::string folder = testing::TempDir() + "/core_file_test_" + name;
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(MakeDirs(folder + "/nested/deep").ok());
  return folder;
}

size_t FilesIn(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    count += entry.is_regular_file();
  return count;
}

TEST(FileTest, AWriteReplacesTheWholeContent) {
  const std::string path = FreshFolder("replace") + "/a";
  ASSERT_TRUE(WriteFileAtomically(path, "long first content").ok());
  ASSERT_TRUE(WriteFileAtomically(path, std::string("b\0c", 3)).ok());
  EXPECT_EQ(*ReadFile(path), std::string("b\0c", 3));
}

// A file size limit makes write() fail half-way, as a full disk does.
TEST(FileTest, AfterAFailedWriteTheOldContentStandsAndNothingIsLeftBehind) {
  const std::string folder = FreshFolder("full");
  const std::string path = folder + "/a";
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status status = WriteFileAtomically(path, std::string(1 << 20, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("free some space"));
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(FilesIn(folder), 1u);
}

TEST(FileTest, ErrorsNameThePathAndTheirKind) {
  const std::string folder = FreshFolder("errors");
  const auto missing = ReadFile(folder + "/none");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr(folder + "/none"));
  EXPECT_EQ(ReadFile(folder).status().code(), absl::StatusCode::kInvalidArgument);  // a folder
  EXPECT_EQ(WriteFileAtomically(folder + "/none/a", "x").code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(folder + "/file", "x").ok());
  EXPECT_FALSE(MakeDirs(folder + "/file/below").ok());
}

TEST(SubprocessTest, ExitCodesAndSignalsComeBack) {
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "exit $CODE"};
  options.env["CODE"] = "75";
  const auto child = Spawn(options);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_EQ(WaitExit(*child, 10000), 75);
  options.argv = {"/bin/sh", "-c", "kill -9 $$"};
  EXPECT_EQ(WaitExit(*Spawn(options), 10000), 128 + 9);
  options.argv = {"/no/such/program"};
  EXPECT_EQ(Spawn(options).status().code(), absl::StatusCode::kNotFound);
  options.argv = {"/bin/true"};
  options.log_path = "/proc/x.log";
  EXPECT_EQ(Spawn(options).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(Spawn(options).status().message()),
              HasSubstr("opening log '/proc/x.log'"));
}

TEST(SubprocessTest, AGroupIsSignalledWithItsChildrenAndAWaitTimesOut) {
  SpawnOptions options;
  options.argv = {"/bin/sh", "-c", "sleep 60 & wait"};
  const auto child = Spawn(options);
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(WaitExit(*child, 20), std::nullopt);
  SignalGroup(*child, SIGKILL);
  EXPECT_EQ(WaitExit(*child, 10000), 128 + 9);
}

}  // namespace
}  // namespace core
