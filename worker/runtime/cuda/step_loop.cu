#include <algorithm>
#include <cstring>

#include "worker/runtime/cuda/cuda_exec.h"
#include "worker/runtime/cuda/gemm_table.h"
#include "worker/runtime/cuda/gpu_quiet.h"
#include "worker/runtime/cuda/step_loop.h"

namespace worker {
namespace {

// The ring: two halves of at most this many bytes of batches, and at least one step each.
constexpr int64_t kHalfBytes = int64_t{8} << 20;
constexpr int64_t kMaxHalfSteps = 64;
constexpr int kMaxGroups = 8;

// Where things are; passed to kernels by value. All seats go round together, so one counter serves.
struct Ring {
  const int32_t* slots;  // (slots, 2, micro_steps * micro_tokens)
  const float* hypers;   // (slots, 1 + groups); a slot of zeros: the seat sits this step out
  double* results;       // (slots, 2 + groups)
  double* sums;          // nats and squares of the step so far
  int64_t* micro;        // micro-steps done since the loop was made; of seat 0 alone
  int64_t num_slots, micro_steps, micro_tokens, seat_stride;
  int groups;
};
struct ClipPointers {
  const float* p[kMaxGroups];
};

__global__ void FetchBatch(Ring ring, int32_t* __restrict__ tokens, int32_t* __restrict__ targets) {
  const int64_t done = *ring.micro;
  const int64_t slot = done / ring.micro_steps % ring.num_slots, part = done % ring.micro_steps;
  const int64_t batch = ring.micro_steps * ring.micro_tokens;
  const int32_t* from =
      AtSeat(ring.slots, ring.seat_stride) + slot * 2 * batch + part * ring.micro_tokens;
  tokens = AtSeat(tokens, ring.seat_stride);
  targets = AtSeat(targets, ring.seat_stride);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < ring.micro_tokens; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    tokens[i] = from[i];
    targets[i] = from[batch + i];
  }
}

// After a micro-step: adds its losses to the step's. A thread a seat, in one block.
__global__ void CollectLoss(Ring ring, const float* loss) {
  const int64_t shift = threadIdx.x * ring.seat_stride;
  const bool first = *ring.micro % ring.micro_steps == 0;
  auto* sums = reinterpret_cast<double*>(reinterpret_cast<std::byte*>(ring.sums) + shift);
  loss = reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(loss) + shift);
  for (int i = 0; i < 2; ++i) sums[i] = (first ? 0.0 : sums[i]) + loss[i];
  __syncthreads();
  if (threadIdx.x == 0) ++*ring.micro;
}

// Before the update; ring.micro already counts the whole step.
__global__ void FetchHyper(Ring ring, float* __restrict__ hyper) {
  const int64_t slot = (*ring.micro / ring.micro_steps - 1) % ring.num_slots;
  if (threadIdx.x > ring.groups) return;
  AtSeat(hyper, ring.seat_stride)[threadIdx.x] =
      AtSeat(ring.hypers, ring.seat_stride)[slot * (1 + ring.groups) + threadIdx.x];
}

__global__ void LeaveResults(Ring ring, ClipPointers clip) {
  const int64_t slot = (*ring.micro / ring.micro_steps - 1) % ring.num_slots;
  double* out = AtSeat(ring.results, ring.seat_stride) + slot * (2 + ring.groups);
  if (threadIdx.x < 2) out[threadIdx.x] = AtSeat(ring.sums, ring.seat_stride)[threadIdx.x];
  if (threadIdx.x < ring.groups)
    out[2 + threadIdx.x] = AtSeat(clip.p[threadIdx.x], ring.seat_stride)[0];
}

template <typename T>
class PinnedArray {
 public:
  explicit PinnedArray(int64_t n) {
    const std::lock_guard lock(DeviceAllocation());
    CUDA_OK(cudaMallocHost(&data_, static_cast<size_t>(n) * sizeof(T)));
  }
  ~PinnedArray() {
    const std::lock_guard lock(DeviceAllocation());
    CUDA_OK(cudaFreeHost(data_));
  }
  PinnedArray(const PinnedArray&) = delete;
  T* get() const { return static_cast<T*>(data_); }

