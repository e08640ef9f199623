#include "worker/ops/cuda_math.cuh"

namespace worker {
namespace {

// A block sums 32 columns; its 32 warps take the parts in turn, then the first adds their sums.
__global__ void ColumnSumKernel(const float* __restrict__ partial, int64_t parts, int64_t columns,
                                bool add, float* __restrict__ out) {
  __shared__ float sums[32][33];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int64_t part = threadIdx.y; part < parts; part += 32)
      sum += partial[part * columns + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  const float across = GroupSum<32>(sums[threadIdx.x][threadIdx.y]);
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.y;
  if (threadIdx.x == 0 && mine < columns) out[mine] = add ? out[mine] + across : across;
}

}  // namespace

void ColumnSum(const float* partial, int64_t parts, int64_t columns, bool add, float* out,
               cudaStream_t stream) {
  ColumnSumKernel<<<static_cast<unsigned>((columns + 31) / 32), dim3(32, 32), 0, stream>>>(
      partial, parts, columns, add, out);
  CUDA_LAUNCHED("column_sum");
}

}  // namespace worker
