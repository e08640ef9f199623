// How the optimiser kernels cut a group's views into blocks of work. For .cu files only.
#pragma once

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "worker/optim/block_range.h"
#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

inline constexpr int kPieceThreads = 256;

// Elements [begin, begin + count) of view `view`, counted from the group's first block. All kinds
// of arrays (weights, gradients, moments, bf16 copies) share one layout, so one offset fits all.
struct Piece {
  int64_t begin;
  int32_t count, view;
};
struct Pieces {
  std::vector<Piece> pieces;
  std::vector<int32_t> first_of_view;  // pieces of view i: [first_of_view[i], first_of_view[i + 1])
};

// `block_start(b)`: elements from the group's first block to block b.
template <typename BlockStart>
Pieces CutPieces(const std::vector<BlockRange>& views, BlockStart block_start) {
  int64_t total = 0;
  for (const BlockRange& view : views) total += view.count;
  // At least 4,096 elements, at most about 64k pieces.
  int64_t size = 4096;
  while (total / size > 65536) size *= 2;
  Pieces out;
  for (size_t i = 0; i < views.size(); ++i) {
    SWEEP_CHECK(views[i].count % 4 == 0 && views[i].offset % 4 == 0);
    out.first_of_view.push_back(static_cast<int32_t>(out.pieces.size()));
    for (int64_t at = 0; at < views[i].count; at += size) {
      out.pieces.push_back({block_start(views[i].block) + views[i].offset + at,
                            static_cast<int32_t>(std::min(size, views[i].count - at)),
                            static_cast<int32_t>(i)});
    }
  }
  out.first_of_view.push_back(static_cast<int32_t>(out.pieces.size()));
  return out;
}

// Sum over a block of kPieceThreads, in a fixed order; thread 0 gets it.
__device__ inline double BlockSumDouble(double x, double* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) sum += shared[w];
  __syncthreads();
  return sum;
}

}  // namespace worker
