// A typed client of sweep.v1.Coordinator. Every call has a deadline; UNAVAILABLE is tried once more
// (all calls are idempotent). Errors are the coordinator's, or UNAVAILABLE with what to do,
// DEADLINE_EXCEEDED. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "sweep/v1/coordinator.pb.h"

namespace orchestrator {

class Client {
 public:
  // Does not connect yet; the first call does.
  static std::unique_ptr<Client> Connect(const std::string& endpoint);
  ~Client();

  absl::StatusOr<sweep::v1::InfoResponse> Info(int64_t timeout_ms = 5'000);
  absl::StatusOr<sweep::v1::SubmitSweepResponse> SubmitSweep(
      const sweep::v1::SubmitSweepRequest& request);
  absl::StatusOr<sweep::v1::SubmitTargetResponse> SubmitTarget(
      const sweep::v1::SubmitTargetRequest& request);
  absl::StatusOr<sweep::v1::RegisterForecastResponse> RegisterForecast(
      const sweep::v1::RegisterForecastRequest& request);
  absl::StatusOr<sweep::v1::RegisterForecastsResponse> RegisterForecasts(
      const sweep::v1::RegisterForecastsRequest& request);
  absl::StatusOr<sweep::v1::RecordFitResponse> RecordFit(
      const sweep::v1::RecordFitRequest& request);
  absl::StatusOr<sweep::v1::ImportResponse> Import(const sweep::v1::ImportRequest& request);
  absl::StatusOr<sweep::v1::ControlResponse> Control(const sweep::v1::ControlRequest& request);
  absl::StatusOr<sweep::v1::QueryResponse> Query(const sweep::v1::QueryRequest& request);
  absl::StatusOr<sweep::v1::ShutdownResponse> Shutdown();

 private:
  struct Parts;
  explicit Client(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace orchestrator
