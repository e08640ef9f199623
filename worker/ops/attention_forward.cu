// Attention's forward. An item is 128 query rows of a head: Q stays in shared memory, tiles of 128
// keys and values stream past, the one on the diagonal first.
//   S = Q K^T, P = 2^(S log2(e) / sqrt(D) - running maximum), O = sum P V; then O / sum P and lse.
// While one warpgroup takes exponentials, the other multiplies. Source: Shah et al.,
// "FlashAttention-3", 2024, sections 3.1 and 3.2.
#include "worker/ops/attention_launch.cuh"

namespace worker {
namespace fused_attention {
namespace {

constexpr int kKeys = 128;

struct Args : Sizes {
  bf16* o;
  float* lse;
};

// A stage holds 128 keys or 128 values.
template <int D>
struct Layout {
  static constexpr int kStages = D == 128 ? 5 : 8, kItems = 2, kTileBytes = 2 * Tile<D>::kBytes64;
  static constexpr int kStream = kItems * kTileBytes, kChannel = kStream + kStages * kTileBytes,
                       kBytes = kChannel + Channel<kStages, kItems>::kBytes;
  static_assert(kBytes <= 227 * 1024);
};

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    Forward(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
            const __grid_constant__ CUtensorMap v_map, const __grid_constant__ Args a) {
  using T = Tile<D>;
  using L = Layout<D>;
  constexpr int STAGES = L::kStages;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = SharedAddress(shared);
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0) - 1;
  const int blocks = (a.length + kBlock - 1) / kBlock, readers = a.heads / a.kv_heads;
  const Channel<STAGES, L::kItems> channel(a, base + L::kChannel, blocks * a.heads * a.batch);
  const auto stage_at = [&](int stage) { return base + L::kStream + stage * L::kTileBytes; };

  if (group < 0) {
    GiveRegisters<24>();
    if (threadIdx.x != 0) return;
    channel.Feed(
        [&](int index, int place, uint32_t barrier) {
          const Item item(a, index, a.heads);
          const int row = (blocks - 1 - item.step) * kBlock;
          BarrierExpect(barrier, L::kTileBytes);
          for (int half = 0; half < kBlock; half += kBox) {
            T::Copy(base + place * L::kTileBytes, kBlock, half, &q_map, item.head, row + half,
                    item.batch, barrier);
          }
        },
        [&](int index, Ring<STAGES>& ring) {
          const Item item(a, index, a.heads);
          const int head = item.head / readers;
          const auto copy = [&](const CUtensorMap* map, int row) {
            const uint32_t barrier = channel.Full(ring.stage);
            BarrierWait(channel.Empty(ring.stage), ring.parity ^ 1);
            BarrierExpect(barrier, L::kTileBytes);
            for (int half = 0; half < kKeys; half += kBox) {
              T::Copy(stage_at(ring.stage), kKeys, half, map, head, row + half, item.batch,
                      barrier);
            }
            ring.Next();
          };
          // In the order of their use: the keys of a tile before the values of the one before.
          const int last = (blocks - 1 - item.step) * kKeys;
          copy(&k_map, last);
#pragma unroll 1
          for (int row = last; row > 0; row -= kKeys) {
            copy(&k_map, row - kKeys);
            copy(&v_map, row);
          }
          copy(&v_map, 0);
        });
    return;
  }

