#include "worker/ops/add.h"

namespace worker {

template <typename T>
void AddOp::RunCpu(const CpuExec<T>& exec) const {
  const T* a = exec.In(0);
  const T* b = exec.In(1);
  T* out = exec.Out(0);
  exec.rt.ParallelRange(NumElements(exec.OutDims(0)), 1 << 15,
                        [&](int64_t begin, int64_t end, int) {
                          for (int64_t i = begin; i < end; ++i) out[i] = a[i] + b[i];
                        });
}
template void AddOp::RunCpu(const CpuExec<float>&) const;
template void AddOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
