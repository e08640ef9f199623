// SeatGroup: the programs of one shape on a GPU and the trials that share them. Trials of equal
// shape in one process sit in one group, and their steps run as one batched graph; whoever comes
// late or leaves changes nobody's results, since a seat's kernels do what a trial's alone do. A
// trial that cannot share (too large, or nobody asked) has a group of one. Linked with CUDA only.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/mutex.h"
#include "recipes/plan.h"
#include "worker/runtime/cuda/cuda_program.h"
#include "worker/runtime/cuda/step_loop.h"
#include "worker/trainer/cuda_trial.h"
#include "worker/trainer/programs.h"

namespace worker {

// What trials of equal shape have in common.
struct ShapePrograms {
  Parameters layout;
  int64_t microbatch = 0;
  int64_t needed_bytes = 0;  // of one trial, foretold
  int seats = 1;
  std::unique_ptr<StepProgram> step_graph, score_graph;
  std::unique_ptr<UpdateProgram> update_graph;
  std::unique_ptr<CudaContext> context;
  std::unique_ptr<CudaParameters> parameters;
  std::unique_ptr<CudaProgram> micro, update, score;
  std::unique_ptr<StepLoop> loop;
};

class SeatGroup {
 public:
  SeatGroup() = default;
  SeatGroup(const SeatGroup&) = delete;

  // A trial's place. Used by one thread at a time; leaves the group when destroyed.
  class Seat {
   public:
    Seat(std::shared_ptr<SeatGroup> group, int index) : group_(std::move(group)), index_(index) {}
    ~Seat() { group_->Leave(index_); }
    Seat(const Seat&) = delete;

    const ShapePrograms& shape() const { return group_->shape_; }
    // Steps [first, first + count) of this trial, together with the group's others.
    std::vector<DeviceStepResult> Run(int64_t first, int64_t count, const StepLoop::Fill& fill) {
      return group_->Run(index_, first, count, fill);
    }
    // fn() while nothing else of the group runs, its context at this seat.
    void Alone(const std::function<void()>& fn) { group_->Alone(index_, fn); }
    // The same for all of a group, so that their calls of Run end together; 0 before the first.
    double seconds_per_step() const { return group_->SecondsPerStep(); }

   private:
    std::shared_ptr<SeatGroup> group_;
    const int index_;
  };

  // A seat in a group of this process with the plan's shape, or in a new one; the weights in it are
  // undefined. A shape gets two groups before one fills: two graphs in two streams hide each
  // other's gaps. Errors: see CreateCudaTrial.
  static absl::StatusOr<std::unique_ptr<Seat>> Take(const recipes::Plan& plan,
                                                    const CudaTrialOptions& options);

 private:
  using Clock = std::chrono::steady_clock;
  struct Request {
    int64_t first = 0, count = 0, done = 0;
    const StepLoop::Fill* fill = nullptr;
    Clock::time_point since;
    std::vector<DeviceStepResult> results;
  };
  struct Member {
    bool here = false;
    bool training = false;  // its next call is expected to be Run
    Request* request = nullptr;

    bool waits() const { return request != nullptr && request->done < request->count; }
  };

  static absl::StatusOr<std::shared_ptr<SeatGroup>> Make(const recipes::Plan& plan,
                                                         const CudaTrialOptions& options);
  int FreeSeats();
  // -1: every seat is taken, or the device has no memory for another.
  int Join(DeviceMemory::Share share);
  void Leave(int seat);
  std::vector<DeviceStepResult> Run(int seat, int64_t first, int64_t count,
                                    const StepLoop::Fill& fill);
  void Alone(int seat, const std::function<void()>& fn);
  double SecondsPerStep();
  bool Ready(Clock::time_point now) REQUIRES(mu_);
  void Lead() REQUIRES(mu_);
  void Occupy() REQUIRES(mu_);
  void Release() REQUIRES(mu_);

  core::Mutex mu_;
  std::vector<DeviceMemory::Share> shares_ GUARDED_BY(mu_);  // by open seat; given back last
  ShapePrograms shape_;
  core::CondVar changed_;
  bool busy_ GUARDED_BY(mu_) = false;      // somebody uses the context
  int waiting_alone_ GUARDED_BY(mu_) = 0;  // these go before the next steps
  int open_ GUARDED_BY(mu_) = 1;           // seats [0, open_) have memory
  double seconds_per_step_ GUARDED_BY(mu_) = 0;
  std::vector<Member> members_ GUARDED_BY(mu_);  // by seat
};

}  // namespace worker
