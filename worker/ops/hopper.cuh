// Hopper's own instructions (sm_90a) as functions: mbarriers, bulk tensor copies, warpgroup matrix
// products (wgmma), register reallocation. Source: PTX ISA 8.7, sections 9.7.9, 9.7.13 and 9.7.15.
//   Tiles in shared memory are chunks of 64 bf16 columns: a row is 128 bytes, rows lie one after
//   the other, 16-byte pieces are swizzled within groups of 8 rows (what the copy engine writes
//   with SWIZZLE_128B). A chunk begins at a multiple of 1024 bytes.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <type_traits>

namespace worker {

__device__ inline uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ inline void BarrierInit(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ inline void BarrierExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ inline void BarrierArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Returns once the phase of this parity has completed.
__device__ inline void BarrierWait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "WAIT:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra WAIT;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// A box of a 3-D tensor at (column, row, plane) -> shared memory; out-of-bounds elements arrive as
// zeros.
__device__ inline void CopyBox(uint32_t to, const CUtensorMap* map, int column, int row, int plane,
                               uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(plane), "r"(barrier)
      : "memory");
}
// The same of a 5-D tensor.
__device__ inline void CopyBox(uint32_t to, const CUtensorMap* map, const int (&at)[5],
                               uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(to),
      "l"(map), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4]), "r"(barrier)
      : "memory");
}
// `bytes` and both addresses are multiples of 16.
__device__ inline void CopyBytes(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// Position in a ring of buffers that one side fills and the other frees.
template <int STAGES>
struct Ring {
  __device__ void Next() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
  int stage = 0;
  uint32_t parity = 0;
};

// Named barriers (1 to 15) among `threads` threads.
__device__ inline void NamedSync(int name, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}
__device__ inline void NamedArrive(int name, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

template <int REGISTERS>
__device__ inline void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
__device__ inline void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

__device__ inline void WgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int PENDING>
__device__ inline void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// Pins the registers of a product in flight: no use of them moves across this point.
template <typename T, int COUNT>
__device__ inline void Pin(T (&x)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      asm volatile("" : "+f"(x[i])::"memory");
    } else {
      asm volatile("" : "+r"(x[i])::"memory");
    }
  }
}

