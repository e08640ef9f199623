#include "worker/agent/slot.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

#include "core/canonical_json.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/version.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;
using std::chrono::milliseconds;

constexpr int kPollMs = 50;
constexpr milliseconds kReportEvery(300);
constexpr milliseconds kRetryEvery(500);
// More checkpoints than this wait only while the coordinator is away.
constexpr size_t kMaxCheckpoints = 2;

// A value of the plan by key, or the fallback when it is absent or of another type.
core::Json PlanField(const core::Json& plan, const char* key) {
  return plan.is_object() && plan.contains(key) ? plan[key] : core::Json();
}

bool LeaseIsGone(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsNotFound(status);
}

bool CoordinatorIsAway(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status) || absl::IsCancelled(status) ||
         status.code() == absl::StatusCode::kUnknown || absl::IsInternal(status);
}

std::string TrialDir(const v1::Lease& lease) {
  return lease.checkpoint_root() + "/" + lease.trial_id();
}

bool IsOutside(const v1::Lease& lease) { return !lease.trainer_command().empty(); }

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

}  // namespace

Slot::Slot(SlotOptions options, CoordinatorApi* api, std::function<void()> on_idle)
    : options_(std::move(options)), api_(api), on_idle_(std::move(on_idle)) {
  train_thread_ = std::thread([this] { TrainLoop(); });
  report_thread_ = std::thread([this] { ReportLoop(); });
}

Slot::~Slot() {
  {
    core::MutexLock lock(&mu_);
    ending_ = true;
    wake_.SignalAll();
  }
  train_thread_.join();
  report_thread_.join();
}

void Slot::Assign(const v1::Lease& lease, int threads) {
  const absl::StatusOr<core::Json> plan = core::ParseJson(lease.plan(), "plan");
  const core::Json flops = plan.ok() ? PlanField(*plan, "model_flops") : core::Json();
  const core::Json tokens = plan.ok() ? PlanField(*plan, "tokens") : core::Json();
  const core::Json steps = plan.ok() ? PlanField(*plan, "steps") : core::Json();
  core::MutexLock lock(&mu_);
  flops_per_token_ = flops.is_number() && tokens.is_number() && tokens.get<double>() > 0
                         ? flops.get<double>() / tokens.get<double>()
                         : 0;
  tokens_per_step_ = tokens.is_number() && steps.is_number() && steps.get<double>() > 0
                         ? tokens.get<double>() / steps.get<double>()
                         : 0;
  began_ms_ = core::SystemClock().MonotonicMs();
  lease_ = lease;
  threads_ = threads;
  training_ = true;
  stop_ = StopReason::kNone;
  refused_.clear();
  progress_.Clear();
  progress_.set_step(lease.resume_step());
  outbox_ = Outbox();
  checkpoints_.clear();
  completion_.reset();
  wake_.SignalAll();
}

bool Slot::idle() {
  core::MutexLock lock(&mu_);
  return !lease_.has_value();
}

std::optional<v1::HeartbeatRequest::Held> Slot::Held() {
  core::MutexLock lock(&mu_);
  if (!lease_.has_value()) return std::nullopt;
  v1::HeartbeatRequest::Held held;
  held.set_trial_id(lease_->trial_id());
  held.set_epoch(lease_->epoch());
  held.set_step(progress_.step());
  held.set_tokens_per_s(TokensPerSecond());
  held.set_resident_bytes(progress_.resident_bytes());
  return held;
}

double Slot::FlopsPerSecond() {
  core::MutexLock lock(&mu_);
  return training_ ? TokensPerSecond() * flops_per_token_ : 0;
}

double Slot::TokensPerSecond() const {
  if (progress_.tokens_per_s() > 0 || !lease_.has_value() || !IsOutside(*lease_))
    return progress_.tokens_per_s();
  const int64_t ms = core::SystemClock().MonotonicMs() - began_ms_;
  const auto steps = static_cast<double>(progress_.step() - lease_->resume_step());
  return ms > 0 && steps > 0 ? 1000 * steps * tokens_per_step_ / static_cast<double>(ms) : 0;
}

void Slot::Stop(const std::string& trial_id, StopReason reason) {
  core::MutexLock lock(&mu_);
  if (!lease_.has_value() || (!trial_id.empty() && lease_->trial_id() != trial_id)) return;
  // A stronger reason replaces a weaker one.
  stop_ = std::max(stop_, reason);
  wake_.SignalAll();
}

int Slot::trainer_pid() {
  core::MutexLock lock(&mu_);
  return trainer_pid_;
}

