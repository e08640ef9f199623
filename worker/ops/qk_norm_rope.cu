#include <algorithm>

#include "core/check.h"
#include "worker/ops/cuda_math.cuh"
#include "worker/ops/qk_norm_rope.h"

namespace worker {
namespace {

constexpr int kThreads = 256;
constexpr int kBackwardBlocks = 3;  // a multiprocessor: what the registers allow

struct Sizes {
  int64_t units;  // rows * (heads + kv_heads)
  uint32_t length;
  int heads, kv_heads, d;
};

Sizes SizesOf(const CudaExec& exec, const AttentionShape& shape) {
  const int64_t length = exec.InDims(0)[1], rows = exec.InDims(0)[0] * length;
  const int64_t units = rows * (shape.heads + shape.kv_heads);
  SWEEP_CHECK(units < int64_t{1} << 28);  // indices of threads are 32 bits
  return {units, static_cast<uint32_t>(length), static_cast<int>(shape.heads),
          static_cast<int>(shape.kv_heads), static_cast<int>(shape.head_dim)};
}

// A group of LANES >= D/8 lanes owns one head of one row: a lane holds 4 channels of each half, so
// that the pairs of the rotation meet in one lane; lanes past D/8 only take part in sums. Heads in
// the order of qkv: q, k; those of v are not looked at.
template <int LANES>
__global__ void __launch_bounds__(kThreads)
    ForwardKernel(const bf16* __restrict__ qkv, const float* __restrict__ q_gain,
                  const float* __restrict__ k_gain, const float* __restrict__ cosine,
                  const float* __restrict__ sine, float eps, bf16* __restrict__ q,
                  bf16* __restrict__ k, float* __restrict__ rstd, Sizes size, int64_t seat_stride) {
  qkv = AtSeat(qkv, seat_stride);
  if (q_gain != nullptr) {
    q_gain = AtSeat(q_gain, seat_stride);
    k_gain = AtSeat(k_gain, seat_stride);
    rstd = AtSeat(rstd, seat_stride);
  }
  q = AtSeat(q, seat_stride);
  k = AtSeat(k, seat_stride);
  const int D = size.d, lane = threadIdx.x % LANES;
  const int per_row = size.heads + size.kv_heads;
  const uint32_t index = (blockIdx.x * kThreads + threadIdx.x) / LANES;
  const bool live = index < size.units && lane * 8 < D;
  const int64_t unit = index, row = live ? index / static_cast<uint32_t>(per_row) : 0;
  const int head = live ? static_cast<int>(unit - row * per_row) : 0;
  float x[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  if (live) {
    const bf16* from = qkv + (unit + row * size.kv_heads) * D + lane * 4;
    Load4(from, x);
    Load4(from + D / 2, x + 4);
  }
  if (q_gain != nullptr) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares += x[i] * x[i];
    const float inverse = rsqrtf(GroupSum<LANES>(squares) / static_cast<float>(D) + eps);
    if (live) {
      if (lane == 0) rstd[unit] = inverse;
      const float* gain = head < size.heads ? q_gain : k_gain;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] *= inverse * gain[lane * 4 + i];
        x[4 + i] *= inverse * gain[D / 2 + lane * 4 + i];
      }
    }
  }
  if (!live) return;
  const int at = static_cast<int>(static_cast<uint32_t>(row) % size.length) * (D / 2) + lane * 4;
  const float4 c4 = *reinterpret_cast<const float4*>(cosine + at);
  const float4 s4 = *reinterpret_cast<const float4*>(sine + at);
  const float c[4] = {c4.x, c4.y, c4.z, c4.w}, s[4] = {s4.x, s4.y, s4.z, s4.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float x1 = x[i], x2 = x[4 + i];
    x[i] = x1 * c[i] - x2 * s[i];
    x[4 + i] = x2 * c[i] + x1 * s[i];
  }
  bf16* out = head < size.heads ? q + (row * size.heads + head) * D
                                : k + (row * size.kv_heads + head - size.heads) * D;
  Store4(out + lane * 4, x);
  Store4(out + D / 2 + lane * 4, x + 4);
}

