#include "orchestrator/client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <climits>
#include <thread>

#include "fmt/format.h"
#include "orchestrator/grpc_status.h"
#include "sweep/v1/coordinator.grpc.pb.h"

namespace orchestrator {
namespace v1 = ::sweep::v1;
namespace {

constexpr int64_t kTimeoutMs = 20'000;
// A sweep with many thousand plans takes a while to send and store.
constexpr int64_t kSubmitTimeoutMs = 120'000;

}  // namespace

struct Client::Parts {
  std::string endpoint;
  std::unique_ptr<v1::Coordinator::Stub> stub;

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::Coordinator::Stub::*method)(grpc::ClientContext*,
                                                                              const Request&,
                                                                              Response*),
                                const Request& request, int64_t timeout_ms) {
    for (int attempt = 0;; ++attempt) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::milliseconds(timeout_ms));
      Response response;
      const grpc::Status status = (stub.get()->*method)(&context, request, &response);
      if (status.ok()) return response;
      if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpc(status);
      if (attempt == 1) {
        return absl::UnavailableError(
            fmt::format("no coordinator answers at {} ({}); start one with `sweepctl serve`",
                        endpoint, status.error_message()));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }
};

std::unique_ptr<Client> Client::Connect(const std::string& endpoint) {
  auto parts = std::make_unique<Parts>();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(INT_MAX);
  // The pool of shared subchannels would keep the back-off of a coordinator that has just
  // restarted.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  parts->endpoint = endpoint;
  parts->stub = v1::Coordinator::NewStub(
      grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments));
  return std::unique_ptr<Client>(new Client(std::move(parts)));
}

Client::Client(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Client::~Client() = default;

absl::StatusOr<v1::InfoResponse> Client::Info(int64_t timeout_ms) {
  return parts_->Call(&v1::Coordinator::Stub::Info, v1::InfoRequest(), timeout_ms);
}
absl::StatusOr<v1::SubmitSweepResponse> Client::SubmitSweep(const v1::SubmitSweepRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::SubmitSweep, request, kSubmitTimeoutMs);
}
absl::StatusOr<v1::SubmitTargetResponse> Client::SubmitTarget(
    const v1::SubmitTargetRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::SubmitTarget, request, kTimeoutMs);
}
absl::StatusOr<v1::RegisterForecastResponse> Client::RegisterForecast(
    const v1::RegisterForecastRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::RegisterForecast, request, kTimeoutMs);
}
absl::StatusOr<v1::RegisterForecastsResponse> Client::RegisterForecasts(
    const v1::RegisterForecastsRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::RegisterForecasts, request, kSubmitTimeoutMs);
}
absl::StatusOr<v1::RecordFitResponse> Client::RecordFit(const v1::RecordFitRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::RecordFit, request, kTimeoutMs);
}
absl::StatusOr<v1::ImportResponse> Client::Import(const v1::ImportRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::Import, request, kSubmitTimeoutMs);
}
absl::StatusOr<v1::ControlResponse> Client::Control(const v1::ControlRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::Control, request, kTimeoutMs);
}
absl::StatusOr<v1::QueryResponse> Client::Query(const v1::QueryRequest& request) {
  return parts_->Call(&v1::Coordinator::Stub::Query, request,
                      (request.timeout_ms() > 0 ? request.timeout_ms() : 10'000) + 5'000);
}
absl::StatusOr<v1::ShutdownResponse> Client::Shutdown() {
  return parts_->Call(&v1::Coordinator::Stub::Shutdown, v1::ShutdownRequest(), kTimeoutMs);
}

}  // namespace orchestrator
