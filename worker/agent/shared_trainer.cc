#include "worker/agent/shared_trainer.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/file.h"
#include "core/status_macros.h"

namespace worker {

struct SharedTrainer::Process {
  ~Process() {
    if (listener >= 0) close(listener);
  }
  int listener = -1;
  sockaddr_un address = {};
  socklen_t address_length = 0;
  core::Mutex mu;
  std::unique_ptr<ChildProcess> child GUARDED_BY(mu);
  int busy GUARDED_BY(mu) = 0;          // connections with a trial
  int busy_at_end GUARDED_BY(mu) = -1;  // -1: it is not known to have ended
  pid_t pid = -1;
};

namespace {

class Connection final : public TrainerPeer {
 public:
  Connection(std::shared_ptr<SharedTrainer::Process> process, int fd)
      : process_(std::move(process)), fd_(fd) {}
  ~Connection() override {
    SetBusy(false);
    close(fd_);
  }
  void SetBusy(bool busy) override {
    core::MutexLock lock(&process_->mu);
    process_->busy += static_cast<int>(busy) - static_cast<int>(busy_);
    busy_ = busy;
  }
  int Neighbours() override {
    core::MutexLock lock(&process_->mu);
    return std::max(0, process_->busy_at_end - static_cast<int>(busy_));
  }
  absl::StatusOr<std::string> Read(int timeout_ms) override { return ReadSocket(fd_, timeout_ms); }
  absl::Status Write(std::string_view bytes) override { return WriteSocket(fd_, bytes); }
  pid_t pid() const override { return process_->pid; }
  std::string DescribeEnd() override {
    core::MutexLock lock(&process_->mu);
    // The first to notice counts; the others are about to let go.
    if (process_->busy_at_end < 0) process_->busy_at_end = process_->busy;
    return process_->child->DescribeEnd();
  }
  void MarkLog() override {
    core::MutexLock lock(&process_->mu);
    process_->child->MarkLog();
  }

 private:
  const std::shared_ptr<SharedTrainer::Process> process_;
  const int fd_;
  bool busy_ = false;
};

absl::StatusOr<std::shared_ptr<SharedTrainer::Process>> Launch(const std::vector<std::string>& argv,
                                                               const std::string& log_path) {
  auto process = std::make_shared<SharedTrainer::Process>();
  process->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (process->listener < 0) return core::ErrnoStatus(errno, "making a socket for", argv.front());
  // Linux gives a name of its own in the abstract namespace; the trainer admits this user only.
  process->address.sun_family = AF_UNIX;
  auto* address = reinterpret_cast<sockaddr*>(&process->address);
  process->address_length = sizeof(process->address);
  if (bind(process->listener, address, sizeof(sa_family_t)) != 0 ||
      listen(process->listener, 256) != 0 ||
      getsockname(process->listener, address, &process->address_length) != 0)
    return core::ErrnoStatus(errno, "binding the socket of", argv.front());
  core::MutexLock lock(&process->mu);
  ASSIGN_OR_RETURN(process->child, ChildProcess::StartListening(argv, process->listener, log_path));
  process->pid = process->child->pid();
  return process;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainerPeer>> SharedTrainer::Connect() {
  std::shared_ptr<Process> process;
  {
    core::MutexLock lock(&mu_);
    bool running = false;
    if (process_ != nullptr) {
      core::MutexLock process_lock(&process_->mu);
      running = process_->child->Running();
    }
    if (!running) {
      auto launched = Launch(argv_, log_path_);
      if (!launched.ok()) return absl::UnavailableError(launched.status().message());
      process_ = *std::move(launched);
    }
    process = process_;
  }
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&process->address),
                        process->address_length) != 0) {
    const absl::Status status =
        absl::UnavailableError(std::string("connecting to the trainer: ") + std::strerror(errno));
    if (fd >= 0) close(fd);
    return status;
  }
  return std::make_unique<Connection>(std::move(process), fd);
}

}  // namespace worker
