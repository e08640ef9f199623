#include "worker/agent/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/file.h"
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "fmt/format.h"

namespace worker {
namespace {

constexpr int64_t kTailBytes = 2048;
constexpr int kEndMs = 2000;

int64_t FileSize(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_size) : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::vector<std::string>& argv, const std::map<std::string, std::string>& env,
    const std::string& log_path) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    return core::ErrnoStatus(errno, "making a socket pair for", argv.front());
  core::SpawnOptions options;
  options.argv = argv;
  options.env = env;
  options.log_path = log_path;
  options.inherited_fd = fds[1];
  const int64_t log_start = FileSize(log_path);
  const absl::StatusOr<pid_t> pid = core::Spawn(options);
  close(fds[1]);
  if (!pid.ok()) {
    close(fds[0]);
    return pid.status();
  }
  std::unique_ptr<ChildProcess> child(new ChildProcess(*pid, fds[0], log_path));
  child->log_start_ = log_start;
  return child;
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::StartListening(
    const std::vector<std::string>& argv, int listener, const std::string& log_path) {
  core::SpawnOptions options;
  options.argv = argv;
  options.log_path = log_path;
  options.inherited_fd = listener;
  const int64_t log_start = FileSize(log_path);
  ASSIGN_OR_RETURN(const pid_t pid, core::Spawn(options));
  std::unique_ptr<ChildProcess> child(new ChildProcess(pid, -1, log_path));
  child->log_start_ = log_start;
  return child;
}

bool ChildProcess::Running() {
  if (!exit_.has_value()) exit_ = core::PollExit(pid_);
  return !exit_.has_value();
}

ChildProcess::~ChildProcess() {
  if (fd_ >= 0) close(fd_);
  // Also when the child has ended: what it started may live on in its group.
  core::SignalGroup(pid_, SIGKILL);
  if (!exit_.has_value()) (void)core::WaitExit(pid_, 10'000);
}

absl::StatusOr<std::string> ReadSocket(int fd, int timeout_ms) {
  pollfd waiting = {fd, POLLIN, 0};
  const int ready = poll(&waiting, 1, timeout_ms);
  if (ready == 0 || (ready < 0 && errno == EINTR)) return std::string();
  char buffer[65536];
  const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return std::string();
  if (n <= 0) return absl::UnavailableError("the trainer closed its end");
  return std::string(buffer, static_cast<size_t>(n));
}

absl::Status WriteSocket(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return absl::UnavailableError(fmt::format("writing to the trainer: {}", strerror(errno)));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

void ChildProcess::MarkLog() { log_start_ = FileSize(log_path_); }

std::string ChildProcess::LogTail() const {
  const int file = open(log_path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return "";
  const int64_t size = FileSize(log_path_);
  const int64_t start = std::max(log_start_, size - kTailBytes);
  std::string tail(static_cast<size_t>(std::max<int64_t>(0, size - start)), '\0');
  const ssize_t n = pread(file, tail.data(), tail.size(), start);
  close(file);
  tail.resize(n > 0 ? static_cast<size_t>(n) : 0);
  // The text travels in protobuf strings, which must be UTF-8.
  for (char& c : tail)
    if (static_cast<unsigned char>(c) > 0x7e || (c < 0x20 && c != '\n' && c != '\t')) c = '?';
  return tail;
}

std::string ChildProcess::DescribeEnd() {
  bool killed = false;
  if (!exit_.has_value()) exit_ = core::WaitExit(pid_, kEndMs);
  if (!exit_.has_value()) {
    killed = true;
    core::SignalGroup(pid_, SIGKILL);
    exit_ = core::WaitExit(pid_, kEndMs);
  }
  std::string how;
  if (killed) {
    how = "the trainer closed its end and did not exit; it was killed";
  } else if (exit_.value_or(0) > 128) {
    how = fmt::format("the trainer was killed by signal {} ({}){}", *exit_ - 128,
                      strsignal(*exit_ - 128),
                      *exit_ - 128 == SIGKILL ? "; the kernel does that when memory runs out" : "");
  } else {
    how = fmt::format("the trainer exited with code {}", exit_.value_or(-1));
  }
  const std::string tail = LogTail();
  return tail.empty() ? how : fmt::format("{}; the end of its log ({}):\n{}", how, log_path_, tail);
}

}  // namespace worker
