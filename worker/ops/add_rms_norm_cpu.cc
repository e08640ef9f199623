#include <cmath>

#include "worker/ops/add_rms_norm.h"

namespace worker {

template <typename T>
void AddRmsNormOp::RunCpu(const CpuExec<T>& exec) const {
  const T* x = exec.In(0);
  const T* delta = exec.HasIn(1) ? exec.In(1) : nullptr;
  const T* gain = exec.In(2);
  T* sum = delta != nullptr ? exec.Out(0) : nullptr;
  T* y = exec.Out(1);
  T* rstd = exec.Out(2);
  const int64_t channels = exec.InDims(0).back(), rows = NumElements(exec.InDims(0)) / channels;
  const T scale = static_cast<T>(scale_), eps = static_cast<T>(eps_);
  exec.rt.ParallelRange(rows, 128, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const T* row = x + r * channels;
      if (delta != nullptr) {
        T* s = sum + r * channels;
        const T* d = delta + r * channels;
        for (int64_t c = 0; c < channels; ++c) s[c] = row[c] + scale * d[c];
        row = s;
      }
      T squares = 0;
      for (int64_t c = 0; c < channels; ++c) squares += row[c] * row[c];
      const T inverse = T(1) / std::sqrt(squares / static_cast<T>(channels) + eps);
      rstd[r] = inverse;
      T* out = y + r * channels;
      for (int64_t c = 0; c < channels; ++c) out[c] = row[c] * inverse * gain[c];
    }
  });
}

// With n = s * rstd: ds = rstd * (g*dy - n * mean(g*dy*n)) + dsum; dg = sum over rows of dy * n.
template <typename T>
void AddRmsNormBackwardOp::RunCpu(const CpuExec<T>& exec) const {
  const T* sum = exec.In(0);
  const T* gain = exec.In(1);
  const T* rstd = exec.In(2);
  const T* dy = exec.In(3);
  const T* dsum = exec.HasIn(4) ? exec.In(4) : nullptr;
  T* dx = exec.Out(0);
  T* ddelta = exec.HasOut(1) ? exec.Out(1) : nullptr;
  T* dgain = exec.Out(2);
  const int64_t channels = exec.InDims(0).back(), rows = NumElements(exec.InDims(0)) / channels;
  const T scale = static_cast<T>(scale_);
  // One partial gain gradient a part, summed in part order: independent of the number of threads.
  const int64_t parts = std::clamp<int64_t>(rows / 128, 1, CpuRuntime::kMaxParts);
  T* partial = exec.rt.template Scratch<T>(0, 7, parts * channels);
  exec.rt.ParallelFor(parts, [&](int64_t part, int) {
    T* dg = partial + part * channels;
    for (int64_t c = 0; c < channels; ++c) dg[c] = 0;
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; ++r) {
      const T* s = sum + r * channels;
      const T* d = dy + r * channels;
      const T inverse = rstd[r];
      T dot = 0;
      for (int64_t c = 0; c < channels; ++c) dot += gain[c] * d[c] * s[c];
      const T k = dot * inverse * inverse * inverse / static_cast<T>(channels);
      T* out = dx + r * channels;
      for (int64_t c = 0; c < channels; ++c) {
        dg[c] += d[c] * s[c] * inverse;
        out[c] = inverse * gain[c] * d[c] - s[c] * k;
      }
      if (dsum != nullptr) {
        const T* ds = dsum + r * channels;
        for (int64_t c = 0; c < channels; ++c) out[c] += ds[c];
      }
      if (ddelta != nullptr) {
        T* dd = ddelta + r * channels;
        for (int64_t c = 0; c < channels; ++c) dd[c] = scale * out[c];
      }
    }
  });
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t c = 0; c < channels; ++c) dgain[c] += partial[part * channels + c];
  }
}

template void AddRmsNormOp::RunCpu(const CpuExec<float>&) const;
template void AddRmsNormOp::RunCpu(const CpuExec<double>&) const;
template void AddRmsNormBackwardOp::RunCpu(const CpuExec<float>&) const;
template void AddRmsNormBackwardOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
