#include "worker/ops/cpu_math.h"
#include "worker/ops/swiglu.h"

namespace worker {

template <typename T>
void SwiGluOp::RunCpu(const CpuExec<T>& exec) const {
  const T* gate_up = exec.In(0);
  T* y = exec.Out(0);
  const int64_t features = exec.OutDims(0).back(), rows = NumElements(exec.OutDims(0)) / features;
  exec.rt.ParallelRange(rows, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const T* gate = gate_up + r * 2 * features;
      const T* up = gate + features;
      T* out = y + r * features;
      for (int64_t i = 0; i < features; ++i) out[i] = gate[i] * Sigmoid(gate[i]) * up[i];
    }
  });
}

// d silu(g)/dg = s * (1 + g * (1 - s)), s = sigmoid(g).
template <typename T>
void SwiGluBackwardOp::RunCpu(const CpuExec<T>& exec) const {
  const T* gate_up = exec.In(0);
  const T* dy = exec.In(1);
  T* dgate_up = exec.Out(0);
  const int64_t features = exec.InDims(1).back(), rows = NumElements(exec.InDims(1)) / features;
  exec.rt.ParallelRange(rows, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const T* gate = gate_up + r * 2 * features;
      const T* up = gate + features;
      const T* d = dy + r * features;
      T* dgate = dgate_up + r * 2 * features;
      T* dup = dgate + features;
      for (int64_t i = 0; i < features; ++i) {
        const T s = Sigmoid(gate[i]);
        dup[i] = d[i] * gate[i] * s;
        dgate[i] = d[i] * up[i] * s * (T(1) + gate[i] * (T(1) - s));
      }
    }
  });
}

template void SwiGluOp::RunCpu(const CpuExec<float>&) const;
template void SwiGluOp::RunCpu(const CpuExec<double>&) const;
template void SwiGluBackwardOp::RunCpu(const CpuExec<float>&) const;
template void SwiGluBackwardOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
