#include "worker/ops/cuda_math.cuh"
#include "worker/ops/swiglu.h"

namespace worker {
namespace {

__device__ inline float SigmoidOf(float x) { return 1.0f / (1.0f + __expf(-x)); }

// One thread, 8 values. Forward reads 4F and writes 2F bytes a row, backward 6F and 4F.
__global__ void SwiGlu(const bf16* __restrict__ gate_up, bf16* __restrict__ y, int64_t rows,
                       int64_t f8, int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * f8) return;
  gate_up = AtSeat(gate_up, seat_stride);
  y = AtSeat(y, seat_stride);
  const int64_t row = i / f8, column = i - row * f8;
  const bf16* in = gate_up + (row * 2 * f8 + column) * 8;
  Float8 gate = Load8(in);
  const Float8 up = Load8(in + f8 * 8);
#pragma unroll
  for (int j = 0; j < 8; ++j) gate.v[j] = gate.v[j] * SigmoidOf(gate.v[j]) * up.v[j];
  Store8(y + i * 8, gate);
}

__global__ void SwiGluBackward(const bf16* __restrict__ gate_up, const bf16* __restrict__ dy,
                               bf16* __restrict__ dgate_up, int64_t rows, int64_t f8,
                               int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * f8) return;
  gate_up = AtSeat(gate_up, seat_stride);
  dy = AtSeat(dy, seat_stride);
  dgate_up = AtSeat(dgate_up, seat_stride);
  const int64_t row = i / f8, column = i - row * f8;
  const int64_t at = (row * 2 * f8 + column) * 8;
  Float8 gate = Load8(gate_up + at), up = Load8(gate_up + at + f8 * 8);
  const Float8 d = Load8(dy + i * 8);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float s = SigmoidOf(gate.v[j]), silu = gate.v[j] * s;
    const float slope = s * (1.0f + gate.v[j] * (1.0f - s));
    gate.v[j] = d.v[j] * up.v[j] * slope;
    up.v[j] = d.v[j] * silu;
  }
  Store8(dgate_up + at, gate);
  Store8(dgate_up + at + f8 * 8, up);
}

}  // namespace

void SwiGluOp::RunCuda(const CudaExec& exec) const {
  const int64_t f8 = exec.OutDims(0).back() / 8, rows = NumElements(exec.OutDims(0)) / (8 * f8);
  SwiGlu<<<exec.Grid((rows * f8 + 255) / 256), 256, 0, exec.stream>>>(exec.In(0), exec.Out(0), rows,
                                                                      f8, exec.seat_stride);
  CUDA_LAUNCHED("swiglu");
}

void SwiGluBackwardOp::RunCuda(const CudaExec& exec) const {
  const int64_t f8 = exec.InDims(1).back() / 8, rows = NumElements(exec.InDims(1)) / (8 * f8);
  SwiGluBackward<<<exec.Grid((rows * f8 + 255) / 256), 256, 0, exec.stream>>>(
      exec.In(0), exec.In(1), exec.Out(0), rows, f8, exec.seat_stride);
  CUDA_LAUNCHED("swiglu_backward");
}

}  // namespace worker
