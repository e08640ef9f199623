// Attention's backward, as two kernels that each sum in registers what they own:
//   Queries: 128 queries of a head stay in registers, tiles of 64 keys and values stream past.
//            S = Q K^T, P = 2^(S log2(e) / sqrt(D) - lse2), dP = dO V^T, dS = P (dP - delta),
//            dQ = sum dS K / sqrt(D); on the way delta = sum over D of o do.
//   Keys:    128 keys and values stay in shared memory, tiles of 64 queries of all their heads
//            stream past. S^T and dP^T as above, dV = sum P^T dO, dK = sum dS^T Q / sqrt(D).
// Seven products where one kernel would do with five; that one adds dQ across blocks in memory, and
// to repeat to the bit must wait for its neighbours or store dS. The second operand of every sum
// comes from registers, so nothing is written back to shared memory.
// Source: Dao, "FlashAttention-2", 2023, algorithm 2; Shah et al., "FlashAttention-3", 2024.
#include "worker/ops/attention_launch.cuh"

namespace worker {
namespace fused_attention {
namespace {

struct Args : Sizes {
  const float* lse;
  // (B, H, padded), by the first kernel for the second: lse log2(e), infinite beyond the sequence,
  // and delta.
  float* lse2;
  float* delta;
  int padded;
  bf16* dq;
  bf16* dk;
  bf16* dv;
  int64_t dv_row;
};

// ptxas 13.0 gives q and weights of the kernel below the same registers where D is 64 (the sums
// come out wrong: cuda_ops_test); there Q is read from shared memory.
template <int D>
constexpr bool kQueriesInRegisters = D != 64;

template <int D>
struct QueriesLayout {
  static constexpr int kStages = 4, kItems = kQueriesInRegisters<D> ? 1 : 2,
                       kResident = 2 * Tile<D>::kBytes64,
                       kStageBytes = 2 * Tile<D>::kBytes64;  // keys and values
  static constexpr int kStream = kItems * 3 * kResident,     // q, do, o
      kChannel = kStream + kStages * kStageBytes,
                       kBytes = kChannel + Channel<kStages, kItems>::kBytes;
  static_assert(kBytes <= 227 * 1024);
};

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    Queries(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
            const __grid_constant__ CUtensorMap v_map, const __grid_constant__ CUtensorMap o_map,
            const __grid_constant__ CUtensorMap dout_map, const __grid_constant__ Args a) {
  using T = Tile<D>;
  using L = QueriesLayout<D>;
  constexpr int STAGES = L::kStages;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = SharedAddress(shared);
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0) - 1;
  const int blocks = (a.length + kBlock - 1) / kBlock, readers = a.heads / a.kv_heads;
  const Channel<STAGES, L::kItems> channel(a, base + L::kChannel, blocks * a.heads * a.batch);
  const auto block_of = [&](const Item& item) { return blocks - 1 - item.step; };
  const auto tiles_of = [&](const Item& item) {
    return min((a.length + kBox - 1) / kBox, 2 * block_of(item) + 2);
  };

  if (group < 0) {
    GiveRegisters<24>();
    if (threadIdx.x != 0) return;
    channel.Feed(
        [&](int index, int place, uint32_t barrier) {
          const Item item(a, index, a.heads);
          BarrierExpect(barrier, 3 * L::kResident);
          const uint32_t to = base + place * 3 * L::kResident;
          for (int at = 0; at < kBlock; at += kBox) {
            const int row = block_of(item) * kBlock + at;
            T::Copy(to, kBlock, at, &q_map, item.head, row, item.batch, barrier);
            T::Copy(to + L::kResident, kBlock, at, &dout_map, item.head, row, item.batch, barrier);
            T::Copy(to + 2 * L::kResident, kBlock, at, &o_map, item.head, row, item.batch, barrier);
          }
        },
        [&](int index, Ring<STAGES>& ring) {  // from the diagonal back to the first keys
          const Item item(a, index, a.heads);
#pragma unroll 1
          for (int tile = tiles_of(item) - 1; tile >= 0; --tile, ring.Next()) {
            const uint32_t to = base + L::kStream + ring.stage * L::kStageBytes,
                           barrier = channel.Full(ring.stage);
            BarrierWait(channel.Empty(ring.stage), ring.parity ^ 1);
            BarrierExpect(barrier, L::kStageBytes);
            T::Copy(to, kBox, 0, &k_map, item.head / readers, tile * kBox, item.batch, barrier);
            T::Copy(to + T::kBytes64, kBox, 0, &v_map, item.head / readers, tile * kBox, item.batch,
                    barrier);
          }
        });
    return;
  }

