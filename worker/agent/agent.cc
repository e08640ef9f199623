#include "worker/agent/agent.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "core/clock.h"
#include "core/file.h"
#include "core/subprocess.h"
#include "core/version.h"
#include "fmt/format.h"
#include "spdlog/spdlog.h"

namespace worker {
namespace {

namespace v1 = ::sweep::v1;
using std::chrono::milliseconds;

constexpr int64_t kAcquireWaitMs = 20'000;
constexpr int64_t kAwayMs = 500;

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::string CpuName() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return "cpu: " + line.substr(colon + 2);
  }
  return "cpu";
}

}  // namespace

int ThreadsForTrial(int total_threads, int slots, int active, int64_t pending) {
  const int64_t sharers = std::clamp<int64_t>(active + pending, 1, std::max(1, slots));
  return std::max(1, static_cast<int>(total_threads / sharers));
}

Agent::Agent(AgentOptions options, std::unique_ptr<CoordinatorApi> api)
    : options_(std::move(options)), api_(std::move(api)), packing_(options_.slots) {
  if (api_ == nullptr) api_ = ConnectToCoordinator(options_.coordinator);
  if (options_.program.empty()) options_.program = "/proc/self/exe";
  if (options_.device.empty()) options_.device = CpuName();
  options_.slots = std::max(1, options_.slots);
  worker_id_ = fmt::format("{}:{}:{}", HostName(), getpid(), core::SystemClock().UnixMs());
  if (options_.cuda_device >= 0) {
    shared_ = std::make_unique<SharedTrainer>(
        std::vector<std::string>{options_.cuda_program, "train", "--device",
                                 std::to_string(options_.cuda_device), "--connections",
                                 std::to_string(options_.slots), "--gemm-table",
                                 options_.work_dir + "/gemm-table.txt"},
        options_.work_dir + "/trainer-cuda.log");
  }
  for (int i = 0; i < options_.slots; ++i) {
    SlotOptions slot;
    slot.shared = shared_.get();
    slot.index = i;
    slot.worker_id = worker_id_;
    slot.program = options_.program;
    slot.work_dir = options_.work_dir;
    slot.checkpoint_interval_ms = options_.checkpoint_interval_ms;
    slot.stop_grace_ms = options_.stop_grace_ms;
    slots_.push_back(std::make_unique<Slot>(slot, api_.get(), [this] {
      core::MutexLock lock(&mu_);
      wake_.SignalAll();
    }));
  }
}

Agent::~Agent() = default;

bool Agent::stopping() {
  core::MutexLock lock(&mu_);
  return stopping_;
}

void Agent::RequestStop() {
  {
    core::MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
  }
  api_->StopWaiting();
  for (const auto& slot : slots_) slot->Stop("", StopReason::kPreempt);
}

bool Agent::Sleep(int64_t ms) {
  core::MutexLock lock(&mu_);
  if (!stopping_) wake_.WaitFor(&mu_, milliseconds(ms));
  return !stopping_;
}

int Agent::Active() {
  return static_cast<int>(
      std::count_if(slots_.begin(), slots_.end(), [](const auto& slot) { return !slot->idle(); }));
}

int Agent::Allowed() {
  if (!options_.measure_packing) return options_.slots;
  PackingSample sample{.now_ms = core::SystemClock().MonotonicMs()};
  if (sample.now_ms - packing_sampled_ms_ >= 1000) {
    packing_sampled_ms_ = sample.now_ms;
    for (const auto& slot : slots_) {
      const double rate = slot->FlopsPerSecond();
      sample.flops_per_s += rate;
      sample.running += rate > 0 ? 1 : 0;
    }
    const std::string said = packing_.Observe(sample);
    if (!said.empty()) spdlog::info("packing: {}", said);
  }
  return packing_.allowed();
}

absl::Status Agent::Register() {
  v1::RegisterRequest request;
  request.set_protocol_version(core::kProtocolVersion);
  request.set_worker_id(worker_id_);
  request.set_host(HostName());
  request.set_pid(getpid());
  request.set_version(std::string(core::Version()));
  request.set_commit(std::string(core::Commit()));
  request.set_device_kind(options_.cuda_device >= 0 ? "cuda" : "cpu");
  request.set_device(options_.device);
  request.set_slots(options_.slots);
  const auto response = api_->Register(request);
  if (!response.ok()) return response.status();
  if (response->lease_ms() > 0) lease_ms_ = response->lease_ms();
  return absl::OkStatus();
}

bool Agent::RegisterWithPatience(int* exit_code) {
  const int64_t give_up_ms = core::SystemClock().MonotonicMs() + options_.unreachable_ms;
  while (true) {
    const absl::Status status = Register();
    if (status.ok()) return true;
    const bool version = absl::IsFailedPrecondition(status);
    if (version || core::SystemClock().MonotonicMs() >= give_up_ms) {
      spdlog::error("registering at {}: {}", options_.coordinator, std::string(status.message()));
      *exit_code = kExitUnreachable;
      return false;
    }
    if (!Sleep(kAwayMs)) {
      *exit_code = kExitRequeue;
      return false;
    }
  }
}

