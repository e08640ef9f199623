#include "orchestrator/serve.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/hash.h"
#include "core/status_macros.h"
#include "core/version.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace orchestrator {
namespace {

constexpr std::chrono::milliseconds kTick(100);

volatile sig_atomic_t stop_signal = 0;
void OnSignal(int number) { stop_signal = number; }

}  // namespace

absl::StatusOr<std::unique_ptr<ServedCoordinator>> ServedCoordinator::Start(
    const ServeOptions& options, const core::Clock* clock) {
  // Before anything is created.
  RETURN_IF_ERROR(CheckListenAddress(options.listen));
  std::unique_ptr<ServedCoordinator> served(new ServedCoordinator());
  ASSIGN_OR_RETURN(served->lock_, DatabaseLock::Take(options.db_path));
  // Others see the pid while the database is being opened.
  CoordinatorAddress address;
  address.pid = getpid();
  address.version = std::string(core::Version());
  address.started_unix_ms = clock->UnixMs();
  address.coordinator_id =
      core::Sha256Hex(fmt::format("{} {} {}", options.db_path, getpid(),
                                  std::chrono::steady_clock::now().time_since_epoch().count()))
          .substr(0, 16);
  RETURN_IF_ERROR(served->lock_->Publish(address));
  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, Store::Open(options.db_path));
  CoordinatorOptions settings;
  settings.coordinator_id = address.coordinator_id;
  settings.database = options.db_path;
  settings.lease_ms = options.lease_ms;
  settings.exit_when_idle = options.exit_when_idle;
  settings.idle_ms = options.idle_ms;
  ASSIGN_OR_RETURN(served->coordinator_, Coordinator::Start(std::move(store), clock, settings));
  ASSIGN_OR_RETURN(served->server_,
                   GrpcServer::Start(served->coordinator_.get(), options.listen, options.db_path));
  address.endpoint = served->server_->endpoint();
  RETURN_IF_ERROR(served->lock_->Publish(address));
  return served;
}

ServedCoordinator::~ServedCoordinator() {
  // Calls in flight need the coordinator's writer: the server goes first, but answers that wait for
  // work are ended by the shutdown flag.
  if (coordinator_ != nullptr) {
    coordinator_->Shutdown();
    coordinator_->Tick();
  }
  server_.reset();
  coordinator_.reset();
}

absl::Status Serve(const ServeOptions& options) {
  struct sigaction action = {};
  action.sa_handler = &OnSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  ASSIGN_OR_RETURN(const std::unique_ptr<ServedCoordinator> served,
                   ServedCoordinator::Start(options, &core::SystemClock()));
  spdlog::info("coordinator of {} answers at {}", options.db_path, served->endpoint());
  if (options.on_ready) options.on_ready(served->endpoint());
  while (stop_signal == 0 && !served->coordinator().ShouldExit()) {
    served->coordinator().Tick();
    std::this_thread::sleep_for(kTick);
  }
  const std::string why = stop_signal != 0 ? fmt::format("signal {}", static_cast<int>(stop_signal))
                                           : std::string("nothing left to do, or asked to stop");
  spdlog::info("coordinator of {} ends: {}", options.db_path, why);
  (void)served->coordinator().writer().Run([&](Store& store) {
    return store.AddEvent(core::SystemClock().UnixMs(), "coordinator stopped", "", "", "", why);
  });
  return absl::OkStatus();
}

}  // namespace orchestrator
