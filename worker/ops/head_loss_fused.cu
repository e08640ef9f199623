// The head without stored logits. Both kernels are one loop: 128 rows of one operand stay in shared
// memory, tiles of N rows of the other stream past; a tile's logits S = resident stream^T are made
// in registers, turned into weights P there, and P (as bf16) multiplies the same tile again.
//   kForward: resident x, streamed W. P = exp(S - running maximum) and O = sum P W, as attention
//             with K = V = W; at the end lse, the loss and dx = scale ((1 + 2 z lse) O / l - W[t]).
//   kWeight:  resident W, streamed x. P = softmax (1 + 2 z lse) - onehot, and dW = scale sum P x.
//   kScore:   kForward without O.
// Four products where storing the logits takes three, but no traffic: the chunked strategy moves
// about 10 bytes a logit, as dear as 4 C FLOPs up to C = 256 or so.
// Two warpgroups of 64 rows each take turns at the tensor cores, so that one's exponentials run
// beside the other's products; one warp copies. Every order of summation is fixed.
// Source: Shah et al., "FlashAttention-3", 2024, sections 3.1 and 3.2; PaLM and Liger as in
// head_loss.h.
#include <algorithm>

#include "core/check.h"
#include "worker/ops/head_loss_cuda.h"
#include "worker/ops/head_loss_fused.cuh"
#include "worker/ops/hopper.cuh"
#include "worker/ops/tensor_map.cuh"

namespace worker {
namespace {

using namespace fused_head;

constexpr int kThreads = 3 * 128;  // a warpgroup that copies, two that multiply

// Of one kind of kernel: N streamed rows a tile, in STAGES buffers.
template <Pass PASS, int C, int N, int STAGES>
struct Layout {
  static constexpr int kResidentBytes = kBlock * C * 2;
  static constexpr int kTileBytes = N * C * 2;
  static constexpr int kRowBytes = PASS == Pass::kWeight ? N * 8 : 0;  // a shift and a target each
  static constexpr int kTiles = kResidentBytes, kRows = kTiles + STAGES * kTileBytes,
                       kBarriers = kRows + STAGES * kRowBytes,
                       kBytes = kBarriers + (2 * STAGES + 2) * 8;
  static_assert(kBytes <= 227 * 1024 && kTileBytes % 1024 == 0 && kRowBytes % 16 == 0);
};

// What an item of work covers: 128 resident rows from `resident`, streamed tiles [begin, begin +
// count). The forward begins with the last tile, the only ragged one.
template <Pass PASS>
struct Item {
  __device__ Item(const Args& a, int item) {
    if constexpr (PASS == Pass::kWeight) {
      split = item / a.vocab_blocks;
      resident = (item - split * a.vocab_blocks) * kBlock;
      begin = split * a.tiles_per_item;
      count = min(a.tiles_per_item, a.tiles - begin);
    } else {
      resident = item * kBlock;
      count = a.tiles;
    }
  }
  __device__ int Tile(int i) const {
    if constexpr (PASS == Pass::kWeight) return begin + i;
    return i == 0 ? count - 1 : i - 1;
  }
  int resident, begin = 0, count, split = 0;
};

template <Pass PASS, int C, int N, int STAGES, bool TURNS>
__global__ void __launch_bounds__(kThreads, 1)
    Head(const __grid_constant__ CUtensorMap resident_map,
         const __grid_constant__ CUtensorMap stream_map, const __grid_constant__ Args a) {
  using L = Layout<PASS, C, N, STAGES>;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = SharedAddress(shared), full = base + L::kBarriers,
                 empty = full + STAGES * 8, resident_full = empty + STAGES * 8,
                 resident_empty = resident_full + 8;
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0) - 1;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      BarrierInit(full + i * 8, 1);
      BarrierInit(empty + i * 8, 8);
    }
    BarrierInit(resident_full, 1);
    BarrierInit(resident_empty, 8);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();