void Agent::HeartbeatLoop() {
  while (true) {
    {
      core::MutexLock lock(&mu_);
      const int64_t until_ms = core::SystemClock().MonotonicMs() + lease_ms_ / 3;
      while (!done_ && core::SystemClock().MonotonicMs() < until_ms)
        wake_.WaitFor(&mu_, milliseconds(until_ms - core::SystemClock().MonotonicMs()));
      if (done_) return;
    }
    Heartbeat();
  }
}

void Agent::Heartbeat() {
  v1::HeartbeatRequest request;
  request.set_worker_id(worker_id_);
  for (const auto& slot : slots_)
    if (auto held = slot->Held()) *request.add_held() = *std::move(held);
  const auto response = api_->Heartbeat(request);
  if (!response.ok()) {
    spdlog::warn("heartbeat: {}; training goes on", std::string(response.status().message()));
    return;
  }
  if (response->register_again()) (void)Register();
  for (const auto& slot : slots_) {
    for (const std::string& id : response->lost_trial_ids()) {
      // The trial may have ended and been taken again while the heartbeat was under way.
      const auto held = slot->Held();
      if (!held.has_value() || held->trial_id() != id) continue;
      for (const auto& asked : request.held())
        if (asked.trial_id() == id && asked.epoch() == held->epoch())
          slot->Stop(id, StopReason::kLost);
    }
    for (const std::string& id : response->cancel_trial_ids()) slot->Stop(id, StopReason::kCancel);
    for (const std::string& id : response->pause_trial_ids()) slot->Stop(id, StopReason::kPause);
  }
}

void Agent::Place(const v1::AcquireResponse& response) {
  int active = Active() + response.leases_size();
  for (const v1::Lease& lease : response.leases()) {
    for (const auto& slot : slots_) {
      if (!slot->idle()) continue;
      slot->Assign(
          lease, ThreadsForTrial(options_.threads, options_.slots, active, lease.pending_behind()));
      break;
    }
  }
}

int Agent::Run() {
  auto work_dir = WorkDirLock::Take(options_.work_dir);
  if (!work_dir.ok()) {
    spdlog::error("{}", std::string(work_dir.status().message()));
    return absl::IsFailedPrecondition(work_dir.status()) ? kExitTaken : 73;
  }
  work_dir_ = *std::move(work_dir);
  int exit_code = kExitDone;
  if (!RegisterWithPatience(&exit_code)) return exit_code;
  spdlog::info("worker {} at {}: {} slots, {} threads, {}", worker_id_, options_.coordinator,
               options_.slots, options_.threads, options_.device);
  std::thread heartbeats([this] { HeartbeatLoop(); });
  int64_t last_heard_ms = core::SystemClock().MonotonicMs();
  while (!stopping()) {
    const int free = Allowed() - Active();
    if (free <= 0) {
      (void)Sleep(1000);  // woken when a slot gets free
      continue;
    }
    v1::AcquireRequest request;
    request.set_worker_id(worker_id_);
    request.set_max_trials(free);
    // With trials in other slots a long wait is still right: it ends when there is work.
    request.set_wait_ms(kAcquireWaitMs);
    for (const auto& slot : slots_)
      if (auto held = slot->Held()) request.add_held_trial_ids(held->trial_id());
    const auto response = api_->Acquire(request);
    if (response.ok()) {
      last_heard_ms = core::SystemClock().MonotonicMs();
      Place(*response);
      if (response->drained() && Active() == 0 && options_.exit_when_drained) {
        spdlog::info("nothing left to do");
        break;
      }
      if (response->leases_size() == 0 && response->drained()) (void)Sleep(1000);
      continue;
    }
    if (stopping()) break;
    const bool given_up =
        core::SystemClock().MonotonicMs() - last_heard_ms >= options_.unreachable_ms;
    if (Active() == 0 && given_up) {
      spdlog::warn("no coordinator at {} for {} s: {}", options_.coordinator,
                   options_.unreachable_ms / 1000, std::string(response.status().message()));
      exit_code = options_.exit_when_drained ? kExitDone : kExitUnreachable;
      break;
    }
    (void)Sleep(kAwayMs);
  }
  if (stopping()) {
    exit_code = kExitRequeue;
    // Trials save and are given back; a coordinator that is away cannot hold us for ever.
    for (const auto& slot : slots_) slot->Stop("", StopReason::kPreempt);
    const int64_t until_ms = core::SystemClock().MonotonicMs() + options_.stop_grace_ms + 10'000;
    core::MutexLock lock(&mu_);
    while (core::SystemClock().MonotonicMs() < until_ms) {
      bool idle = true;
      for (const auto& slot : slots_) idle = idle && slot->idle();
      if (idle) break;
      wake_.WaitFor(&mu_, milliseconds(100));
    }
  }
  {
    core::MutexLock lock(&mu_);
    done_ = true;
    wake_.SignalAll();
  }
  heartbeats.join();
  return exit_code;
}

}  // namespace worker
