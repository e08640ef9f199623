#include "orchestrator/service.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "fmt/format.h"
#include "orchestrator/grpc_status.h"
#include "orchestrator/store/guarded_query.h"
#include "sweep/v1/coordinator.grpc.pb.h"
#include "sweep/v1/worker.grpc.pb.h"

namespace orchestrator {
namespace {

// A sweep of many thousand plans is one message.
constexpr int kMaxMessageBytes = 512 << 20;

// Runs blocking reads away from gRPC's threads.
class ReadPool {
 public:
  ReadPool() {
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { Loop(); });
  }
  ~ReadPool() {
    {
      core::MutexLock lock(&mu_);
      stopping_ = true;
      wake_.SignalAll();
    }
    for (std::thread& thread : threads_) thread.join();
  }
  void Submit(std::function<void()> work) EXCLUDES(mu_) {
    core::MutexLock lock(&mu_);
    queue_.push_back(std::move(work));
    wake_.Signal();
  }

 private:
  void Loop() EXCLUDES(mu_) {
    while (true) {
      std::function<void()> work;
      {
        core::MutexLock lock(&mu_);
        while (queue_.empty() && !stopping_) wake_.Wait(&mu_);
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }
  core::Mutex mu_;
  core::CondVar wake_;
  std::deque<std::function<void()>> queue_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

// The callback that fills the response and finishes the call.
template <typename Response>
Answer<Response> Reply(grpc::ServerUnaryReactor* reactor, Response* response) {
  return [reactor, response](absl::StatusOr<Response> result) {
    if (result.ok()) response->Swap(&*result);
    reactor->Finish(ToGrpc(result.status()));
  };
}

class ClientService final : public v1::Coordinator::CallbackService {
 public:
  ClientService(Coordinator* coordinator, std::string db_path, ReadPool* reads)
      : coordinator_(coordinator), db_path_(std::move(db_path)), reads_(reads) {}

  using Reactor = grpc::ServerUnaryReactor;
  using Context = grpc::CallbackServerContext;

  Reactor* Info(Context* context, const v1::InfoRequest*, v1::InfoResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Info(Reply(reactor, response));
    return reactor;
  }
  Reactor* SubmitSweep(Context* context, const v1::SubmitSweepRequest* request,
                       v1::SubmitSweepResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->SubmitSweep(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* SubmitTarget(Context* context, const v1::SubmitTargetRequest* request,
                        v1::SubmitTargetResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->SubmitTarget(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* RegisterForecast(Context* context, const v1::RegisterForecastRequest* request,
                            v1::RegisterForecastResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->RegisterForecast(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* RegisterForecasts(Context* context, const v1::RegisterForecastsRequest* request,
                             v1::RegisterForecastsResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->RegisterForecasts(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* RecordFit(Context* context, const v1::RecordFitRequest* request,
                     v1::RecordFitResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->RecordFit(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* Import(Context* context, const v1::ImportRequest* request,
                  v1::ImportResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Import(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* Control(Context* context, const v1::ControlRequest* request,
                   v1::ControlResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Control(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* Query(Context* context, const v1::QueryRequest* request,
                 v1::QueryResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->NoteClientCall();
    reads_->Submit([this, request = *request, reply = Reply(reactor, response)] {
      reply(RunGuardedQuery(db_path_, request));
    });
    return reactor;
  }
  Reactor* Shutdown(Context* context, const v1::ShutdownRequest*, v1::ShutdownResponse*) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Shutdown();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  Coordinator* const coordinator_;
  const std::string db_path_;
  ReadPool* const reads_;
};

class WorkerServiceImpl final : public v1::WorkerService::CallbackService {
 public:
  explicit WorkerServiceImpl(Coordinator* coordinator) : coordinator_(coordinator) {}

  using Reactor = grpc::ServerUnaryReactor;
  using Context = grpc::CallbackServerContext;

  Reactor* Register(Context* context, const v1::RegisterRequest* request,
                    v1::RegisterResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Register(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* Acquire(Context* context, const v1::AcquireRequest* request,
                   v1::AcquireResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Acquire(
        *request, [context] { return context->IsCancelled(); }, Reply(reactor, response));
    return reactor;
  }
  Reactor* Heartbeat(Context* context, const v1::HeartbeatRequest* request,
                     v1::HeartbeatResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Heartbeat(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* Report(Context* context, const v1::ReportRequest* request,
                  v1::ReportResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Report(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* PublishCheckpoint(Context* context, const v1::PublishCheckpointRequest* request,
                             v1::PublishCheckpointResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->PublishCheckpoint(*request, Reply(reactor, response));
    return reactor;
  }
  Reactor* Complete(Context* context, const v1::CompleteRequest* request,
                    v1::CompleteResponse* response) override {
    Reactor* reactor = context->DefaultReactor();
    coordinator_->Complete(*request, Reply(reactor, response));
    return reactor;
  }

 private:
  Coordinator* const coordinator_;
};

}  // namespace

struct GrpcServer::Parts {
  Parts(Coordinator* coordinator, const std::string& db_path)
      : clients(coordinator, db_path, &reads), workers(coordinator) {}
  ReadPool reads;
  ClientService clients;
  WorkerServiceImpl workers;
  std::unique_ptr<grpc::Server> server;
};

absl::Status CheckListenAddress(const std::string& listen) {
  if (listen.rfind("unix:", 0) == 0) return absl::OkStatus();
  const size_t colon = listen.rfind(':');
  const std::string host = colon == std::string::npos ? listen : listen.substr(0, colon);
  const std::string port = colon == std::string::npos ? "" : listen.substr(colon + 1);
  if (port.empty() || port.size() > 5 ||
      port.find_first_not_of("0123456789") != std::string::npos || std::stoi(port) > 65535) {
    return absl::InvalidArgumentError(
        fmt::format("listen address '{}': use HOST:PORT, with port 0 for any free one", listen));
  }
  // "127.0.0.1.example.org" is not loopback.
  const bool dotted = host.find_first_not_of("0123456789.") == std::string::npos;
  if (host == "localhost" || host == "[::1]" || (dotted && host.rfind("127.", 0) == 0))
    return absl::OkStatus();
  return absl::PermissionDeniedError(fmt::format(
      "listen address '{}' can be reached from other hosts, which needs TLS and a token, and this "
      "version has neither; listen on 127.0.0.1 and tunnel with ssh -L",
      listen));
}

GrpcServer::GrpcServer() = default;

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(Coordinator* coordinator,
                                                              const std::string& listen,
                                                              const std::string& db_path) {
  if (absl::Status status = CheckListenAddress(listen); !status.ok()) return status;
  grpc::EnableDefaultHealthCheckService(true);
  std::unique_ptr<GrpcServer> result(new GrpcServer());
  result->parts_ = std::make_unique<Parts>(coordinator, db_path);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.RegisterService(&result->parts_->clients);
  builder.RegisterService(&result->parts_->workers);
  result->parts_->server = builder.BuildAndStart();
  if (result->parts_->server == nullptr) {
    return absl::UnavailableError(fmt::format(
        "listening on {} failed: the port is taken or not allowed; use port 0 for any free one",
        listen));
  }
  if (auto* health = result->parts_->server->GetHealthCheckService())
    health->SetServingStatus(true);
  result->endpoint_ = listen.rfind("unix:", 0) == 0
                          ? listen
                          : fmt::format("{}:{}", listen.substr(0, listen.rfind(':')), port);
  return result;
}

GrpcServer::~GrpcServer() {
  if (parts_ == nullptr || parts_->server == nullptr) return;
  if (auto* health = parts_->server->GetHealthCheckService()) health->SetServingStatus(false);
  // Waiting Acquires are cancelled at the deadline, their answers then go nowhere.
  parts_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
}

}  // namespace orchestrator
