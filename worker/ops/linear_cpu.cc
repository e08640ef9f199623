#include "worker/ops/linear.h"

namespace worker {

template <typename T>
void LinearOp::RunCpu(const CpuExec<T>& exec) const {
  const int64_t k = exec.InDims(0).back(), n = exec.OutDims(0).back(),
                m = NumElements(exec.InDims(0)) / k;
  exec.rt.Gemm(false, true, m, n, k, T(1), exec.In(0), k, exec.In(1), k, T(0), exec.Out(0), n);
}

template <typename T>
void LinearBackwardInputOp::RunCpu(const CpuExec<T>& exec) const {
  const int64_t n = exec.InDims(0).back(), k = exec.OutDims(0).back(),
                m = NumElements(exec.InDims(0)) / n;
  exec.rt.Gemm(false, false, m, k, n, T(1), exec.In(0), n, exec.In(1), k, T(0), exec.Out(0), k);
}

template <typename T>
void LinearBackwardWeightOp::RunCpu(const CpuExec<T>& exec) const {
  const int64_t n = exec.InDims(0).back(), k = exec.InDims(1).back(),
                m = NumElements(exec.InDims(0)) / n;
  exec.rt.Gemm(true, false, n, k, m, T(1), exec.In(0), n, exec.In(1), k, T(1), exec.Out(0), k);
}

template void LinearOp::RunCpu(const CpuExec<float>&) const;
template void LinearOp::RunCpu(const CpuExec<double>&) const;
template void LinearBackwardInputOp::RunCpu(const CpuExec<float>&) const;
template void LinearBackwardInputOp::RunCpu(const CpuExec<double>&) const;
template void LinearBackwardWeightOp::RunCpu(const CpuExec<float>&) const;
template void LinearBackwardWeightOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
