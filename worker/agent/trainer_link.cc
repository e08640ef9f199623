#include "worker/agent/trainer_link.h"

#include <cstdlib>

#include "absl/strings/cord.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "core/version.h"
#include "fmt/format.h"
#include "worker/agent/child_process.h"
#include "worker/agent/json_lines.h"
#include "worker/agent/shared_trainer.h"
#include "worker/protocol/framing.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;

constexpr char kNeighbours[] = "sweep-worker/neighbours";

// Why the process ended, with who else was in it.
absl::Status EndOf(TrainerPeer& peer) {
  absl::Status status = absl::UnavailableError(peer.DescribeEnd());
  if (const int neighbours = peer.Neighbours(); neighbours > 0)
    status.SetPayload(kNeighbours, absl::Cord(std::to_string(neighbours)));
  return status;
}

class NativeTrainer final : public TrainerLink {
 public:
  explicit NativeTrainer(std::unique_ptr<TrainerPeer> child) : child_(std::move(child)) {}

  absl::Status WaitReady(int timeout_ms) {
    const int64_t deadline_ms = core::SystemClock().MonotonicMs() + timeout_ms;
    while (core::SystemClock().MonotonicMs() < deadline_ms) {
      ASSIGN_OR_RETURN(const std::optional<v1::FromTrainer> message, Next(200));
      if (!message.has_value()) continue;
      if (!message->has_ready())
        return absl::InvalidArgumentError("the trainer's first message is not Ready");
      if (message->ready().protocol_version() != core::kProtocolVersion) {
        return absl::FailedPreconditionError(
            fmt::format("the trainer speaks protocol version {}, this agent {}",
                        message->ready().protocol_version(), core::kProtocolVersion));
      }
      provenance_ = message->ready().provenance();
      return absl::OkStatus();
    }
    return absl::UnavailableError(
        fmt::format("the trainer was not ready within {} ms", timeout_ms));
  }

  absl::Status Start(const v1::StartTrial& start) override {
    child_->MarkLog();
    v1::ToTrainer message;
    *message.mutable_start() = start;
    child_->SetBusy(true);
    const absl::Status sent = child_->Write(EncodeFrame(message));
    return sent.ok() ? sent : EndOf(*child_);
  }
  void Stop(bool save) override {
    v1::ToTrainer message;
    message.mutable_stop()->set_save(save);
    (void)child_->Write(EncodeFrame(message));  // a trainer that is gone shows in Next()
  }
  absl::StatusOr<std::optional<v1::FromTrainer>> Next(int timeout_ms) override {
    ASSIGN_OR_RETURN(std::optional<std::string> frame, frames_.Next());
    if (!frame.has_value()) {
      const absl::StatusOr<std::string> bytes = child_->Read(timeout_ms);
      if (!bytes.ok()) return EndOf(*child_);
      frames_.Append(*bytes);
      ASSIGN_OR_RETURN(frame, frames_.Next());
      if (!frame.has_value()) return std::optional<v1::FromTrainer>();
    }
    v1::FromTrainer message;
    if (!message.ParseFromString(*frame))
      return absl::InvalidArgumentError("the trainer sent a frame that is not a FromTrainer");
    if (message.has_finished()) child_->SetBusy(false);
    return std::optional<v1::FromTrainer>(std::move(message));
  }
  bool reusable() const override { return true; }
  const v1::Provenance& provenance() const override { return provenance_; }
  int pid() const override { return child_->pid(); }

 private:
  std::unique_ptr<TrainerPeer> child_;
  FrameBuffer frames_;
  v1::Provenance provenance_;
};

class OutsideTrainer final : public TrainerLink {
 public:
  explicit OutsideTrainer(OutsideOptions options) : options_(std::move(options)) {
    std::string words;
    for (const std::string& word : options_.command) words += (words.empty() ? "" : " ") + word;
    provenance_.set_trainer(words);
  }

