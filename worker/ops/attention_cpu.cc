#include <algorithm>
#include <cmath>

#include "worker/ops/attention.h"
#include "worker/ops/cpu_math.h"

namespace worker {
namespace {

constexpr int64_t kQueryBlock = 64;

}  // namespace

template <typename T>
void AttentionOp::RunCpu(const CpuExec<T>& exec) const {
  const T* q = exec.In(0);
  const T* k = exec.In(1);
  const T* v = exec.In(2);
  T* o = exec.Out(0);
  T* lse = exec.Out(1);
  const int64_t batch = exec.InDims(0)[0], length = exec.InDims(0)[1], v_row = exec.InRow(2);
  const int64_t heads = shape_.heads, kv_heads = shape_.kv_heads, d = shape_.head_dim;
  const T scale = T(1) / std::sqrt(static_cast<T>(d));
  exec.rt.ParallelFor(batch * heads, [&](int64_t part, int thread) {
    const int64_t b = part / heads, h = part % heads, kv = h / (heads / kv_heads);
    const T* qh = q + (b * length * heads + h) * d;
    const T* kh = k + (b * length * kv_heads + kv) * d;
    const T* vh = v + b * length * v_row + kv * d;
    T* oh = o + (b * length * heads + h) * d;
    T* lse_h = lse + (b * heads + h) * length;
    T* p = exec.rt.template Scratch<T>(thread, 0, kQueryBlock * length);
    for (int64_t i0 = 0; i0 < length; i0 += kQueryBlock) {
      const int64_t rows = std::min(kQueryBlock, length - i0), cols = i0 + rows;
      CpuRuntime::GemmHere(false, true, rows, cols, d, scale, qh + i0 * heads * d, heads * d, kh,
                           kv_heads * d, T(0), p, cols);
      for (int64_t i = 0; i < rows; ++i) {
        T* row = p + i * cols;
        const int64_t valid = i0 + i + 1;
        T top = row[0];
        for (int64_t j = 1; j < valid; ++j) top = std::max(top, row[j]);
        T sum = 0;
        for (int64_t j = 0; j < valid; ++j) {
          row[j] = Exp(row[j] - top);
          sum += row[j];
        }
        const T inverse = T(1) / sum;
        for (int64_t j = 0; j < valid; ++j) row[j] *= inverse;
        std::fill(row + valid, row + cols, T(0));
        lse_h[i0 + i] = top + std::log(sum);
      }
      CpuRuntime::GemmHere(false, false, rows, d, cols, T(1), p, cols, vh, v_row, T(0),
                           oh + i0 * heads * d, heads * d);
    }
  });
}

// P = exp(S - lse); dV = P^T dO; dP = dO V^T; dS = P (dP - rowsum(dO O)) scale; dQ = dS K; dK =
// dS^T Q. One part owns a key/value head with all its query heads, so dK and dV are summed in a
// fixed order.
template <typename T>
void AttentionBackwardOp::RunCpu(const CpuExec<T>& exec) const {
  const T* q = exec.In(0);
  const T* k = exec.In(1);
  const T* v = exec.In(2);
  const T* o = exec.In(3);
  const T* lse = exec.In(4);
  const T* d_o = exec.In(5);
  T* dq = exec.Out(0);
  T* dk = exec.Out(1);
  T* dv = exec.Out(2);
  const int64_t batch = exec.InDims(0)[0], length = exec.InDims(0)[1], v_row = exec.InRow(2),
                dv_row = exec.OutRow(2);
  const int64_t heads = shape_.heads, kv_heads = shape_.kv_heads, d = shape_.head_dim,
                group = heads / kv_heads;
  const T scale = T(1) / std::sqrt(static_cast<T>(d));
  exec.rt.ParallelFor(batch * kv_heads, [&](int64_t part, int thread) {
    const int64_t b = part / kv_heads, kv = part % kv_heads;
    const int64_t kv_base = (b * length * kv_heads + kv) * d, kv_stride = kv_heads * d,
                  stride = heads * d;
    const T* kh = k + kv_base;
    const T* vh = v + b * length * v_row + kv * d;
    T* dvh = dv + b * length * dv_row + kv * d;
    for (int64_t j = 0; j < length; ++j) {
      std::fill_n(dk + kv_base + j * kv_stride, d, T(0));
      std::fill_n(dvh + j * dv_row, d, T(0));
    }
    T* p = exec.rt.template Scratch<T>(thread, 0, kQueryBlock * length);
    T* dp = exec.rt.template Scratch<T>(thread, 1, kQueryBlock * length);
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      const int64_t base = (b * length * heads + h) * d;
      for (int64_t i0 = 0; i0 < length; i0 += kQueryBlock) {
        const int64_t rows = std::min(kQueryBlock, length - i0), cols = i0 + rows;
        const T* q_block = q + base + i0 * stride;
        const T* do_block = d_o + base + i0 * stride;
        CpuRuntime::GemmHere(false, true, rows, cols, d, scale, q_block, stride, kh, kv_stride,
                             T(0), p, cols);
        CpuRuntime::GemmHere(false, true, rows, cols, d, T(1), do_block, stride, vh, v_row, T(0),
                             dp, cols);
        for (int64_t i = 0; i < rows; ++i) {
          T* row = p + i * cols;
          T* drow = dp + i * cols;
          const int64_t valid = i0 + i + 1;
          const T* oi = o + base + (i0 + i) * stride;
          const T* doi = do_block + i * stride;
          const T log_sum = lse[(b * heads + h) * length + i0 + i];
          T dot = 0;
          for (int64_t c = 0; c < d; ++c) dot += oi[c] * doi[c];
          for (int64_t j = 0; j < valid; ++j) {
            row[j] = Exp(row[j] - log_sum);
            drow[j] = row[j] * (drow[j] - dot) * scale;
          }
          std::fill(row + valid, row + cols, T(0));
          std::fill(drow + valid, drow + cols, T(0));
        }
        CpuRuntime::GemmHere(true, false, cols, d, rows, T(1), p, cols, do_block, stride, T(1), dvh,
                             dv_row);
        CpuRuntime::GemmHere(true, false, cols, d, rows, T(1), dp, cols, q_block, stride, T(1),
                             dk + kv_base, kv_stride);
        CpuRuntime::GemmHere(false, false, rows, d, cols, T(1), dp, cols, kh, kv_stride, T(0),
                             dq + base + i0 * stride, stride);
      }
    }
  });
}

template void AttentionOp::RunCpu(const CpuExec<float>&) const;
template void AttentionOp::RunCpu(const CpuExec<double>&) const;
template void AttentionBackwardOp::RunCpu(const CpuExec<float>&) const;
template void AttentionBackwardOp::RunCpu(const CpuExec<double>&) const;

}  // namespace worker
