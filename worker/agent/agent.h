// Agent: leases trials from a coordinator, has them trained in its slots, reports. One process a
// host or GPU; it survives coordinator restarts and trainer crashes, and leaves no trainer behind.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "core/mutex.h"
#include "worker/agent/coordinator_api.h"
#include "worker/agent/packing.h"
#include "worker/agent/shared_trainer.h"
#include "worker/agent/slot.h"
#include "worker/agent/work_dir_lock.h"

namespace worker {

struct AgentOptions {
  // HOST:PORT, or "file:PATH" of a coordinator's lock file.
  std::string coordinator;
  int slots = 1;  // trials at once, >= 1
  // Of a GPU: as many of the slots at once as measurement finds worthwhile (packing.h).
  bool measure_packing = false;
  int threads = 1;       // CPU threads of all slots together, >= 1
  std::string work_dir;  // created
  std::string program;   // sweep-worker; empty: the running program
  // The GPU to train on, as CUDA counts, with `cuda_program` (sweep-worker-cuda); -1: the CPU.
  int cuda_device = -1;
  std::string cuda_program;
  std::string device;  // for people; empty: the CPU's name
  bool exit_when_drained = false;
  int64_t checkpoint_interval_ms = 60'000;
  int64_t stop_grace_ms = 20'000;
  // How long the coordinator may be away, with no trial in the slots, before the agent gives up.
  int64_t unreachable_ms = 60'000;
};

// Exit codes of `sweep-worker agent` (DESIGN.md section 5).
inline constexpr int kExitDone = 0;
inline constexpr int kExitTaken = 65;  // another agent has the work folder
inline constexpr int kExitUnreachable = 69;
inline constexpr int kExitRequeue = 75;

// Threads for a trial among `active` running ones (itself included) with `pending` behind: all
// slots share when there is work for all of them, a lone trial gets everything. At least 1. The
// result of a trial never depends on it.
int ThreadsForTrial(int total_threads, int slots, int active, int64_t pending);

class Agent {
 public:
  // `api` replaces the gRPC connection; tests pass their own.
  explicit Agent(AgentOptions options, std::unique_ptr<CoordinatorApi> api = nullptr);
  ~Agent();

  // Works until drained (kExitDone), stopped (kExitRequeue, every trial saved and given back), or
  // the coordinator is gone for good (kExitUnreachable, or kExitDone with exit_when_drained: an
  // idle coordinator ends itself) or speaks another protocol version (kExitUnreachable). At once
  // where another agent has the work folder (kExitTaken).
  int Run();
  // From any thread, not from a signal handler.
  void RequestStop() EXCLUDES(mu_);
  // Of slot i, -1 when it has none. For tests.
  int trainer_pid(int slot) { return slots_[slot]->trainer_pid(); }

 private:
  absl::Status Register();
  bool RegisterWithPatience(int* exit_code) EXCLUDES(mu_);
  void HeartbeatLoop() EXCLUDES(mu_);
  void Heartbeat();
  void Place(const sweep::v1::AcquireResponse& response);
  int Active();
  // Trials to have at once now.
  int Allowed();
  bool stopping() EXCLUDES(mu_);
  // False when the agent was stopped meanwhile.
  bool Sleep(int64_t ms) EXCLUDES(mu_);

  AgentOptions options_;
  std::string worker_id_;
  std::unique_ptr<CoordinatorApi> api_;

  core::Mutex mu_;
  core::CondVar wake_;
  bool stopping_ GUARDED_BY(mu_) = false;
  bool done_ GUARDED_BY(mu_) = false;
  std::atomic<int64_t> lease_ms_{30'000};
  Packing packing_;  // Run() only
  int64_t packing_sampled_ms_ = 0;
  std::unique_ptr<WorkDirLock> work_dir_;  // let go when the trainers have ended
  std::unique_ptr<SharedTrainer> shared_;  // outlives the slots
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace worker