  TakeRegisters<240>();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int row = warp * 16 + lane / 4;  // among the warpgroup's 64, and the one 8 further
  const float factor = a.scale * kLog2E;
  uint32_t q[D / 4], dout[D / 4], weights[16];
  float s[32], dp[32], dq[D / 2], lse2[2], delta[2];
  Ring<STAGES> ring;
  Ring<L::kItems> place;
  for (;; place.Next()) {
    const int index = channel.Take(place);
    if (index >= channel.items) break;
    const uint32_t resident = base + place.stage * 3 * L::kResident;
    const uint64_t q_rows = T::Rows(resident + group * kBox * T::kRowBytes);
    const Item item(a, index, a.heads);
    const int block = block_of(item);
    const int first = block * kBlock + group * kBox + row;
    const int64_t of_head = static_cast<int64_t>(item.batch) * a.heads + item.head;
    delta[0] = delta[1] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      uint32_t o[4];
      if (kQueriesInRegisters<D>) T::Load(resident, kBlock, group * kBox + warp * 16, k, q + 4 * k);
      T::Load(resident + L::kResident, kBlock, group * kBox + warp * 16, k, dout + 4 * k);
      T::Load(resident + 2 * L::kResident, kBlock, group * kBox + warp * 16, k, o);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float wide[2], other[2];
        Unpack(o[i], wide);
        Unpack(dout[4 * k + i], other);
        delta[i % 2] += wide[0] * other[0] + wide[1] * other[1];
      }
    }
    if (kQueriesInRegisters<D>) channel.Release(channel.ItemEmpty(place.stage));
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int at = first + 8 * h;
      delta[h] = GroupSum<4>(delta[h]);
      lse2[h] = at < a.length ? kLog2E * __ldg(a.Own(a.lse) + of_head * a.length + at) : INFINITY;
      if (lane % 4 == 0) {
        a.Own(a.lse2)[of_head * a.padded + at] = lse2[h];
        a.Own(a.delta)[of_head * a.padded + at] = delta[h];
      }
    }
#pragma unroll
    for (int i = 0; i < D / 2; ++i) dq[i] = 0;
    int tile = tiles_of(item) - 1;
    if (group == 0 && tile == 2 * block + 1) {  // keys after all of these queries
      BarrierWait(channel.Full(ring.stage), ring.parity);
      channel.Release(channel.Empty(ring.stage));
      ring.Next();
      --tile;
    }
    if (kQueriesInRegisters<D>) Pin(q);
    Pin(dout);
    int before = -1;
    for (; tile >= 0; --tile, ring.Next()) {
      const int stage = ring.stage;
      BarrierWait(channel.Full(stage), ring.parity);
      const uint32_t keys = base + L::kStream + stage * L::kStageBytes;
      const uint64_t k_rows = T::Rows(keys), v_rows = T::Rows(keys + T::kBytes64),
                     k_columns = T::Columns(keys, kBox);
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        const uint64_t to = k_rows + T::StepAlong(k, kBox);
        if constexpr (kQueriesInRegisters<D>) {
          WgmmaRegistersRows<64>::Run(s, q + 4 * k, to, k > 0);
        } else {
          WgmmaShared<64>::Run(s, q_rows + T::StepAlong(k, kBlock), to, k > 0);
        }
      }
      WgmmaCommit();
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        WgmmaRegistersRows<64>::Run(dp, dout + 4 * k, v_rows + T::StepAlong(k, kBox), k > 0);
      }
      WgmmaCommit();
      WgmmaWait<1>();
      Pin(s);
      Pin(dq);
      Pin(weights);
      if (before >= 0) channel.Release(channel.Empty(before));
      before = stage;