void Slot::TrainLoop() {
  while (true) {
    v1::Lease lease;
    int threads = 1;
    {
      core::MutexLock lock(&mu_);
      while (!ending_ && !training_) wake_.Wait(&mu_);
      if (ending_) break;
      lease = *lease_;
      threads = threads_;
    }
    const int64_t start_ms = core::SystemClock().MonotonicMs();
    spdlog::info(
        "slot {}: trial {} attempt {} (epoch {}) of {}, {} threads{}", options_.index,
        lease.trial_id().substr(0, 12), lease.attempt(), lease.epoch(), lease.sweep(), threads,
        lease.resume_from().empty() ? "" : fmt::format(", from step {}", lease.resume_step()));
    Ending end = RunTrial(lease, threads);
    if (link_ != nullptr && !link_->reusable()) link_.reset();
    v1::CompleteRequest completion;
    completion.set_worker_id(options_.worker_id);
    completion.set_trial_id(lease.trial_id());
    completion.set_epoch(lease.epoch());
    completion.set_outcome(end.outcome);
    completion.set_detail(end.detail);
    if (end.outcome == v1::OUTCOME_FAILED) completion.set_crashed_with(end.crashed_with);
    completion.set_step(end.step);
    completion.set_total_ms(core::SystemClock().MonotonicMs() - start_ms);
    // An outside trainer need not say it, nor can one that was killed.
    const bool unsaid = end.train_ms == 0 && IsOutside(lease);
    completion.set_train_ms(unsaid ? completion.total_ms() : end.train_ms);
    completion.set_peak_resident_bytes(end.peak_resident_bytes);
    if (end.final_evaluation.has_value() && end.outcome == v1::OUTCOME_COMPLETED)
      *completion.mutable_final_evaluation() = *end.final_evaluation;
    v1::Provenance* provenance = completion.mutable_provenance();
    *provenance = end.provenance;
    provenance->set_threads(threads);
    if (provenance->host().empty()) provenance->set_host(HostName());
    if (provenance->packing().empty()) provenance->set_packing("alone");
    spdlog::info("slot {}: trial {} ended {}{}{}", options_.index, lease.trial_id().substr(0, 12),
                 v1::Outcome_Name(end.outcome).substr(8), end.detail.empty() ? "" : ": ",
                 end.detail);
    core::MutexLock lock(&mu_);
    trainer_pid_ = link_ == nullptr ? -1 : link_->pid();
    training_ = false;
    completion_ = std::move(completion);
    wake_.SignalAll();
  }
  link_.reset();
}

Slot::Ending Slot::RunTrial(const v1::Lease& lease, int threads) {
  Ending end;
  const absl::StatusOr<core::Json> plan = core::ParseJson(lease.plan(), "plan");
  const core::Json steps = plan.ok() ? PlanField(*plan, "steps") : core::Json();
  if (!steps.is_number_integer()) {
    end.detail = "the plan has no number of steps";
    return end;
  }
  v1::StartTrial start;
  start.set_trial_id(lease.trial_id());
  start.set_plan(lease.plan());
  start.set_data_dir(lease.data_dir());
  start.set_checkpoint_dir(fmt::format("{}/e{}", TrialDir(lease), lease.epoch()));
  start.set_resume_from(lease.resume_from());
  start.set_threads(threads);
  start.set_checkpoint_interval_ms(options_.checkpoint_interval_ms);
  absl::Status status = core::MakeDirs(start.checkpoint_dir());
  if (status.ok() && !IsOutside(lease)) {
    if (link_ == nullptr) {
      NativeOptions options;
      options.program = options_.program;
      options.shared = options_.shared;
      options.log_path = fmt::format("{}/trainer-{}.log", options_.work_dir, options_.index);
      absl::StatusOr<std::unique_ptr<TrainerLink>> link = StartNativeTrainer(options);
      status = link.status();
      if (link.ok()) link_ = *std::move(link);
    }
  } else if (status.ok()) {
    // A native trainer of an earlier trial would only take memory.
    OutsideOptions options;
    options.program = options_.program;
    options.command.assign(lease.trainer_command().begin(), lease.trainer_command().end());
    options.log_path =
        fmt::format("{}/outside-{}.log", options_.work_dir, lease.trial_id().substr(0, 16));
    options.plan_path = start.checkpoint_dir() + "/plan.json";
    const core::Json data = PlanField(*plan, "data");
    const core::Json hash = PlanField(data, "eval_hash");
    options.eval_hash = hash.is_string() ? hash.get<std::string>() : "";
    link_ = MakeOutsideTrainer(options);
  }
  if (status.ok()) status = link_->Start(start);
  if (!status.ok()) {
    link_.reset();
    end.crashed_with = NeighboursAtEnd(status);
    end.detail = fmt::format("starting the trainer: {}", std::string(status.message()));
    return end;
  }
  {
    core::MutexLock lock(&mu_);
    trainer_pid_ = link_->pid();
  }
  return Converse(lease, steps.get<int64_t>());
}

