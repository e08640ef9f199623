#include <algorithm>

#include "worker/ops/embedding.h"

namespace worker {

template <typename T>
void EmbeddingOp::RunCpu(const CpuExec<T>& exec) const {
  const int32_t* tokens = exec.InInt(0);
  const T* table = exec.In(1);
  T* x = exec.Out(0);
  const int64_t rows = NumElements(exec.InDims(0)), channels = exec.OutDims(0).back();
  exec.rt.ParallelRange(rows, 256, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      std::copy_n(table + tokens[r] * channels, channels, x + r * channels);
  });
}

// Each part owns a range of channels, so every table row is written by one thread in token order.
template <typename T>
void EmbeddingBackwardOp::RunCpu(const CpuExec<T>& exec) const {
  const int32_t* tokens = exec.InInt(0);
  const T* dx = exec.In(1);
  T* dtable = exec.Out(0);
  const int64_t rows = NumElements(exec.InDims(0)), channels = exec.InDims(1).back();
  exec.rt.ParallelRange(channels, 64, [&](int64_t c0, int64_t c1, int) {
    for (int64_t r = 0; r < rows; ++r) {
      T* out = dtable + tokens[r] * channels;
      const T* in = dx + r * channels;
      for (int64_t c = c0; c < c1; ++c) out[c] += in[c];
    }
  });
}

template void EmbeddingOp::RunCpu(const CpuExec<float>&) const;
template void EmbeddingOp::RunCpu(const CpuExec<double>&) const;
template void EmbeddingBackwardOp::RunCpu(const CpuExec<float>&) const;
template void EmbeddingBackwardOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
