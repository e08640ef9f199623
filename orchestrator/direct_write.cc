#include "orchestrator/direct_write.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "core/clock.h"
#include "core/status_macros.h"
#include "core/version.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/store/store.h"

namespace orchestrator {
namespace {

// A coordinator that is starting has the lock and no address yet.
constexpr int64_t kPatienceMs = 15'000;

absl::StatusOr<std::unique_ptr<DatabaseLock>> TakeLock(const std::string& db_path) {
  ASSIGN_OR_RETURN(std::unique_ptr<DatabaseLock> lock, DatabaseLock::Take(db_path));
  CoordinatorAddress self;
  self.pid = getpid();
  self.version = std::string(core::Version());
  self.started_unix_ms = core::SystemClock().UnixMs();
  RETURN_IF_ERROR(lock->Publish(self));
  return lock;
}

// One of the two, whichever may.
absl::Status Write(const std::string& db_path, const std::function<absl::Status(Client&)>& ask,
                   const std::function<absl::Status(Store&, int64_t now_ms)>& write) {
  const core::Clock& clock = core::SystemClock();
  const int64_t deadline_ms = clock.MonotonicMs() + kPatienceMs;
  while (true) {
    const auto address = FindCoordinator(db_path);
    if (address.has_value() && !address->endpoint.empty())
      return ask(*Client::Connect(address->endpoint));
    if (!address.has_value()) {
      const auto lock = TakeLock(db_path);
      if (lock.ok()) {
        ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, Store::Open(db_path));
        return write(*store, clock.UnixMs());
      }
      // Somebody was faster: a coordinator, or another one like us.
      if (!absl::IsFailedPrecondition(lock.status())) return lock.status();
    }
    if (clock.MonotonicMs() > deadline_ms)
      return absl::UnavailableError(
          fmt::format("the coordinator that holds {} gives no address; run this again when it has "
                      "started, or stop it",
                      db_path));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

absl::StatusOr<sweep::v1::ImportResponse> WriteImport(const std::string& db_path,
                                                      const sweep::v1::ImportRequest& request) {
  sweep::v1::ImportResponse response;
  const auto keep = [&](absl::StatusOr<sweep::v1::ImportResponse> answer) {
    if (answer.ok()) response = *answer;
    return answer.status();
  };
  RETURN_IF_ERROR(Write(
      db_path, [&](Client& client) { return keep(client.Import(request)); },
      [&](Store& store, int64_t now_ms) { return keep(store.Import(request, now_ms)); }));
  return response;
}

absl::StatusOr<sweep::v1::ImportResponse> TryImport(const std::string& db_path,
                                                    const sweep::v1::ImportRequest& request) {
  ASSIGN_OR_RETURN(const auto db, Database::Open(db_path, Database::Mode::kReadOnly));
  std::error_code error;
  std::string folder =
      (std::filesystem::temp_directory_path(error) / "sweepctl-import-XXXXXX").string();
  if (error || mkdtemp(folder.data()) == nullptr)
    return absl::UnavailableError(
        fmt::format("no folder for a copy of {}; name one for temporary files in TMPDIR", db_path));
  const auto attempt = [&]() -> absl::StatusOr<sweep::v1::ImportResponse> {
    const std::string copy = folder + "/copy.db";
    RETURN_IF_ERROR(db->CopyTo(copy));
    ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, Store::Open(copy));
    return store->TryImport(request, core::SystemClock().UnixMs());
  };
  auto response = attempt();
  std::filesystem::remove_all(folder, error);
  return response;
}

absl::StatusOr<sweep::v1::RegisterForecastsResponse> WriteForecasts(
    const std::string& db_path, const sweep::v1::RegisterForecastsRequest& request) {
  sweep::v1::RegisterForecastsResponse response;
  const auto keep = [&](absl::StatusOr<sweep::v1::RegisterForecastsResponse> answer) {
    if (answer.ok()) response = *answer;
    return answer.status();
  };
  RETURN_IF_ERROR(Write(
      db_path, [&](Client& client) { return keep(client.RegisterForecasts(request)); },
      [&](Store& store, int64_t now_ms) {
        return keep(store.RegisterForecasts(request, now_ms));
      }));
  return response;
}

absl::StatusOr<int64_t> SchemaVersionOf(const std::string& db_path) {
  ASSIGN_OR_RETURN(const auto db, Database::Open(db_path, Database::Mode::kReadOnly));
  return db->Int(0, "PRAGMA user_version");
}

absl::StatusOr<Migration> BringUpToDate(const std::string& db_path) {
  const core::Clock& clock = core::SystemClock();
  const int64_t deadline_ms = clock.MonotonicMs() + kPatienceMs;
  while (true) {
    ASSIGN_OR_RETURN(const int64_t version, SchemaVersionOf(db_path));
    // A newer one, or no database of ours, is for whoever opens it to say.
    if (version == 0 || version >= kSchemaVersion) return Migration();
    const auto lock = TakeLock(db_path);
    if (lock.ok()) {
      Migration done;
      RETURN_IF_ERROR(Store::Open(db_path, &done).status());
      return done;
    }
    if (!absl::IsFailedPrecondition(lock.status())) return lock.status();
    // Without an address it may be another one like us, about to finish.
    const auto other = FindCoordinator(db_path);
    if (clock.MonotonicMs() > deadline_ms || (other.has_value() && !other->endpoint.empty()))
      return absl::FailedPreconditionError(
          fmt::format("database {} has schema version {}, and a coordinator of an older sweepctl{} "
                      "has it; stop "
                      "that with `kill {}` and run this again",
                      db_path, version, other.has_value() ? " (" + other->version + ")" : "",
                      other.has_value() ? std::to_string(other->pid) : "PID"));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace orchestrator