// Where the lanes' channels of one head of one row lie, and what the backward reads of them.
struct Unit {
  bool live, key;
  int64_t at;        // in qkv
  uint2 d[2], x[2];  // four bf16 channels of each half
  float4 c, s;
  float inverse;
};

// The rotation is orthogonal, so its backward is the rotation by -theta; then RMSNorm's backward a
// head. Gains: a lane sums its 8 channels of q and of k over its units; partial (blocks, 2, D). The
// next unit is on its way from memory while one is computed.
template <int LANES>
__global__ void __launch_bounds__(kThreads, kBackwardBlocks)
    BackwardKernel(const bf16* __restrict__ qkv, const float* __restrict__ q_gain,
                   const float* __restrict__ k_gain, const float* __restrict__ cosine,
                   const float* __restrict__ sine, const float* __restrict__ rstd,
                   const bf16* __restrict__ dq, const bf16* __restrict__ dk,
                   bf16* __restrict__ dqkv, float* __restrict__ partial, Sizes size,
                   int64_t seat_stride) {
  qkv = AtSeat(qkv, seat_stride);
  if (q_gain != nullptr) {
    q_gain = AtSeat(q_gain, seat_stride);
    k_gain = AtSeat(k_gain, seat_stride);
    rstd = AtSeat(rstd, seat_stride);
    partial = AtSeat(partial, seat_stride);
  }
  dq = AtSeat(dq, seat_stride);
  dk = AtSeat(dk, seat_stride);
  dqkv = AtSeat(dqkv, seat_stride);
  constexpr int kGroups = kThreads / LANES;
  __shared__ float block_gain[kGroups][2 * LANES * 8];
  const int D = size.d, lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
  const uint32_t heads = size.heads, kv = size.kv_heads, per_row = heads + kv;
  const uint32_t units = static_cast<uint32_t>(size.units), groups = gridDim.x * kGroups;
  const bool norm = q_gain != nullptr;
  auto fetch = [&](uint32_t index) {
    Unit u;
    u.live = index < units && lane * 8 < D;
    const uint32_t row = u.live ? index / per_row : 0, head = u.live ? index - row * per_row : 0;
    u.key = head >= heads;
    u.at = (static_cast<int64_t>(index) + row * kv) * D + lane * 4;
    u.inverse = 0;
    if (!u.live) return u;
    const bf16* from = (u.key ? dk + (static_cast<int64_t>(row) * kv + head - heads) * D
                              : dq + (static_cast<int64_t>(row) * heads + head) * D) +
                       lane * 4;
    u.d[0] = *reinterpret_cast<const uint2*>(from);
    u.d[1] = *reinterpret_cast<const uint2*>(from + D / 2);
    const int at = static_cast<int>(row % size.length) * (D / 2) + lane * 4;
    u.c = *reinterpret_cast<const float4*>(cosine + at);
    u.s = *reinterpret_cast<const float4*>(sine + at);
    if (!norm) return u;
    const bf16* x = qkv + u.at;
    u.x[0] = *reinterpret_cast<const uint2*>(x);
    u.x[1] = *reinterpret_cast<const uint2*>(x + D / 2);
    u.inverse = rstd[index];
    return u;
  };
  float q_gains[8] = {}, k_gains[8] = {};
  // Every lane of a warp takes the same number of turns, for the shuffles.
  const uint32_t turns = (units + groups - 1) / groups;
  uint32_t index = blockIdx.x * kGroups + group;
  Unit next = fetch(index);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const Unit u = next;
    index += groups;
    if (turn + 1 < turns) next = fetch(index);
    float d[8];
    if (u.live) {
      Unpack4(u.d[0], d);
      Unpack4(u.d[1], d + 4);
      const float c[4] = {u.c.x, u.c.y, u.c.z, u.c.w}, s[4] = {u.s.x, u.s.y, u.s.z, u.s.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float y1 = d[i], y2 = d[4 + i];
        d[i] = y1 * c[i] + y2 * s[i];
        d[4 + i] = y2 * c[i] - y1 * s[i];
      }
    }
    if (norm) {
      float x[8], dot = 0;
      if (u.live) {
        Unpack4(u.x[0], x);
        Unpack4(u.x[1], x + 4);
        const float* gain = u.key ? k_gain : q_gain;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float product = d[i] * x[i] * u.inverse;
          q_gains[i] += u.key ? 0.0f : product;
          k_gains[i] += u.key ? product : 0.0f;
          d[i] *= gain[(i < 4 ? 0 : D / 2 - 4) + lane * 4 + i];
          dot += d[i] * x[i];
        }
      }
      dot = GroupSum<LANES>(dot);
      if (u.live) {
        const float k = dot * u.inverse * u.inverse * u.inverse / static_cast<float>(D);
#pragma unroll
        for (int i = 0; i < 8; ++i) d[i] = u.inverse * d[i] - x[i] * k;
      }
    }
    if (u.live) {
      bf16* out = dqkv + u.at;
      Store4(out, d);
      Store4(out + D / 2, d + 4);
    }
  }
  if (!norm) return;
  if (lane * 8 < D) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int channel = (i < 4 ? 0 : D / 2 - 4) + lane * 4 + i;
      block_gain[group][channel] = q_gains[i];
      block_gain[group][D + channel] = k_gains[i];
    }
  }
  __syncthreads();
  for (int c = threadIdx.x; c < 2 * D; c += kThreads) {
    float total = 0;
#pragma unroll 4
    for (int g = 0; g < kGroups; ++g) total += block_gain[g][c];
    partial[static_cast<int64_t>(blockIdx.x) * 2 * D + c] = total;
  }
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
  const Sizes size = SizesOf(exec, shape_);
  ByHeadDim(shape_.head_dim, [&](auto lanes) {
    constexpr int kUnits = kThreads / lanes.value;
    ForwardKernel<lanes.value>
        <<<exec.Grid((size.units + kUnits - 1) / kUnits), kThreads, 0, exec.stream>>>(
            exec.In(0), norm ? exec.Master(1) : nullptr, norm ? exec.Master(2) : nullptr,
            exec.InF32(3), exec.InF32(4), static_cast<float>(eps_), exec.Out(0), exec.Out(1),
            norm ? exec.OutF32(3) : nullptr, size, exec.seat_stride);
  });
  CUDA_LAUNCHED("qk_norm_rope");
}

