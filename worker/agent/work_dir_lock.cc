#include "worker/agent/work_dir_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {

absl::StatusOr<std::unique_ptr<WorkDirLock>> WorkDirLock::Take(const std::string& work_dir) {
  RETURN_IF_ERROR(core::MakeDirs(work_dir));
  const std::string path = work_dir + "/agent.lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return core::ErrnoStatus(errno, "opening lock file", path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char text[32] = {};
    const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    close(fd);
    const int pid = n > 0 ? std::atoi(text) : 0;  // 0: it is just writing it
    return absl::FailedPreconditionError(fmt::format(
        "work folder {} belongs to another agent{}: end that one, or give this one another folder "
        "with --work-dir",
        work_dir,
        pid > 0 ? fmt::format(", pid {} (`kill {}` gives its trials back)", pid, pid) : ""));
  }
  const std::string pid = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) != 0 ||
      pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    const absl::Status status = core::ErrnoStatus(errno, "writing lock file", path);
    close(fd);
    return status;
  }
  return std::unique_ptr<WorkDirLock>(new WorkDirLock(fd));
}

WorkDirLock::~WorkDirLock() { close(fd_); }

}  // namespace worker
