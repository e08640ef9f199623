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

struct Counters {
  int64_t micro;  // micro-steps done since the loop was made
  double nats, squares;
};

// Where things are; passed to kernels by value.
struct Ring {
  const int32_t* slots;  // (slots, 2, micro_steps * micro_tokens)
  const float* hypers;   // (slots, 1 + groups)
  double* results;       // (slots, 2 + groups)
  Counters* counters;
  int64_t num_slots, micro_steps, micro_tokens;
  int groups;
};
struct ClipPointers {
  const float* p[kMaxGroups];
};

__global__ void FetchBatch(Ring ring, int32_t* __restrict__ tokens, int32_t* __restrict__ targets) {
  const int64_t done = ring.counters->micro;
  const int64_t slot = done / ring.micro_steps % ring.num_slots, part = done % ring.micro_steps;
  const int64_t batch = ring.micro_steps * ring.micro_tokens;
  const int32_t* from = ring.slots + slot * 2 * batch + part * ring.micro_tokens;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < ring.micro_tokens; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    tokens[i] = from[i];
    targets[i] = from[batch + i];
  }
}

// After a micro-step: adds its loss to the step's.
__global__ void CollectLoss(Ring ring, const float* __restrict__ loss) {
  Counters& c = *ring.counters;
  const bool first = c.micro % ring.micro_steps == 0;
  c.nats = (first ? 0.0 : c.nats) + loss[0];
  c.squares = (first ? 0.0 : c.squares) + loss[1];
  ++c.micro;
}

// Before the update; counters->micro already counts the whole step.
__global__ void FetchHyper(Ring ring, float* __restrict__ hyper) {
  const int64_t slot = (ring.counters->micro / ring.micro_steps - 1) % ring.num_slots;
  if (threadIdx.x <= ring.groups)
    hyper[threadIdx.x] = ring.hypers[slot * (1 + ring.groups) + threadIdx.x];
}