  if (group < 0) {
    GiveRegisters<24>();
    if (threadIdx.x != 0) return;
    Ring<STAGES> ring;
    uint32_t turn = 1;
    for (int index = blockIdx.x; index < a.items; index += gridDim.x, turn ^= 1) {
      const Item<PASS> item(a, index);
      BarrierWait(resident_empty, turn);
      BarrierExpect(resident_full, L::kResidentBytes);
#pragma unroll
      for (int c = 0; c < C / 64; ++c)
        CopyBox(base + c * kBlock * 128, &resident_map, c * 64, item.resident, blockIdx.z,
                resident_full);
      for (int i = 0; i < item.count; ++i, ring.Next()) {
        const int row = item.Tile(i) * N;
        const uint32_t to = base + L::kTiles + ring.stage * L::kTileBytes,
                       bar = full + ring.stage * 8;
        BarrierWait(empty + ring.stage * 8, ring.parity ^ 1);
        BarrierExpect(bar, L::kTileBytes + L::kRowBytes);
#pragma unroll
        for (int c = 0; c < C / 64; ++c)
          CopyBox(to + c * N * 128, &stream_map, c * 64, row, blockIdx.z, bar);
        if constexpr (PASS == Pass::kWeight) {
          const uint32_t rows_to = base + L::kRows + ring.stage * L::kRowBytes;
          CopyBytes(rows_to, a.Own(a.shift) + row, N * 4, bar);
          CopyBytes(rows_to + N * 4, a.Own(a.row_target) + row, N * 4, bar);
        }
      }
    }
    return;
  }

  TakeRegisters<240>();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const uint64_t a_rows = RowOperand(base + group * 64 * 128);
  const auto tile = [&](int stage) { return base + L::kTiles + stage * L::kTileBytes; };
  const auto release = [&](uint32_t barrier) {
    __syncwarp();
    if (lane == 0) BarrierArrive(barrier);
  };
  float s[N / 2];
  const auto logits = [&](int stage) {
    const uint64_t b = RowOperand(tile(stage));
#pragma unroll
    for (int k = 0; k < C / 16; ++k) {
      WgmmaShared<N>::Run(s, a_rows + (k / 4 * kBlock * 128 + k % 4 * 32) / 16,
                          b + (k / 4 * N * 128 + k % 4 * 32) / 16, k > 0);
    }
    WgmmaCommit();
  };
  // The last tile of the vocabulary may reach beyond it.
  const auto mask = [&](int row) {
    const int left = a.vocab - row - lane % 4 * 2;
    if (left >= N) return;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      if (i / 4 * 8 + i % 2 >= left) s[i] = -INFINITY;
    }
  };
  if (TURNS && group == 1) NamedArrive(1, 256);
  Ring<STAGES> ring;
  uint32_t turn = 0;
  for (int index = blockIdx.x; index < a.items; index += gridDim.x, turn ^= 1) {
    const Item<PASS> item(a, index);
    const int first = item.resident + group * 64 + warp * 16;
    float ref[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, shrink[2], logit[2];
    int target[2];
    if (PASS != Pass::kWeight) LoadTargets(a, first, target);
    BarrierWait(resident_full, turn);
    if constexpr (PASS == Pass::kScore) {
      for (int i = 0; i < item.count; ++i, ring.Next()) {
        BarrierWait(full + ring.stage * 8, ring.parity);
        if (TURNS) NamedSync(1 + group, 256);
        WgmmaFence();
        logits(ring.stage);
        if (TURNS) NamedArrive(2 - group, 256);
        WgmmaWait<0>();
        Pin(s);
        release(empty + ring.stage * 8);
        if (i == 0) mask(item.Tile(0) * N);
        Softmax(s, ref, sum, shrink);
      }
      release(resident_empty);
      TargetLogits<C>(a, first, target, logit);
      FinishRows<PASS, C>(a, first, target, logit, s, ref, sum);
    } else {
      float o[C / 2];
      uint32_t p[N / 4];
      const auto weighted = [&](int stage) {
        const uint64_t b = ColumnOperand(tile(stage), N * 128);
#pragma unroll
        for (int k = 0; k < N / 16; ++k) WgmmaRegisters<C>::Run(o, p + 4 * k, b + k * 2048 / 16, 1);
        WgmmaCommit();
      };
      const auto weights = [&](int stage) {
        if constexpr (PASS == Pass::kForward) {
          return Softmax(s, ref, sum, shrink);
        } else {
          const uint8_t* rows = shared + L::kRows + stage * L::kRowBytes;
          Gradient(s, reinterpret_cast<const float*>(rows),
                   reinterpret_cast<const int32_t*>(rows) + N, first);
          return false;
        }
      };
#pragma unroll
      for (int i = 0; i < C / 2; ++i) o[i] = 0;
      BarrierWait(full + ring.stage * 8, ring.parity);
      WgmmaFence();
      logits(ring.stage);
      WgmmaWait<0>();
      Pin(s);
      if constexpr (PASS == Pass::kForward) mask(item.Tile(0) * N);
      weights(ring.stage);
      Narrow(s, p);
      for (int i = 1; i < item.count; ++i) {
        const int before = ring.stage;
        ring.Next();
        BarrierWait(full + ring.stage * 8, ring.parity);
        if (TURNS) NamedSync(1 + group, 256);
        Pin(s);
        Pin(p);
        WgmmaFence();
        logits(ring.stage);
        weighted(before);
        if (TURNS) NamedArrive(2 - group, 256);
        WgmmaWait<1>();
        Pin(s);
        const bool moved = weights(ring.stage);
        WgmmaWait<0>();
        Pin(o);
        Pin(s);
        release(empty + before * 8);
        if (PASS == Pass::kForward && moved) {
#pragma unroll
          for (int j = 0; j < C / 2; ++j) o[j] *= shrink[j / 2 % 2];
        }
        Narrow(s, p);
      }
      release(resident_empty);
      Pin(p);
      WgmmaFence();
      weighted(ring.stage);
      if (PASS == Pass::kForward) TargetLogits<C>(a, first, target, logit);
      WgmmaWait<0>();
      Pin(o);
      release(empty + ring.stage * 8);
      ring.Next();
      if constexpr (PASS == Pass::kForward) {
        FinishRows<PASS, C>(a, first, target, logit, o, ref, sum);
      } else {
        FinishWeight<C>(a, first, item.split, o);
      }
    }
  }
  if (TURNS && group == 0) NamedSync(1, 256);  // takes the other's last arrival
}