  TakeRegisters<240>();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int row = group * kBox + warp * 16 + lane / 4;  // in the block, and the one 8 further
  const float factor = a.scale * kLog2E;
  float s[kKeys / 2], o[D / 2], ref[2], sum[2], shrink[2];
  uint32_t p[kKeys / 4];
  const auto scores = [&](int place, int stage) {
    const uint64_t queries = T::Rows(base + place * L::kTileBytes + group * kBox * T::kRowBytes),
                   keys = T::Rows(stage_at(stage));
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      WgmmaShared<kKeys>::Run(s, queries + T::StepAlong(k, kBlock), keys + T::StepAlong(k, kKeys),
                              k > 0);
    }
    WgmmaCommit();
  };
  const auto weighted = [&](int stage) {
    const uint64_t values = T::Columns(stage_at(stage), kKeys);
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      WgmmaRegisters<D>::Run(o, p + 4 * k, values + T::StepDown(k), 1);
    }
    WgmmaCommit();
  };
  if (group == 1) NamedArrive(1, 256);
  Ring<STAGES> ring;
  Ring<L::kItems> place;
  for (;; place.Next()) {
    const int index = channel.Take(place);
    if (index >= channel.items) break;
    const Item item(a, index, a.heads);
    const int block = blocks - 1 - item.step;
    ref[0] = ref[1] = -INFINITY;
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int i = 0; i < D / 2; ++i) o[i] = 0;
    BarrierWait(channel.Full(ring.stage), ring.parity);
    WgmmaFence();
    scores(place.stage, ring.stage);
    WgmmaWait<0>();
    Pin(s);
    channel.Release(channel.Empty(ring.stage));
    ring.Next();
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      if (i / 4 * 8 + lane % 4 * 2 + i % 2 > row + i / 2 % 2 * 8) s[i] = -INFINITY;
    }
    Softmax(s, ref, sum, shrink, factor);
    Narrow(s, p);
    for (int i = 0; i < block; ++i) {
      const int keys = ring.stage;
      BarrierWait(channel.Full(keys), ring.parity);
      ring.Next();
      BarrierWait(channel.Full(ring.stage), ring.parity);
      NamedSync(1 + group, 256);
      Pin(s);
      Pin(p);
      WgmmaFence();
      scores(place.stage, keys);
      weighted(ring.stage);
      NamedArrive(2 - group, 256);
      WgmmaWait<1>();
      Pin(s);
      channel.Release(channel.Empty(keys));
      const bool moved = Softmax(s, ref, sum, shrink, factor);
      WgmmaWait<0>();
      Pin(o);
      Pin(s);
      channel.Release(channel.Empty(ring.stage));
      ring.Next();
      if (moved) {
#pragma unroll
        for (int j = 0; j < D / 2; ++j) o[j] *= shrink[j / 2 % 2];
      }
      Narrow(s, p);
    }
    channel.Release(channel.ItemEmpty(place.stage));
    BarrierWait(channel.Full(ring.stage), ring.parity);
    Pin(p);
    WgmmaFence();
    weighted(ring.stage);
    WgmmaWait<0>();
    Pin(o);
    channel.Release(channel.Empty(ring.stage));
    ring.Next();
    const int first = block * kBlock + row;
    const int64_t row_stride = static_cast<int64_t>(a.heads) * D;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[h] = GroupSum<4>(sum[h]);
      if (lane % 4 == 0 && first + 8 * h < a.length) {
        a.Own(a.lse)[(static_cast<int64_t>(item.batch) * a.heads + item.head) * a.length + first +
                     8 * h] = (ref[h] + __log2f(sum[h])) * kLn2;
      }
    }
    StoreRows<D>(o, 1 / sum[0], 1 / sum[1], first, a.length, row_stride,
                 a.Own(a.o) + item.batch * a.length * row_stride + item.head * D);
  }
  if (group == 0) NamedSync(1, 256);  // takes the other's last arrival
}

template <int D>
void Run(CudaContext& context, const AttentionCall& call) {
  const AttentionSizes& n = call.sizes;
  const int64_t items = (n.length + kBlock - 1) / kBlock * n.heads * n.batch;
  LaunchTiles(context, Forward<D>, Layout<D>::kBytes, items, "attention",
              MapOf<D>(context, n, call.q, n.heads, n.heads * D),
              MapOf<D>(context, n, call.k, n.kv_heads, n.kv_heads * D),
              MapOf<D>(context, n, call.v, n.kv_heads, call.v_row),
              Args{SizesOf(context, n), call.o, call.lse});
}

}  // namespace
}  // namespace fused_attention

void FusedAttention(CudaContext& context, const AttentionCall& call) {
  using namespace fused_attention;
  switch (call.sizes.head_dim) {
    case 32:
      return Run<32>(context, call);
    case 64:
      return Run<64>(context, call);
    default:
      SWEEP_CHECK(call.sizes.head_dim == 128);
      return Run<128>(context, call);
  }
}

}  // namespace worker
