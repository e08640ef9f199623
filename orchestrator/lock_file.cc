#include "orchestrator/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {
namespace {

CoordinatorAddress ReadAddress(int fd) {
  char buffer[4096];
  const ssize_t n = pread(fd, buffer, sizeof(buffer), 0);
  CoordinatorAddress address;
  if (n <= 0) return address;
  const auto json = core::ParseJson({buffer, static_cast<size_t>(n)}, "lock file");
  if (!json.ok() || !json->is_object()) return address;  // being written just now
  const auto text = [&](const char* key) {
    return json->contains(key) && (*json)[key].is_string() ? (*json)[key].get<std::string>() : "";
  };
  const auto number = [&](const char* key) {
    return json->contains(key) && (*json)[key].is_number_integer() ? (*json)[key].get<int64_t>()
                                                                   : 0;
  };
  address.endpoint = text("endpoint");
  address.pid = static_cast<int>(number("pid"));
  address.coordinator_id = text("coordinator_id");
  address.version = text("version");
  address.started_unix_ms = number("started_unix_ms");
  return address;
}

}  // namespace

std::string LockPath(const std::string& db_path) { return db_path + ".lock"; }

std::optional<CoordinatorAddress> FindCoordinator(const std::string& db_path) {
  const int fd = open(LockPath(db_path).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::optional<CoordinatorAddress> address;
  // A shared lock is refused exactly while a coordinator holds the exclusive one.
  if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) address = ReadAddress(fd);
  close(fd);
  return address;
}

absl::StatusOr<std::unique_ptr<DatabaseLock>> DatabaseLock::Take(const std::string& db_path) {
  RETURN_IF_ERROR(CheckDatabasePlace(db_path));
  const std::string path = LockPath(db_path);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return core::ErrnoStatus(errno, "opening lock file", path);
  // FindCoordinator's probe holds a shared lock for an instant: try for a moment.
  for (int attempt = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; ++attempt) {
    if (attempt < 10) {
      usleep(5000);
      continue;
    }
    const CoordinatorAddress other = ReadAddress(fd);
    close(fd);
    return absl::FailedPreconditionError(fmt::format(
        "database {} has a coordinator already: pid {} at {}; use that one, or stop it with "
        "`kill {}`",
        db_path, other.pid, other.endpoint.empty() ? "(starting)" : other.endpoint, other.pid));
  }
  return std::unique_ptr<DatabaseLock>(new DatabaseLock(fd, path));
}

DatabaseLock::~DatabaseLock() {
  if (ftruncate(fd_, 0) != 0) { /* stale content is harmless: it counts only while locked */
  }
  close(fd_);
}

absl::Status DatabaseLock::Publish(const CoordinatorAddress& address) {
  const core::Json json = {{"endpoint", address.endpoint},
                           {"pid", address.pid},
                           {"coordinator_id", address.coordinator_id},
                           {"version", address.version},
                           {"started_unix_ms", address.started_unix_ms}};
  const std::string text = json.dump() + "\n";
  if (ftruncate(fd_, 0) != 0 ||
      pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return core::ErrnoStatus(errno, "writing lock file", path_);
  }
  return absl::OkStatus();
}

}  // namespace orchestrator
