#include "orchestrator/launcher.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

#include "core/clock.h"
#include "core/file.h"
#include "core/machine.h"
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "core/version.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "orchestrator/lock_file.h"

namespace orchestrator {
namespace {

std::string LogTail(const std::string& path) {
  const absl::StatusOr<std::string> log = core::ReadFile(path);
  if (!log.ok()) return "(no log)";
  return log->size() > 2000 ? log->substr(log->size() - 2000) : *log;
}

// Why `sweepctl serve` ended, with the meaning of its exit code (DESIGN.md section 5) kept.
absl::Status ServeError(int exit_code, const std::string& serve, const std::string& log) {
  std::string tail = LogTail(log);
  const std::string prefix = "sweepctl: ";
  const size_t said = tail.rfind("\n" + prefix);
  if (said != std::string::npos || tail.rfind(prefix, 0) == 0) {
    tail = tail.substr((said == std::string::npos ? 0 : said + 1) + prefix.size());
  }
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  const std::string message =
      fmt::format("{} (`{}` ended with exit code {}; its log: {})", tail, serve, exit_code, log);
  if (exit_code == 65) return absl::FailedPreconditionError(message);
  if (exit_code == 73) return absl::ResourceExhaustedError(message);
  if (exit_code == 77) return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

std::string WorkerLockPath(const std::string& db_path, int number) {
  return fmt::format("{}.worker-{}.lock", db_path, number);
}

}  // namespace

absl::StatusOr<std::string> EnsureCoordinator(const EnsureOptions& options) {
  const core::Clock& clock = core::SystemClock();
  const int64_t deadline_ms = clock.MonotonicMs() + options.timeout_ms;
  const std::string log = options.db_path + ".coordinator.log";
  pid_t child = -1;
  while (clock.MonotonicMs() < deadline_ms) {
    const auto address = FindCoordinator(options.db_path);
    if (address.has_value() && !address->endpoint.empty()) {
      const auto info = Client::Connect(address->endpoint)->Info(2'000);
      if (info.ok() && info->protocol_version() != core::kProtocolVersion) {
        return absl::FailedPreconditionError(fmt::format(
            "the coordinator of {} (pid {}, version {}) speaks protocol version {}, this sweepctl "
            "{} speaks {}; stop it with `kill {}` and run this again",
            options.db_path, info->pid(), info->version(), info->protocol_version(),
            core::Version(), core::kProtocolVersion, info->pid()));
      }
      if (info.ok()) return address->endpoint;
    }
    if (!address.has_value()) {
      const auto exit = child > 0 ? core::PollExit(child) : std::nullopt;
      // A child that lost the race for the lock ends by itself; the winner is found above.
      if (child > 0 && exit.has_value() && *exit != 0 &&
          !FindCoordinator(options.db_path).has_value()) {
        return ServeError(*exit, fmt::format("{} serve --db {}", options.sweepctl, options.db_path),
                          log);
      }
      if (child <= 0 || exit.has_value()) {
        core::SpawnOptions spawn;
        spawn.argv = {options.sweepctl,
                      "serve",
                      "--db",
                      options.db_path,
                      "--exit-when-idle",
                      "--idle-ms",
                      std::to_string(options.idle_ms)};
        spawn.log_path = log;
        spawn.new_session = true;
        ASSIGN_OR_RETURN(child, core::Spawn(spawn));
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return absl::DeadlineExceededError(
      fmt::format("no coordinator of {} answered within {} ms; the end of {}:\n{}", options.db_path,
                  options.timeout_ms, log, LogTail(log)));
}

absl::StatusOr<std::vector<int>> StartLocalWorkers(const WorkerOptions& options) {
  std::vector<int> pids;
  RETURN_IF_ERROR(core::MakeDirs(options.work_dir));
  const int threads = options.threads > 0 ? options.threads
                                          : std::max(1, core::ReadMachine().cores / options.count);
  for (int i = 0; i < options.count; ++i) {
    std::string work_dir = options.work_dir;  // one agent a folder
    if (options.cuda) {
      work_dir += fmt::format("/gpu-{}", i);
    } else if (i > 0) {
      work_dir += fmt::format("/agent-{}", i);
    }
    core::SpawnOptions spawn;
    spawn.argv = {options.sweep_worker,
                  "agent",
                  "--coordinator",
                  options.endpoint.empty()
                      ? "file:" + std::filesystem::absolute(LockPath(options.db_path)).string()
                      : options.endpoint,
                  "--threads",
                  std::to_string(threads),
                  "--work-dir",
                  work_dir};
    if (options.slots > 0) {
      spawn.argv.push_back("--slots");
      spawn.argv.push_back(std::to_string(options.slots));
    }
    if (options.cuda) {
      spawn.argv.push_back("--cuda");
      spawn.argv.push_back(std::to_string(i));
    }
    if (options.exit_when_drained) spawn.argv.push_back("--exit-when-drained");
    spawn.log_path = fmt::format("{}.worker-{}.log", options.db_path, i);
    spawn.new_session = true;
    const std::string lock = WorkerLockPath(options.db_path, i);
    spawn.inherited_fd = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (spawn.inherited_fd < 0) return core::ErrnoStatus(errno, "opening lock file", lock);
    absl::StatusOr<pid_t> pid(-1);
    // The child's copy of the descriptor keeps the lock when ours is closed.
    if (flock(spawn.inherited_fd, LOCK_EX | LOCK_NB) == 0) pid = core::Spawn(spawn);
    close(spawn.inherited_fd);
    RETURN_IF_ERROR(pid.status());
    if (*pid > 0) pids.push_back(*pid);
  }
  return pids;
}

bool LocalWorkerLives(const std::string& db_path) {
  for (int i = 0;; ++i) {
    const int fd = open(WorkerLockPath(db_path, i).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    if (held) return true;
  }
}

}  // namespace orchestrator
