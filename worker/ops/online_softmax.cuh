// Softmax of rows that arrive a tile at a time: weights out of scores in the registers of a warp.
//   A warp holds 16 rows of a tile as wgmma leaves them: a thread rows lane / 4 and 8 further, of
//   every 8 columns the pair at 2 (lane % 4): s[4 i], s[4 i + 1] and, of the second row, s[4 i +
//   2], s[4 i + 3].
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
#pragma once

#include "worker/ops/cuda_math.cuh"

namespace worker {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
// The running maximum follows only when it is passed by 2^8: O is rarely rescaled, and P up to 256
// is as exact in bf16 as P up to 1.
constexpr float kSlack = 8;

__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// s -> 2^(s factor - ref) and their sums, by row half; ref follows the maximum. Returns whether it
// moved, and then by what factor everything older shrinks.
template <int COUNT>
__device__ __forceinline__ bool Softmax(float (&s)[COUNT], float (&ref)[2], float (&sum)[2],
                                        float (&shrink)[2], float factor = kLog2E) {
  float top[2] = {fmaxf(s[0], s[1]), fmaxf(s[2], s[3])};
#pragma unroll
  for (int i = 4; i < COUNT; i += 4) {
    top[0] = fmaxf(top[0], fmaxf(s[i], s[i + 1]));
    top[1] = fmaxf(top[1], fmaxf(s[i + 2], s[i + 3]));
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 1));
    top[h] = fmaxf(top[h], __shfl_xor_sync(0xffffffffu, top[h], 2)) * factor;
  }
  const bool moves = __any_sync(0xffffffffu, top[0] > ref[0] + kSlack || top[1] > ref[1] + kSlack);
  if (moves) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float next = fmaxf(ref[h], top[h]);
      shrink[h] = Exp2(ref[h] - next);
      sum[h] *= shrink[h];
      ref[h] = next;
    }
  }
  float part[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < COUNT; i += 4) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      s[i + j] = Exp2(fmaf(s[i + j], factor, -ref[j / 2]));
      part[j] += s[i + j];
    }
  }
  sum[0] += part[0] + part[1];
  sum[1] += part[2] + part[3];
  return moves;
}

// To bf16, as wgmma takes an operand from registers: 16 columns are 4 words.
template <int COUNT>
__device__ __forceinline__ void Narrow(const float (&s)[COUNT], uint32_t (&p)[COUNT / 2]) {
#pragma unroll
  for (int i = 0; i < COUNT / 2; ++i) p[i] = Pack(s[2 * i], s[2 * i + 1]);
}

}  // namespace worker
