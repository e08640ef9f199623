// What one thread of the fused head does with its part of a tile of logits, between the products:
// weights out of logits, and at the end the loss and the gradients. head_loss_fused.cu has the
// loop.
//   A warp holds 16 rows of a tile: a thread rows `first` + lane / 4 and 8 further, of every 8
//   columns the pair at 2 (lane % 4): s[4 i], s[4 i + 1] and, of the second row, s[4 i + 2],
//   s[4 i + 3].
#pragma once

#include "worker/ops/online_softmax.cuh"

namespace worker::fused_head {

enum class Pass { kScore, kForward, kWeight };

constexpr int kBlock = 128;  // resident rows
// Rows of shift and row_target beyond the last row block that the weight pass may copy.
constexpr int kPadding = 256;

struct Args {
  const bf16* x;
  const bf16* weight;
  const int32_t* targets;
  int rows, vocab;
  float scale, z_weight;
  bf16* dx;
  float* dweight;  // (splits, V, C) when split
  float* sums;     // (8 row blocks, 3): of 16 rows each
  // (padded R): log2(1 + 2 z lse) - lse log2(e), so that P = 2^(S log2(e) + shift), or -inf where
  // nothing is scored. NaN, as a diverged loss is, where lse <= -1 / (2 z).
  float* shift;
  int32_t* row_target;  // (padded R): -1 where nothing is scored
  int items, tiles, tiles_per_item, vocab_blocks;
  bool add;
  int64_t seat_stride;

  // The pointers above are the first seat's.
  template <typename T>
  __device__ T* Own(T* p) const {
    return AtSeat(p, seat_stride);
  }
};

// S^T (vocabulary, rows) -> softmax (1 + 2 z lse) - onehot. `shift`, `targets`: of the N streamed
// rows; `first`: the warp's first vocabulary row.
template <int COUNT>
__device__ __forceinline__ void Gradient(float (&s)[COUNT], const float* shift,
                                         const int32_t* targets, int first) {
  const int lane = threadIdx.x % 32, pair = lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < COUNT; i += 4) {
    const float2 own = *reinterpret_cast<const float2*>(shift + i * 2 + pair);
    s[i] = Exp2(fmaf(s[i], kLog2E, own.x));
    s[i + 1] = Exp2(fmaf(s[i + 1], kLog2E, own.y));
    s[i + 2] = Exp2(fmaf(s[i + 2], kLog2E, own.x));
    s[i + 3] = Exp2(fmaf(s[i + 3], kLog2E, own.y));
  }
  bool hit = false;
#pragma unroll
  for (int i = 0; i < COUNT * 2; i += 32) {
    if (i + lane < COUNT * 2) hit |= static_cast<unsigned>(targets[i + lane] - first) < 16u;
  }
  if (!__any_sync(0xffffffffu, hit)) return;
  const int row = first + lane / 4;
#pragma unroll
  for (int i = 0; i < COUNT; i += 4) {
    const int2 target = *reinterpret_cast<const int2*>(targets + i * 2 + pair);
    if (target.x == row) s[i] -= 1;
    if (target.y == row) s[i + 1] -= 1;
    if (target.x == row + 8) s[i + 2] -= 1;
    if (target.y == row + 8) s[i + 3] -= 1;
  }
}

// The targets of the thread's two rows, negative where nothing is scored.
__device__ __forceinline__ void LoadTargets(const Args& a, int first, int (&target)[2]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first + threadIdx.x % 32 / 4 + 8 * h;
    target[h] = row < a.rows ? __ldg(a.Own(a.targets) + row) : -1;
  }
}

// Their logits: a dot product in the end instead of a search in the loop.
template <int C>
__device__ __forceinline__ void TargetLogits(const Args& a, int first, const int (&target)[2],
                                             float (&logit)[2]) {
  const int lane = threadIdx.x % 32, pair = lane % 4 * 2;
  const uint32_t *w[2], *x[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t row = min(first + lane / 4 + 8 * h, a.rows - 1);
    w[h] =
        reinterpret_cast<const uint32_t*>(a.Own(a.weight) + int64_t{max(target[h], 0)} * C + pair);
    x[h] = reinterpret_cast<const uint32_t*>(a.Own(a.x) + row * C + pair);
    logit[h] = 0;
  }
#pragma unroll
  for (int i = 0; i < C / 8; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float wide[2], other[2];
      Unpack(__ldg(w[h] + 4 * i), wide);
      Unpack(__ldg(x[h] + 4 * i), other);
      logit[h] += wide[0] * other[0] + wide[1] * other[1];
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) logit[h] = GroupSum<4>(logit[h]);
}

