// `sweepctl serve`: one coordinator over one database file, from lock to clean end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/clock.h"
#include "orchestrator/coordinator.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/service.h"

namespace orchestrator {

struct ServeOptions {
  std::string db_path = "./sweepctl.db";
  std::string listen = "127.0.0.1:0";
  bool exit_when_idle = false;
  int64_t idle_ms = 30'000;   // see CoordinatorOptions
  int64_t lease_ms = 30'000;  // > 0
  // Called once, when the endpoint answers and stands in the lock file.
  std::function<void(const std::string& endpoint)> on_ready;
};

// A running coordinator, for Serve() and for tests.
class ServedCoordinator {
 public:
  // Takes the lock, opens and migrates the database, starts the server, publishes the address.
  // FAILED_PRECONDITION: a second coordinator (names pid and endpoint), a newer schema, a network
  // filesystem. PERMISSION_DENIED: an address beyond loopback. `clock` must outlive it.
  static absl::StatusOr<std::unique_ptr<ServedCoordinator>> Start(const ServeOptions& options,
                                                                  const core::Clock* clock);
  ~ServedCoordinator();
  const std::string& endpoint() const { return server_->endpoint(); }
  Coordinator& coordinator() { return *coordinator_; }

 private:
  ServedCoordinator() = default;
  // Destroyed in reverse: server, coordinator (and writer), lock.
  std::unique_ptr<DatabaseLock> lock_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<GrpcServer> server_;
};

// Serves until SIGTERM or SIGINT, a Shutdown call, or idleness with exit_when_idle; then ends
// cleanly and returns OK. Installs handlers for both signals. Errors as ServedCoordinator::Start.
absl::Status Serve(const ServeOptions& options);

}  // namespace orchestrator
