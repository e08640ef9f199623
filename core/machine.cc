#include "core/machine.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>
#include <thread>

#include "absl/strings/numbers.h"

namespace core {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// A file with one number; nothing for "max", -1, or no such file.
std::optional<int64_t> Number(const std::string& path) {
  std::ifstream in(path);
  std::string word;
  int64_t value = 0;
  if (!(in >> word) || !absl::SimpleAtoi(word, &value) || value < 0) return std::nullopt;
  return value;
}

// The value behind a key of lines "KEY VALUE" or "KEY: VALUE unit".
int64_t Keyed(const std::string& path, std::string_view key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    int64_t value = 0;
    if (words >> name >> value && name == key) return value;
  }
  return 0;
}

// The group of `controller` in /proc/self/cgroup: lines "ID:CONTROLLERS:PATH", where v2 has no
// controllers.
std::optional<std::string> GroupOf(const std::string& root, const std::string& controller) {
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controller.empty() ? names == ",,"
                           : names.find("," + controller + ",") != std::string::npos)
      return line.substr(second + 1);
  }
  return std::nullopt;
}

// Calls visit(folder) for the group's folder and every one above it. In a container the path may
// be the host's, and its own group stands at the mount: then only that is visited.
template <typename Visit>
void ForEachGroup(const std::string& mount, std::string group, const Visit& visit) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(mount + group, ignored)) group = "/";
  while (true) {
    visit(mount + group);
    if (group.empty() || group == "/") return;
    group.erase(group.rfind('/'));
  }
}

struct Limits {
  int64_t quota_cpus = kNoLimit, memory = kNoLimit, left = kNoLimit;
  void Cpus(int64_t quota_us, int64_t period_us) {
    if (quota_us > 0 && period_us > 0)
      quota_cpus = std::min(quota_cpus, std::max<int64_t>(1, quota_us / period_us));
  }
  void Memory(int64_t limit, int64_t used, int64_t cache) {
    memory = std::min(memory, limit);
    left = std::min(left, std::max<int64_t>(0, limit - std::max<int64_t>(0, used - cache)));
  }
};

Limits ReadLimits(const std::string& root) {
  Limits limits;
  const std::string mount = root + "/sys/fs/cgroup";
  if (const auto group = GroupOf(root, "")) {  // v2
    // Beside v1 controllers the unified tree is mounted below.
    std::error_code ignored;
    const std::string unified = mount + "/unified";
    ForEachGroup(std::filesystem::is_directory(unified, ignored) ? unified : mount, *group,
                 [&](const std::string& folder) {
                   std::ifstream cpu(folder + "/cpu.max");  // "QUOTA PERIOD" or "max PERIOD"
                   int64_t quota = 0, period = 0;
                   if (cpu >> quota >> period) limits.Cpus(quota, period);
                   if (const auto limit = Number(folder + "/memory.max")) {
                     limits.Memory(*limit, Number(folder + "/memory.current").value_or(0),
                                   Keyed(folder + "/memory.stat", "inactive_file"));
                   }
                 });
  }
  if (const auto group = GroupOf(root, "cpu")) {  // v1
    for (const char* controller : {"/cpu", "/cpu,cpuacct"}) {
      ForEachGroup(mount + controller, *group, [&](const std::string& folder) {
        limits.Cpus(Number(folder + "/cpu.cfs_quota_us").value_or(0),
                    Number(folder + "/cpu.cfs_period_us").value_or(0));
      });
    }
  }
  if (const auto group = GroupOf(root, "memory")) {
    ForEachGroup(mount + "/memory", *group, [&](const std::string& folder) {
      // "No limit" is a number near 2^63 here, which the machine's own memory beats.
      if (const auto limit = Number(folder + "/memory.limit_in_bytes")) {
        limits.Memory(*limit, Number(folder + "/memory.usage_in_bytes").value_or(0),
                      Keyed(folder + "/memory.stat", "total_inactive_file"));
      }
    });
  }
  return limits;
}

int AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

Machine ReadMachine(const std::string& root, int cpus) {
  const Limits limits = ReadLimits(root);
  Machine machine;
  const int64_t allowed = std::max(1, cpus > 0 ? cpus : AllowedCpus());
  machine.cores = static_cast<int>(std::min(allowed, limits.quota_cpus));
  const std::string meminfo = root + "/proc/meminfo";
  machine.total_bytes = Keyed(meminfo, "MemTotal:") * 1024;
  machine.available_bytes = Keyed(meminfo, "MemAvailable:") * 1024;
  if (machine.total_bytes > 0) machine.total_bytes = std::min(machine.total_bytes, limits.memory);
  if (machine.available_bytes > 0)
    machine.available_bytes = std::max<int64_t>(1, std::min(machine.available_bytes, limits.left));
  return machine;
}

}  // namespace core