#pragma unroll
      for (int j = 0; j < 32; ++j) s[j] = Exp2(fmaf(s[j], factor, -lse2[j / 2 % 2]));
      if (tile == 2 * block + group) {
#pragma unroll
        for (int j = 0; j < 32; ++j) {
          if (j / 4 * 8 + lane % 4 * 2 + j % 2 > row + j / 2 % 2 * 8) s[j] = 0;
        }
      }
      WgmmaWait<0>();
      Pin(dp);
#pragma unroll
      for (int j = 0; j < 32; ++j) s[j] *= dp[j] - delta[j / 2 % 2];
      Narrow(s, weights);
      Pin(weights);
      Pin(s);
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        WgmmaRegisters<D>::Run(dq, weights + 4 * k, k_columns + T::StepDown(k), 1);
      }
      WgmmaCommit();
    }
    WgmmaWait<0>();
    Pin(dq);
    channel.Release(channel.Empty(before));
    if (!kQueriesInRegisters<D>) channel.Release(channel.ItemEmpty(place.stage));
    const int64_t row_stride = static_cast<int64_t>(a.heads) * D;
    StoreRows<D>(dq, a.scale, a.scale, first, a.length, row_stride,
                 a.Own(a.dq) + item.batch * a.length * row_stride + item.head * D);
  }
}