__global__ void LeaveResults(Ring ring, ClipPointers clip) {
  const int64_t slot = (ring.counters->micro / ring.micro_steps - 1) % ring.num_slots;
  double* out = ring.results + slot * (2 + ring.groups);
  if (threadIdx.x == 0) out[0] = ring.counters->nats;
  if (threadIdx.x == 1) out[1] = ring.counters->squares;
  if (threadIdx.x < ring.groups) out[2 + threadIdx.x] = clip.p[threadIdx.x][0];
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
    for (cudaGraphExec_t exec : {first_exec, add_exec, update_exec}) {
      if (exec != nullptr) cudaGraphExecDestroy(exec);
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
    FetchBatch<<<blocks, 256, 0, stream>>>(ring, static_cast<int32_t*>(micro->device(graph.tokens)),
                                           static_cast<int32_t*>(micro->device(graph.targets)));
    CUDA_LAUNCHED("fetch_batch");
    micro->Run(accumulate);
    CollectLoss<<<1, 1, 0, stream>>>(ring, static_cast<const float*>(micro->device(graph.loss)));
    CUDA_LAUNCHED("collect_loss");
  }
  void EnqueueUpdate() {
    const cudaStream_t stream = context->handles().stream;
    FetchHyper<<<1, 32, 0, stream>>>(ring, static_cast<float*>(update->device(graph.hyper)));
    CUDA_LAUNCHED("fetch_hyper");
    update->Run(false);
    ClipPointers clip{};
    for (size_t g = 0; g < graph.clip.size(); ++g)
      clip.p[g] = static_cast<const float*>(update->device(graph.clip[g]));
    LeaveResults<<<1, 32, 0, stream>>>(ring, clip);
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

  CudaContext* context;
  CudaProgram *micro, *update;
  StepLoopGraph graph;
  const int64_t batch;
  int64_t half_steps = 1, position = 0;  // position: steps enqueued since the loop was made
  int groups = 0;
  DeviceBuffer slots, hypers, results, counters;
  std::unique_ptr<PinnedArray<int32_t>> host_slots;
  std::unique_ptr<PinnedArray<float>> host_hypers;
  std::unique_ptr<PinnedArray<double>> host_results;
  Ring ring{};
  cudaGraphExec_t first_exec = nullptr, add_exec = nullptr, update_exec = nullptr;
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
  s.slots = DeviceBuffer(slots * 2 * s.batch * 4);
  s.hypers = DeviceBuffer(slots * (1 + s.groups) * 4);
  s.results = DeviceBuffer(slots * (2 + s.groups) * 8);
  s.counters = DeviceBuffer(sizeof(Counters));
  for (const DeviceBuffer* b : {&s.slots, &s.hypers, &s.results, &s.counters}) {
    if (b->get() == nullptr) return nullptr;
  }
  s.host_slots = std::make_unique<PinnedArray<int32_t>>(slots * 2 * s.batch);
  s.host_hypers = std::make_unique<PinnedArray<float>>(slots * (1 + s.groups));
  s.host_results = std::make_unique<PinnedArray<double>>(slots * (2 + s.groups));
  s.ring = {reinterpret_cast<const int32_t*>(s.slots.get()),
            reinterpret_cast<const float*>(s.hypers.get()),
            reinterpret_cast<double*>(s.results.get()),
            reinterpret_cast<Counters*>(s.counters.get()),
            slots,
            graph.micro_steps,
            graph.micro_tokens,
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
  if (graph.micro_steps == 1) {
    s.first_exec = s.Capture([&] {
      s.EnqueueMicro(false);
      s.EnqueueUpdate();
    });
  } else {
    s.first_exec = s.Capture([&] { s.EnqueueMicro(false); });
    s.add_exec = s.Capture([&] { s.EnqueueMicro(true); });
    s.update_exec = s.Capture([&] { s.EnqueueUpdate(); });
  }
  CUDA_OK(cudaMemsetAsync(s.counters.get(), 0, sizeof(Counters), context->handles().stream));
  context->Synchronize();
  return loop;
}

StepLoop::~StepLoop() = default;

std::vector<DeviceStepResult> StepLoop::Run(int64_t first, int64_t count, const Fill& fill) {
  Impl& s = *impl_;
  CUDA_OK(cudaSetDevice(s.context->device()));
  const CudaHandles& h = s.context->handles();
  const GpuBusy busy;
  std::vector<DeviceStepResult> out;
  out.reserve(count);
  const int64_t hyper_width = 1 + s.groups, result_width = 2 + s.groups;
  // A piece is a run of steps inside one half of the ring.
  struct Piece {
    int64_t slot = 0, steps = 0;
    int half = 0;
  };
  auto collect = [&](const Piece& piece) {
    CUDA_OK(cudaEventSynchronize(s.done[piece.half]));
    for (int64_t i = 0; i < piece.steps; ++i) {
      const double* r = s.host_results->get() + (piece.slot + i) * result_width;
      out.push_back({r[0], r[1], {r + 2, r + result_width}});
    }
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
    for (int64_t i = 0; i < piece.steps; ++i) {
      int32_t* tokens = s.host_slots->get() + (piece.slot + i) * 2 * s.batch;
      fill(first + next + i, tokens, tokens + s.batch,
           s.host_hypers->get() + (piece.slot + i) * hyper_width);
    }
    CUDA_OK(cudaMemcpyAsync(s.slots.get() + piece.slot * 2 * s.batch * 4,
                            s.host_slots->get() + piece.slot * 2 * s.batch,
                            piece.steps * 2 * s.batch * 4, cudaMemcpyHostToDevice, h.copy_stream));
    CUDA_OK(cudaMemcpyAsync(s.hypers.get() + piece.slot * hyper_width * 4,
                            s.host_hypers->get() + piece.slot * hyper_width,
                            piece.steps * hyper_width * 4, cudaMemcpyHostToDevice, h.copy_stream));
    CUDA_OK(cudaEventRecord(s.filled[piece.half], h.copy_stream));
    CUDA_OK(cudaStreamWaitEvent(h.stream, s.filled[piece.half], 0));
    for (int64_t i = 0; i < piece.steps; ++i) {
      CUDA_OK(cudaGraphLaunch(s.first_exec, h.stream));
      for (int64_t m = 1; m < s.graph.micro_steps; ++m)
        CUDA_OK(cudaGraphLaunch(s.add_exec, h.stream));
      if (s.update_exec != nullptr) CUDA_OK(cudaGraphLaunch(s.update_exec, h.stream));
    }
    CUDA_OK(cudaMemcpyAsync(s.host_results->get() + piece.slot * result_width,
                            s.results.get() + piece.slot * result_width * 8,
                            piece.steps * result_width * 8, cudaMemcpyDeviceToHost, h.stream));
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
  return out;
}

int64_t StepLoop::bytes() const {
  return impl_->slots.bytes() + impl_->hypers.bytes() + impl_->results.bytes();
}

}  // namespace worker
