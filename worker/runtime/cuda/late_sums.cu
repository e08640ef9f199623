#include <algorithm>

#include "core/check.h"
#include "worker/ops/cuda_math.cuh"
#include "worker/runtime/cuda/late_sums.h"

namespace worker {
namespace {

// 32 columns of a sum for one block: its 32 warps take the parts in turn, then the first adds their
// sums.
__global__ void SumColumns(const LateSum* __restrict__ table, bool accumulate,
                           int64_t seat_stride) {
  __shared__ float sums[32][33];
  LateSum task = table[blockIdx.x];
  task.partial = AtSeat(task.partial, seat_stride);
  task.out = AtSeat(task.out, seat_stride);
  float sum = 0;
  if (threadIdx.x < task.columns) {
#pragma unroll 4
    for (int64_t part = threadIdx.y; part < task.parts; part += 32)
      sum += task.partial[part * task.stride + threadIdx.x];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  const float across = GroupSum<32>(sums[threadIdx.x][threadIdx.y]);
  if (threadIdx.x != 0 || threadIdx.y >= task.columns) return;
  float* out = task.out + threadIdx.y;
  *out = accumulate || !task.overwrites ? *out + across : across;
}

}  // namespace

void LateSums::Run(bool accumulate, CudaContext& context) {
  if (sums_.empty()) return;
  SWEEP_CHECK(context.seats().first == 0);  // the table has the pointers of seat 0
  const cudaStream_t stream = context.handles().stream;
  if (table_.get() == nullptr) {
    std::vector<LateSum> tasks;
    for (const LateSum& sum : sums_) {
      for (int64_t column = 0; column < sum.columns; column += 32) {
        LateSum task = sum;
        task.partial += column;
        task.out += column;
        task.columns = std::min<int64_t>(32, sum.columns - column);
        tasks.push_back(task);
      }
    }
    const auto bytes = static_cast<int64_t>(tasks.size() * sizeof(LateSum));
    table_ = DeviceBuffer(bytes);
    SWEEP_CHECK(table_.get() != nullptr);
    CUDA_OK(cudaMemcpyAsync(table_.get(), tasks.data(), bytes, cudaMemcpyHostToDevice, stream));
    context.Synchronize();
    blocks_ = static_cast<int64_t>(tasks.size());
  }
  SumColumns<<<SeatGrid(context, blocks_), dim3(32, 32), 0, stream>>>(
      reinterpret_cast<const LateSum*>(table_.get()), accumulate, context.seats().stride);
  CUDA_LAUNCHED("sum_columns");
}

}  // namespace worker
