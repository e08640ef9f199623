#include "worker/ops/cuda_math.cuh"
#include "worker/ops/embedding.h"

namespace worker {
namespace {

// Sums of a table row's gradients are integers of 2^-52 (range +-2048), so that the order in which
// atomic additions arrive changes nothing. The gradient of a loss that is a mean over the batch
// is far inside the range; its rounding is 2^-53 absolute, below one bf16 ulp of any element over
// 2^-44.
constexpr float kFixedPoint = 4503599627370496.0f;

__global__ void Gather(const int32_t* __restrict__ tokens, const bf16* __restrict__ table,
                       bf16* __restrict__ x, int64_t rows, int c8, int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * c8) return;
  tokens = AtSeat(tokens, seat_stride);
  table = AtSeat(table, seat_stride);
  x = AtSeat(x, seat_stride);
  const int64_t row = i / c8, c = i - row * c8;
  reinterpret_cast<uint4*>(x)[i] =
      reinterpret_cast<const uint4*>(table)[static_cast<int64_t>(tokens[row]) * c8 + c];
}

__global__ void SetToZero(uint4* __restrict__ p, int64_t n, int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) AtSeat(p, seat_stride)[i] = make_uint4(0, 0, 0, 0);
}

__global__ void Scatter(const int32_t* __restrict__ tokens, const bf16* __restrict__ dx,
                        unsigned long long* __restrict__ sums, int64_t rows, int channels,
                        int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows * channels) return;
  tokens = AtSeat(tokens, seat_stride);
  dx = AtSeat(dx, seat_stride);
  sums = AtSeat(sums, seat_stride);
  const int64_t row = i / channels, c = i - row * channels;
  const long long fixed = __float2ll_rn(__bfloat162float(dx[i]) * kFixedPoint);
  if (fixed != 0)
    atomicAdd(sums + static_cast<int64_t>(tokens[row]) * channels + c,
              static_cast<unsigned long long>(fixed));
}

__global__ void ToFloat(const long long* __restrict__ sums, float* __restrict__ grad, int64_t n,
                        bool add, int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  sums = AtSeat(sums, seat_stride);
  grad = AtSeat(grad, seat_stride);
  const float value = static_cast<float>(sums[i]) * (1.0f / kFixedPoint);
  grad[i] = add ? grad[i] + value : value;
}

int64_t Blocks(int64_t n) { return (n + 255) / 256; }

}  // namespace

void EmbeddingOp::RunCuda(const CudaExec& exec) const {
  const int64_t rows = NumElements(exec.InDims(0)), c8 = exec.OutDims(0).back() / 8;
  Gather<<<exec.Grid(Blocks(rows * c8)), 256, 0, exec.stream>>>(
      exec.InInt(0), exec.In(1), exec.Out(0), rows, static_cast<int>(c8), exec.seat_stride);
  CUDA_LAUNCHED("embedding");
}

void EmbeddingBackwardOp::RunCuda(const CudaExec& exec) const {
  const int64_t rows = NumElements(exec.InDims(0)), channels = exec.InDims(1).back();
  const int64_t n = NumElements(exec.OutDims(0));
  auto* sums = exec.Scratch<unsigned long long>(n);
  // Channels are a multiple of 8.
  SetToZero<<<exec.Grid(Blocks(n / 2)), 256, 0, exec.stream>>>(reinterpret_cast<uint4*>(sums),
                                                               n / 2, exec.seat_stride);
  CUDA_LAUNCHED("embedding_backward_zero");
  Scatter<<<exec.Grid(Blocks(rows * channels)), 256, 0, exec.stream>>>(
      exec.InInt(0), exec.In(1), sums, rows, static_cast<int>(channels), exec.seat_stride);
  CUDA_LAUNCHED("embedding_backward");
  ToFloat<<<exec.Grid(Blocks(n)), 256, 0, exec.stream>>>(
      reinterpret_cast<const long long*>(sums), exec.OutF32(0), n, exec.Adds(0), exec.seat_stride);
  CUDA_LAUNCHED("embedding_backward_to_float");
}

}  // namespace worker
