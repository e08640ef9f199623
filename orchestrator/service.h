// The gRPC server over a Coordinator: callback API, health service (grpc.health.v1), no thread ever
// blocks on the database. Queries run on two threads of their own.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "orchestrator/coordinator.h"

namespace orchestrator {

// OK for a loopback address ("127.0.0.1:0", "localhost:7070", "[::1]:0") and for "unix:/path".
// PERMISSION_DENIED otherwise: other addresses need TLS and a token, which are not there yet.
absl::Status CheckListenAddress(const std::string& listen);

class GrpcServer {
 public:
  // Binds without SO_REUSEPORT, so that a taken port is an error (UNAVAILABLE). `coordinator` must
  // outlive the server. `db_path` is what Query reads.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(Coordinator* coordinator,
                                                           const std::string& listen,
                                                           const std::string& db_path);
  // Answers what has arrived, for at most two seconds.
  ~GrpcServer();
  // With the port that was really bound.
  const std::string& endpoint() const { return endpoint_; }

 private:
  struct Parts;
  GrpcServer();
  std::unique_ptr<Parts> parts_;
  std::string endpoint_;
};

}  // namespace orchestrator