template <int D>
struct KeysLayout {
  static constexpr int kStages = D == 128 ? 3 : 4, kItems = 2, kResident = 2 * Tile<D>::kBytes64,
                       kRowBytes = kBox * 4,  // lse2 and delta of the queries, each
      kStageBytes = 2 * Tile<D>::kBytes64;    // queries and do
  static constexpr int kStream = kItems * 2 * kResident, kRows = kStream + kStages * kStageBytes,
                       kChannel = kRows + kStages * 2 * kRowBytes,
                       kBytes = kChannel + Channel<kStages, kItems>::kBytes;
  static_assert(kBytes <= 227 * 1024);
};

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    Keys(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
         const __grid_constant__ CUtensorMap v_map, const __grid_constant__ CUtensorMap dout_map,
         const __grid_constant__ Args a) {
  using T = Tile<D>;
  using L = KeysLayout<D>;
  constexpr int STAGES = L::kStages;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = SharedAddress(shared);
  const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0) - 1;
  const int blocks = (a.length + kBlock - 1) / kBlock, readers = a.heads / a.kv_heads,
            query_tiles = (a.length + kBox - 1) / kBox;
  // The longest items of a head are those of its first keys.
  const Channel<STAGES, L::kItems> channel(a, base + L::kChannel, blocks * a.kv_heads * a.batch);

  if (group < 0) {
    GiveRegisters<24>();
    if (threadIdx.x != 0) return;
    channel.Feed(
        [&](int index, int place, uint32_t barrier) {
          const Item item(a, index, a.kv_heads);
          BarrierExpect(barrier, 2 * L::kResident);
          const uint32_t to = base + place * 2 * L::kResident;
          for (int at = 0; at < kBlock; at += kBox) {
            const int row = item.step * kBlock + at;
            T::Copy(to, kBlock, at, &k_map, item.head, row, item.batch, barrier);
            T::Copy(to + L::kResident, kBlock, at, &v_map, item.head, row, item.batch, barrier);
          }
        },
        [&](int index, Ring<STAGES>& ring) {  // of every head from the diagonal on
          const Item item(a, index, a.kv_heads);
          for (int head = item.head * readers; head < (item.head + 1) * readers; ++head) {
            int64_t at =
                (static_cast<int64_t>(item.batch) * a.heads + head) * a.padded + item.step * kBlock;
#pragma unroll 1
            for (int tile = 2 * item.step; tile < query_tiles; ++tile, at += kBox, ring.Next()) {
              const uint32_t to = base + L::kStream + ring.stage * L::kStageBytes,
                             rows_to = base + L::kRows + ring.stage * 2 * L::kRowBytes,
                             barrier = channel.Full(ring.stage);
              BarrierWait(channel.Empty(ring.stage), ring.parity ^ 1);
              BarrierExpect(barrier, L::kStageBytes + 2 * L::kRowBytes);
              T::Copy(to, kBox, 0, &q_map, head, tile * kBox, item.batch, barrier);
              T::Copy(to + T::kBytes64, kBox, 0, &dout_map, head, tile * kBox, item.batch, barrier);
              CopyBytes(rows_to, a.Own(a.lse2) + at, L::kRowBytes, barrier);
              CopyBytes(rows_to + L::kRowBytes, a.Own(a.delta) + at, L::kRowBytes, barrier);
            }
          }
        });
    return;
  }

  TakeRegisters<240>();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  const int row = warp * 16 + lane / 4;  // among the warpgroup's 64, and the one 8 further
  const float factor = a.scale * kLog2E;
  float s[32], dp[32], dk[D / 2], dv[D / 2];
  uint32_t p[16], ds[16];
  Ring<STAGES> ring;
  Ring<L::kItems> place;
  for (;; place.Next()) {
    const int index = channel.Take(place);
    if (index >= channel.items) break;
    const uint32_t resident = base + place.stage * 2 * L::kResident + group * kBox * T::kRowBytes;
    const uint64_t k_rows = T::Rows(resident), v_rows = T::Rows(resident + L::kResident);
    const Item item(a, index, a.kv_heads);
#pragma unroll
    for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;
    int before = -1;
    const int tiles = query_tiles - 2 * item.step;
    for (int left = tiles * readers, tile = 0; left > 0;
         --left, tile = tile + 1 == tiles ? 0 : tile + 1, ring.Next()) {
      const int stage = ring.stage;
      BarrierWait(channel.Full(stage), ring.parity);
      if (tile < group) {  // queries before all of these keys
        channel.Release(channel.Empty(stage));
        continue;
      }
      const uint32_t queries = base + L::kStream + stage * L::kStageBytes;
      const uint64_t q_rows = T::Rows(queries), q_columns = T::Columns(queries, kBox),
                     dout_rows = T::Rows(queries + T::kBytes64),
                     dout_columns = T::Columns(queries + T::kBytes64, kBox);
      const auto* stage_lse2 =
          reinterpret_cast<const float*>(shared + L::kRows + stage * 2 * L::kRowBytes);
      const float* stage_delta = stage_lse2 + kBox;
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        WgmmaShared<64>::Run(s, k_rows + T::StepAlong(k, kBlock), q_rows + T::StepAlong(k, kBox),
                             k > 0);
      }
      WgmmaCommit();
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        WgmmaShared<64>::Run(dp, v_rows + T::StepAlong(k, kBlock),
                             dout_rows + T::StepAlong(k, kBox), k > 0);
      }
      WgmmaCommit();
      WgmmaWait<1>();
      Pin(s);
      Pin(dk);
      Pin(ds);
      if (before >= 0) channel.Release(channel.Empty(before));
      before = stage;
