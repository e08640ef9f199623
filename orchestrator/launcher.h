// Starting what a client needs: a coordinator for a database, and workers on this host. Both become
// sessions of their own, so that closing the terminal stops nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace orchestrator {

struct EnsureOptions {
  std::string db_path;
  std::string sweepctl;         // the program whose `serve` is started; absolute, or found in PATH
  int64_t timeout_ms = 15'000;  // until it answers
  int64_t idle_ms = 30'000;     // passed on as --idle-ms
};

// The endpoint of the database's coordinator: the running one, or one that this call starts as
// `sweepctl serve --db PATH --exit-when-idle` with its log at `<db>.coordinator.log`. Two callers
// at once get the same one. When it does not come up: what it said, as FAILED_PRECONDITION (the
// database cannot be used), RESOURCE_EXHAUSTED, PERMISSION_DENIED, else UNAVAILABLE, or
// DEADLINE_EXCEEDED with the end of that log. FAILED_PRECONDITION also when a coordinator of
// another protocol version has the database.
absl::StatusOr<std::string> EnsureCoordinator(const EnsureOptions& options);

struct WorkerOptions {
  std::string db_path;       // names the log: `<db>.worker-<n>.log`
  std::string sweep_worker;  // the program; absolute, or found in PATH
  std::string endpoint;  // empty: whatever coordinator the lock file names, also after a restart
  int count = 1;         // agents to start
  bool cuda = false;     // agent number i trains on GPU i
  int slots = 1;         // trials at once, of each; 0: as the agent thinks best
  int threads = 0;       // CPU threads of each agent, shared by its trials; 0: all of the host
  std::string work_dir;  // private files of the agents
  bool exit_when_drained = true;
};

// Starts agents and returns their pids; they register by themselves. Each holds the flock(2) of
// `<db>.worker-<n>.lock` while it lives, so an agent that an earlier call started and that is not
// registered (yet, or since its coordinator restarted) gets no twin: it is left out of the result.
// NOT_FOUND when the program does not exist.
absl::StatusOr<std::vector<int>> StartLocalWorkers(const WorkerOptions& options);

// Whether an agent that StartLocalWorkers started for the database lives, registered or not. Cannot
// fail; never blocks.
bool LocalWorkerLives(const std::string& db_path);

}  // namespace orchestrator
