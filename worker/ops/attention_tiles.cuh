// How attention's kernels lay rows of heads into shared memory and hand them to wgmma.
//   A tile is some multiple of 64 rows (positions of one head) x D bf16 columns, in chunks of 64
//   columns (32 where D is 32), one after the other; rows of a chunk lie one after the other.
#pragma once

#include <cuda.h>

#include "worker/ops/hopper.cuh"
#include "worker/ops/online_softmax.cuh"

namespace worker::fused_attention {

constexpr int kBox = 64;           // rows of a copy
constexpr int kBlock = 2 * kBox;   // rows of an item: 64 for each of two warpgroups
constexpr int kThreads = 3 * 128;  // a warpgroup that copies, two that multiply

template <int D>
struct Tile {
  static constexpr int kColumns = D < 64 ? D : 64, kChunks = D / kColumns;
  static constexpr int kRowBytes = 2 * kColumns, kBoxBytes = kBox * kRowBytes;
  static constexpr int kBytes64 = kBox * D * 2;  // of 64 rows
  static constexpr uint64_t kSwizzle = kRowBytes == 128 ? uint64_t{1} << 62 : uint64_t{2} << 62;
  static constexpr uint64_t kGroup = uint64_t{8 * kRowBytes >> 4} << 32;

  // Operand whose inner dimension is D; StepAlong(k, rows): to columns 16 k of a tile of `rows`.
  __device__ static uint64_t Rows(uint32_t address) {
    return (address >> 4 & 0x3fff) | uint64_t{1} << 16 | kGroup | kSwizzle;
  }
  __device__ static constexpr int StepAlong(int k, int rows) {
    return (k * 32 / kRowBytes * rows * kRowBytes + k * 32 % kRowBytes) / 16;
  }
  // Operand whose inner dimension are the rows; StepDown(k): to rows 16 k.
  __device__ static uint64_t Columns(uint32_t address, int rows) {
    return (address >> 4 & 0x3fff) | static_cast<uint64_t>(rows * kRowBytes >> 4) << 16 | kGroup |
           kSwizzle;
  }
  __device__ static constexpr int StepDown(int k) { return k * 16 * kRowBytes / 16; }

  // Rows [row, row + 64) of head `head` of sequence `batch` into rows [at, at + 64) of a tile of
  // `rows`; zeros beyond the sequence.
  __device__ static void Copy(uint32_t to, int rows, int at, const CUtensorMap* map, int head,
                              int row, int batch, uint32_t barrier) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      CopyBox(to + (c * rows + at) * kRowBytes, map,
              {c * kColumns, head, row, batch, static_cast<int>(blockIdx.z)}, barrier);
    }
  }

  // 16 rows from `row` and 16 columns from 16 k of a tile of `rows`, as wgmma takes an operand from
  // registers.
  __device__ static void Load(uint32_t tile, int rows, int row, int k, uint32_t* to) {
    const int lane = threadIdx.x % 32, r = row + lane % 16, piece = k * 2 + lane / 16,
              in_row = piece % (kRowBytes / 16);
    const int swizzle = kRowBytes == 128 ? r % 8 : r / 2 % 4;
    LoadMatrix(tile + (piece / (kRowBytes / 16) * rows + r) * kRowBytes + (in_row ^ swizzle) * 16,
               to);
  }
};

// What every kernel is told.
struct Sizes {
  int length, heads, kv_heads, batch;
  float scale;        // 1 / sqrt(D)
  int together;       // heads whose items are handed out together
  uint32_t* tickets;  // two zeros, and zeros again at the end
  int64_t seat_stride;

  // What the block's seat has, where the first seat has p.
  template <typename T>
  __device__ T* Own(T* p) const {
    return AtSeat(p, seat_stride);
  }
};

// An item: a block of 128 rows of a head; `step` counts blocks of a head from the longest item on.
// Of `together` heads the longest items come first; those heads share what they read while it is in
// the cache.
struct Item {
  __device__ Item(const Sizes& a, int index, int heads) {
    const int blocks = (a.length + kBlock - 1) / kBlock,
              first = index / (a.together * blocks) * a.together,
              here = min(a.together, heads * a.batch - first);
    step = (index - first * blocks) / here;
    const int at = first + (index - first * blocks) % here;
    batch = at / heads;
    head = at % heads;
  }
  int step, batch, head;
};