#pragma unroll
      for (int j = 0; j < 32; j += 4) {
        const float2 own = *reinterpret_cast<const float2*>(stage_lse2 + j * 2 + lane % 4 * 2);
        s[j] = Exp2(fmaf(s[j], factor, -own.x));
        s[j + 1] = Exp2(fmaf(s[j + 1], factor, -own.y));
        s[j + 2] = Exp2(fmaf(s[j + 2], factor, -own.x));
        s[j + 3] = Exp2(fmaf(s[j + 3], factor, -own.y));
      }
      if (tile == group) {
#pragma unroll
        for (int j = 0; j < 32; ++j) {
          if (j / 4 * 8 + lane % 4 * 2 + j % 2 < row + j / 2 % 2 * 8) s[j] = 0;
        }
      }
      Narrow(s, p);
      Pin(p);
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        WgmmaRegisters<D>::Run(dv, p + 4 * k, dout_columns + T::StepDown(k), 1);
      }
      WgmmaCommit();
      WgmmaWait<1>();
      Pin(dp);
#pragma unroll
      for (int j = 0; j < 32; j += 4) {
        const float2 own = *reinterpret_cast<const float2*>(stage_delta + j * 2 + lane % 4 * 2);
        s[j] *= dp[j] - own.x;
        s[j + 1] *= dp[j + 1] - own.y;
        s[j + 2] *= dp[j + 2] - own.x;
        s[j + 3] *= dp[j + 3] - own.y;
      }
      Narrow(s, ds);
      Pin(ds);
      Pin(s);
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        WgmmaRegisters<D>::Run(dk, ds + 4 * k, q_columns + T::StepDown(k), 1);
      }
      WgmmaCommit();
      WgmmaWait<1>();  // for the registers of p
      Pin(p);
      Pin(dv);
    }
    WgmmaWait<0>();
    Pin(dk);
    Pin(dv);
    if (before >= 0) channel.Release(channel.Empty(before));
    channel.Release(channel.ItemEmpty(place.stage));
    const int first = item.step * kBlock + group * kBox + row;
    const int64_t dk_row = static_cast<int64_t>(a.kv_heads) * D,
                  position = static_cast<int64_t>(item.batch) * a.length;
    StoreRows<D>(dk, a.scale, a.scale, first, a.length, dk_row,
                 a.Own(a.dk) + position * dk_row + item.head * D);
    StoreRows<D>(dv, 1, 1, first, a.length, a.dv_row,
                 a.Own(a.dv) + position * a.dv_row + item.head * D);
  }
}

template <int D>
void Run(CudaContext& context, const AttentionBackwardCall& call) {
  const AttentionSizes& n = call.sizes;
  const int64_t blocks = (n.length + kBlock - 1) / kBlock, padded = blocks * kBlock,
                floats = n.batch * n.heads * padded;
  auto* scratch = static_cast<float*>(context.Scratch(2 * floats * 4));
  const Args args{SizesOf(context, n),
                  call.lse,
                  scratch,
                  scratch + floats,
                  static_cast<int>(padded),
                  call.dq,
                  call.dk,
                  call.dv,
                  call.dv_row};
  const int64_t row = n.heads * D, kv_row = n.kv_heads * D;
  const CUtensorMap q = MapOf<D>(context, n, call.q, n.heads, row),
                    k = MapOf<D>(context, n, call.k, n.kv_heads, kv_row),
                    v = MapOf<D>(context, n, call.v, n.kv_heads, call.v_row),
                    o = MapOf<D>(context, n, call.o, n.heads, row),
                    dout = MapOf<D>(context, n, call.dout, n.heads, row);
  LaunchTiles(context, Queries<D>, QueriesLayout<D>::kBytes, blocks * n.heads * n.batch,
              "attention_backward_queries", q, k, v, o, dout, args);
  LaunchTiles(context, Keys<D>, KeysLayout<D>::kBytes, blocks * n.kv_heads * n.batch,
              "attention_backward_keys", q, k, v, dout, args);
}

}  // namespace
}  // namespace fused_attention

void FusedAttentionBackward(CudaContext& context, const AttentionBackwardCall& call) {
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
