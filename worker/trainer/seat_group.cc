#include "worker/trainer/seat_group.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "core/canonical_json.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "worker/trainer/memory_need.h"
#include "worker/trainer/step_loop_graph.h"

namespace worker {
namespace {

// More tokens than this in a micro-step bring no speed: every kernel fills the device.
constexpr int64_t kMaxMicroTokens = 131'072;
// With fewer, making activations again costs less than micro-steps half as long.
constexpr int64_t kEnoughMicroTokens = 16'384;
// A micro-step with more activations than this (tokens times width) fills the device by itself.
constexpr int64_t kFillsDevice = int64_t{8192} * 1024;
// Groups of a shape that run side by side before one of them takes a second trial.
constexpr size_t kStreams = 2;
// How long steps wait for a trial that has just got its results.
constexpr auto kPatience = std::chrono::milliseconds(20);

// What the kernels need of a model. INVALID_ARGUMENT names what does not fit.
absl::Status CheckShapes(const Graph& graph) {
  for (const Tensor& t : graph.tensors()) {
    if (t.element != Element::kReal || t.storage == Storage::kConst) continue;
    if (t.dims.back() % 8 != 0) {
      return absl::InvalidArgumentError(fmt::format(
          "the CUDA trainer needs widths and head sizes that are multiples of 8; '{}' has {}",
          t.name, t.dims.back()));
    }
    if (t.dims.size() == 4 && t.dims.back() > 128) {
      return absl::InvalidArgumentError(fmt::format(
          "the CUDA trainer needs heads of at most 128; '{}' has {}", t.name, t.dims.back()));
    }
    if (t.dims.size() == 3 && t.name.find("norm") != std::string::npos && t.dims.back() > 4096) {
      return absl::InvalidArgumentError(fmt::format(
          "the CUDA trainer's norms are up to 4096 wide; '{}' has {}", t.name, t.dims.back()));
    }
  }
  return absl::OkStatus();
}

// The plan without what a step's graph does not depend on: data, seeds, how long, how fast. What
// is not named here separates groups.
std::string ShapeKey(const recipes::Plan& plan, int device) {
  recipes::Plan shape = plan;
  shape.recipe = shape.recipe_version = "";
  shape.budget = {};
  shape.tokens = shape.steps = 0;
  shape.recipe_flops = shape.model_flops = 0;
  for (recipes::OptimizerGroup& group : shape.optimizer) group.peak_lr = 0;
  shape.schedule = {};
  shape.init.clear();
  shape.phases.clear();
  shape.init_seed = shape.data_seed = 0;
  shape.data = {};
  shape.clamps.clear();
  const absl::StatusOr<std::string> bytes = recipes::PlanBytes(shape);
  return bytes.ok() ? fmt::format("{} {}", device, *bytes) : "";
}

// The groups of a shape. While `taken`, one trial of that shape looks for a seat; the others of it
// wait, since they may find theirs beside it.
struct Groups {
  bool taken = false;
  std::vector<std::weak_ptr<SeatGroup>> list;
};
struct Registry {
  core::Mutex mu;
  core::CondVar changed;
  std::map<std::string, Groups> by_shape GUARDED_BY(mu);
  static Registry& Get() {
    static Registry* registry = new Registry();
    return *registry;
  }
};

// Holds a shape's `taken`.
class ShapeTurn {
 public:
  // False once give_up() says so.
  bool Wait(const std::string& key, const std::function<bool()>& give_up) {
    Registry& registry = Registry::Get();
    core::MutexLock lock(&registry.mu);
    while (registry.by_shape[key].taken) {
      registry.changed.WaitFor(&registry.mu, std::chrono::milliseconds(100));
      if (registry.by_shape[key].taken && give_up()) return false;
    }
    registry.by_shape[key].taken = true;
    key_ = key;
    return true;
  }
  ~ShapeTurn() {
    if (key_.empty()) return;
    Registry& registry = Registry::Get();
    core::MutexLock lock(&registry.mu);
    registry.by_shape[key_].taken = false;
    registry.changed.SignalAll();
  }