void QkNormRopeBackwardOp::RunCuda(const CudaExec& exec) const {
  const bool norm = exec.HasIn(1);
  const Sizes size = SizesOf(exec, shape_);
  ByHeadDim(shape_.head_dim, [&](auto lanes) {
    constexpr int kUnits = kThreads / lanes.value;
    const int64_t blocks =
        std::min<int64_t>((size.units + kUnits - 1) / kUnits,
                          exec.context.multiprocessors() * int64_t{kBackwardBlocks});
    float* partial = norm ? exec.Partial(blocks * 2 * shape_.head_dim) : nullptr;
    BackwardKernel<lanes.value><<<exec.Grid(blocks), kThreads, 0, exec.stream>>>(
        exec.In(0), norm ? exec.Master(1) : nullptr, norm ? exec.Master(2) : nullptr, exec.InF32(3),
        exec.InF32(4), norm ? exec.InF32(5) : nullptr, exec.In(6), exec.In(7), exec.Out(0), partial,
        size, exec.seat_stride);
    CUDA_LAUNCHED("qk_norm_rope_backward");
    if (!norm) return;
    const int64_t d = shape_.head_dim;
    exec.SumLater(partial, blocks, 2 * d, d, 1);
    exec.SumLater(partial + d, blocks, 2 * d, d, 2);
  });
}

}  // namespace worker
