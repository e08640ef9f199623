// A child process with a socket to it as its descriptor 3. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace worker {

class ChildProcess {
 public:
  // NOT_FOUND when the program does not exist.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::vector<std::string>& argv, const std::map<std::string, std::string>& env,
      const std::string& log_path);
  // Kills the whole process group and reaps the child.
  ~ChildProcess();

  // Bytes that arrived, "" after timeout_ms without any. UNAVAILABLE at end-of-file.
  absl::StatusOr<std::string> Read(int timeout_ms);
  // UNAVAILABLE when the child is gone (never SIGPIPE).
  absl::Status Write(std::string_view bytes);
  pid_t pid() const { return pid_; }

  // Waits a little for the child to end (it has closed its end), kills it otherwise, and says how
  // it ended, with the end of what it has logged since Start() or MarkLog().
  std::string DescribeEnd();
  void MarkLog();

 private:
  ChildProcess(pid_t pid, int fd, std::string log_path)
      : pid_(pid), fd_(fd), log_path_(std::move(log_path)) {}
  std::string LogTail() const;

  pid_t pid_;
  int fd_;
  std::string log_path_;
  int64_t log_start_ = 0;
  std::optional<int> exit_;
};

}  // namespace worker
