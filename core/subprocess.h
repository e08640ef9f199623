// Child processes by posix_spawn (never fork: gRPC threads do not survive it), each in its own
// process group or session.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace core {

struct SpawnOptions {
  std::vector<std::string> argv;           // argv[0] is looked up in PATH
  std::map<std::string, std::string> env;  // added to (and overriding) this process's environment
  std::string working_dir;                 // empty: inherited
  std::string log_path;                    // stdout and stderr appended there; empty: inherited
  int inherited_fd = -1;                   // this descriptor becomes descriptor 3 of the child
  bool new_session = false;                // detached: survives this process and its terminal
};

// Starts a child. NOT_FOUND when the program does not exist; RESOURCE_EXHAUSTED when the log cannot
// be made there, and as core/file.h.
absl::StatusOr<pid_t> Spawn(const SpawnOptions& options);

// The exit code if `pid` has ended (128 + signal when killed), nullopt while it runs. Reaps it.
std::optional<int> PollExit(pid_t pid);
// Waits at most timeout_ms, as PollExit.
std::optional<int> WaitExit(pid_t pid, int timeout_ms);
// Signals the child's whole process group.
void SignalGroup(pid_t pid, int signal_number);

// Absolute path of the running program.
std::string SelfPath();

}  // namespace core
