#include "core/file.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/status_macros.h"
#include "fmt/format.h"

namespace core {

absl::Status ErrnoStatus(int error_number, std::string_view attempted, const std::string& path) {
  const std::string message =
      fmt::format("{} '{}' failed: {}", attempted, path, std::strerror(error_number));
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EISDIR:
    case ENAMETOOLONG:
      return absl::InvalidArgumentError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(
          message + "; free some space and run the command again, nothing is lost");
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "opening", path);
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int saved = errno;
      close(fd);
      return ErrnoStatus(saved, "reading", path);
    }
    if (n == 0) break;
    content.append(buffer, n);
  }
  close(fd);
  return content;
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view content) {
  const std::string temporary = fmt::format("{}.tmp.{}", path, getpid());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, "creating", temporary);
  auto fail = [&](std::string_view attempted, int error_number) {
    close(fd);
    unlink(temporary.c_str());
    return ErrnoStatus(error_number, attempted, temporary);
  };
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("writing", errno);
    done += n;
  }
  if (fsync(fd) != 0) return fail("flushing", errno);
  close(fd);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    const int saved = errno;
    unlink(temporary.c_str());
    return ErrnoStatus(saved, "renaming to", path);
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int folder_fd =
      open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd >= 0) {
    fsync(folder_fd);
    close(folder_fd);
  }
  return absl::OkStatus();
}

absl::Status SyncDir(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "opening folder", path);
  const int result = fsync(fd);
  const int saved = errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : ErrnoStatus(saved, "flushing folder", path);
}

absl::Status MakeDirs(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "creating folder", path);
  return absl::OkStatus();
}

void ReportFileSizeLimit() { signal(SIGXFSZ, SIG_IGN); }

}  // namespace core