 private:
  void* data_ = nullptr;
};

}  // namespace

struct StepLoop::Impl {
  Impl(CudaContext* c, CudaProgram* m, CudaProgram* u, const StepLoopGraph& g)
      : context(c), micro(m), update(u), graph(g), batch(g.micro_steps * g.micro_tokens) {}
  ~Impl() {
    context->Synchronize();
    for (const Captured& graphs : captured) {
      for (cudaGraphExec_t exec : {graphs.first, graphs.add, graphs.update}) {
        if (exec != nullptr) cudaGraphExecDestroy(exec);
      }
    }
    for (int half = 0; half < 2; ++half) {
      if (filled[half] != nullptr) cudaEventDestroy(filled[half]);
      if (done[half] != nullptr) cudaEventDestroy(done[half]);
    }
  }

  void EnqueueMicro(bool accumulate) {
    const cudaStream_t stream = context->handles().stream;
    const unsigned blocks =
        static_cast<unsigned>(std::clamp<int64_t>(graph.micro_tokens / 1024, 1, 128));
    FetchBatch<<<SeatGrid(*context, blocks), 256, 0, stream>>>(
        ring, static_cast<int32_t*>(micro->device(graph.tokens)),
        static_cast<int32_t*>(micro->device(graph.targets)));
    CUDA_LAUNCHED("fetch_batch");
    micro->Run(accumulate);
    CollectLoss<<<1, context->seats().count, 0, stream>>>(
        ring, static_cast<const float*>(micro->device(graph.loss)));
    CUDA_LAUNCHED("collect_loss");
  }
  void EnqueueUpdate() {
    const cudaStream_t stream = context->handles().stream;
    FetchHyper<<<SeatGrid(*context, 1), 32, 0, stream>>>(
        ring, static_cast<float*>(update->device(graph.hyper)));
    CUDA_LAUNCHED("fetch_hyper");
    update->Run(false);
    ClipPointers clip{};
    for (size_t g = 0; g < graph.clip.size(); ++g)
      clip.p[g] = static_cast<const float*>(update->device(graph.clip[g]));
    LeaveResults<<<SeatGrid(*context, 1), 32, 0, stream>>>(ring, clip);
    CUDA_LAUNCHED("leave_results");
  }
  template <typename Fn>
  cudaGraphExec_t Capture(Fn enqueue) {
    cudaGraph_t captured;
    cudaGraphExec_t exec;
    const cudaStream_t stream = context->handles().stream;
    const std::lock_guard lock(DeviceAllocation());
    CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    enqueue();
    CUDA_OK(cudaStreamEndCapture(stream, &captured));
    CUDA_OK(cudaGraphInstantiate(&exec, captured, 0));
    CUDA_OK(cudaGraphDestroy(captured));
    return exec;
  }

  // Graphs that step the seats [0, n).
  void CaptureFor(int n) {
    Captured& graphs = captured[n];
    if (graphs.first != nullptr) return;
    context->UseSeats(0, n);
    if (n > 1) {  // settles what one launch can do for all; no weights change
      micro->Run(false);
      if (graph.micro_steps > 1) micro->Run(true);
      context->Synchronize();
    }
    if (graph.micro_steps == 1) {
      graphs.first = Capture([&] {
        EnqueueMicro(false);
        EnqueueUpdate();
      });
    } else {
      graphs.first = Capture([&] { EnqueueMicro(false); });
      graphs.add = Capture([&] { EnqueueMicro(true); });
      graphs.update = Capture([&] { EnqueueUpdate(); });
    }
  }
  // The host's side of a seat's rings, pinned.
  struct HostRing {
    HostRing(int64_t slots, int64_t batch, int64_t groups)
        : tokens(slots * 2 * batch), hypers(slots * (1 + groups)), results(slots * (2 + groups)) {}
    PinnedArray<int32_t> tokens;
    PinnedArray<float> hypers;
    PinnedArray<double> results;
  };
  HostRing& HostOf(int seat) {
    if (host[seat] == nullptr)
      host[seat] = std::make_unique<HostRing>(2 * half_steps, batch, groups);
    return *host[seat];
  }

