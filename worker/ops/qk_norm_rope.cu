#include <algorithm>

#include "core/check.h"
#include "worker/ops/cuda_math.cuh"
#include "worker/ops/qk_norm_rope.h"

namespace worker {
namespace {

constexpr int kThreads = 256;
constexpr int kBackwardBlocks = 3;  // a multiprocessor: what the registers allow

// Heads of a row are dealt to `parts` groups of lanes, part p gets p, p + parts, ...: the angles of
// a row are loaded once for several heads. An item is one part of one row.
struct Sizes {
  uint32_t items, length;
  int heads, kv_heads, d, parts, turns;  // turns: heads a part, at most
};

// Heads an item, at most; one where there are so few that the device would not be full.
constexpr int kHeadsAnItem = 6;
constexpr int64_t kFew = 50'000;

Sizes SizesOf(const CudaExec& exec, const AttentionShape& shape) {
  const int64_t length = exec.InDims(0)[1], rows = exec.InDims(0)[0] * length;
  const int per_row = static_cast<int>(shape.heads + 2 * shape.kv_heads);
  SWEEP_CHECK(rows * per_row < int64_t{1} << 28);  // indices of threads are 32 bits
  const int parts = rows * per_row < kFew ? per_row : (per_row + kHeadsAnItem - 1) / kHeadsAnItem;
  return {static_cast<uint32_t>(rows * parts), static_cast<uint32_t>(length),
          static_cast<int>(shape.heads),       static_cast<int>(shape.kv_heads),
          static_cast<int>(shape.head_dim),    parts,
          (per_row + parts - 1) / parts};
}

// A group of LANES >= D/8 lanes owns an item: a lane holds 4 channels of each half of a head, so
// that the pairs of the rotation meet in one lane; lanes past D/8 only take part in sums. Heads in
// the order of qkv: q, k, v.
template <int LANES>
__global__ void __launch_bounds__(kThreads)
    ForwardKernel(const bf16* __restrict__ qkv, const float* __restrict__ q_gain,
                  const float* __restrict__ k_gain, const float* __restrict__ cosine,
                  const float* __restrict__ sine, float eps, bf16* __restrict__ q,
                  bf16* __restrict__ k, bf16* __restrict__ v, float* __restrict__ rstd, Sizes size,
                  int64_t seat_stride) {
  const int D = size.d, lane = threadIdx.x % LANES;
  const uint32_t item = (blockIdx.x * kThreads + threadIdx.x) / LANES;
  const bool live = item < size.items && lane * 8 < D;
  const int heads = size.heads, kv = size.kv_heads, per_row = heads + 2 * kv;
  const int64_t row = live ? item / static_cast<uint32_t>(size.parts) : 0;
  const int part = live ? static_cast<int>(item - row * size.parts) : 0;
  qkv = AtSeat(qkv, seat_stride) + row * per_row * D + lane * 4;
  q = AtSeat(q, seat_stride) + row * heads * D + lane * 4;
  k = AtSeat(k, seat_stride) + row * kv * D + lane * 4;
  v = AtSeat(v, seat_stride) + row * kv * D + lane * 4;
  const bool norm = q_gain != nullptr;
  if (norm) {
    q_gain = AtSeat(q_gain, seat_stride) + lane * 4;
    k_gain = AtSeat(k_gain, seat_stride) + lane * 4;
    rstd = AtSeat(rstd, seat_stride) + row * (heads + kv);
  }
  float c[4] = {}, s[4] = {};
  if (live) {
    const int at = static_cast<int>(static_cast<uint32_t>(row) % size.length) * (D / 2) + lane * 4;
    const float4 c4 = *reinterpret_cast<const float4*>(cosine + at);
    const float4 s4 = *reinterpret_cast<const float4*>(sine + at);
    c[0] = c4.x, c[1] = c4.y, c[2] = c4.z, c[3] = c4.w;
    s[0] = s4.x, s[1] = s4.y, s[2] = s4.z, s[3] = s4.w;
  }
  // Every lane of a warp takes the same number of turns, for the shuffles.
#pragma unroll 3
  for (int turn = 0; turn < size.turns; ++turn) {
    const int head = part + turn * size.parts;
    const bool here = live && head < per_row;
    float x[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (here) {
      Load4(qkv + head * D, x);
      Load4(qkv + head * D + D / 2, x + 4);
    }
    if (norm) {
      float squares = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) squares += x[i] * x[i];
      const float inverse = rsqrtf(GroupSum<LANES>(squares) / static_cast<float>(D) + eps);
      if (here && head < heads + kv) {
        if (lane == 0) rstd[head] = inverse;
        const float* gain = head < heads ? q_gain : k_gain;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          x[i] *= inverse * gain[i];
          x[4 + i] *= inverse * gain[D / 2 + i];
        }
      }
    }
    if (!here) continue;
    bf16* out;
    if (head < heads + kv) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float x1 = x[i], x2 = x[4 + i];
        x[i] = x1 * c[i] - x2 * s[i];
        x[4 + i] = x2 * c[i] + x1 * s[i];
      }
      out = head < heads ? q + head * D : k + (head - heads) * D;
    } else {
      out = v + (head - heads - kv) * D;
    }
    Store4(out, x);
    Store4(out + D / 2, x + 4);
  }
}

