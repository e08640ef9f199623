#include "orchestrator/import.h"

#include <unistd.h>

#include <chrono>
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

}  // namespace

absl::StatusOr<sweep::v1::ImportResponse> WriteImport(const std::string& db_path,
                                                      const sweep::v1::ImportRequest& request) {
  const core::Clock& clock = core::SystemClock();
  const int64_t deadline_ms = clock.MonotonicMs() + kPatienceMs;
  while (true) {
    const auto address = FindCoordinator(db_path);
    if (address.has_value() && !address->endpoint.empty())
      return Client::Connect(address->endpoint)->Import(request);
    if (!address.has_value()) {
      auto lock = DatabaseLock::Take(db_path);
      if (lock.ok()) {
        CoordinatorAddress self;
        self.pid = getpid();
        self.version = std::string(core::Version());
        self.started_unix_ms = clock.UnixMs();
        RETURN_IF_ERROR((*lock)->Publish(self));
        ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, Store::Open(db_path));
        return store->Import(request, clock.UnixMs());
      }
      // Somebody was faster: a coordinator, or another import.
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

}  // namespace orchestrator
