// Our kernels where they take the shape; else cuDNN's fused attention, planned once a shape and
// process: planning compiles kernels.
#include <array>
#include <map>
#include <memory>
#include <mutex>

#include "worker/ops/attention.h"
#include "worker/ops/attention_cuda.h"
#include "worker/runtime/cuda/cuda_exec.h"
#include "worker/runtime/cuda/cudnn_attention.h"

namespace worker {
namespace {

// q (B, T, H, D); k, v (B, T, KV, D); o like q. dv lies as v does.
AttentionProblem ProblemOf(const Dims& q, const AttentionShape& shape, int64_t v_row) {
  const int64_t batch = q[0], length = q[1], d = shape.head_dim;
  auto strides = [&](int64_t heads) {
    return AttentionProblem::Strides{.batch = length * heads * d, .head = d, .row = heads * d};
  };
  AttentionProblem p;
  p.batch = batch;
  p.heads = shape.heads;
  p.kv_heads = shape.kv_heads;
  p.seq = length;
  p.head_dim = d;
  p.q = p.o = p.dq = p.dout = strides(shape.heads);
  p.k = p.v = p.dk = p.dv = strides(shape.kv_heads);
  p.v.row = p.dv.row = v_row;
  p.v.batch = p.dv.batch = length * v_row;
  return p;
}

cudnnContext* Cudnn(const CudaExec& exec) {
  return static_cast<cudnnContext*>(exec.context.Cudnn());
}

AttentionSizes SizesOf(const Dims& q, const AttentionShape& shape) {
  return {.batch = q[0],
          .length = q[1],
          .heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_dim = shape.head_dim};
}

template <typename T>
T* Moved(T* p, int64_t bytes) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(p) + bytes);
}

// Layers and trials of equal shape share one plan; who meets a shape first plans it while others of
// that shape wait.
const CudnnAttention& PlanOf(const CudaExec& exec, const AttentionShape& shape) {
  struct Entry {
    std::once_flag made;
    std::unique_ptr<CudnnAttention> plan;
  };
  static auto* mu = new std::mutex();
  static auto* plans = new std::map<std::array<int64_t, 7>, Entry>();  // never moved or erased
  const AttentionProblem p = ProblemOf(exec.InDims(0), shape, exec.InRow(2));
  Entry* entry;
  {
    const std::lock_guard lock(*mu);
    entry = &(
        *plans)[{exec.context.device(), p.batch, p.heads, p.kv_heads, p.seq, p.head_dim, p.v.row}];
  }
  std::call_once(entry->made, [&] {
    std::string error;
    entry->plan = CudnnAttention::Create(Cudnn(exec), p, true, &error);
    if (entry->plan == nullptr) CudaFail(__FILE__, __LINE__, "planning attention", error.c_str());
  });
  return *entry->plan;
}

}  // namespace

void AttentionOp::RunCuda(const CudaExec& exec) const {
  if (HasFusedAttention(shape_.head_dim)) {
    const AttentionSizes sizes = SizesOf(exec.InDims(0), shape_);
    return FusedAttention(exec.context, {.sizes = sizes,
                                         .q = exec.In(0),
                                         .k = exec.In(1),
                                         .v = exec.In(2),
                                         .v_row = exec.InRow(2),
                                         .o = exec.Out(0),
                                         .lse = exec.OutF32(1)});
  }
  const CudnnAttention& plan = PlanOf(exec, shape_);
  void* workspace = exec.Scratch<std::byte>(static_cast<int64_t>(plan.workspace_bytes()));
  AtEachSeat(exec.context, [&](cudaStream_t stream, int64_t shift) {
    if (!plan.Forward(Cudnn(exec), stream, Moved(exec.In(0), shift), Moved(exec.In(1), shift),
                      Moved(exec.In(2), shift), Moved(exec.Out(0), shift),
                      Moved(exec.OutF32(1), shift), Moved(workspace, shift)))
      CudaFail(__FILE__, __LINE__, "attention", CudnnAttention::LastError().c_str());
  });
}

void AttentionBackwardOp::RunCuda(const CudaExec& exec) const {
  if (HasFusedAttention(shape_.head_dim)) {
    const AttentionSizes sizes = SizesOf(exec.InDims(0), shape_);
    return FusedAttentionBackward(exec.context, {.sizes = sizes,
                                                 .q = exec.In(0),
                                                 .k = exec.In(1),
                                                 .v = exec.In(2),
                                                 .v_row = exec.InRow(2),
                                                 .o = exec.In(3),
                                                 .lse = exec.InF32(4),
                                                 .dout = exec.In(5),
                                                 .dq = exec.Out(0),
                                                 .dk = exec.Out(1),
                                                 .dv = exec.Out(2),
                                                 .dv_row = exec.OutRow(2)});
  }
  const CudnnAttention& plan = PlanOf(exec, shape_);
  void* workspace = exec.Scratch<std::byte>(static_cast<int64_t>(plan.workspace_bytes()));
  AtEachSeat(exec.context, [&](cudaStream_t stream, int64_t shift) {
    if (!plan.Backward(Cudnn(exec), stream, Moved(exec.In(0), shift), Moved(exec.In(1), shift),
                       Moved(exec.In(2), shift), Moved(exec.In(3), shift),
                       Moved(exec.InF32(4), shift), Moved(exec.In(5), shift),
                       Moved(exec.Out(0), shift), Moved(exec.Out(1), shift),
                       Moved(exec.Out(2), shift), Moved(workspace, shift)))
      CudaFail(__FILE__, __LINE__, "attention_backward", CudnnAttention::LastError().c_str());
  });
}

}  // namespace worker
