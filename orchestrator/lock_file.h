// The lock file beside a database, `<db>.lock`: an flock(2) held by the one coordinator, and inside
// it, as JSON, where to reach it. The lock dies with its process, however that ends; the file
// stays.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace orchestrator {

// Where a coordinator answers.
struct CoordinatorAddress {
  std::string endpoint;  // "127.0.0.1:41234"; empty while it is still starting
  int pid = 0;
  std::string coordinator_id;
  std::string version;
  int64_t started_unix_ms = 0;
};

std::string LockPath(const std::string& db_path);

// The coordinator that holds the database now, if any. Thread-safe; never blocks.
std::optional<CoordinatorAddress> FindCoordinator(const std::string& db_path);

class DatabaseLock {
 public:
  // FAILED_PRECONDITION naming pid and endpoint of the coordinator that has it.
  static absl::StatusOr<std::unique_ptr<DatabaseLock>> Take(const std::string& db_path);
  // Empties the file and lets go.
  ~DatabaseLock();
  absl::Status Publish(const CoordinatorAddress& address);

 private:
  DatabaseLock(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  const int fd_;
  const std::string path_;
};

}  // namespace orchestrator
