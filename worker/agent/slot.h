// Slot: room for one trial at a time. One thread talks to the trainer and never waits for the
// network, so a coordinator that is away does not slow training down; another brings what the trial
// produced (Outbox) to the coordinator, again and again until it is acknowledged.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "core/mutex.h"
#include "sweep/v1/worker.pb.h"
#include "worker/agent/coordinator_api.h"
#include "worker/agent/outbox.h"
#include "worker/agent/trainer_link.h"

namespace worker {

struct SlotOptions {
  int index = 0;
  std::string worker_id;
  std::string program;   // sweep-worker, for `train` and `exec`
  std::string work_dir;  // logs and plans of outside trainers
  SharedTrainer* shared =
      nullptr;  // trains the native trials of every slot; null: a process a slot
  int64_t checkpoint_interval_ms = 60'000;
  // How long a trial may take to stop with a checkpoint before it is killed.
  int64_t stop_grace_ms = 20'000;
};

// Why a running trial should stop.
enum class StopReason {
  kNone,
  kPause,    // the coordinator asked; checkpoint, PREEMPTED
  kPreempt,  // this agent was asked to end; checkpoint, PREEMPTED
  kCancel,   // the coordinator asked; checkpoint, CANCELLED
  kLost,     // the lease is gone: no checkpoint, nothing more is written
};

class Slot {
 public:
  // `api` must outlive the slot. `on_idle` is called (on a slot thread) whenever a trial is over.
  Slot(SlotOptions options, CoordinatorApi* api, std::function<void()> on_idle);
  // Kills a running trial without telling anybody: first stop it and wait for idle().
  ~Slot();
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  // REQUIRES: idle().
  void Assign(const sweep::v1::Lease& lease, int threads) EXCLUDES(mu_);
  bool idle() EXCLUDES(mu_);
  // What a heartbeat says about the trial; nullopt when idle. It stays held until the coordinator
  // has acknowledged its end.
  std::optional<sweep::v1::HeartbeatRequest::Held> Held() EXCLUDES(mu_);
  // Model FLOPs a second of the running trial; 0 until it reports progress.
  double FlopsPerSecond() EXCLUDES(mu_);
  // Stops the trial, if it is the one named (any, when empty).
  void Stop(const std::string& trial_id, StopReason reason) EXCLUDES(mu_);
  // The trainer process, -1 when there is none. For tests.
  int trainer_pid() EXCLUDES(mu_);

 private:
  struct Ending {
    sweep::v1::Outcome outcome = sweep::v1::OUTCOME_FAILED;
    std::string detail;
    int crashed_with = 0;  // other trials in the process that ended
    int64_t step = 0, train_ms = 0, peak_resident_bytes = 0;
    std::optional<sweep::v1::Evaluation> final_evaluation;
    sweep::v1::Provenance provenance;
  };
  void TrainLoop() EXCLUDES(mu_);
  void ReportLoop() EXCLUDES(mu_);
  Ending RunTrial(const sweep::v1::Lease& lease, int threads) EXCLUDES(mu_);
  Ending Converse(const sweep::v1::Lease& lease, int64_t steps) EXCLUDES(mu_);
  // False when there is nothing left to bring.
  bool BringOne() EXCLUDES(mu_);
  void HandleReportError(const absl::Status& status) EXCLUDES(mu_);
  // One message of the trainer but Finished. `superseded` gets the folder of a checkpoint that will
  // never be published.
  void Take(const sweep::v1::FromTrainer& message, int64_t steps, Ending* end,
            std::string* superseded) EXCLUDES(mu_);
  // As the trainer said it; of an outside trainer that does not, the mean since the trial began.
  double TokensPerSecond() const REQUIRES(mu_);
  void RemoveCheckpoint(const std::string& path, const sweep::v1::Lease& lease);

  const SlotOptions options_;
  CoordinatorApi* const api_;
  const std::function<void()> on_idle_;

  core::Mutex mu_;
  core::CondVar wake_;
  bool ending_ GUARDED_BY(mu_) = false;
  std::optional<sweep::v1::Lease> lease_ GUARDED_BY(mu_);
  int threads_ GUARDED_BY(mu_) = 1;
  double flops_per_token_ GUARDED_BY(mu_) = 0;
  double tokens_per_step_ GUARDED_BY(mu_) = 0;
  int64_t began_ms_ GUARDED_BY(mu_) = 0;   // on the monotonic clock
  bool training_ GUARDED_BY(mu_) = false;  // TrainLoop has the trial
  StopReason stop_ GUARDED_BY(mu_) = StopReason::kNone;
  // The coordinator refused what the trial produced: why.
  std::string refused_ GUARDED_BY(mu_);
  sweep::v1::Progress progress_ GUARDED_BY(mu_);
  Outbox outbox_ GUARDED_BY(mu_);
  std::deque<sweep::v1::Checkpoint> checkpoints_ GUARDED_BY(mu_);
  std::optional<sweep::v1::CompleteRequest> completion_ GUARDED_BY(mu_);
  int trainer_pid_ GUARDED_BY(mu_) = -1;

  std::unique_ptr<TrainerLink> link_;  // TrainLoop only
  std::thread train_thread_;
  std::thread report_thread_;
};

}  // namespace worker