  struct Captured {
    cudaGraphExec_t first = nullptr, add = nullptr, update = nullptr;
  };
  CudaContext* context;
  CudaProgram *micro, *update;
  StepLoopGraph graph;
  const int64_t batch;
  int64_t half_steps = 1, position = 0;  // position: steps enqueued since the loop was made
  int groups = 0;
  DeviceBuffer slots, hypers, results, sums, micro_count;
  std::vector<std::unique_ptr<HostRing>> host;  // by seat
  std::vector<Captured> captured;               // by number of seats
  Ring ring{};
  cudaEvent_t filled[2] = {}, done[2] = {};
};

std::unique_ptr<StepLoop> StepLoop::Create(CudaContext* context, CudaProgram* micro,
                                           CudaProgram* update, const StepLoopGraph& graph) {
  auto loop = std::unique_ptr<StepLoop>(new StepLoop());
  loop->impl_ = std::make_unique<Impl>(context, micro, update, graph);
  Impl& s = *loop->impl_;
  s.groups = static_cast<int>(graph.clip.size());
  if (s.groups > kMaxGroups) return nullptr;
  s.half_steps = std::clamp<int64_t>(kHalfBytes / (s.batch * 8), 1, kMaxHalfSteps);
  const int64_t slots = 2 * s.half_steps;
  s.slots = context->Allocate(slots * 2 * s.batch * 4);
  s.hypers = context->Allocate(slots * (1 + s.groups) * 4);
  s.results = context->Allocate(slots * (2 + s.groups) * 8);
  s.sums = context->Allocate(2 * sizeof(double));
  s.micro_count = context->Allocate(sizeof(int64_t));
  for (const DeviceBuffer* b : {&s.slots, &s.hypers, &s.results, &s.sums, &s.micro_count}) {
    if (b->get() == nullptr) return nullptr;
  }
  s.host.resize(context->max_seats());
  s.captured.resize(context->max_seats() + 1);
  s.ring = {reinterpret_cast<const int32_t*>(s.slots.get()),
            reinterpret_cast<const float*>(s.hypers.get()),
            reinterpret_cast<double*>(s.results.get()),
            reinterpret_cast<double*>(s.sums.get()),
            reinterpret_cast<int64_t*>(s.micro_count.get()),
            slots,
            graph.micro_steps,
            graph.micro_tokens,
            context->seats().stride,
            s.groups};
  for (int half = 0; half < 2; ++half) {
    CUDA_OK(cudaEventCreateWithFlags(&s.filled[half], cudaEventDisableTiming));
    CUDA_OK(cudaEventCreateWithFlags(&s.done[half], cudaEventDisableTiming));
  }
  // Settles algorithms, attention plans and scratch; then nothing may allocate.
  for (int64_t i = 0; i < graph.micro_steps && i < 2; ++i) s.EnqueueMicro(i > 0);
  s.EnqueueUpdate();
  context->Synchronize();
  SettleGemms(*context);
  s.CaptureFor(1);
  CUDA_OK(cudaMemsetAsync(s.micro_count.get(), 0, sizeof(int64_t), context->handles().stream));
  context->Synchronize();
  return loop;
}

StepLoop::~StepLoop() = default;

std::vector<DeviceStepResult> StepLoop::Run(int64_t first, int64_t count, const Fill& fill) {
  std::vector<DeviceStepResult> results;
  Run(count, {{.seat = 0, .first = first, .fill = &fill, .results = &results}});
  return results;
}

