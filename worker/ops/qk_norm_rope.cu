#include <algorithm>

#include "core/check.h"
#include "worker/ops/cuda_math.cuh"
#include "worker/ops/qk_norm_rope.h"

namespace worker {
namespace {

constexpr int kThreads = 256;

struct Sizes {
  int64_t units;  // rows * (heads + 2 kv_heads)
  int length, heads, kv_heads, d;
};

// A group of LANES >= D/8 lanes owns one head of one row: a lane holds 4 channels of each half, so
// that the pairs of the rotation meet in one lane; lanes past D/8 only take part in sums. Heads in
// the order of qkv: q, k, v.
template <int LANES>
__global__ void __launch_bounds__(kThreads)
    ForwardKernel(const bf16* __restrict__ qkv, const float* __restrict__ q_gain,
                  const float* __restrict__ k_gain, const float* __restrict__ cosine,
                  const float* __restrict__ sine, float eps, bf16* __restrict__ q,
                  bf16* __restrict__ k, bf16* __restrict__ v, float* __restrict__ rstd,
                  Sizes size) {
  const int D = size.d, lane = threadIdx.x % LANES;
  const int per_row = size.heads + 2 * size.kv_heads;
  const int64_t unit = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / LANES;
  const bool live = unit < size.units && lane * 8 < D;
  const int64_t row = live ? unit / per_row : 0;
  const int head = live ? static_cast<int>(unit - row * per_row) : 0;
  float x[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  if (live) {
    Load4(qkv + unit * D + lane * 4, x);
    Load4(qkv + unit * D + D / 2 + lane * 4, x + 4);
  }
  if (q_gain != nullptr) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares += x[i] * x[i];
    const float inverse = rsqrtf(GroupSum<LANES>(squares) / static_cast<float>(D) + eps);
    if (live && head < size.heads + size.kv_heads) {
      if (lane == 0) rstd[row * (size.heads + size.kv_heads) + head] = inverse;
      const float* gain = head < size.heads ? q_gain : k_gain;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] *= inverse * gain[lane * 4 + i];
        x[4 + i] *= inverse * gain[D / 2 + lane * 4 + i];
      }
    }
  }
  if (!live) return;
  bf16* out;
  if (head < size.heads + size.kv_heads) {
    const int64_t at = (row % size.length) * (D / 2) + lane * 4;
    const float4 c4 = *reinterpret_cast<const float4*>(cosine + at);
    const float4 s4 = *reinterpret_cast<const float4*>(sine + at);
    const float c[4] = {c4.x, c4.y, c4.z, c4.w}, s[4] = {s4.x, s4.y, s4.z, s4.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float x1 = x[i], x2 = x[4 + i];
      x[i] = x1 * c[i] - x2 * s[i];
      x[4 + i] = x2 * c[i] + x1 * s[i];
    }
    out = head < size.heads ? q + (row * size.heads + head) * D
                            : k + (row * size.kv_heads + head - size.heads) * D;
  } else {
    out = v + (row * size.kv_heads + head - size.heads - size.kv_heads) * D;
  }
  Store4(out + lane * 4, x);
  Store4(out + D / 2 + lane * 4, x + 4);
}

