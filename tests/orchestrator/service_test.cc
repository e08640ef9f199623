// The coordinator over real gRPC on loopback, and who may own a database.
#include "orchestrator/service.h"

#include <grpcpp/grpcpp.h>

#include <future>
#include <thread>

#include "orchestrator/client.h"
#include "orchestrator/lock_file.h"
#include "orchestrator/serve.h"
#include "sweep/v1/worker.grpc.pb.h"
#include "tests/orchestrator/fixtures.h"

namespace orchestrator {
namespace {

using testing::HasSubstr;

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.db_path = dir_.File("test.db");
    options_.lease_ms = kLeaseMs;
    auto served = ServedCoordinator::Start(options_, &clock_);
    ASSERT_OK(served);
    served_ = *std::move(served);
    client_ = Client::Connect(served_->endpoint());
    stub_ = v1::WorkerService::NewStub(
        grpc::CreateChannel(served_->endpoint(), grpc::InsecureChannelCredentials()));
  }
  static void SetDeadline(grpc::ClientContext* context, int seconds = 20) {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(seconds));
  }
  v1::AcquireResponse Acquire(const std::string& worker, int64_t wait_ms) {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::AcquireRequest request = AcquireOf(worker, 1);
    request.set_wait_ms(wait_ms);
    v1::AcquireResponse response;
    const grpc::Status status = stub_->Acquire(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  TempDir dir_;
  core::FakeClock clock_;
  ServeOptions options_;
  std::unique_ptr<ServedCoordinator> served_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
};

TEST_F(ServiceTest, ClientSubmitsQueriesAndReadsErrors) {
  auto submitted = client_->SubmitSweep(MakeSweep("s", 3));
  ASSERT_OK(submitted);
  EXPECT_EQ(submitted->trials_added(), 3);
  auto info = client_->Info();
  ASSERT_OK(info);
  EXPECT_EQ(info->pending_trials(), 3);
  EXPECT_EQ(info->database(), options_.db_path);
  v1::QueryRequest query;
  query.set_sql("SELECT count(*) FROM v_trials");
  auto rows = client_->Query(query);
  ASSERT_OK(rows);
  EXPECT_EQ(rows->rows_json(0), "[3]");
  query.set_sql("DELETE FROM trials");
  EXPECT_TRUE(absl::IsPermissionDenied(client_->Query(query).status()));
  v1::ControlRequest control;
  control.set_sweep("nonesuch");
  control.set_action(v1::ControlRequest::CANCEL);
  EXPECT_TRUE(absl::IsNotFound(client_->Control(control).status()));
}

TEST_F(ServiceTest, WorkerOfAnotherProtocolVersionIsRefused) {
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::RegisterRequest request;
  request.set_worker_id("w");
  request.set_protocol_version(999);
  v1::RegisterResponse response;
  const grpc::Status status = stub_->Register(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("999"));
}

TEST_F(ServiceTest, LongPollWakesUpOnSubmission) {
  auto answer = std::async(std::launch::async, [&] { return Acquire("w", 30'000); });
  ASSERT_OK(client_->SubmitSweep(MakeSweep("s", 1)));
  // The clock stands still: only the submission can have answered.
  EXPECT_EQ(answer.get().leases_size(), 1);
}

TEST_F(ServiceTest, CallerThatGaveUpHoldsNoLease) {
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
    v1::AcquireRequest request = AcquireOf("w", 1);
    request.set_wait_ms(30'000);
    v1::AcquireResponse response;
    EXPECT_EQ(stub_->Acquire(&context, request, &response).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  ASSERT_OK(client_->SubmitSweep(MakeSweep("s", 1)));
  // Should the lease have gone out before the server saw the cancellation, it is answered again.
  EXPECT_EQ(Acquire("w", 10'000).leases_size(), 1);
}

TEST_F(ServiceTest, SecondCoordinatorIsRefusedNamingPidAndEndpoint) {
  const absl::Status refused = ServedCoordinator::Start(options_, &clock_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr(std::to_string(getpid())));
  EXPECT_THAT(std::string(refused.message()), HasSubstr(served_->endpoint()));
  EXPECT_EQ(FindCoordinator(options_.db_path)->endpoint, served_->endpoint());
  served_.reset();
  EXPECT_FALSE(FindCoordinator(options_.db_path).has_value());
  EXPECT_OK(ServedCoordinator::Start(options_, &clock_));
}

TEST_F(ServiceTest, TakenPortAndAddressesBeyondLoopbackAreRefused) {
  ServeOptions other = options_;
  other.db_path = dir_.File("other.db");
  other.listen = served_->endpoint();
  EXPECT_TRUE(absl::IsUnavailable(ServedCoordinator::Start(other, &clock_).status()));
  for (const char* open : {"0.0.0.0:0", "[::]:0", "192.168.1.2:7000", "example.org:1",
                           "127.0.0.1.example.org:1", "localhost.example.org:1"}) {
    EXPECT_TRUE(absl::IsPermissionDenied(CheckListenAddress(open))) << open;
  }
  for (const char* wrong : {"", "127.0.0.1", "localhost:", "localhost:http", "localhost:99999"})
    EXPECT_TRUE(absl::IsInvalidArgument(CheckListenAddress(wrong))) << wrong;
  for (const char* fine : {"127.0.0.1:0", "127.0.0.2:80", "localhost:65535", "[::1]:0"})
    EXPECT_OK(CheckListenAddress(fine));
}

TEST_F(ServiceTest, ShutdownCallEndsTheServerAndItsWaitingWorkers) {
  auto answer = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    SetDeadline(&context);
    v1::AcquireRequest request = AcquireOf("w", 1);
    request.set_wait_ms(30'000);
    v1::AcquireResponse response;
    return stub_->Acquire(&context, request, &response).ok() ? response.leases_size() : -1;
  });
  ASSERT_OK(client_->Shutdown());
  EXPECT_TRUE(served_->coordinator().ShouldExit());
  served_.reset();
  EXPECT_LE(answer.get(), 0);
  EXPECT_TRUE(absl::IsUnavailable(client_->Info(1'000).status()));
}

TEST_F(ServiceTest, MoreThanAThousandTrialsAreOneMessage) {
  auto answer = client_->SubmitSweep(MakeSweep("s", 5'000));
  ASSERT_OK(answer);
  EXPECT_EQ(answer->trials_added(), 5'000);
}

}  // namespace
}  // namespace orchestrator