Slot::Ending Slot::Converse(const v1::Lease& lease, int64_t steps) {
  Ending end;
  const core::Clock& clock = core::SystemClock();
  StopReason told = StopReason::kNone;
  int64_t kill_ms = 0;
  const auto stopped_outcome = [&] {
    return told == StopReason::kCancel ? v1::OUTCOME_CANCELLED : v1::OUTCOME_PREEMPTED;
  };
  end.step = lease.resume_step();
  while (true) {
    StopReason stop;
    std::string refused;
    {
      core::MutexLock lock(&mu_);
      stop = stop_;
      refused = ending_ ? "the agent ended" : refused_;
      end.step = std::max(end.step, progress_.step());
    }
    end.provenance = link_->provenance();
    if (!refused.empty() || (stop == StopReason::kLost && !link_->reusable())) {
      link_.reset();
      end.detail = refused.empty() ? "the lease was lost" : refused;
      return end;
    }
    if (stop > told) {
      // A lost lease after a request to save only shortens the wait.
      link_->Stop(stop != StopReason::kLost);
      if (told == StopReason::kNone || stop == StopReason::kLost)
        kill_ms = clock.MonotonicMs() + options_.stop_grace_ms;
      told = stop;
    }
    if (told != StopReason::kNone && clock.MonotonicMs() >= kill_ms) {
      link_.reset();
      end.outcome = stopped_outcome();
      end.detail =
          fmt::format("the trial did not stop within {} ms and was killed", options_.stop_grace_ms);
      return end;
    }
    absl::StatusOr<std::optional<v1::FromTrainer>> next = link_->Next(kPollMs);
    if (!next.ok()) {
      link_.reset();
      // A scheduler that ends the agent often signals the trainer as well.
      end.outcome = told == StopReason::kNone ? v1::OUTCOME_FAILED : stopped_outcome();
      end.crashed_with = NeighboursAtEnd(next.status());
      end.detail = std::string(next.status().message());
      if (end.crashed_with > 0)
        end.detail = fmt::format("with {} other trial{} in the process: {}", end.crashed_with,
                                 end.crashed_with == 1 ? "" : "s", end.detail);
      return end;
    }
    if (!next->has_value()) continue;
    const v1::FromTrainer& message = **next;
    std::string superseded;
    if (message.has_finished()) {
      const v1::Finished& finished = message.finished();
      end.outcome = finished.outcome();
      end.detail = finished.detail();
      end.step = std::max(end.step, finished.step());
      end.train_ms = finished.train_ms();
      end.peak_resident_bytes = finished.peak_resident_bytes();
      if (finished.microbatch_sequences() > 0)
        end.provenance.set_microbatch_sequences(finished.microbatch_sequences());
      if (!finished.algorithm_table_hash().empty())
        end.provenance.set_algorithm_table_hash(finished.algorithm_table_hash());
      break;
    }
    Take(message, steps, &end, &superseded);
    if (!superseded.empty()) RemoveCheckpoint(superseded, lease);
  }
  if (end.outcome == v1::OUTCOME_COMPLETED && !end.final_evaluation.has_value()) {
    end.outcome = v1::OUTCOME_FAILED;
    end.detail = fmt::format(
        "the trainer said it was done without an evaluation at the last step ({})", steps);
  }
  const bool fact = end.outcome == v1::OUTCOME_COMPLETED || end.outcome == v1::OUTCOME_DIVERGED ||
                    end.outcome == v1::OUTCOME_OUT_OF_MEMORY;
  if (told != StopReason::kNone && !fact) end.outcome = stopped_outcome();
  if (end.outcome == v1::OUTCOME_UNSPECIFIED) {
    end.outcome = v1::OUTCOME_FAILED;
    end.detail = "the trainer finished without an outcome";
  }
  return end;
}

void Slot::Take(const v1::FromTrainer& message, int64_t steps, Ending* end,
                std::string* superseded) {
  core::MutexLock lock(&mu_);
  if (message.has_metric()) {
    outbox_.AddMetric(message.metric());
    // A progress line is optional.
    if (lease_.has_value() && IsOutside(*lease_))
      progress_.set_step(std::max(progress_.step(), message.metric().step()));
  } else if (message.has_evaluation()) {
    outbox_.AddEvaluation(message.evaluation());
    if (message.evaluation().step() == steps) end->final_evaluation = message.evaluation();
  } else if (message.has_progress()) {
    progress_ = message.progress();
  } else if (message.has_checkpoint()) {
    checkpoints_.push_back(message.checkpoint());
    if (checkpoints_.size() > kMaxCheckpoints) {
      // Newer ones made it useless before it was published. Not the front: that one may be on its
      // way to the coordinator.
      *superseded = checkpoints_[1].path();
      checkpoints_.erase(checkpoints_.begin() + 1);
    }
    wake_.SignalAll();
  }
}