// The rotation is orthogonal, so its backward is the rotation by -theta; then RMSNorm's backward a
// head. Gains: a lane sums its 8 channels of q and of k over its units; partial (blocks, 2, D).
template <int LANES>
__global__ void __launch_bounds__(kThreads)
    BackwardKernel(const bf16* __restrict__ qkv, const float* __restrict__ q_gain,
                   const float* __restrict__ k_gain, const float* __restrict__ cosine,
                   const float* __restrict__ sine, const float* __restrict__ rstd,
                   const bf16* __restrict__ dq, const bf16* __restrict__ dk,
                   const bf16* __restrict__ dv, bf16* __restrict__ dqkv,
                   float* __restrict__ partial, Sizes size) {
  constexpr int kGroups = kThreads / LANES;
  __shared__ float block_gain[kGroups][2 * LANES * 8];
  const int D = size.d, lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
  const int per_row = size.heads + 2 * size.kv_heads;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * kGroups;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kGroups + group;
  float gains[2][8] = {};
  for (int64_t turn = 0; turn < (size.units + groups - 1) / groups; ++turn) {
    const int64_t unit = first + turn * groups;
    const bool live = unit < size.units && lane * 8 < D;
    const int64_t row = live ? unit / per_row : 0;
    const int head = live ? static_cast<int>(unit - row * per_row) : 0;
    const bool rotated = live && head < size.heads + size.kv_heads;
    float d[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (live) {
      const bf16* from = head < size.heads ? dq + (row * size.heads + head) * D
                         : rotated
                             ? dk + (row * size.kv_heads + head - size.heads) * D
                             : dv + (row * size.kv_heads + head - size.heads - size.kv_heads) * D;
      Load4(from + lane * 4, d);
      Load4(from + D / 2 + lane * 4, d + 4);
    }
    if (rotated) {
      const int64_t at = (row % size.length) * (D / 2) + lane * 4;
      const float4 c4 = *reinterpret_cast<const float4*>(cosine + at);
      const float4 s4 = *reinterpret_cast<const float4*>(sine + at);
      const float c[4] = {c4.x, c4.y, c4.z, c4.w}, s[4] = {s4.x, s4.y, s4.z, s4.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float y1 = d[i], y2 = d[4 + i];
        d[i] = y1 * c[i] + y2 * s[i];
        d[4 + i] = y2 * c[i] - y1 * s[i];
      }
    }
    if (q_gain != nullptr) {
      float x[8] = {0, 0, 0, 0, 0, 0, 0, 0}, dot = 0, inverse = 0;
      if (rotated) {
        Load4(qkv + unit * D + lane * 4, x);
        Load4(qkv + unit * D + D / 2 + lane * 4, x + 4);
        inverse = rstd[row * (size.heads + size.kv_heads) + head];
        const int which = head < size.heads ? 0 : 1;
        const float* gain = which == 0 ? q_gain : k_gain;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float product = d[i] * x[i] * inverse;
          gains[0][i] += which == 0 ? product : 0.0f;
          gains[1][i] += which == 0 ? 0.0f : product;
          d[i] *= gain[(i < 4 ? 0 : D / 2 - 4) + lane * 4 + i];
          dot += d[i] * x[i];
        }
      }
      dot = GroupSum<LANES>(dot);
      const float k = dot * inverse * inverse * inverse / static_cast<float>(D);
      if (rotated) {
#pragma unroll
        for (int i = 0; i < 8; ++i) d[i] = inverse * d[i] - x[i] * k;
      }
    }
    if (live) {
      Store4(dqkv + unit * D + lane * 4, d);
      Store4(dqkv + unit * D + D / 2 + lane * 4, d + 4);
    }
  }
  if (q_gain == nullptr) return;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    if (lane * 8 >= D) break;
#pragma unroll
    for (int i = 0; i < 8; ++i)
      block_gain[group][which * D + (i < 4 ? 0 : D / 2 - 4) + lane * 4 + i] = gains[which][i];
  }
  __syncthreads();
  for (int c = threadIdx.x; c < 2 * D; c += kThreads) {
    float total = 0;
#pragma unroll 4
    for (int g = 0; g < kGroups; ++g) total += block_gain[g][c];
    partial[static_cast<int64_t>(blockIdx.x) * 2 * D + c] = total;
  }
}

