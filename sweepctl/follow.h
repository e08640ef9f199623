// Following a sweep from the terminal: a live table, its stages moved on (fit -> register ->
// target), and the record at the end.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "orchestrator/reader.h"
#include "sweepctl/cli.h"

namespace sweepctl {

struct FollowOptions {
  std::string db_path;
  std::string sweep;
  bool advance = true;  // register forecasts and start workers where needed; false: only look
  bool cuda = false;    // the trials need GPUs: an agent for each of this host's
  int slots = 0;        // for workers that are started; 0: one a core
  int threads = 0;      // of all slots together; 0: all cores
  bool start_workers = true;
  bool json = false;  // stdout is kept for one JSON object
};

// "resume NAME" with the flags that make it go on as this was started.
std::string ResumeArguments(const FollowOptions& options);

// Returns when every trial of the sweep has ended and every forecast with a target is scored, or
// the terminal asks to stop (Ctrl-C detaches: nothing is stopped). Progress on stderr; the result
// (fit, forecasts beside outcomes) on stdout. kDone, kFailedTrials or kInterrupted.
absl::StatusOr<int> FollowSweep(const FollowOptions& options, const GlobalOptions& global);

// The live table: a line of counts, one a running trial with its stage, and `stuck`, never cut, if
// it is not empty. `columns` and `lines` of the terminal: other lines are cut, and rows that do not
// fit are counted in a line of their own; 0: no limit.
std::string StatusText(const orchestrator::SweepStatus& status, const std::string& stuck,
                       bool color, int columns, int lines);

// Starts an agent when there is none (HasWorker); `endpoint` is for the message when this host has
// no GPU for it. Returns how many.
absl::StatusOr<int> EnsureWorkers(const FollowOptions& options, const std::string& endpoint,
                                  orchestrator::Reader& reader);

// sweep-worker beside the running program, else in PATH.
std::string WorkerProgram();

}  // namespace sweepctl