void Slot::ReportLoop() {
  while (true) {
    {
      core::MutexLock lock(&mu_);
      while (!ending_ && !lease_.has_value()) wake_.Wait(&mu_);
      if (ending_) return;
      // Metrics gather for a moment; an end or a checkpoint is brought at once.
      const bool urgent = completion_.has_value() || !checkpoints_.empty();
      if (!urgent || stop_ == StopReason::kLost) wake_.WaitFor(&mu_, kReportEvery);
      if (ending_) return;
    }
    while (BringOne()) {
    }
  }
}

bool Slot::BringOne() {
  v1::Lease lease;
  v1::ReportRequest report;
  std::optional<v1::PublishCheckpointRequest> publish;
  std::optional<v1::CompleteRequest> complete;
  bool over = false;
  {
    core::MutexLock lock(&mu_);
    if (ending_ || !lease_.has_value()) return false;
    lease = *lease_;
    if (stop_ == StopReason::kLost) {
      // Nothing more is written for it; the slot is free once the trainer has let go.
      if (training_) return false;
      over = true;
      lease_.reset();
    } else if (outbox_.HasReport()) {
      report.set_worker_id(options_.worker_id);
      report.set_trial_id(lease.trial_id());
      report.set_epoch(lease.epoch());
      report.set_tokens_per_s(TokensPerSecond());
      outbox_.FillReport(&report);
    } else if (!checkpoints_.empty()) {
      publish.emplace();
      publish->set_worker_id(options_.worker_id);
      publish->set_trial_id(lease.trial_id());
      publish->set_epoch(lease.epoch());
      *publish->mutable_checkpoint() = checkpoints_.front();
    } else if (completion_.has_value()) {
      complete = completion_;
    } else {
      return false;
    }
  }
  if (over) {
    on_idle_();
    return false;
  }
  if (publish.has_value()) {
    const auto response = api_->PublishCheckpoint(*publish);
    if (!response.ok()) {
      HandleReportError(response.status());
      return true;
    }
    for (const std::string& path : response->obsolete_paths()) RemoveCheckpoint(path, lease);
    core::MutexLock lock(&mu_);
    // The front may have been dropped meanwhile for a newer one.
    if (!checkpoints_.empty() && checkpoints_.front().step() == publish->checkpoint().step())
      checkpoints_.pop_front();
    return true;
  }
  if (complete.has_value()) {
    const auto response = api_->Complete(*complete);
    if (response.ok()) {
      {
        core::MutexLock lock(&mu_);
        lease_.reset();
        completion_.reset();
      }
      on_idle_();
      return false;
    }
    if (absl::IsInvalidArgument(response.status()) && complete->outcome() != v1::OUTCOME_FAILED) {
      // The result is not acceptable (another evaluation set, say): that is a failure to report.
      core::MutexLock lock(&mu_);
      completion_->set_outcome(v1::OUTCOME_FAILED);
      completion_->set_detail(fmt::format("the coordinator refused the result: {}",
                                          std::string(response.status().message())));
      completion_->clear_final_evaluation();
      return true;
    }
    HandleReportError(response.status());
    return true;
  }
  const auto response = api_->Report(report);
  if (!response.ok()) {
    HandleReportError(response.status());
    return true;
  }
  core::MutexLock lock(&mu_);
  outbox_.Acknowledge(response->acknowledged_sequence());
  return true;
}

void Slot::HandleReportError(const absl::Status& status) {
  if (CoordinatorIsAway(status)) {
    core::MutexLock lock(&mu_);
    if (!ending_) wake_.WaitFor(&mu_, kRetryEvery);
    return;
  }
  spdlog::warn("slot {}: {}", options_.index, std::string(status.message()));
  core::MutexLock lock(&mu_);
  if (LeaseIsGone(status)) {
    stop_ = StopReason::kLost;
    return;
  }
  // Our data are at fault: the trial is ended as FAILED, with the coordinator's words.
  outbox_ = Outbox();
  checkpoints_.clear();
  refused_ = fmt::format("the coordinator refused what the trial reported: {}",
                         std::string(status.message()));
  if (completion_.has_value()) {
    completion_->set_outcome(v1::OUTCOME_FAILED);
    completion_->set_detail(refused_);
    completion_->clear_final_evaluation();
    // Refused even so: there is nothing left to say.
    if (absl::IsInvalidArgument(status)) stop_ = StopReason::kLost;
  }
}

void Slot::RemoveCheckpoint(const std::string& path, const v1::Lease& lease) {
  const std::string below = TrialDir(lease) + "/";
  const std::string clean = std::filesystem::path(path).lexically_normal().string();
  // Never anything but this trial's own checkpoints, whatever a message says.
  if (clean.rfind(below, 0) != 0 || clean.size() <= below.size()) {
    spdlog::warn("slot {}: not deleting {}, it is not below {}", options_.index, path, below);
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(clean, ignored);
}

}  // namespace worker