// One head of one row: where a lane's channels of it lie and what the backward reads of them.
struct Unit {
  bool live, rotated, key;
  uint32_t at;       // of qkv, in units of D
  uint2 d[2], x[2];  // four bf16 channels of each half
  float inverse;
};
struct Angles {
  float4 c, s;
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
                   const bf16* __restrict__ dv, bf16* __restrict__ dqkv,
                   float* __restrict__ partial, Sizes size, int64_t seat_stride) {
  constexpr int kGroups = kThreads / LANES;
  __shared__ float block_gain[kGroups][2 * LANES * 8];
  const int D = size.d, lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
  const uint32_t heads = size.heads, kv = size.kv_heads, per_row = heads + 2 * kv;
  const uint32_t parts = size.parts, groups = gridDim.x * kGroups;
  const bool norm = q_gain != nullptr, mine = lane * 8 < D;
  qkv = AtSeat(qkv, seat_stride) + lane * 4;
  dq = AtSeat(dq, seat_stride) + lane * 4;
  dk = AtSeat(dk, seat_stride) + lane * 4;
  dv = AtSeat(dv, seat_stride) + lane * 4;
  dqkv = AtSeat(dqkv, seat_stride) + lane * 4;
  if (norm) {
    q_gain = AtSeat(q_gain, seat_stride) + lane * 4;
    k_gain = AtSeat(k_gain, seat_stride) + lane * 4;
    rstd = AtSeat(rstd, seat_stride);
    partial = AtSeat(partial, seat_stride);
  }
  auto fetch = [&](bool live, uint32_t row, uint32_t head) {
    Unit u;
    u.live = live && head < per_row;
    u.at = row * per_row + head;
    u.rotated = u.live && head < heads + kv;
    u.key = head >= heads;
    u.inverse = 0;
    if (!u.live) return u;
    const bf16* from = head < heads ? dq + static_cast<int64_t>(row * heads + head) * D
                       : u.rotated  ? dk + static_cast<int64_t>(row * kv + head - heads) * D
                                    : dv + static_cast<int64_t>(row * kv + head - heads - kv) * D;
    u.d[0] = *reinterpret_cast<const uint2*>(from);
    u.d[1] = *reinterpret_cast<const uint2*>(from + D / 2);
    if (!u.rotated || !norm) return u;
    const bf16* x = qkv + static_cast<int64_t>(u.at) * D;
    u.x[0] = *reinterpret_cast<const uint2*>(x);
    u.x[1] = *reinterpret_cast<const uint2*>(x + D / 2);
    u.inverse = rstd[row * (heads + kv) + head];
    return u;
  };
  auto angles_of = [&](bool live, uint32_t row) {
    Angles a;
    if (!live) return a;
    const int at = static_cast<int>(row % size.length) * (D / 2) + lane * 4;
    a.c = *reinterpret_cast<const float4*>(cosine + at);
    a.s = *reinterpret_cast<const float4*>(sine + at);
    return a;
  };
  float q_gains[8] = {}, k_gains[8] = {};
  // Every lane of a warp takes the same number of turns, for the shuffles.
  const uint32_t turns = (size.items + groups - 1) / groups * size.turns;
  uint32_t item = blockIdx.x * kGroups + group, row = item / parts, head = item - row * parts;
  bool live = mine && item < size.items;
  Unit next = fetch(live, row, head);
  Angles angles = angles_of(live, row), coming = angles;
  for (uint32_t turn = 0, of_item = 0; turn < turns; ++turn) {
    const Unit u = next;
    angles = coming;
    if (++of_item == static_cast<uint32_t>(size.turns)) {
      of_item = 0;
      item += groups;
      row = item / parts;
      head = item - row * parts;
      live = mine && item < size.items;
      coming = angles_of(live, row);
    } else {
      head += parts;
    }
    next = fetch(live, row, head);
    float d[8];
    if (u.live) {
      Unpack4(u.d[0], d);
      Unpack4(u.d[1], d + 4);
    }
    if (u.rotated) {
      const float c[4] = {angles.c.x, angles.c.y, angles.c.z, angles.c.w};
      const float s[4] = {angles.s.x, angles.s.y, angles.s.z, angles.s.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float y1 = d[i], y2 = d[4 + i];
        d[i] = y1 * c[i] + y2 * s[i];
        d[4 + i] = y2 * c[i] - y1 * s[i];
      }
    }
    if (norm) {
      float x[8], dot = 0;
      if (u.rotated) {
        Unpack4(u.x[0], x);
        Unpack4(u.x[1], x + 4);
        const float* gain = u.key ? k_gain : q_gain;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float product = d[i] * x[i] * u.inverse;
          q_gains[i] += u.key ? 0.0f : product;
          k_gains[i] += u.key ? product : 0.0f;
          d[i] *= gain[(i < 4 ? 0 : D / 2 - 4) + i];
          dot += d[i] * x[i];
        }
      }
      dot = GroupSum<LANES>(dot);
      if (u.rotated) {
        const float k = dot * u.inverse * u.inverse * u.inverse / static_cast<float>(D);
#pragma unroll
        for (int i = 0; i < 8; ++i) d[i] = u.inverse * d[i] - x[i] * k;
      }
    }
    if (u.live) {
      bf16* out = dqkv + static_cast<int64_t>(u.at) * D;
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
        <<<exec.Grid((size.items + kUnits - 1) / kUnits), kThreads, 0, exec.stream>>>(
            exec.In(0), norm ? exec.Master(1) : nullptr, norm ? exec.Master(2) : nullptr,
            exec.InF32(3), exec.InF32(4), static_cast<float>(eps_), exec.Out(0), exec.Out(1),
            exec.Out(2), norm ? exec.OutF32(3) : nullptr, size, exec.seat_stride);
  });
  CUDA_LAUNCHED("qk_norm_rope");
}

