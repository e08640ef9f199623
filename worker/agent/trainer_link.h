// TrainerLink: one trainer process as a slot sees it: start a trial, read messages, stop. Two
// kinds: native (long-lived, framed protobuf) and outside (one process a trial, JSON Lines). Both
// run in a process group of their own, with their output appended to a log file, and die with the
// agent. Not thread-safe. The thread that creates a link must live as long as the link: Linux sends
// the death signal when the spawning *thread* ends.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sweep/v1/trainer.pb.h"

namespace worker {

// Of an error of a link: the other trials that were in the trainer process when it ended. 0 where
// it was this trial's own, or has not ended.
int NeighboursAtEnd(const absl::Status& status);

class TrainerLink {
 public:
  // Kills the process group.
  virtual ~TrainerLink() = default;
  // Starts the trial. UNAVAILABLE when the process is gone or does not become ready.
  virtual absl::Status Start(const sweep::v1::StartTrial& start) = 0;
  // Asks the trial to stop; it answers with Finished.
  virtual void Stop(bool save) = 0;
  // The next message, nullopt after timeout_ms without one. UNAVAILABLE: the process ended (how,
  // and the end of its log); INVALID_ARGUMENT: it broke the protocol. After an error the link is of
  // no further use.
  virtual absl::StatusOr<std::optional<sweep::v1::FromTrainer>> Next(int timeout_ms) = 0;
  // Whether another trial can be started after Finished.
  virtual bool reusable() const = 0;
  // What the process said about itself.
  virtual const sweep::v1::Provenance& provenance() const = 0;
  virtual int pid() const = 0;
};

class SharedTrainer;

struct NativeOptions {
  // Speaks the framed protocol on descriptor 3 as `program train`.
  std::string program;
  std::string log_path;
  int ready_timeout_ms = 60'000;
  // Instead of a process of its own: one more connection to this one.
  SharedTrainer* shared = nullptr;
};
// Spawns the process and waits for Ready. FAILED_PRECONDITION when its protocol version differs.
absl::StatusOr<std::unique_ptr<TrainerLink>> StartNativeTrainer(const NativeOptions& options);

struct OutsideOptions {
  // Runs `program exec -- command...`, which makes the command die with the agent.
  std::string program;
  std::vector<std::string> command;
  std::string log_path;
  std::string plan_path;  // where plan.json is written
  std::string eval_hash;  // of the plan
};
// Nothing is spawned before Start().
std::unique_ptr<TrainerLink> MakeOutsideTrainer(const OutsideOptions& options);

}  // namespace worker