// partial (parts, 2, D) -> both gains, in part order.
__global__ void SumGains(const float* __restrict__ partial, int parts, int D, bool add,
                         float* __restrict__ dq_gain, float* __restrict__ dk_gain) {
  __shared__ float sums[32][33];
  const int column = blockIdx.x * 32 + threadIdx.x;
  float sum = 0;
#pragma unroll 4
  for (int part = threadIdx.y; part < parts && column < 2 * D; part += 32)
    sum += partial[part * 2 * D + column];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  const float across = GroupSum<32>(sums[threadIdx.x][threadIdx.y]);
  const int mine = blockIdx.x * 32 + threadIdx.y;
  if (threadIdx.x != 0 || mine >= 2 * D) return;
  float* out = mine < D ? dq_gain + mine : dk_gain + mine - D;
  *out = add ? *out + across : across;
}

// Calls fn with LANES as a type.
template <typename Fn>
void ByHeadDim(int64_t head_dim, Fn fn) {
  SWEEP_CHECK(head_dim % 8 == 0 && head_dim <= 128);
  if (head_dim <= 32) return fn(std::integral_constant<int, 4>());
  if (head_dim <= 64) return fn(std::integral_constant<int, 8>());
  fn(std::integral_constant<int, 16>());
}

}  // namespace

void QkNormRopeOp::RunCuda(const CudaExec& exec) const {
  const bool norm = exec.HasIn(1);
  const int64_t length = exec.InDims(0)[1], rows = exec.InDims(0)[0] * length;
  const Sizes size = {rows * (shape_.heads + 2 * shape_.kv_heads), static_cast<int>(length),
                      static_cast<int>(shape_.heads), static_cast<int>(shape_.kv_heads),
                      static_cast<int>(shape_.head_dim)};
  ByHeadDim(shape_.head_dim, [&](auto lanes) {
    constexpr int kUnits = kThreads / lanes.value;
    ForwardKernel<lanes.value>
        <<<static_cast<unsigned>((size.units + kUnits - 1) / kUnits), kThreads, 0, exec.stream>>>(
            exec.In(0), norm ? exec.Master(1) : nullptr, norm ? exec.Master(2) : nullptr,
            exec.InF32(3), exec.InF32(4), static_cast<float>(eps_), exec.Out(0), exec.Out(1),
            exec.Out(2), norm ? exec.OutF32(3) : nullptr, size);
  });
  CUDA_LAUNCHED("qk_norm_rope");
}

void QkNormRopeBackwardOp::RunCuda(const CudaExec& exec) const {
  const bool norm = exec.HasIn(1);
  const int64_t length = exec.InDims(0)[1], rows = exec.InDims(0)[0] * length;
  const Sizes size = {rows * (shape_.heads + 2 * shape_.kv_heads), static_cast<int>(length),
                      static_cast<int>(shape_.heads), static_cast<int>(shape_.kv_heads),
                      static_cast<int>(shape_.head_dim)};
  ByHeadDim(shape_.head_dim, [&](auto lanes) {
    constexpr int kUnits = kThreads / lanes.value;
    const int64_t blocks = std::min<int64_t>((size.units + kUnits - 1) / kUnits,
                                             exec.context.multiprocessors() * int64_t{4});
    float* partial = norm ? exec.Scratch<float>(blocks * 2 * shape_.head_dim) : nullptr;
    BackwardKernel<lanes.value><<<static_cast<unsigned>(blocks), kThreads, 0, exec.stream>>>(
        exec.In(0), norm ? exec.Master(1) : nullptr, norm ? exec.Master(2) : nullptr, exec.InF32(3),
        exec.InF32(4), norm ? exec.InF32(5) : nullptr, exec.In(6), exec.In(7), exec.In(8),
        exec.Out(0), partial, size);
    CUDA_LAUNCHED("qk_norm_rope_backward");
    if (!norm) return;
    SWEEP_CHECK(exec.Adds(1) == exec.Adds(2));
    const int d = static_cast<int>(shape_.head_dim);
    SumGains<<<(2 * d + 31) / 32, dim3(32, 32), 0, exec.stream>>>(
        partial, static_cast<int>(blocks), d, exec.Adds(1), exec.OutF32(1), exec.OutF32(2));
    CUDA_LAUNCHED("qk_norm_rope_gains");
  });
}

}  // namespace worker