// Four 8 x 8 blocks of bf16: lane l gives the address of row l % 8 of block l / 8.
__device__ inline void LoadMatrix(uint32_t address, uint32_t* to) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// Operand of wgmma whose rows are contiguous along the product's inner dimension ("K-major"): 16
// inner elements are 32 bytes further, groups of 8 rows 1024 bytes apart.
__device__ inline uint64_t RowOperand(uint32_t address) {
  return (address >> 4 & 0x3fff) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
// Operand whose rows are the inner dimension ("MN-major"): 16 inner elements are 2048 bytes
// further, chunks of 64 columns chunk_bytes apart.
__device__ inline uint64_t ColumnOperand(uint32_t address, uint32_t chunk_bytes) {
  return (address >> 4 & 0x3fff) | static_cast<uint64_t>(chunk_bytes >> 4) << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

#define WORKER_D8(d, i)                                                                       \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define WORKER_D32AT(d, i) \
  WORKER_D8(d, i), WORKER_D8(d, i + 8), WORKER_D8(d, i + 16), WORKER_D8(d, i + 24)
#define WORKER_D16(d) WORKER_D8(d, 0), WORKER_D8(d, 8)
#define WORKER_D32(d) WORKER_D32AT(d, 0)
#define WORKER_D40(d) WORKER_D32(d), WORKER_D8(d, 32)
#define WORKER_D48(d) WORKER_D40(d), WORKER_D8(d, 40)
#define WORKER_D64(d) WORKER_D32(d), WORKER_D32AT(d, 32)
#define WORKER_D88(d) WORKER_D64(d), WORKER_D8(d, 64), WORKER_D8(d, 72), WORKER_D8(d, 80)
#define WORKER_D128(d) WORKER_D64(d), WORKER_D32AT(d, 64), WORKER_D32AT(d, 96)

#define WORKER_N16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define WORKER_N32 \
  WORKER_N16       \
  ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WORKER_N40                                                                                 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
  "%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39"
#define WORKER_N48 WORKER_N40 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define WORKER_N64 WORKER_N48 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define WORKER_N88                                                                            \
  WORKER_N64                                                                                  \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85," \
  "%86,%87"
#define WORKER_N128                                                                                \
  WORKER_N88                                                                                       \
  ",%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108," \
  "%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

// d (64, N) (+)= a (64, 16) b (N, 16)^T, f32: thread t of the warpgroup holds, of rows 16 (t / 32)
// + t % 32 / 4 (+ 8), columns 8 i + 2 (t % 4) and the next, as d[4 i], d[4 i + 1] (d[4 i + 2],
// d[4 i + 3]). Asynchronous: Fence, products, Commit, Wait.
#define WORKER_WGMMA_SHARED(N, COUNT, A, B, ADD)                                                \
  template <>                                                                                   \
  struct WgmmaShared<N> {                                                                       \
    static __device__ __forceinline__ void Run(float (&d)[COUNT], uint64_t a, uint64_t b,       \
                                               int add) {                                       \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" ADD                                     \
                   ", 0;\n"                                                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" WORKER_N##COUNT \
                   "}, %" A ", %" B ", p, 1, 1, 0, 0;\n}"                                       \
                   : WORKER_D##COUNT(d)                                                         \
                   : "l"(a), "l"(b), "r"(add));                                                 \
    }                                                                                           \
  };
// The same with a in registers, as its warps hold d narrowed to bf16; b a ColumnOperand (16, N)
// (WgmmaRegisters) or a RowOperand (N, 16) (WgmmaRegistersRows).
#define WORKER_WGMMA_REGISTERS(NAME, TRANSPOSED, N, COUNT, A0, A1, A2, A3, B, ADD)               \
  template <>                                                                                    \
  struct NAME<N> {                                                                               \
    static __device__ __forceinline__ void Run(float (&d)[COUNT], const uint32_t* a, uint64_t b, \
                                               int add) {                                        \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" ADD                                      \
                   ", 0;\n"                                                                      \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" WORKER_N##COUNT  \
                   "}, {%" A0 ",%" A1 ",%" A2 ",%" A3 "}, %" B ", p, 1, 1, " TRANSPOSED ";\n}"   \
                   : WORKER_D##COUNT(d)                                                          \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));              \
    }                                                                                            \
  };

template <int N>
struct WgmmaShared;
template <int N>
struct WgmmaRegisters;
template <int N>
struct WgmmaRegistersRows;
WORKER_WGMMA_SHARED(64, 32, "32", "33", "34")
WORKER_WGMMA_SHARED(80, 40, "40", "41", "42")
WORKER_WGMMA_SHARED(96, 48, "48", "49", "50")
WORKER_WGMMA_SHARED(128, 64, "64", "65", "66")
WORKER_WGMMA_SHARED(176, 88, "88", "89", "90")
WORKER_WGMMA_REGISTERS(WgmmaRegisters, "1", 32, 16, "16", "17", "18", "19", "20", "21")
WORKER_WGMMA_REGISTERS(WgmmaRegisters, "1", 64, 32, "32", "33", "34", "35", "36", "37")
WORKER_WGMMA_REGISTERS(WgmmaRegisters, "1", 128, 64, "64", "65", "66", "67", "68", "69")
WORKER_WGMMA_REGISTERS(WgmmaRegisters, "1", 256, 128, "128", "129", "130", "131", "132", "133")
WORKER_WGMMA_REGISTERS(WgmmaRegistersRows, "0", 64, 32, "32", "33", "34", "35", "36", "37")

}  // namespace worker
