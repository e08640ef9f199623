#include <algorithm>
#include <cmath>

#include "worker/ops/qk_norm_rope.h"

namespace worker {

template <typename T>
void QkNormRopeOp::RunCpu(const CpuExec<T>& exec) const {
  const T* qkv = exec.In(0);
  const bool norm = exec.HasIn(1);
  const T* gains[2] = {norm ? exec.In(1) : nullptr, norm ? exec.In(2) : nullptr};
  const T* cosine = exec.In(3);
  const T* sine = exec.In(4);
  T* outs[2] = {exec.Out(0), exec.Out(1)};
  T* rstd = norm ? exec.Out(3) : nullptr;
  const int64_t length = exec.InDims(0)[1], rows = exec.InDims(0)[0] * length;
  const int64_t d = shape_.head_dim, half = d / 2, width = shape_.qkv_width();
  const int64_t heads[2] = {shape_.heads, shape_.kv_heads};
  const T eps = static_cast<T>(eps_);
  exec.rt.ParallelRange(rows, 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const T* c = cosine + (r % length) * half;
      const T* s = sine + (r % length) * half;
      const T* in = qkv + r * width;
      for (int which = 0; which < 2; ++which) {
        for (int64_t h = 0; h < heads[which]; ++h, in += d) {
          T* out = outs[which] + (r * heads[which] + h) * d;
          T scale = 1;
          if (norm) {
            T squares = 0;
            for (int64_t i = 0; i < d; ++i) squares += in[i] * in[i];
            scale = T(1) / std::sqrt(squares / static_cast<T>(d) + eps);
            rstd[r * (heads[0] + heads[1]) + (which == 0 ? 0 : heads[0]) + h] = scale;
            const T* g = gains[which];
            for (int64_t i = 0; i < half; ++i) {
              const T x1 = in[i] * scale * g[i], x2 = in[i + half] * scale * g[i + half];
              out[i] = x1 * c[i] - x2 * s[i];
              out[i + half] = x2 * c[i] + x1 * s[i];
            }
          } else {
            for (int64_t i = 0; i < half; ++i) {
              const T x1 = in[i], x2 = in[i + half];
              out[i] = x1 * c[i] - x2 * s[i];
              out[i + half] = x2 * c[i] + x1 * s[i];
            }
          }
        }
      }
    }
  });
}

// The rotation is orthogonal, so its backward is the rotation by -theta; then RMSNorm's backward a
// head.
template <typename T>
void QkNormRopeBackwardOp::RunCpu(const CpuExec<T>& exec) const {
  const T* qkv = exec.In(0);
  const bool norm = exec.HasIn(1);
  const T* gains[2] = {norm ? exec.In(1) : nullptr, norm ? exec.In(2) : nullptr};
  const T* cosine = exec.In(3);
  const T* sine = exec.In(4);
  const T* rstd = norm ? exec.In(5) : nullptr;
  const T* grads[2] = {exec.In(6), exec.In(7)};
  T* dqkv = exec.Out(0);
  const int64_t length = exec.InDims(0)[1], rows = exec.InDims(0)[0] * length;
  const int64_t d = shape_.head_dim, half = d / 2, width = shape_.qkv_width();
  const int64_t heads[2] = {shape_.heads, shape_.kv_heads};
  const int64_t parts = std::clamp<int64_t>(rows / 64, 1, CpuRuntime::kMaxParts);
  T* partial = exec.rt.template Scratch<T>(0, 7, parts * 2 * d);
  exec.rt.ParallelFor(parts, [&](int64_t part, int thread) {
    T* dgains = partial + part * 2 * d;
    std::fill_n(dgains, 2 * d, T(0));
    T* rotated = exec.rt.template Scratch<T>(thread, 6, d);
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; ++r) {
      const T* c = cosine + (r % length) * half;
      const T* s = sine + (r % length) * half;
      const T* in = qkv + r * width;
      T* out = dqkv + r * width;
      for (int which = 0; which < 2; ++which) {
        for (int64_t h = 0; h < heads[which]; ++h, in += d, out += d) {
          const T* dy = grads[which] + (r * heads[which] + h) * d;
          T* target = norm ? rotated : out;
          for (int64_t i = 0; i < half; ++i) {
            target[i] = dy[i] * c[i] + dy[i + half] * s[i];
            target[i + half] = dy[i + half] * c[i] - dy[i] * s[i];
          }
          if (!norm) continue;
          const T inverse = rstd[r * (heads[0] + heads[1]) + (which == 0 ? 0 : heads[0]) + h];
          const T* g = gains[which];
          T* dg = dgains + which * d;
          T dot = 0;
          for (int64_t i = 0; i < d; ++i) {
            dot += g[i] * rotated[i] * in[i];
            dg[i] += rotated[i] * in[i] * inverse;
          }
          const T k = dot * inverse * inverse * inverse / static_cast<T>(d);
          for (int64_t i = 0; i < d; ++i) out[i] = inverse * g[i] * rotated[i] - in[i] * k;
        }
      }
    }
  });
  if (!norm) return;
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t i = 0; i < d; ++i) {
      exec.Out(1)[i] += partial[part * 2 * d + i];
      exec.Out(2)[i] += partial[part * 2 * d + d + i];
    }
  }
}

template void QkNormRopeOp::RunCpu(const CpuExec<float>&) const;
template void QkNormRopeOp::RunCpu(const CpuExec<double>&) const;
template void QkNormRopeBackwardOp::RunCpu(const CpuExec<float>&) const;
template void QkNormRopeBackwardOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
