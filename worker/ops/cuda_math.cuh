// Device helpers of the CUDA ops: 8 bf16 values as one 16-byte access, sums over lane groups.
#pragma once

#include <cstdint>

#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

struct Float8 {
  float v[8];
};

__device__ inline void Unpack(uint32_t word, float* out) {
  out[0] = __uint_as_float(word << 16);
  out[1] = __uint_as_float(word & 0xffff0000u);
}
__device__ inline uint32_t Pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ inline Float8 Unpack8(uint4 raw) {
  Float8 out;
  Unpack(raw.x, out.v);
  Unpack(raw.y, out.v + 2);
  Unpack(raw.z, out.v + 4);
  Unpack(raw.w, out.v + 6);
  return out;
}
// 16-byte aligned.
__device__ inline Float8 Load8(const bf16* p) {
  return Unpack8(*reinterpret_cast<const uint4*>(p));
}
__device__ inline void Store8(bf16* p, const Float8& x) {
  *reinterpret_cast<uint4*>(p) = make_uint4(Pack(x.v[0], x.v[1]), Pack(x.v[2], x.v[3]),
                                            Pack(x.v[4], x.v[5]), Pack(x.v[6], x.v[7]));
}
__device__ inline Float8 Load8(const float* p) {
  const float4 a = reinterpret_cast<const float4*>(p)[0], b = reinterpret_cast<const float4*>(p)[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ inline void Unpack4(uint2 raw, float* out) {
  Unpack(raw.x, out);
  Unpack(raw.y, out + 2);
}
// 8-byte aligned.
__device__ inline void Load4(const bf16* p, float* out) {
  Unpack4(*reinterpret_cast<const uint2*>(p), out);
}
__device__ inline void Store4(bf16* p, const float* x) {
  *reinterpret_cast<uint2*>(p) = make_uint2(Pack(x[0], x[1]), Pack(x[2], x[3]));
}

// Sum over aligned groups of LANES lanes; every lane gets it. The order is fixed.
template <int LANES>
__device__ inline float GroupSum(float x) {
#pragma unroll
  for (int offset = LANES / 2; offset > 0; offset /= 2)
    x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

}  // namespace worker