void StepLoop::Run(int64_t count, const std::vector<SeatRun>& runs) {
  Impl& s = *impl_;
  CUDA_OK(cudaSetDevice(s.context->device()));
  const CudaHandles& h = s.context->handles();
  const GpuBusy busy;
  int seats = 1;
  for (const SeatRun& run : runs) seats = std::max(seats, run.seat + 1);
  s.CaptureFor(seats);
  s.context->UseSeats(0, seats);
  const Impl::Captured& graphs = s.captured[seats];
  std::vector<const SeatRun*> by_seat(seats);
  for (const SeatRun& run : runs) by_seat[run.seat] = &run;
  const int64_t hyper_width = 1 + s.groups, result_width = 2 + s.groups;
  const int64_t slot_bytes = 2 * s.batch * 4;
  // A piece is a run of steps inside one half of the ring.
  struct Piece {
    int64_t slot = 0, steps = 0;
    int half = 0;
  };
  auto collect = [&](const Piece& piece) {
    CUDA_OK(cudaEventSynchronize(s.done[piece.half]));
    for (const SeatRun& run : runs) {
      for (int64_t i = 0; i < piece.steps; ++i) {
        const double* r = s.HostOf(run.seat).results.get() + (piece.slot + i) * result_width;
        run.results->push_back({r[0], r[1], {r + 2, r + result_width}});
      }
    }
  };
  auto send = [&](const Piece& piece, int64_t next, int seat) {
    const int64_t shift = seat * s.context->seats().stride;
    std::byte* hypers = s.hypers.get() + shift + piece.slot * hyper_width * 4;
    const SeatRun* run = by_seat[seat];
    if (run == nullptr) {
      CUDA_OK(cudaMemsetAsync(hypers, 0, piece.steps * hyper_width * 4, h.copy_stream));
      return;
    }
    Impl::HostRing& host = s.HostOf(seat);
    for (int64_t i = 0; i < piece.steps; ++i) {
      int32_t* tokens = host.tokens.get() + (piece.slot + i) * 2 * s.batch;
      (*run->fill)(run->first + next + i, tokens, tokens + s.batch,
                   host.hypers.get() + (piece.slot + i) * hyper_width);
    }
    CUDA_OK(cudaMemcpyAsync(s.slots.get() + shift + piece.slot * slot_bytes,
                            host.tokens.get() + piece.slot * 2 * s.batch, piece.steps * slot_bytes,
                            cudaMemcpyHostToDevice, h.copy_stream));
    CUDA_OK(cudaMemcpyAsync(hypers, host.hypers.get() + piece.slot * hyper_width,
                            piece.steps * hyper_width * 4, cudaMemcpyHostToDevice, h.copy_stream));
  };
  Piece pending[2];
  int64_t next = 0;
  while (next < count) {
    Piece piece;
    piece.slot = s.position % (2 * s.half_steps);
    piece.half = static_cast<int>(piece.slot / s.half_steps);
    piece.steps = std::min(count - next, (piece.half + 1) * s.half_steps - piece.slot);
    // Results in order: the other half's piece came earlier than what this half held before.
    if (pending[piece.half].steps > 0) {
      collect(pending[piece.half]);
      pending[piece.half] = {};
    }
    for (int seat = 0; seat < seats; ++seat) send(piece, next, seat);
    CUDA_OK(cudaEventRecord(s.filled[piece.half], h.copy_stream));
    CUDA_OK(cudaStreamWaitEvent(h.stream, s.filled[piece.half], 0));
    for (int64_t i = 0; i < piece.steps; ++i) {
      CUDA_OK(cudaGraphLaunch(graphs.first, h.stream));
      for (int64_t m = 1; m < s.graph.micro_steps; ++m)
        CUDA_OK(cudaGraphLaunch(graphs.add, h.stream));
      if (graphs.update != nullptr) CUDA_OK(cudaGraphLaunch(graphs.update, h.stream));
    }
    for (const SeatRun& run : runs) {
      CUDA_OK(cudaMemcpyAsync(
          s.HostOf(run.seat).results.get() + piece.slot * result_width,
          s.results.get() + run.seat * s.context->seats().stride + piece.slot * result_width * 8,
          piece.steps * result_width * 8, cudaMemcpyDeviceToHost, h.stream));
    }
    CUDA_OK(cudaEventRecord(s.done[piece.half], h.stream));
    pending[piece.half] = piece;
    s.position += piece.steps;
    next += piece.steps;
  }
  // The older piece first.
  const int newer = static_cast<int>((s.position - 1) % (2 * s.half_steps) / s.half_steps);
  for (int half : {1 - newer, newer}) {
    if (pending[half].steps > 0) collect(pending[half]);
  }
  s.context->UseSeats(0, 1);
}

int64_t StepLoop::bytes() const {
  return impl_->slots.bytes() + impl_->hypers.bytes() + impl_->results.bytes();
}

}  // namespace worker
