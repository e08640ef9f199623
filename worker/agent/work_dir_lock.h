// One agent a work folder: an flock(2) on `<work_dir>/agent.lock`, with the agent's pid inside. It
// dies with its process, however that ends; the file stays.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace worker {

class WorkDirLock {
 public:
  // Makes the folder. FAILED_PRECONDITION naming the pid of the agent that has it; else what making
  // folder and file says.
  static absl::StatusOr<std::unique_ptr<WorkDirLock>> Take(const std::string& work_dir);
  ~WorkDirLock();
  WorkDirLock(const WorkDirLock&) = delete;

 private:
  explicit WorkDirLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace worker
