#include "orchestrator/coordinator.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/status_macros.h"
#include "core/version.h"
#include "fmt/format.h"

namespace orchestrator {
namespace {

constexpr int64_t kMaxWaitMs = 30'000;
constexpr int64_t kActivityEveryMs = 1'000;
constexpr int64_t kProbeEveryMs = 2'000;

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(std::unique_ptr<Store> store,
                                                                const core::Clock* clock,
                                                                CoordinatorOptions options) {
  std::unique_ptr<Coordinator> coordinator(
      new Coordinator(std::move(store), clock, std::move(options)));
  Coordinator* self = coordinator.get();
  RETURN_IF_ERROR(self->writer_.Run([self](Store& s) {
    const int64_t now_ms = self->NowMs();
    RETURN_IF_ERROR(s.ExtendLeases(self->options_.lease_ms, now_ms));
    return s.AddEvent(now_ms, "coordinator started", "", "", "",
                      fmt::format("{} {}, pid {}, id {}", core::Version(), core::Commit(), getpid(),
                                  self->options_.coordinator_id));
  }));
  return coordinator;
}

Coordinator::Coordinator(std::unique_ptr<Store> store, const core::Clock* clock,
                         CoordinatorOptions options)
    : options_(std::move(options)),
      clock_(clock),
      started_unix_ms_(clock->UnixMs()),
      started_monotonic_ms_(clock->MonotonicMs()),
      last_client_ms_(started_unix_ms_),
      last_busy_ms_(started_unix_ms_),
      writer_(std::move(store)) {}

Coordinator::~Coordinator() {
  std::list<std::shared_ptr<Waiting>> waiting;
  {
    core::MutexLock lock(&mu_);
    shutdown_ = true;
    // A batch that the writer thread is serving answers for itself.
    if (!serving_) waiting.swap(waiting_);
  }
  for (const auto& entry : waiting) entry->answer(v1::AcquireResponse());
}

int64_t Coordinator::NowMs() const {
  return started_unix_ms_ + clock_->MonotonicMs() - started_monotonic_ms_;
}

template <typename Request, typename Response>
void Coordinator::Write(absl::StatusOr<Response> (Store::*method)(const Request&, int64_t),
                        const Request& request, bool may_free_work, Answer<Response> answer) {
  // Shared by the operation, which fills it, and the callback, which hands it on after the commit.
  auto response = std::make_shared<Response>();
  writer_.Submit(
      [this, method, request, response](Store& store) {
        absl::StatusOr<Response> result = (store.*method)(request, NowMs());
        if (result.ok()) *response = *std::move(result);
        return result.status();
      },
      [this, response, may_free_work, answer = std::move(answer)](absl::Status status) {
        if (!status.ok()) {
          answer(status);
          return;
        }
        answer(std::move(*response));
        if (may_free_work) ServeWaiting();
      });
}

void Coordinator::NoteClientCall() {
  core::MutexLock lock(&mu_);
  last_client_ms_ = NowMs();
}

void Coordinator::Info(Answer<v1::InfoResponse> answer) {
  NoteClientCall();
  auto response = std::make_shared<v1::InfoResponse>();  // as in Write
  writer_.Submit(
      [this, response](Store& store) -> absl::Status {
        ASSIGN_OR_RETURN(const Activity activity, store.GetActivity());
        response->set_pending_trials(activity.pending);
        response->set_leased_trials(activity.leased);
        response->set_held_trials(activity.held);
        ASSIGN_OR_RETURN(const int64_t workers,
                         store.db().Int(0, "SELECT count(*) FROM workers WHERE heard_unix_ms>=?1",
                                        NowMs() - options_.lease_ms));
        response->set_workers(workers);
        return absl::OkStatus();
      },
      [this, response, answer = std::move(answer)](absl::Status status) {
        if (!status.ok()) {
          answer(status);
          return;
        }
        response->set_protocol_version(core::kProtocolVersion);
        response->set_version(std::string(core::Version()));
        response->set_commit(std::string(core::Commit()));
        response->set_coordinator_id(options_.coordinator_id);
        response->set_database(options_.database);
        response->set_pid(getpid());
        response->set_started_unix_ms(started_unix_ms_);
        if (writer_.disk_full()) {
          response->set_leasing_paused(true);
          response->set_notice(fmt::format(
              "no room on the disk of {}: nothing is leased until there is; free some space",
              options_.database));
        }
        answer(std::move(*response));
      });
}

void Coordinator::SubmitSweep(const v1::SubmitSweepRequest& request,
                              Answer<v1::SubmitSweepResponse> answer) {
  NoteClientCall();
  Write(&Store::SubmitSweep, request, true, std::move(answer));
}
void Coordinator::SubmitTarget(const v1::SubmitTargetRequest& request,
                               Answer<v1::SubmitTargetResponse> answer) {
  NoteClientCall();
  Write(&Store::SubmitTarget, request, true, std::move(answer));
}
void Coordinator::RegisterForecast(const v1::RegisterForecastRequest& request,
                                   Answer<v1::RegisterForecastResponse> answer) {
  NoteClientCall();
  Write(&Store::RegisterForecast, request, true, std::move(answer));
}
void Coordinator::RegisterForecasts(const v1::RegisterForecastsRequest& request,
                                    Answer<v1::RegisterForecastsResponse> answer) {
  NoteClientCall();
  Write(&Store::RegisterForecasts, request, true, std::move(answer));
}
void Coordinator::RecordFit(const v1::RecordFitRequest& request,
                            Answer<v1::RecordFitResponse> answer) {
  NoteClientCall();
  Write(&Store::RecordFit, request, false, std::move(answer));
}
void Coordinator::Import(const v1::ImportRequest& request, Answer<v1::ImportResponse> answer) {
  NoteClientCall();
  Write(&Store::Import, request, false, std::move(answer));
}
void Coordinator::Control(const v1::ControlRequest& request, Answer<v1::ControlResponse> answer) {
  NoteClientCall();
  Write(&Store::Control, request, true, std::move(answer));
}

void Coordinator::Shutdown() {
  core::MutexLock lock(&mu_);
  shutdown_ = true;
}

void Coordinator::Register(const v1::RegisterRequest& request,
                           Answer<v1::RegisterResponse> answer) {
  if (request.protocol_version() != core::kProtocolVersion) {
    answer(absl::FailedPreconditionError(fmt::format(
        "worker {} speaks protocol version {}, coordinator {} speaks {}; install the same "
        "sweepctl on both",
        request.worker_id(), request.protocol_version(), core::Version(), core::kProtocolVersion)));
    return;
  }
  writer_.Submit([this, request](Store& store) { return store.RegisterWorker(request, NowMs()); },
                 [this, id = request.worker_id(), answer = std::move(answer)](absl::Status status) {
                   if (!status.ok()) {
                     answer(status);
                     return;
                   }
                   {
                     core::MutexLock lock(&mu_);
                     registered_.insert(id);
                   }
                   v1::RegisterResponse response;
                   response.set_lease_ms(options_.lease_ms);
                   response.set_coordinator_id(options_.coordinator_id);
                   answer(std::move(response));
                 });
}

void Coordinator::Heartbeat(const v1::HeartbeatRequest& request,
                            Answer<v1::HeartbeatResponse> answer) {
  auto response = std::make_shared<v1::HeartbeatResponse>();  // as in Write
  writer_.Submit(
      [this, request, response](Store& store) {
        auto result = store.RenewLeases(request, options_.lease_ms, NowMs());
        if (result.ok()) *response = *std::move(result);
        return result.status();
      },
      [this, response, id = request.worker_id(), answer = std::move(answer)](absl::Status status) {
        if (!status.ok()) {
          answer(status);
          return;
        }
        {
          core::MutexLock lock(&mu_);
          response->set_register_again(registered_.count(id) == 0);
        }
        answer(std::move(*response));
      });
}

void Coordinator::Report(const v1::ReportRequest& request, Answer<v1::ReportResponse> answer) {
  Write(&Store::AppendReport, request, false, std::move(answer));
}
void Coordinator::PublishCheckpoint(const v1::PublishCheckpointRequest& request,
                                    Answer<v1::PublishCheckpointResponse> answer) {
  Write(&Store::PublishCheckpoint, request, false, std::move(answer));
}
void Coordinator::Complete(const v1::CompleteRequest& request,
                           Answer<v1::CompleteResponse> answer) {
  Write(&Store::CompleteAttempt, request, true, std::move(answer));
}

void Coordinator::Acquire(const v1::AcquireRequest& request, std::function<bool()> gone,
                          Answer<v1::AcquireResponse> answer) {
  // Shared with the batch being served, see waiting_.
  auto entry = std::make_shared<Waiting>();
  entry->request = request;
  entry->gone = std::move(gone);
  entry->answer = std::move(answer);
  entry->deadline_ms = NowMs() + std::clamp<int64_t>(request.wait_ms(), 0, kMaxWaitMs);
  {
    core::MutexLock lock(&mu_);
    waiting_.push_back(std::move(entry));
  }
  ServeWaiting();
}

void Coordinator::ServeWaiting() {
  std::vector<std::shared_ptr<Waiting>> batch;
  {
    core::MutexLock lock(&mu_);
    if (serving_) {
      serve_again_ = true;
      return;
    }
    if (waiting_.empty()) return;
    serving_ = true;
    batch.assign(waiting_.begin(), waiting_.end());
  }
  const bool paused = writer_.disk_full();
  using Results = std::vector<absl::StatusOr<v1::AcquireResponse>>;
  auto results = std::make_shared<Results>();  // as in Write
  writer_.Submit(
      [this, batch, results, paused](Store& store) -> absl::Status {
        results->assign(batch.size(), v1::AcquireResponse());
        if (paused) return absl::OkStatus();
        ASSIGN_OR_RETURN(int64_t pending,
                         store.db().Int(0, "SELECT 1 FROM trials WHERE state='PENDING' LIMIT 1"));
        for (size_t i = 0; i < batch.size(); ++i) {
          // Newcomers are looked at even when the queue is empty: they may have lost an answer.
          if ((pending == 0 && batch[i]->looked) || batch[i]->gone()) continue;
          (*results)[i] = store.AcquireLeases(batch[i]->request, options_.lease_ms, NowMs());
          if (absl::IsResourceExhausted((*results)[i].status())) return (*results)[i].status();
        }
        return absl::OkStatus();
      },
      [this, batch, results, paused](absl::Status status) {
        // Without room on the disk nothing was leased: they go on waiting.
        if (!status.ok()) results->assign(batch.size(), v1::AcquireResponse());
        if (status.ok() && !paused) {
          for (const auto& entry : batch) entry->looked = true;
        }
        FinishServing(batch, std::move(*results));
      });
}

void Coordinator::FinishServing(const std::vector<std::shared_ptr<Waiting>>& batch,
                                std::vector<absl::StatusOr<v1::AcquireResponse>> results) {
  std::vector<size_t> finished;
  bool again = false;
  {
    core::MutexLock lock(&mu_);
    const bool drained = Drained();
    for (size_t i = 0; i < batch.size(); ++i) {
      const bool served = !results[i].ok() || results[i]->leases_size() > 0;
      const bool over = batch[i]->deadline_ms <= NowMs() || drained || shutdown_;
      if (!served && !over && !batch[i]->gone()) continue;
      if (!served && drained) results[i]->set_drained(true);
      waiting_.remove(batch[i]);
      finished.push_back(i);
    }
    serving_ = false;
    again = std::exchange(serve_again_, false);
  }
  for (const size_t i : finished) batch[i]->answer(std::move(results[i]));
  if (again) ServeWaiting();
}

bool Coordinator::Drained() {
  return options_.exit_when_idle && !activity_.runnable && activity_.leased == 0 &&
         last_activity_ms_ > std::max(last_client_ms_, last_busy_ms_) &&
         NowMs() - std::max(last_client_ms_, last_busy_ms_) >= options_.idle_ms;
}

bool Coordinator::ShouldExit() {
  core::MutexLock lock(&mu_);
  return shutdown_ || (Drained() && waiting_.empty());
}

void Coordinator::Tick() {
  if (writer_.disk_full()) {
    TickDisk();
    if (writer_.disk_full()) {
      ServeWaiting();  // ends the waits that are over
      return;
    }
  }
  int64_t expired = 0;
  Activity activity;
  bool look = false;
  {
    core::MutexLock lock(&mu_);
    look = NowMs() - last_activity_ms_ >= kActivityEveryMs;
  }
  const absl::Status status = writer_.Run([&](Store& store) -> absl::Status {
    ASSIGN_OR_RETURN(expired, store.ExpireLeases(NowMs()));
    if (look) {
      ASSIGN_OR_RETURN(activity, store.GetActivity());
    }
    return absl::OkStatus();
  });
  bool serve = expired > 0;
  {
    core::MutexLock lock(&mu_);
    serve = serve || shutdown_;
    if (status.ok() && look) {
      activity_ = activity;
      last_activity_ms_ = NowMs();
      if (activity.runnable || activity.leased > 0) last_busy_ms_ = last_activity_ms_;
    }
    const bool drained = Drained();
    for (const auto& entry : waiting_)
      serve = serve || drained || entry->deadline_ms <= NowMs() || entry->gone();
  }
  if (serve) ServeWaiting();
}

void Coordinator::TickDisk() {
  const int64_t now_ms = NowMs();
  {
    core::MutexLock lock(&mu_);
    if (disk_full_since_ms_ == 0) disk_full_since_ms_ = now_ms;
    if (now_ms - last_probe_ms_ < kProbeEveryMs) return;
    last_probe_ms_ = now_ms;
  }
  if (!writer_.Probe().ok()) return;
  int64_t since_ms = 0;
  {
    core::MutexLock lock(&mu_);
    since_ms = std::exchange(disk_full_since_ms_, 0);
  }
  // Workers could not renew meanwhile; that is not their fault.
  (void)writer_.Run([&](Store& store) -> absl::Status {
    RETURN_IF_ERROR(store.ExtendLeases(options_.lease_ms, now_ms));
    return store.AddEvent(now_ms, "disk full", "", "", "",
                          fmt::format("leasing was paused for {} s: no room on the disk",
                                      (now_ms - since_ms) / 1000));
  });
  ServeWaiting();
}

}  // namespace orchestrator