  absl::Status Start(const v1::StartTrial& start) override {
    RETURN_IF_ERROR(core::WriteFileAtomically(options_.plan_path, start.plan()));
    context_.eval_hash = options_.eval_hash;
    context_.checkpoint_dir = start.checkpoint_dir();
    std::vector<std::string> argv = {options_.program, "exec", "--"};
    argv.insert(argv.end(), options_.command.begin(), options_.command.end());
    absl::StatusOr<std::unique_ptr<ChildProcess>> child =
        ChildProcess::Start(argv,
                            {{"SWEEP_PLAN", options_.plan_path},
                             {"SWEEP_DATA_DIR", start.data_dir()},
                             {"SWEEP_CHECKPOINT_DIR", start.checkpoint_dir()},
                             {"SWEEP_RESUME_FROM", start.resume_from()},
                             {"SWEEP_FD", "3"},
                             {"SWEEP_TRIAL_ID", start.trial_id()},
                             {"SWEEP_THREADS", std::to_string(start.threads())},
                             {"OMP_NUM_THREADS", std::to_string(start.threads())}},
                            options_.log_path);
    if (!child.ok()) return absl::UnavailableError(child.status().message());
    child_ = *std::move(child);
    return absl::OkStatus();
  }
  void Stop(bool save) override {
    if (child_ != nullptr) (void)child_->Write(StopLine(save));
  }
  absl::StatusOr<std::optional<v1::FromTrainer>> Next(int timeout_ms) override {
    size_t end = buffer_.find('\n');
    if (end == std::string::npos) {
      const absl::StatusOr<std::string> bytes = child_->Read(timeout_ms);
      if (!bytes.ok()) {
        return absl::UnavailableError("the command ended without a finishing line: " +
                                      child_->DescribeEnd());
      }
      buffer_ += *bytes;
      end = buffer_.find('\n');
      if (end == std::string::npos && buffer_.size() <= kMaxLineBytes)
        return std::optional<v1::FromTrainer>();
    }
    const std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end == std::string::npos ? buffer_.size() : end + 1);
    context_.unix_ms = core::SystemClock().UnixMs();
    ASSIGN_OR_RETURN(v1::FromTrainer message, ParseTrainerLine(line, context_));
    if (message.has_ready()) {
      // What it says about itself replaces the command words; silence keeps them.
      provenance_.MergeFrom(message.ready().provenance());
    }
    return std::optional<v1::FromTrainer>(std::move(message));
  }
  bool reusable() const override { return false; }
  const v1::Provenance& provenance() const override { return provenance_; }
  int pid() const override { return child_ == nullptr ? -1 : child_->pid(); }

 private:
  const OutsideOptions options_;
  std::unique_ptr<ChildProcess> child_;
  std::string buffer_;
  LineContext context_;
  v1::Provenance provenance_;
};

}  // namespace

int NeighboursAtEnd(const absl::Status& status) {
  const auto payload = status.GetPayload(kNeighbours);
  return payload.has_value() ? std::atoi(std::string(*payload).c_str()) : 0;
}

absl::StatusOr<std::unique_ptr<TrainerLink>> StartNativeTrainer(const NativeOptions& options) {
  std::unique_ptr<TrainerPeer> child;
  if (options.shared != nullptr) {
    ASSIGN_OR_RETURN(child, options.shared->Connect());
  } else {
    ASSIGN_OR_RETURN(child, ChildProcess::Start({options.program, "train"}, {}, options.log_path));
  }
  auto trainer = std::make_unique<NativeTrainer>(std::move(child));
  RETURN_IF_ERROR(trainer->WaitReady(options.ready_timeout_ms));
  return std::unique_ptr<TrainerLink>(std::move(trainer));
}

std::unique_ptr<TrainerLink> MakeOutsideTrainer(const OutsideOptions& options) {
  return std::make_unique<OutsideTrainer>(options);
}

}  // namespace worker
