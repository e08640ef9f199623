#include "core/machine.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace core {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// A machine of files: 64 CPUs and 32 GiB, 24 of them available, and control groups as a test says.
class MachineTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "machine_XXXXXX";
    root_ = mkdtemp(pattern.data());
    Write(
        "/proc/meminfo",
        "MemTotal:       33554432 kB\nMemFree:         1048576 kB\nMemAvailable:   25165824 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << content;
  }
  Machine Read() const { return ReadMachine(root_, 64); }
  std::string root_;
};

TEST_F(MachineTest, WithoutGroupsEverythingIsOurs) {
  EXPECT_EQ(Read().cores, 64);
  EXPECT_EQ(Read().total_bytes, 32 * kGiB);
  EXPECT_EQ(Read().available_bytes, 24 * kGiB);
}

TEST_F(MachineTest, UnlimitedGroupsLimitNothing) {
  Write("/proc/self/cgroup", "0::/user.slice/session.scope\n");
  Write("/sys/fs/cgroup/user.slice/session.scope/cpu.max", "max 100000\n");
  Write("/sys/fs/cgroup/user.slice/session.scope/memory.max", "max\n");
  Write("/sys/fs/cgroup/user.slice/session.scope/memory.current", "123456\n");
  EXPECT_EQ(Read().cores, 64);
  EXPECT_EQ(Read().available_bytes, 24 * kGiB);
}

TEST_F(MachineTest, TheTightestGroupAboveAProcessCounts) {
  Write("/proc/self/cgroup", "0::/system.slice/job/step\n");
  const std::string slice = "/sys/fs/cgroup/system.slice";
  Write(slice + "/cpu.max", "800000 100000\n");
  Write(slice + "/memory.max", "2147483648\n");  // 2 GiB, of which 1.5 are used, half of it cache
  Write(slice + "/memory.current", "1610612736\n");
  Write(slice + "/memory.stat", "anon 805306368\nfile 805306368\ninactive_file 536870912\n");
  Write(slice + "/job/cpu.max", "350000 100000\n");
  Write(slice + "/job/memory.max", "max\n");
  Write(slice + "/job/step/cpu.max", "max 100000\n");
  Write(slice + "/job/step/memory.max", "8589934592\n");
  Write(slice + "/job/step/memory.current", "1048576\n");
  EXPECT_EQ(Read().cores, 3) << "3.5 CPUs keep three threads busy";
  EXPECT_EQ(Read().total_bytes, 2 * kGiB);
  EXPECT_EQ(Read().available_bytes, kGiB) << "2 GiB less 1.5 in use, of which 0.5 can be dropped";
}

TEST_F(MachineTest, AQuotaBelowOneCpuIsOneCoreAndAFullGroupHasNextToNothing) {
  Write("/proc/self/cgroup", "0::/job\n");
  Write("/sys/fs/cgroup/job/cpu.max", "20000 100000\n");
  Write("/sys/fs/cgroup/job/memory.max", "1048576\n");
  Write("/sys/fs/cgroup/job/memory.current", "2097152\n");
  EXPECT_EQ(Read().cores, 1);
  EXPECT_EQ(Read().available_bytes, 1) << "0 would mean unknown, and no limit at all";
}

TEST_F(MachineTest, InAContainerTheGroupStandsAtTheMount) {
  Write("/proc/self/cgroup", "0::/docker/0123abcd\n");  // a path of the host's
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  Write("/sys/fs/cgroup/memory.max", "4294967296\n");
  Write("/sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(Read().cores, 2);
  EXPECT_EQ(Read().available_bytes, 4 * kGiB);
}

TEST_F(MachineTest, VersionOneControllersAreReadOneByOne) {
  Write("/proc/self/cgroup",
        "12:memory:/slurm/uid_1/job_7\n8:cpu,cpuacct:/slurm/uid_1/job_7\n1:name=systemd:/init\n");
  const std::string cpu = "/sys/fs/cgroup/cpu,cpuacct/slurm/uid_1";
  Write(cpu + "/cpu.cfs_quota_us", "-1\n");
  Write(cpu + "/cpu.cfs_period_us", "100000\n");
  Write(cpu + "/job_7/cpu.cfs_quota_us", "400000\n");
  Write(cpu + "/job_7/cpu.cfs_period_us", "100000\n");
  const std::string memory = "/sys/fs/cgroup/memory/slurm/uid_1";
  Write(memory + "/memory.limit_in_bytes", "9223372036854771712\n");
  Write(memory + "/job_7/memory.limit_in_bytes", "3221225472\n");
  Write(memory + "/job_7/memory.usage_in_bytes", "2147483648\n");
  Write(memory + "/job_7/memory.stat", "inactive_file 5\ntotal_inactive_file 1073741824\n");
  EXPECT_EQ(Read().cores, 4);
  EXPECT_EQ(Read().total_bytes, 3 * kGiB);
  EXPECT_EQ(Read().available_bytes, 2 * kGiB);
}

TEST_F(MachineTest, ThisMachineIsRead) {
  const Machine machine = ReadMachine();
  EXPECT_GE(machine.cores, 1);
  EXPECT_GT(machine.available_bytes, 0);
  EXPECT_LE(machine.available_bytes, machine.total_bytes);
}

}  // namespace
}  // namespace core
