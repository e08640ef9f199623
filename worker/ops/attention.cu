// cuDNN's fused attention, planned once a shape; its plans are kept by the context.
#include "worker/ops/attention.h"
#include "worker/runtime/cuda/cuda_exec.h"
#include "worker/runtime/cuda/cudnn_attention.h"

namespace worker {
namespace {

// q (B, T, H, D); k, v (B, T, KV, D); o like q.
AttentionProblem ProblemOf(const Dims& q, const AttentionShape& shape) {
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
  return p;
}

cudnnContext* Cudnn(const CudaExec& exec) {
  return static_cast<cudnnContext*>(exec.context.handles().cudnn);
}

// Layers of equal shape share one plan.
CudnnAttention& PlanOf(const CudaExec& exec, const AttentionShape& shape) {
  const AttentionProblem problem = ProblemOf(exec.InDims(0), shape);
  std::string name = "attention";
  for (int64_t part :
       {problem.batch, problem.heads, problem.kv_heads, problem.seq, problem.head_dim})
    name += " " + std::to_string(part);
  auto& plan = exec.context.handles().plans[name];
  if (plan == nullptr) {
    std::string error;
    plan =
        std::shared_ptr<CudnnAttention>(CudnnAttention::Create(Cudnn(exec), problem, true, &error));
    if (plan == nullptr) CudaFail(__FILE__, __LINE__, "planning attention", error.c_str());
  }
  return *static_cast<CudnnAttention*>(plan.get());
}

}  // namespace

void AttentionOp::RunCuda(const CudaExec& exec) const {
  const CudnnAttention& plan = PlanOf(exec, shape_);
  void* workspace = exec.Scratch<std::byte>(static_cast<int64_t>(plan.workspace_bytes()));
  if (!plan.Forward(Cudnn(exec), exec.stream, exec.In(0), exec.In(1), exec.In(2), exec.Out(0),
                    exec.OutF32(1), workspace))
    CudaFail(__FILE__, __LINE__, "attention", CudnnAttention::LastError().c_str());
}

void AttentionBackwardOp::RunCuda(const CudaExec& exec) const {
  const CudnnAttention& plan = PlanOf(exec, shape_);
  void* workspace = exec.Scratch<std::byte>(static_cast<int64_t>(plan.workspace_bytes()));
  if (!plan.Backward(Cudnn(exec), exec.stream, exec.In(0), exec.In(1), exec.In(2), exec.In(3),
                     exec.InF32(4), exec.In(5), exec.Out(0), exec.Out(1), exec.Out(2), workspace))
    CudaFail(__FILE__, __LINE__, "attention_backward", CudnnAttention::LastError().c_str());
}

}  // namespace worker
