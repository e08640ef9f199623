#include <algorithm>
#include <cmath>

#include "worker/ops/cpu_math.h"
#include "worker/ops/head_loss.h"

namespace worker {
namespace {

// Rows of logits that stay in the second-level cache: about 1 MB.
int64_t ChunkRows(int64_t rows, int64_t vocab, int64_t element_bytes) {
  return std::min(rows, std::clamp<int64_t>((1 << 20) / (vocab * element_bytes), 32, 1024));
}

}  // namespace

template <typename T>
void HeadLossOp::RunCpu(const CpuExec<T>& exec) const {
  const T* x = exec.In(0);
  const T* weight = exec.In(1);
  const int32_t* targets = exec.InInt(2);
  const int64_t channels = exec.InDims(0).back(), rows = NumElements(exec.InDims(0)) / channels;
  const int64_t chunk = ChunkRows(rows, vocab_, sizeof(T)), vocab = vocab_;
  T* logits = exec.rt.template Scratch<T>(0, 0, chunk * vocab);
  double* row_nats = exec.rt.template Scratch<double>(0, 1, 2 * chunk);
  const T scale = static_cast<T>(scale_), z_weight = static_cast<T>(z_weight_);
  double nats = 0, squares = 0, scored = 0;
  for (int64_t r0 = 0; r0 < rows; r0 += chunk) {
    const int64_t n = std::min(chunk, rows - r0);
    exec.rt.Gemm(false, true, n, vocab, channels, T(1), x + r0 * channels, channels, weight,
                 channels, T(0), logits, vocab);
    exec.rt.ParallelRange(n, 32, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        T* row = logits + r * vocab;
        const int32_t target = targets[r0 + r];
        row_nats[2 * r] = row_nats[2 * r + 1] = 0;
        if (target < 0) {
          if (training_) std::fill_n(row, vocab, T(0));
          continue;
        }
        T top = row[0];
        for (int64_t j = 1; j < vocab; ++j) top = std::max(top, row[j]);
        const T target_logit = row[target];
        T sum = 0;
        for (int64_t j = 0; j < vocab; ++j) {
          row[j] = Exp(row[j] - top);
          sum += row[j];
        }
        const T lse = top + std::log(sum);
        row_nats[2 * r] = static_cast<double>(lse - target_logit);
        row_nats[2 * r + 1] = static_cast<double>(lse) * lse;
        if (!training_) continue;
        // d/dlogit_j = softmax_j (1 + 2 z lse) - [j == target], times scale.
        const T factor = scale * (T(1) + 2 * z_weight * lse) / sum;
        for (int64_t j = 0; j < vocab; ++j) row[j] *= factor;
        row[target] -= scale;
      }
    });
    for (int64_t r = 0; r < n; ++r) {
      nats += row_nats[2 * r];
      squares += row_nats[2 * r + 1];
      scored += targets[r0 + r] >= 0;
    }
    if (!training_) continue;
    exec.rt.Gemm(false, false, n, channels, vocab, T(1), logits, vocab, weight, channels, T(0),
                 exec.Out(1) + r0 * channels, channels);
    exec.rt.Gemm(true, false, vocab, channels, n, T(1), logits, vocab, x + r0 * channels, channels,
                 T(1), exec.Out(2), channels);
  }
  T* loss = exec.Out(0);
  loss[0] = static_cast<T>(nats);
  loss[1] = static_cast<T>(squares);
  loss[2] = static_cast<T>(scored);
}

template void HeadLossOp::RunCpu(const CpuExec<float>&) const;
template void HeadLossOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