 private:
  std::string key_;
};

// The largest micro-step that fits in `limit` bytes. Small ones leave the device idle, so they
// recompute first.
absl::Status ChooseMicrobatch(const recipes::Plan& plan, int64_t limit, ShapePrograms* shape) {
  int64_t needed = std::numeric_limits<int64_t>::max();
  for (int64_t m = plan.batch; m >= 1 && needed > limit; --m) {
    if (plan.batch % m != 0 || (m > 1 && m * plan.seq_len > kMaxMicroTokens)) continue;
    for (bool recompute : {false, true}) {
      if (recompute && m * plan.seq_len > kEnoughMicroTokens) continue;
      shape->layout = Parameters();
      ASSIGN_OR_RETURN(shape->step_graph, BuildStep(plan, m, true, &shape->layout, recompute));
      RETURN_IF_ERROR(CheckShapes(shape->step_graph->graph));
      needed = GpuBytes(plan, shape->step_graph->graph, shape->layout, m);
      shape->microbatch = m;
      if (needed <= limit) break;
    }
  }
  shape->needed_bytes = needed;
  if (needed <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("the trial needs {} on the GPU with one sequence a micro-step, and there are {}",
                  core::FormatBytes(needed), core::FormatBytes(limit)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SeatGroup::Seat>> SeatGroup::Take(const recipes::Plan& plan,
                                                                 const CudaTrialOptions& options) {
  const bool shares = options.memory != nullptr && options.max_seats > 1;
  const std::string key = shares ? ShapeKey(plan, options.device) : "";
  ShapeTurn turn;
  if (!key.empty()) {
    if (!turn.Wait(key, options.give_up))
      return absl::CancelledError("stopped while it waited for a seat on the GPU");
    std::vector<std::shared_ptr<SeatGroup>> groups;
    {
      Registry& registry = Registry::Get();
      core::MutexLock lock(&registry.mu);
      auto& list = registry.by_shape[key].list;
      std::erase_if(list, [](const std::weak_ptr<SeatGroup>& group) { return group.expired(); });
      for (const auto& weak : list) {
        if (auto group = weak.lock()) groups.push_back(std::move(group));
      }
    }
    const auto emptiest = std::max_element(
        groups.begin(), groups.end(),
        [](const auto& a, const auto& b) { return a->FreeSeats() < b->FreeSeats(); });
    if (groups.size() >= kStreams && (*emptiest)->FreeSeats() > 0) {
      ASSIGN_OR_RETURN(DeviceMemory::Share share,
                       options.memory->Take((*emptiest)->shape_.needed_bytes, options.give_up));
      const int seat = (*emptiest)->Join(std::move(share));
      if (seat >= 0) return std::make_unique<Seat>(*emptiest, seat);
    }
  }
  ASSIGN_OR_RETURN(std::shared_ptr<SeatGroup> group, Make(plan, options));
  if (!key.empty()) {
    Registry& registry = Registry::Get();
    core::MutexLock lock(&registry.mu);
    registry.by_shape[key].list.push_back(group);
  }
  return std::make_unique<Seat>(group, 0);
}

absl::StatusOr<std::shared_ptr<SeatGroup>> SeatGroup::Make(const recipes::Plan& plan,
                                                           const CudaTrialOptions& options) {
  auto group = std::make_shared<SeatGroup>();
  ShapePrograms& shape = group->shape_;
  int64_t limit = 0, total_bytes = 0;
  if (options.memory != nullptr) {
    limit = options.memory->total();
  } else {
    CudaContext::MemoryInfo(options.device, &limit, &total_bytes);
  }
  RETURN_IF_ERROR(ChooseMicrobatch(plan, limit, &shape));
  if (shape.layout.total() != plan.params) {
    return absl::InvalidArgumentError(fmt::format("the model has {} parameters, the plan says {}",
                                                  shape.layout.total(), plan.params));
  }
  const int64_t width = plan.model.config.value("hidden_size", int64_t{0});
  if (options.memory != nullptr && shape.microbatch * plan.seq_len * width < kFillsDevice)
    shape.seats = options.max_seats;
  // As many rows as a micro-step: every product and attention is planned already.
  ASSIGN_OR_RETURN(shape.score_graph, BuildStep(plan, shape.microbatch, false, &shape.layout));
  ASSIGN_OR_RETURN(shape.update_graph, BuildUpdate(plan, shape.layout));
  DeviceMemory::Share share;
  if (options.memory != nullptr) {
    ASSIGN_OR_RETURN(share, options.memory->Take(shape.needed_bytes, options.give_up));
  }

  std::string error;
  shape.context = CudaContext::Create(options.device, &error, shape.seats, shape.needed_bytes);
  if (shape.context == nullptr && shape.seats > 1) {  // a device that maps no memory: each alone
    shape.seats = 1;
    shape.context = CudaContext::Create(options.device, &error);
  }
  if (shape.context == nullptr) return absl::UnavailableError(error);
  auto out_of_memory = [&] {
    return absl::ResourceExhaustedError(
        fmt::format("the GPU has no room for the trial's {} (another process holds memory?)",
                    core::FormatBytes(shape.needed_bytes)));
  };
  CudaContext* context = shape.context.get();
  shape.parameters = CudaParameters::Create(shape.layout, context);
  if (shape.parameters == nullptr) return out_of_memory();
  CudaParameters* parameters = shape.parameters.get();
  shape.micro = CudaProgram::Create(&shape.step_graph->graph, parameters, context);
  if (shape.micro == nullptr) return out_of_memory();
  shape.update = CudaProgram::Create(&shape.update_graph->graph, parameters, context);
  shape.score =
      CudaProgram::Create(&shape.score_graph->graph, parameters, context, shape.micro.get());
  if (shape.update == nullptr || shape.score == nullptr) return out_of_memory();
  // Its products are settled together with the micro-step's.
  shape.score->Run(false);
  shape.loop =
      StepLoop::Create(context, shape.micro.get(), shape.update.get(),
                       LoopGraph(plan, shape.microbatch, *shape.step_graph, *shape.update_graph));
  if (shape.loop == nullptr) return out_of_memory();
  core::MutexLock lock(&group->mu_);
  group->members_.resize(shape.seats);
  group->members_[0].here = true;
  group->shares_.push_back(std::move(share));
  return group;
}

int SeatGroup::FreeSeats() {
  core::MutexLock lock(&mu_);
  return static_cast<int>(std::count_if(members_.begin(), members_.end(),
                                        [](const Member& member) { return !member.here; }));
}

int SeatGroup::Join(DeviceMemory::Share share) {
  core::MutexLock lock(&mu_);
  const auto free = std::find_if(members_.begin(), members_.end(),
                                 [](const Member& member) { return !member.here; });
  if (free == members_.end()) return -1;
  const int seat = static_cast<int>(free - members_.begin());
  free->here = true;
  if (seat < open_) return seat;  // its memory is still there
  Occupy();
  const bool opened = shape_.context->OpenSeat(seat);
  Release();
  if (!opened) {
    members_[seat].here = false;
    return -1;
  }
  ++open_;
  shares_.push_back(std::move(share));
  return seat;
}

void SeatGroup::Leave(int seat) {
  core::MutexLock lock(&mu_);
  members_[seat] = {};
  Occupy();
  // Seats in between stay: one graph serves the first n.
  while (open_ > 1 && !members_[open_ - 1].here) {
    shape_.context->CloseSeat(--open_);
    shares_.pop_back();
  }
  Release();
}

void SeatGroup::Occupy() {
  ++waiting_alone_;
  while (busy_) changed_.WaitFor(&mu_, std::chrono::milliseconds(100));
  --waiting_alone_;
  busy_ = true;
}

void SeatGroup::Release() {
  busy_ = false;
  changed_.SignalAll();
}

void SeatGroup::Alone(int seat, const std::function<void()>& fn) {
  core::MutexLock lock(&mu_);
  members_[seat].training = false;
  Occupy();
  mu_.Unlock();
  shape_.context->UseSeats(seat, 1);
  fn();
  shape_.context->UseSeats(0, 1);
  mu_.Lock();
  Release();
}

double SeatGroup::SecondsPerStep() {
  core::MutexLock lock(&mu_);
  return seconds_per_step_;
}

std::vector<DeviceStepResult> SeatGroup::Run(int seat, int64_t first, int64_t count,
                                             const StepLoop::Fill& fill) {
  Request request{.first = first, .count = count, .fill = &fill, .since = Clock::now()};
  core::MutexLock lock(&mu_);
  members_[seat].training = true;
  members_[seat].request = &request;
  changed_.SignalAll();
  while (request.done < count) {
    if (!busy_ && waiting_alone_ == 0 && Ready(Clock::now())) {
      Lead();
    } else {
      changed_.WaitFor(&mu_, std::chrono::milliseconds(5));
    }
  }
  members_[seat].request = nullptr;
  return std::move(request.results);
}

bool SeatGroup::Ready(Clock::time_point now) {
  bool all = true;
  Clock::time_point oldest = now;
  for (const Member& member : members_) {
    all = all && (!member.training || member.waits());
    if (member.waits()) oldest = std::min(oldest, member.request->since);
  }
  return all || now - oldest >= kPatience;
}

// One run of steps of everybody who waits for some.
void SeatGroup::Lead() {
  std::vector<StepLoop::SeatRun> runs;
  std::vector<Request*> requests;
  int64_t count = std::numeric_limits<int64_t>::max();
  for (size_t seat = 0; seat < members_.size(); ++seat) {
    if (!members_[seat].waits()) continue;
    Request* request = members_[seat].request;
    requests.push_back(request);
    runs.push_back({.seat = static_cast<int>(seat),
                    .first = request->first + request->done,
                    .fill = request->fill,
                    .results = &request->results});
    count = std::min(count, request->count - request->done);
  }
  busy_ = true;
  mu_.Unlock();
  const Clock::time_point begun = Clock::now();
  shape_.loop->Run(count, runs);
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  mu_.Lock();
  seconds_per_step_ = seconds / static_cast<double>(count);
  for (Request* request : requests) {
    request->done += count;
    request->since = Clock::now();
  }
  Release();
}

}  // namespace worker
