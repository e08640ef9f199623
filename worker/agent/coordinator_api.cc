#include "worker/agent/coordinator_api.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/mutex.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "sweep/v1/worker.grpc.pb.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;
using Stub = v1::WorkerService::Stub;

constexpr int64_t kTimeoutMs = 10'000;

class GrpcApi final : public CoordinatorApi {
 public:
  explicit GrpcApi(std::string coordinator) : coordinator_(std::move(coordinator)) {}

  absl::StatusOr<v1::RegisterResponse> Register(const v1::RegisterRequest& request) override {
    return Call(&Stub::Register, request, kTimeoutMs);
  }
  absl::StatusOr<v1::AcquireResponse> Acquire(const v1::AcquireRequest& request) override {
    grpc::ClientContext context;
    {
      core::MutexLock lock(&mu_);
      if (stopped_) return absl::CancelledError("the agent is stopping");
      waiting_ = &context;
    }
    auto response = CallWith(&context, &Stub::Acquire, request, kTimeoutMs + request.wait_ms());
    core::MutexLock lock(&mu_);
    waiting_ = nullptr;
    return response;
  }
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request) override {
    return Call(&Stub::Heartbeat, request, kTimeoutMs);
  }
  absl::StatusOr<v1::ReportResponse> Report(const v1::ReportRequest& request) override {
    return Call(&Stub::Report, request, kTimeoutMs);
  }
  absl::StatusOr<v1::PublishCheckpointResponse> PublishCheckpoint(
      const v1::PublishCheckpointRequest& request) override {
    return Call(&Stub::PublishCheckpoint, request, kTimeoutMs);
  }
  absl::StatusOr<v1::CompleteResponse> Complete(const v1::CompleteRequest& request) override {
    return Call(&Stub::Complete, request, kTimeoutMs);
  }
  void StopWaiting() override {
    core::MutexLock lock(&mu_);
    stopped_ = true;
    if (waiting_ != nullptr) waiting_->TryCancel();
  }

 private:
  absl::StatusOr<std::string> Endpoint() const {
    if (coordinator_.rfind("file:", 0) != 0) return coordinator_;
    const std::string path = coordinator_.substr(5);
    ASSIGN_OR_RETURN(const std::string text, core::ReadFile(path));
    const auto json = core::ParseJson(text, path);
    if (!json.ok() || !json->is_object() || !json->contains("endpoint") ||
        !(*json)["endpoint"].is_string() || (*json)["endpoint"].get<std::string>().empty()) {
      return absl::UnavailableError(fmt::format("{} names no coordinator: none is running", path));
    }
    return (*json)["endpoint"].get<std::string>();
  }

  // The current stub, made anew when the address changed. shared_ptr: calls in flight on other
  // threads keep the old one alive.
  absl::StatusOr<std::shared_ptr<Stub>> GetStub() EXCLUDES(mu_) {
    absl::StatusOr<std::string> endpoint = Endpoint();
    if (!endpoint.ok()) return absl::UnavailableError(endpoint.status().message());
    core::MutexLock lock(&mu_);
    if (stub_ == nullptr || *endpoint != endpoint_) {
      grpc::ChannelArguments arguments;
      // A coordinator that restarts should be found within a second, not within gRPC's two minutes.
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
      arguments.SetMaxReceiveMessageSize(256 << 20);
      stub_ = v1::WorkerService::NewStub(
          grpc::CreateCustomChannel(*endpoint, grpc::InsecureChannelCredentials(), arguments));
      endpoint_ = *endpoint;
    }
    return stub_;
  }

  template <typename Request, typename Response>
  absl::StatusOr<Response> CallWith(grpc::ClientContext* context,
                                    grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                                    const Request& request, int64_t timeout_ms) {
    ASSIGN_OR_RETURN(const std::shared_ptr<Stub> stub, GetStub());
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms));
    Response response;
    const grpc::Status status = (stub.get()->*method)(context, request, &response);
    if (status.ok()) return response;
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, int64_t timeout_ms) {
    grpc::ClientContext context;
    return CallWith(&context, method, request, timeout_ms);
  }

  const std::string coordinator_;
  core::Mutex mu_;
  std::string endpoint_ GUARDED_BY(mu_);
  std::shared_ptr<Stub> stub_ GUARDED_BY(mu_);
  bool stopped_ GUARDED_BY(mu_) = false;
  grpc::ClientContext* waiting_ GUARDED_BY(mu_) = nullptr;
};

}  // namespace

std::unique_ptr<CoordinatorApi> ConnectToCoordinator(const std::string& coordinator) {
  return std::make_unique<GrpcApi>(coordinator);
}

}  // namespace worker
