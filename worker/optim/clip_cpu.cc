#include <cmath>

#include "worker/optim/clip.h"

namespace worker {

template <typename T>
void ClipOp::RunCpu(const CpuExec<T>& exec) const {
  double squares = 0;
  for (const BlockRange& range : ranges_) {
    const T* g = exec.In(range.block) + range.offset;
    // Fixed pieces keep the sum independent of the number of threads.
    const int64_t pieces = (range.count + (1 << 14) - 1) >> 14;
    double* partial = exec.rt.template Scratch<double>(0, 5, pieces);
    exec.rt.ParallelFor(pieces, [&](int64_t piece, int) {
      const int64_t end = std::min(range.count, (piece + 1) << 14);
      double sum = 0;
      for (int64_t i = piece << 14; i < end; ++i) sum += static_cast<double>(g[i]) * g[i];
      partial[piece] = sum;
    });
    for (int64_t piece = 0; piece < pieces; ++piece) squares += partial[piece];
  }
  const double norm = std::sqrt(squares);
  exec.Out(0)[0] = static_cast<T>(norm);
  exec.Out(0)[1] = static_cast<T>(limit_ > 0 && norm > limit_ ? limit_ / norm : 1.0);
}
template void ClipOp::RunCpu(const CpuExec<float>&) const;
template void ClipOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
