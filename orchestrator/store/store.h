// Store: the durable truth of a database file. Every operation is one transaction (or one savepoint
// of a surrounding Transaction), is idempotent, and takes the time as an argument, so a test or a
// simulation decides what time it is.
//
// Errors, beside those of sqlite.h: NOT_FOUND (no such sweep or trial), INVALID_ARGUMENT (the
// request itself is wrong), FAILED_PRECONDITION (the state forbids it; for worker operations: the
// epoch is stale, drop the trial and write nothing more). After any error nothing has changed.
// Thread-safety: one thread at a time; Writer (orchestrator/writer.h) is that thread in production.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "orchestrator/lease.h"
#include "orchestrator/store/audit.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/sqlite.h"
#include "sweep/v1/coordinator.pb.h"
#include "sweep/v1/worker.pb.h"

namespace orchestrator {

namespace v1 = ::sweep::v1;

// What is left to do in the whole database.
struct Activity {
  int64_t pending = 0;
  int64_t leased = 0;
  int64_t held = 0;
  // Whether some PENDING trial would be leased now: its sweep neither paused nor at its limit.
  bool runnable = false;
};

// INVALID_ARGUMENT unless the name of a sweep or import is 1 to 64 letters, digits, '.', '_', '-'.
absl::Status CheckSweepName(std::string_view name);

class Store {
 public:
  // Opens or creates, and migrates (orchestrator/store/schema.h); *migration, when given, says what
  // that did.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path,
                                                     Migration* migration = nullptr);

  // ---- Clients (store/submit.cc, control.cc, forecasts.cc) ----

  // Stores a sweep and its trials. A trial that exists is shared, whatever its state; a CANCELLED
  // one is taken up again. Settings outside the science (folders, command, retries, limit) are
  // updated. FAILED_PRECONDITION with a diff when the sweep exists with other science and
  // request.extend is off.
  absl::StatusOr<v1::SubmitSweepResponse> SubmitSweep(const v1::SubmitSweepRequest& request,
                                                      int64_t now_ms);
  // Adds a target. HELD until RegisterForecast names it, unless the trial exists already.
  absl::StatusOr<v1::SubmitTargetResponse> SubmitTarget(const v1::SubmitTargetRequest& request,
                                                        int64_t now_ms);
  absl::StatusOr<v1::ControlResponse> Control(const v1::ControlRequest& request, int64_t now_ms);
  // Appends to the chain of registrations and releases the target, in one transaction. Of an import
  // there is nothing to release: a later import of its cohort that holds the target's run scores
  // it, whatever its name. FAILED_PRECONDITION where the target lies within the fitted runs, or has
  // a primary forecast already: of an import one for each cohort, metric and budget.
  // FAILED_PRECONDITION, naming the keys, when something of the cohort is "unknown": a promise
  // about nobody knows what cannot be kept. Of an import the target lies beyond every run of its
  // cohort that any import ever held, and is void when one of them was at its budget. DATA_LOSS
  // with the audit's text when the chain is broken.
  absl::StatusOr<v1::RegisterForecastResponse> RegisterForecast(
      const v1::RegisterForecastRequest& request, int64_t now_ms);
  // The fit and the forecasts made from it, all or none.
  absl::StatusOr<v1::RegisterForecastsResponse> RegisterForecasts(
      const v1::RegisterForecastsRequest& request, int64_t now_ms);
  absl::StatusOr<v1::RecordFitResponse> RecordFit(const v1::RecordFitRequest& request,
                                                  int64_t now_ms);
  // Stores runs that were trained elsewhere (store/imports.cc), all or none, and scores the
  // forecasts that wait for them: void where the file was imported before the registration; not at
  // all where a run's numbers cannot mean what they are called or the chain is broken. The notes of
  // the response say which, and how each score came out. The same content under the same name
  // stores nothing. FAILED_PRECONDITION when a sweep has the name, or an import of other content
  // has it and request.replace is off.
  absl::StatusOr<v1::ImportResponse> Import(const v1::ImportRequest& request, int64_t now_ms);
  // The same on a copy that is thrown away. The notes say which forecasts it would score and not
  // how: whoever may look at a score before it is on record may choose the row.
  absl::StatusOr<v1::ImportResponse> TryImport(const v1::ImportRequest& request, int64_t now_ms);
  absl::Status VerifyForecastChain() { return orchestrator::VerifyForecastChain(db_.get()); }

  // ---- Workers (store/leases.cc, report.cc) ----