// parts (splits, n / 4) -> out (n / 4), in their order.
__global__ void SumParts(const float4* __restrict__ parts, int splits, int64_t n4, bool add,
                         float4* __restrict__ out, int64_t seat_stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n4) return;
  parts = AtSeat(parts, seat_stride);
  out = AtSeat(out, seat_stride);
  float4 sum = add ? out[i] : make_float4(0, 0, 0, 0);
  for (int k = 0; k < splits; ++k) {
    const float4 part = parts[k * n4 + i];
    sum.x += part.x;
    sum.y += part.y;
    sum.z += part.z;
    sum.w += part.w;
  }
  out[i] = sum;
}

// (seats, rows, C) bf16, copied in boxes of box_rows x 64.
CUtensorMap MapOf(const bf16* data, int64_t rows, int64_t channels, int box_rows,
                  const Seats& seats) {
  const int64_t row_bytes = channels * 2;
  return TensorMapOf(data, {channels, rows, seats.count},
                     {row_bytes, seats.count > 1 ? seats.stride : row_bytes * rows},
                     {64, box_rows, 1});
}

template <Pass PASS, int C, int N, int STAGES, bool TURNS = true>
void Launch(CudaContext& context, const Args& args) {
  constexpr auto kernel = Head<PASS, C, N, STAGES, TURNS>;
  constexpr int bytes = Layout<PASS, C, N, STAGES>::kBytes;
  CUDA_OK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  constexpr bool weight = PASS == Pass::kWeight;
  const CUtensorMap x = MapOf(args.x, args.rows, C, weight ? N : kBlock, context.seats());
  const CUtensorMap w = MapOf(args.weight, args.vocab, C, weight ? kBlock : N, context.seats());
  const dim3 grid = SeatGrid(context, std::min(args.items, context.multiprocessors()));
  kernel<<<grid, kThreads, bytes, context.handles().stream>>>(weight ? w : x, weight ? x : w, args);
  CUDA_LAUNCHED("head_loss_fused");
}

// Multiprocessors of an H200. The device's own number would make bits depend on it.
constexpr int64_t kSlots = 132;

constexpr int64_t Parts(int64_t n, int64_t of) { return (n + of - 1) / of; }

