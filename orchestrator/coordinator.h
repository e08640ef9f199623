// Coordinator: the service without its transport. Every call of proto/sweep/v1 arrives here as a
// request and a callback; the gRPC server (service.h) and the tests are two callers of the same
// code. Writing goes through Writer; waiting Acquires are a list that is looked through again
// whenever a trial may have become PENDING.
//
// Lease time is a clock that never jumps: the wall clock at the start plus the monotonic time
// since. Thread-safe. Callbacks run on the writer thread or in Tick() and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/clock.h"
#include "core/mutex.h"
#include "orchestrator/store/store.h"
#include "orchestrator/writer.h"

namespace orchestrator {

struct CoordinatorOptions {
  std::string coordinator_id;   // new with every start
  std::string database;         // path, for Info
  int64_t lease_ms = 30'000;    // > 0; workers renew every third of it
  bool exit_when_idle = false;  // answer `drained`, and let ShouldExit() become true
  // How long nothing must be left to do, and no client must have called, to be idle. A client that
  // means to come back (to fit and register) calls Info() meanwhile.
  int64_t idle_ms = 30'000;
};

template <typename Response>
using Answer = std::function<void(absl::StatusOr<Response>)>;

class Coordinator {
 public:
  // Extends the leases found in the store by one lease time, so that workers survive a restart.
  // `clock` must outlive it.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(std::unique_ptr<Store> store,
                                                            const core::Clock* clock,
                                                            CoordinatorOptions options);
  // Answers waiting Acquires with nothing, finishes queued writes.
  ~Coordinator();

  // ---- sweep.v1.Coordinator; errors as Store ----
  void Info(Answer<v1::InfoResponse> answer);
  void SubmitSweep(const v1::SubmitSweepRequest& request, Answer<v1::SubmitSweepResponse> answer);
  void SubmitTarget(const v1::SubmitTargetRequest& request,
                    Answer<v1::SubmitTargetResponse> answer);
  void RegisterForecast(const v1::RegisterForecastRequest& request,
                        Answer<v1::RegisterForecastResponse> answer);
  void RegisterForecasts(const v1::RegisterForecastsRequest& request,
                         Answer<v1::RegisterForecastsResponse> answer);
  void RecordFit(const v1::RecordFitRequest& request, Answer<v1::RecordFitResponse> answer);
  void Import(const v1::ImportRequest& request, Answer<v1::ImportResponse> answer);
  void Control(const v1::ControlRequest& request, Answer<v1::ControlResponse> answer);
  void Shutdown();
  // A client called (Query, say): keeps an idle coordinator up.
  void NoteClientCall() EXCLUDES(mu_);

  // ---- sweep.v1.WorkerService; errors as Store ----
  // FAILED_PRECONDITION naming both protocol versions when they differ.
  void Register(const v1::RegisterRequest& request, Answer<v1::RegisterResponse> answer);
  // Answers at once with leases, or when some appear, or with none after wait_ms (at most 30 s) of
  // Clock time, seen by Tick(). `gone` tells that the caller no longer listens.
  void Acquire(const v1::AcquireRequest& request, std::function<bool()> gone,
               Answer<v1::AcquireResponse> answer) EXCLUDES(mu_);
  void Heartbeat(const v1::HeartbeatRequest& request, Answer<v1::HeartbeatResponse> answer);
  void Report(const v1::ReportRequest& request, Answer<v1::ReportResponse> answer);
  void PublishCheckpoint(const v1::PublishCheckpointRequest& request,
                         Answer<v1::PublishCheckpointResponse> answer);
  void Complete(const v1::CompleteRequest& request, Answer<v1::CompleteResponse> answer);

  // Expires leases, ends waits that are over, looks for disk space when it was short. Called a few
  // times a second; blocks for a commit.
  void Tick() EXCLUDES(mu_);
  // Shutdown() was called, or the coordinator is idle and exit_when_idle is on.
  bool ShouldExit() EXCLUDES(mu_);

  Writer& writer() { return writer_; }

 private:
  struct Waiting {
    v1::AcquireRequest request;
    std::function<bool()> gone;
    Answer<v1::AcquireResponse> answer;
    int64_t deadline_ms = 0;
    bool looked = false;  // has been through the queue once; writer thread only
  };

  Coordinator(std::unique_ptr<Store> store, const core::Clock* clock, CoordinatorOptions options);
  int64_t NowMs() const;
  bool Drained() REQUIRES(mu_);
  // Goes through the waiting Acquires on the writer thread.
  void ServeWaiting() EXCLUDES(mu_);
  void FinishServing(const std::vector<std::shared_ptr<Waiting>>& batch,
                     std::vector<absl::StatusOr<v1::AcquireResponse>> results) EXCLUDES(mu_);
  void TickDisk() EXCLUDES(mu_);

  template <typename Request, typename Response>
  void Write(absl::StatusOr<Response> (Store::*method)(const Request&, int64_t),
             const Request& request, bool may_free_work, Answer<Response> answer);

  const CoordinatorOptions options_;
  const core::Clock* const clock_;
  const int64_t started_unix_ms_;
  const int64_t started_monotonic_ms_;

  core::Mutex mu_;
  // shared_ptr: an entry is shared by this list and the batch the writer thread is serving.
  std::list<std::shared_ptr<Waiting>> waiting_ GUARDED_BY(mu_);
  bool serving_ GUARDED_BY(mu_) = false;
  bool serve_again_ GUARDED_BY(mu_) = false;
  bool shutdown_ GUARDED_BY(mu_) = false;
  std::set<std::string> registered_ GUARDED_BY(mu_);
  int64_t last_client_ms_ GUARDED_BY(mu_);
  int64_t last_busy_ms_ GUARDED_BY(mu_);
  int64_t last_activity_ms_ GUARDED_BY(mu_) = 0;
  int64_t last_probe_ms_ GUARDED_BY(mu_) = 0;
  int64_t disk_full_since_ms_ GUARDED_BY(mu_) = 0;
  Activity activity_ GUARDED_BY(mu_);

  Writer writer_;  // last: its thread must end before the members above go
};

}  // namespace orchestrator
