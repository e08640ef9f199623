// Host side of attention's kernels: tensor maps and launches.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "worker/ops/attention_cuda.h"
#include "worker/ops/attention_tiles.cuh"
#include "worker/ops/tensor_map.cuh"

namespace worker::fused_attention {

// (seats, B, T, heads, D), positions `row` elements apart, copied in boxes of 64 of one head.
template <int D>
CUtensorMap MapOf(const CudaContext& context, const AttentionSizes& sizes, const bf16* data,
                  int64_t heads, int64_t row) {
  row *= 2;  // bytes
  return TensorMapOf(
      data, {D, heads, sizes.length, sizes.batch, context.seats().count},
      {D * 2, row, sizes.length * row,
       context.seats().count > 1 ? context.seats().stride : sizes.batch * sizes.length * row},
      {Tile<D>::kColumns, 1, kBox, 1, 1},
      Tile<D>::kRowBytes == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B);
}

inline Sizes SizesOf(const CudaContext& context, const AttentionSizes& sizes) {
  return {.length = static_cast<int>(sizes.length),
          .heads = static_cast<int>(sizes.heads),
          .kv_heads = static_cast<int>(sizes.kv_heads),
          .batch = static_cast<int>(sizes.batch),
          .scale = 1 / std::sqrt(static_cast<float>(sizes.head_dim)),
          .together = static_cast<int>(std::max<int64_t>(
              1, 2 * context.multiprocessors() / ((sizes.length + kBlock - 1) / kBlock))),
          .tickets = context.Tickets(),
          .seat_stride = context.seats().stride};
}

template <typename Kernel, typename... Arguments>
void LaunchTiles(CudaContext& context, Kernel kernel, int bytes, int64_t items, const char* name,
                 const Arguments&... arguments) {
  CUDA_OK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  const int64_t blocks = std::min<int64_t>(items, context.multiprocessors());
  kernel<<<SeatGrid(context, blocks), kThreads, bytes, context.handles().stream>>>(arguments...);
  CUDA_LAUNCHED(name);
}

}  // namespace worker::fused_attention
