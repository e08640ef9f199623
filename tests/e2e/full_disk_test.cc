// A full disk under a running sweep and under preparation: nothing is lost, and it goes on when
// there is room. Twice: on a small file system filled to the brim (where this user may mount one),
// and everywhere with a limit on file sizes, under which no file of our programs takes a byte.
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fmt/format.h"
#include "tests/e2e/harness.h"

namespace e2e {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// Where ballast can fill a disk without hurting anybody.
class SmallDisk {
 public:
  explicit SmallDisk(int mib) : path_(testing::TempDir() + "disk_XXXXXX") {
    path_ = mkdtemp(path_.data());
    mounted_ = mount("none", path_.c_str(), "tmpfs", 0, fmt::format("size={}m", mib).c_str()) == 0;
  }
  ~SmallDisk() {
    for (int i = 0; mounted_ && umount2(path_.c_str(), 0) != 0; ++i) {
      if (i == 100) umount2(path_.c_str(), MNT_DETACH);
      if (i == 100) break;
      usleep(50'000);
    }
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }
  void Fill() const {
    std::ofstream out(path_ + "/ballast", std::ios::binary | std::ios::app);
    const std::string block(4096, 'x');
    while (out.write(block.data(), block.size()).flush()) {
    }
  }
  void Free() const { fs::remove(path_ + "/ballast"); }

 private:
  std::string path_;
  bool mounted_ = false;
};

// Coordinator, agents and trainers of the database.
std::vector<int> Programs(const Sandbox& box) {
  std::vector<int> pids = {box.CoordinatorPid()};
  for (const core::Json& row : box.Rows("SELECT pid FROM workers")) {
    const int agent = row["pid"];
    pids.push_back(agent);
    for (const int trainer : ChildrenOf(agent)) pids.push_back(trainer);
  }
  return pids;
}

void LimitFileSizes(const Sandbox& box, rlim_t bytes) {
  for (const int pid : Programs(box)) {
    rlimit limit = {};
    // One that has just ended is no loss.
    if (prlimit(pid, RLIMIT_FSIZE, nullptr, &limit) != 0) continue;
    limit.rlim_cur = std::min(bytes, limit.rlim_max);
    prlimit(pid, RLIMIT_FSIZE, &limit, nullptr);
  }
}

void TrainThroughAFullDisk(const Sandbox& box, const std::function<void()>& fill,
                           const std::function<void()>& free) {
  const std::string file = box.SweepFile("full", "[1e11]", 3);
  Running launch = box.StartLaunch(file);
  ASSERT_TRUE(Eventually([&] {
    return box.Number("SELECT count(*) FROM trials WHERE state='LEASED'") > 0;
  })) << launch.err();
  fill();
  ASSERT_TRUE(
      Eventually([&] { return launch.err().find("free some space") != std::string::npos; }, 30))
      << launch.err() << box.Logs();
  launch.Signal(SIGINT);
  EXPECT_EQ(launch.Wait(10).code, 130);
  free();
  const Result resumed = box.Sweepctl({"resume", "full"}, 120);
  ASSERT_EQ(resumed.code, 0) << resumed.err << box.Logs();
  EXPECT_EQ(box.Number("SELECT count(*) FROM trials WHERE state='COMPLETED'"), 3);
  // The disk's fault costs no retry.
  EXPECT_EQ(box.Number("SELECT sum(failures) FROM trials"), 0);
}

TEST(FullDiskTest, TrainingWaitsForRoomAndThenCompletes) {
  SmallDisk disk(16);
  if (!disk.mounted()) GTEST_SKIP() << "no right to mount a small tmpfs";
  Sandbox box(disk.path());
  TrainThroughAFullDisk(
      box, [&] { disk.Fill(); }, [&] { disk.Free(); });
}

TEST(FullDiskTest, PreparationSaysSoAndGoesOnLater) {
  SmallDisk disk(2);
  if (!disk.mounted()) GTEST_SKIP() << "no right to mount a small tmpfs";
  Sandbox box(disk.path());
  const std::string file = box.SweepFile("full", "[1e11]", 1);
  Sandbox elsewhere;  // its output files need room
  const std::vector<std::string> launch = {"launch", file,         "--data-root",        box.text(),
                                           "--yes",  "--data-dir", disk.path() + "/data"};
  disk.Fill();
  const Result full = elsewhere.Sweepctl(launch);
  EXPECT_EQ(full.code, 73) << full.err;
  EXPECT_THAT(full.err, AllOf(HasSubstr("No space left on device"), HasSubstr("free some space")));
  disk.Free();
  const Result later = elsewhere.Sweepctl(launch);
  EXPECT_EQ(later.code, 0) << later.err;
}

TEST(FileSizeLimitTest, TrainingWaitsForRoomAndThenCompletes) {
  Sandbox box;
  TrainThroughAFullDisk(
      box, [&] { LimitFileSizes(box, 0); }, [&] { LimitFileSizes(box, RLIM_INFINITY); });
}

TEST(FileSizeLimitTest, PreparationSaysSoAndGoesOnLater) {
  Sandbox box;
  const std::string file = box.SweepFile("full", "[1e11]", 1);
  const std::string command = fmt::format("{} launch {} --data-root {} --yes --db {}",
                                          SWEEPCTL_PROGRAM, file, box.text(), box.db());
  // 64 KiB: room for every message, not for the shards.
  const Result full = box.Shell("ulimit -S -f 128; exec " + command);
  EXPECT_EQ(full.code, 73) << full.err;
  EXPECT_THAT(full.err, AllOf(HasSubstr("File too large"), HasSubstr("free some space")));
  const Result later = box.Shell("exec " + command);
  EXPECT_EQ(later.code, 0) << later.err;
}

}  // namespace
}  // namespace e2e
