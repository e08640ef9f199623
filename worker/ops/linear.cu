#include "worker/ops/linear.h"
#include "worker/runtime/cuda/gemm.h"

namespace worker {

void LinearOp::RunCuda(const CudaExec& exec) const {
  const int64_t k = exec.InDims(0).back(), n = exec.OutDims(0).back();
  const int64_t m = NumElements(exec.InDims(0)) / k;
  Gemm(exec.context, {.kind = GemmKind::kForward, .m = m, .n = n, .k = k}, exec.In(0), exec.In(1),
       exec.Out(0));
}

void LinearBackwardInputOp::RunCuda(const CudaExec& exec) const {
  const int64_t n = exec.InDims(0).back(), k = exec.OutDims(0).back();
  const int64_t m = NumElements(exec.InDims(0)) / n;
  Gemm(exec.context, {.kind = GemmKind::kInput, .m = m, .n = k, .k = n}, exec.In(0), exec.In(1),
       exec.Out(0));
}

void LinearBackwardWeightOp::RunCuda(const CudaExec& exec) const {
  const int64_t n = exec.InDims(0).back(), k = exec.InDims(1).back();
  const int64_t m = NumElements(exec.InDims(0)) / n;
  Gemm(exec.context,
       {.kind = GemmKind::kWeight, .m = n, .n = k, .k = m, .f32_out = true, .add = exec.Adds(0)},
       exec.In(0), exec.In(1), exec.OutF32(0));
}

}  // namespace worker