  absl::Status RegisterWorker(const v1::RegisterRequest& request, int64_t now_ms);
  // Leases PENDING trials until now_ms + lease_ms, each under a new epoch: highest lease_rank first
  // (recipe FLOPs, or the listed order of an "as-listed" sweep as one block with the rank of its
  // largest trial). HELD trials, paused sweeps and sweeps at their FLOP limit give nothing. A
  // run_alone trial is given only to a worker that holds nothing, and then nothing else. Leases of
  // this worker that it does not list as held are answered again first.
  absl::StatusOr<v1::AcquireResponse> AcquireLeases(const v1::AcquireRequest& request,
                                                    int64_t lease_ms, int64_t now_ms);
  // Renews what the worker still owns and stores progress; tells what it lost or should stop.
  absl::StatusOr<v1::HeartbeatResponse> RenewLeases(const v1::HeartbeatRequest& request,
                                                    int64_t lease_ms, int64_t now_ms);
  // Metrics in sequence order; points after a gap are not stored, points stored before are skipped.
  absl::StatusOr<v1::ReportResponse> AppendReport(const v1::ReportRequest& request, int64_t now_ms);
  absl::StatusOr<v1::PublishCheckpointResponse> PublishCheckpoint(
      const v1::PublishCheckpointRequest& request, int64_t now_ms);
  // Ends an attempt and decides what follows (lease.h). COMPLETED needs the final evaluation at the
  // plan's last step on the plan's evaluation set; it scores the forecasts whose target this is.
  absl::StatusOr<v1::CompleteResponse> CompleteAttempt(const v1::CompleteRequest& request,
                                                       int64_t now_ms);

  // ---- The coordinator itself ----

  // Returns trials whose lease has run out to PENDING (or FAILED when their preemption retries are
  // used up); checkpoints stay, the next lease has a new epoch. The number of leases ended.
  absl::StatusOr<int64_t> ExpireLeases(int64_t now_ms);
  // After a restart: no lease ends before now_ms + lease_ms, so that workers can come back.
  absl::Status ExtendLeases(int64_t lease_ms, int64_t now_ms);
  absl::StatusOr<Activity> GetActivity();
  absl::Status AddEvent(int64_t now_ms, std::string_view kind, std::string_view sweep,
                        std::string_view trial_id, std::string_view worker_id,
                        std::string_view detail);
  // Writes 256 KiB; OK and committed means that the disk has room. ClearProbe, in a transaction of
  // its own (else nothing reaches the disk), frees them again.
  absl::Status ProbeSpace();
  absl::Status ClearProbe();

  Database& db() { return *db_; }

 private:
  explicit Store(std::unique_ptr<Database> db) : db_(std::move(db)) {}

  struct StoredTrial {
    int64_t key = 0;
    bool added = false;
    std::string state;
  };
  // What decides about a leased trial; read inside the writing transaction.
  struct LeasedTrial {
    int64_t key = 0;
    std::string sweep;
    int64_t steps = 0;
    int64_t checkpoint_step = 0;
    std::string eval_hash;
    StopRequest stop = StopRequest::kNone;
    RetryCounts counts;
    RetryLimits limits;
    bool run_alone = false;
  };

  // submit.cc
  absl::StatusOr<StoredTrial> InsertTrial(const v1::TrialSpec& spec, TrialState state,
                                          double lease_rank, int64_t now_ms);
  // control.cc: HELD, PENDING or CANCELLED as the memberships of an unleased, unfinished trial
  // demand.
  absl::Status SettleWaiting(int64_t key, int64_t now_ms);
  absl::Status CheckSameTrainer(const std::string& sweep, int64_t key);
  // leases.cc
  absl::StatusOr<LeasedTrial> CheckEpoch(std::string_view trial_id, std::string_view worker_id,
                                         int64_t epoch);
  absl::Status EndAttempt(const LeasedTrial& trial, AttemptEnd end, std::string_view detail,
                          int64_t now_ms);
  absl::StatusOr<std::vector<std::string>> BlockedSweeps();
  absl::Status DescribeLease(int64_t key, v1::Lease* lease);
  // forecasts.cc
  absl::Status ScoreForecasts(int64_t key, int64_t now_ms);
  // imports.cc: every forecast of an import that waits for a run of this one, whose runs are
  // stored; how many, and what else there is to say of those that wait.
  absl::Status ScoreImportedForecasts(const std::string& import, int64_t now_ms, bool preview,
                                      v1::ImportResponse* response);
  absl::StatusOr<v1::ImportResponse> ImportRuns(const v1::ImportRequest& request, int64_t now_ms,
                                                bool preview);
  absl::Status AbandonForecasts(int64_t key, std::string_view why, int64_t now_ms);
  absl::Status ReopenForecasts(int64_t key, int64_t now_ms);
  // Those of the target with status `from` are `to` from now on.
  absl::Status ChangeForecasts(int64_t key, const char* from, const char* to, std::string_view why,
                               int64_t now_ms);

  std::unique_ptr<Database> db_;
};

}  // namespace orchestrator
