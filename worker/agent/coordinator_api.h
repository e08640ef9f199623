// The coordinator as an agent sees it: sweep.v1.WorkerService with deadlines. An interface, so that
// tests can stand in for it. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "sweep/v1/worker.pb.h"

namespace worker {

class CoordinatorApi {
 public:
  virtual ~CoordinatorApi() = default;
  // Errors of all: the coordinator's own, or UNAVAILABLE and DEADLINE_EXCEEDED when it is away.
  virtual absl::StatusOr<sweep::v1::RegisterResponse> Register(
      const sweep::v1::RegisterRequest& request) = 0;
  virtual absl::StatusOr<sweep::v1::AcquireResponse> Acquire(
      const sweep::v1::AcquireRequest& request) = 0;
  virtual absl::StatusOr<sweep::v1::HeartbeatResponse> Heartbeat(
      const sweep::v1::HeartbeatRequest& request) = 0;
  virtual absl::StatusOr<sweep::v1::ReportResponse> Report(
      const sweep::v1::ReportRequest& request) = 0;
  virtual absl::StatusOr<sweep::v1::PublishCheckpointResponse> PublishCheckpoint(
      const sweep::v1::PublishCheckpointRequest& request) = 0;
  virtual absl::StatusOr<sweep::v1::CompleteResponse> Complete(
      const sweep::v1::CompleteRequest& request) = 0;
  // Ends a waiting Acquire, now and later, with CANCELLED.
  virtual void StopWaiting() = 0;
};

// gRPC. `coordinator` is HOST:PORT, or "file:PATH" of a coordinator's lock file: the address in it
// is read again whenever the coordinator does not answer, so that one that restarted on another
// port is found.
std::unique_ptr<CoordinatorApi> ConnectToCoordinator(const std::string& coordinator);

}  // namespace worker