// Barriers in shared memory: of a ring of STAGES tiles that stream past, and of ITEMS places for
// what stays during an item. Items are handed out, since they differ in length: a block takes the
// one of its own number first, then whichever is next.
template <int STAGES, int ITEMS>
struct Channel {
  static constexpr int kBytes = (2 * STAGES + 3 * ITEMS) * 8;

  __device__ Channel(const Sizes& a, uint32_t at, int items)
      : tickets(a.Own(a.tickets)), base(at), items(items) {
    if (threadIdx.x == 0) {
      for (int i = 0; i < STAGES; ++i) {
        BarrierInit(Full(i), 1);
        BarrierInit(Empty(i), 8);
      }
      for (int i = 0; i < ITEMS; ++i) {
        BarrierInit(ItemFull(i), 1);
        BarrierInit(ItemEmpty(i), 8);
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
  }
  __device__ uint32_t Full(int stage) const { return base + stage * 8; }
  __device__ uint32_t Empty(int stage) const { return base + (STAGES + stage) * 8; }
  __device__ uint32_t ItemFull(int place) const { return base + (2 * STAGES + place) * 8; }
  __device__ uint32_t ItemEmpty(int place) const { return ItemFull(ITEMS + place); }
  __device__ uint32_t ItemWord(int place) const { return ItemFull(2 * ITEMS + place); }

  // By the one thread that copies: copy_item(index, place, barrier) expects and copies what stays,
  // copy_tiles(index, ring) what streams.
  template <typename CopyItem, typename CopyTiles>
  __device__ void Feed(CopyItem copy_item, CopyTiles copy_tiles) const {
    Ring<STAGES> ring;
    Ring<ITEMS> place;
    int index = blockIdx.x;
    for (;; place.Next()) {
      BarrierWait(ItemEmpty(place.stage), place.parity ^ 1);
      asm volatile("st.shared.b32 [%0], %1;" ::"r"(ItemWord(place.stage)), "r"(index) : "memory");
      if (index >= items) break;
      copy_item(index, place.stage, ItemFull(place.stage));
      const int next = static_cast<int>(gridDim.x + atomicAdd(tickets, 1));
      copy_tiles(index, ring);
      index = next;
    }
    BarrierArrive(ItemFull(place.stage));
    if (atomicAdd(tickets + 1, 1) == gridDim.x - 1) tickets[0] = tickets[1] = 0;
  }
  // By those that multiply: waits for the next item; `items` or more after the last.
  __device__ int Take(const Ring<ITEMS>& place) const {
    BarrierWait(ItemFull(place.stage), place.parity);
    int index;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(index) : "r"(ItemWord(place.stage)) : "memory");
    return index;
  }
  // What the warp has read of a tile, or of what stays, may be overwritten.
  __device__ void Release(uint32_t barrier) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) BarrierArrive(barrier);
  }

  uint32_t* tickets;
  uint32_t base;
  int items;
};

// The thread's part of 16 rows x D, times `factor` of each of its two rows, to rows row and row + 8
// that lie row_stride apart at `to`; rows from `end` on are left out. Of two groups of 8 columns,
// an even lane stores 4 columns of the first and its neighbour 4 of the second: 32 bytes of a row
// at a time.
template <int D>
__device__ __forceinline__ void StoreRows(const float (&x)[D / 2], float factor0, float factor1,
                                          int row, int end, int64_t row_stride, bf16* to) {
  const int lane = threadIdx.x % 32;
  const bool odd = lane % 2 != 0;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float factor = h == 0 ? factor0 : factor1;
    bf16* out = to + (row + 8 * h) * row_stride + lane % 4 / 2 * 4 + odd * 8;
#pragma unroll
    for (int i = 0; i < D / 8; i += 2) {
      uint32_t narrow[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        narrow[j] = Pack(factor * x[4 * (i + j) + 2 * h], factor * x[4 * (i + j) + 2 * h + 1]);
      }
      const uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? narrow[0] : narrow[1], 1);
      if (row + 8 * h < end) {
        *reinterpret_cast<uint2*>(out + 8 * i) =
            odd ? make_uint2(other, narrow[1]) : make_uint2(narrow[0], other);
      }
    }
  }
}

}  // namespace worker::fused_attention
