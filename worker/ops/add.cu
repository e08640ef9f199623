#include "worker/ops/add.h"
#include "worker/ops/cuda_math.cuh"

namespace worker {
namespace {

__global__ void Add(const bf16* __restrict__ a, const bf16* __restrict__ b, bf16* __restrict__ out,
                    int64_t n8, int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n8) return;
  a = AtSeat(a, seat_stride);
  b = AtSeat(b, seat_stride);
  out = AtSeat(out, seat_stride);
  Float8 x = Load8(a + 8 * i);
  const Float8 y = Load8(b + 8 * i);
#pragma unroll
  for (int j = 0; j < 8; ++j) x.v[j] += y.v[j];
  Store8(out + 8 * i, x);
}

}  // namespace

void AddOp::RunCuda(const CudaExec& exec) const {
  const int64_t n8 = NumElements(exec.OutDims(0)) / 8;
  Add<<<exec.Grid((n8 + 255) / 256), 256, 0, exec.stream>>>(exec.In(0), exec.In(1), exec.Out(0), n8,
                                                            exec.seat_stride);
  CUDA_LAUNCHED("add");
}

}  // namespace worker