// Row ranges of the weight pass, so that its items fill the last wave.
int SplitsOf(int64_t vocab_blocks, int64_t tiles) {
  int best = 1;
  double best_share = 0;
  for (int splits = 1; splits <= 16 && tiles >= 4 * splits; ++splits) {
    const int64_t items = vocab_blocks * splits;
    const double share = static_cast<double>(items) / (Parts(items, kSlots) * kSlots);
    if (share > best_share + 0.02) {
      best = splits;
      best_share = share;
    }
    if (best_share > 0.9) break;
  }
  return best;
}

// NF, NW, NS: streamed rows a tile in the forward, weight and score passes.
template <int C, int NF, int SF, int NW, int SW, int NS, int SS>
void Run(CudaContext& context, const HeadCall& call) {
  const int64_t row_blocks = Parts(call.rows, kBlock), padded = row_blocks * kBlock + kPadding;
  const int64_t weight_tiles = Parts(call.rows, NW), vocab_blocks = Parts(call.vocab, kBlock);
  int64_t splits = SplitsOf(vocab_blocks, weight_tiles);
  const int64_t per_item = Parts(weight_tiles, splits);
  splits = Parts(weight_tiles, per_item);
  const int64_t n = call.vocab * C, floats = padded * 2 + row_blocks * 24;
  auto* scratch = static_cast<float*>(
      context.Scratch((floats + (call.training && splits > 1 ? n * splits : 0)) * 4));
  Args args{.x = call.x,
            .weight = call.weight,
            .targets = call.targets,
            .rows = static_cast<int>(call.rows),
            .vocab = static_cast<int>(call.vocab),
            .scale = call.scale,
            .z_weight = call.z_weight,
            .dx = call.dx,
            .sums = scratch + padded * 2,
            .shift = scratch,
            .row_target = reinterpret_cast<int32_t*>(scratch + padded),
            .items = static_cast<int>(row_blocks),
            .seat_stride = context.seats().stride};
  if (!call.training) {
    args.tiles = static_cast<int>(Parts(call.vocab, NS));
    Launch<Pass::kScore, C, NS, SS, C == 256>(context, args);
    SumLossRows(context, args.sums, row_blocks * 8, call.loss);
    return;
  }
  args.tiles = static_cast<int>(Parts(call.vocab, NF));
  Launch<Pass::kForward, C, NF, SF>(context, args);
  SumLossRows(context, args.sums, row_blocks * 8, call.loss);
  args.dweight = splits > 1 ? scratch + floats : call.dweight;
  args.add = splits == 1 && call.add;
  args.tiles = static_cast<int>(weight_tiles);
  args.tiles_per_item = static_cast<int>(per_item);
  args.vocab_blocks = static_cast<int>(vocab_blocks);
  args.items = static_cast<int>(vocab_blocks * splits);
  Launch<Pass::kWeight, C, NW, SW>(context, args);
  if (splits == 1) return;
  SumParts<<<SeatGrid(context, Parts(n / 4, 256)), 256, 0, context.handles().stream>>>(
      reinterpret_cast<const float4*>(args.dweight), static_cast<int>(splits), n / 4, call.add,
      reinterpret_cast<float4*>(call.dweight), context.seats().stride);
  CUDA_LAUNCHED("head_loss_sum_parts");
}

}  // namespace

// The first pass costs whole waves of 132 row blocks, the chunked strategy whole rows: a wave must
// hold enough rows. Measured on an H200 (bench/head_bench) at V = 4096 and V = 128256: training is
// level at about 5000 rows for 128 channels, 9000 and 7000 for 256; scoring at 3000 to 6000.
bool FusedHeadTakes(const HeadCall& call) {
  if ((call.channels != 128 && call.channels != 256) || call.vocab % 4 != 0) return false;
  int64_t least = 6144;
  if (call.channels == 256 && call.training) least = call.vocab < 65536 ? 10240 : 8192;
  return call.rows >= Parts(call.rows, kSlots * kBlock) * least && call.rows < 1 << 30;
}

void FusedHead(CudaContext& context, const HeadCall& call) {
  SWEEP_CHECK(call.channels == 128 || call.channels == 256);
  if (call.channels == 256) {
    Run<256, 80, 4, 96, 3, 96, 3>(context, call);
  } else if (call.vocab < 16384) {  // the last of few tiles should not be mostly empty
    Run<128, 128, 4, 176, 4, 128, 4>(context, call);
  } else {
    Run<128, 176, 4, 176, 4, 128, 4>(context, call);
  }
}

}  // namespace worker