// Loss of the thread's two rows, and dx of its columns of them. `o`, `sum`, `ref`: what the loop
// left.
template <Pass PASS, int C, int COUNT>
__device__ __forceinline__ void FinishRows(const Args& a, int first, const int (&target)[2],
                                           const float (&logit)[2], const float (&o)[COUNT],
                                           const float (&ref)[2], const float (&sum)[2]) {
  const int lane = threadIdx.x % 32;
  float total[3] = {0, 0, 0};
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first + lane / 4 + 8 * h;
    const bool scored = target[h] >= 0;
    const float l = GroupSum<4>(sum[h]), lse2 = ref[h] + __log2f(l), lse = lse2 * kLn2;
    if (scored) {
      total[0] += lse - logit[h];
      total[1] += lse * lse;
      total[2] += 1;
    }
    if constexpr (PASS == Pass::kForward) {
      const float slope = 1.0f + 2.0f * a.z_weight * lse, factor = a.scale * slope / l;
      if (lane % 4 == 0) {
        a.Own(a.shift)[row] = scored ? __log2f(slope) - lse2 : -INFINITY;
        a.Own(a.row_target)[row] = target[h];
      }
      const auto* w = reinterpret_cast<const uint32_t*>(
          a.Own(a.weight) + int64_t{max(target[h], 0)} * C + lane % 4 * 2);
      // Of two groups of 8 columns, an even lane stores 4 columns of the first and its neighbour 4
      // of the second: 32 bytes of a row at a time.
      const bool odd = lane % 2 != 0;
      bf16* to = a.Own(a.dx) + static_cast<int64_t>(row) * C + lane % 4 / 2 * 4 + odd * 8;
#pragma unroll
      for (int i = 0; i < C / 8; i += 2) {
        uint32_t narrow[2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float wide[2];
          Unpack(__ldg(w + 4 * (i + j)), wide);
          narrow[j] = scored ? Pack(factor * o[4 * (i + j) + 2 * h] - a.scale * wide[0],
                                    factor * o[4 * (i + j) + 2 * h + 1] - a.scale * wide[1])
                             : 0;
        }
        const uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? narrow[0] : narrow[1], 1);
        if (row < a.rows)
          *reinterpret_cast<uint2*>(to + 8 * i) =
              odd ? make_uint2(other, narrow[1]) : make_uint2(narrow[0], other);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 3; ++i) {
#pragma unroll
    for (int offset = 16; offset > 2; offset /= 2)
      total[i] += __shfl_xor_sync(0xffffffffu, total[i], offset);
  }
  if (lane < 3)
    a.Own(a.sums)[first / 16 * 3 + lane] = lane == 0 ? total[0] : lane == 1 ? total[1] : total[2];
  if (PASS == Pass::kForward && first + 16 == a.items * kBlock) {
    // Beyond: rows of zeros, for which any finite P will do.
    for (int i = lane; i < kPadding; i += 32) {
      a.Own(a.shift)[first + 16 + i] = 0;
      a.Own(a.row_target)[first + 16 + i] = -1;
    }
  }
}

template <int C, int COUNT>
__device__ __forceinline__ void FinishWeight(const Args& a, int first, int split,
                                             const float (&o)[COUNT]) {
  const int lane = threadIdx.x % 32;
  float* to = a.Own(a.dweight) + static_cast<int64_t>(split) * a.vocab * C + lane % 4 * 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first + lane / 4 + 8 * h;
    if (row >= a.vocab) continue;
    float2* out = reinterpret_cast<float2*>(to + static_cast<int64_t>(row) * C);
#pragma unroll
    for (int i = 0; i < C / 8; ++i) {
      float2 value = a.add ? out[4 * i] : make_float2(0, 0);
      value.x += a.scale * o[4 * i + 2 * h];
      value.y += a.scale * o[4 * i + 2 * h + 1];
      out[4 * i] = value;
    }
  }
}

}  // namespace worker::fused_head