void QkNormRopeBackwardOp::RunCuda(const CudaExec& exec) const {
  const bool norm = exec.HasIn(1);
  const Sizes size = SizesOf(exec, shape_);
  ByHeadDim(shape_.head_dim, [&](auto lanes) {
    constexpr int kUnits = kThreads / lanes.value;
    const int64_t blocks =
        std::min<int64_t>((size.items + kUnits - 1) / kUnits,
                          exec.context.multiprocessors() * int64_t{kBackwardBlocks});
    float* partial = norm ? exec.Partial(blocks * 2 * shape_.head_dim) : nullptr;
    BackwardKernel<lanes.value><<<exec.Grid(blocks), kThreads, 0, exec.stream>>>(
        exec.In(0), norm ? exec.Master(1) : nullptr, norm ? exec.Master(2) : nullptr, exec.InF32(3),
        exec.InF32(4), norm ? exec.InF32(5) : nullptr, exec.In(6), exec.In(7), exec.In(8),
        exec.Out(0), partial, size, exec.seat_stride);
    CUDA_LAUNCHED("qk_norm_rope_backward");
    if (!norm) return;
    const int64_t d = shape_.head_dim;
    exec.SumLater(partial, blocks, 2 * d, d, 1);
    exec.SumLater(partial + d, blocks, 2 * d, d, 2);
  });
}

}  // namespace worker
