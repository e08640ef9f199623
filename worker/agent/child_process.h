// A child process with a socket to it as its descriptor 3. Not thread-safe.
//
// TrainerPeer is what a trainer link needs of the process at the other end: ChildProcess where the
// link owns it, a connection of SharedTrainer where several links share one.
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

class TrainerPeer {
 public:
  virtual ~TrainerPeer() = default;
  // Whether a trial of ours is being trained, for the neighbours' count.
  virtual void SetBusy(bool) {}
  // Trials of others that were being trained in the process when it ended.
  virtual int Neighbours() { return 0; }
  // Bytes that arrived, "" after timeout_ms without any. UNAVAILABLE at end-of-file.
  virtual absl::StatusOr<std::string> Read(int timeout_ms) = 0;
  // UNAVAILABLE when the process is gone (never SIGPIPE).
  virtual absl::Status Write(std::string_view bytes) = 0;
  virtual pid_t pid() const = 0;
  // Waits a little for the process to end (it has closed its end), and says how it ended, with the
  // end of what it has logged since it was started or MarkLog().
  virtual std::string DescribeEnd() = 0;
  virtual void MarkLog() = 0;
};

absl::StatusOr<std::string> ReadSocket(int fd, int timeout_ms);
absl::Status WriteSocket(int fd, std::string_view bytes);

class ChildProcess : public TrainerPeer {
 public:
  // NOT_FOUND when the program does not exist.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::vector<std::string>& argv, const std::map<std::string, std::string>& env,
      const std::string& log_path);
  // The child gets `listener` as its descriptor 3 instead; Read and Write are not for it.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> StartListening(
      const std::vector<std::string>& argv, int listener, const std::string& log_path);
  // Kills the whole process group and reaps the child.
  ~ChildProcess() override;

  absl::StatusOr<std::string> Read(int timeout_ms) override { return ReadSocket(fd_, timeout_ms); }
  absl::Status Write(std::string_view bytes) override { return WriteSocket(fd_, bytes); }
  pid_t pid() const override { return pid_; }
  // Kills the child if it does not end.
  std::string DescribeEnd() override;
  void MarkLog() override;
  bool Running();

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
