// SharedTrainer: one native trainer process that trains many trials at a time, each over a
// connection of its own (trials packed on a GPU). A link that is dropped ends its trial only; when
// the process crashes every link ends, and the next Connect() starts a new process. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/mutex.h"
#include "worker/agent/child_process.h"

namespace worker {

class SharedTrainer {
 public:
  // `argv` serves connections on its descriptor 3, a listening socket, until it is killed.
  SharedTrainer(std::vector<std::string> argv, std::string log_path)
      : argv_(std::move(argv)), log_path_(std::move(log_path)) {}

  // A new connection; starts the process when none runs. It dies with the thread that calls this
  // first, see TrainerLink. UNAVAILABLE when it cannot be started.
  absl::StatusOr<std::unique_ptr<TrainerPeer>> Connect() EXCLUDES(mu_);

  // One process and its listening socket; connections keep it.
  struct Process;

 private:
  const std::vector<std::string> argv_;
  const std::string log_path_;
  core::Mutex mu_;
  std::shared_ptr<Process> process_ GUARDED_BY(mu_);  // shared with the connections to it
};

}  // namespace worker
