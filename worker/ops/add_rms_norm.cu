#include <algorithm>

#include "core/check.h"
#include "worker/ops/add_rms_norm.h"
#include "worker/ops/cuda_math.cuh"

namespace worker {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxWidth = 4096;
// Wider rows than this are a block's in the backward, not a warp's.
constexpr int kWide = 512;

// A group of LANES lanes owns a row at a time, a lane VECTORS chunks of 8 channels: lane + LANES *
// j. Rows are dealt to groups round robin over the whole grid.
template <int LANES, int VECTORS>
__global__ void __launch_bounds__(kThreads)
    ForwardKernel(const bf16* __restrict__ x, const bf16* __restrict__ delta,
                  const float* __restrict__ gain, float scale, float eps, bf16* __restrict__ sum,
                  bf16* __restrict__ y, float* __restrict__ rstd, int64_t rows, int channels,
                  int64_t seat_stride) {
  x = AtSeat(x, seat_stride);
  if (delta != nullptr) delta = AtSeat(delta, seat_stride);
  gain = AtSeat(gain, seat_stride);
  if (sum != nullptr) sum = AtSeat(sum, seat_stride);
  y = AtSeat(y, seat_stride);
  rstd = AtSeat(rstd, seat_stride);
  const int lane = threadIdx.x % LANES;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * kThreads / LANES;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / LANES;
  // All lanes of a warp run the same number of turns, for the shuffles.
  for (int64_t turn = 0; turn < (rows + groups - 1) / groups; ++turn) {
    const int64_t row = first + turn * groups;
    Float8 s[VECTORS];
    float squares = 0;
#pragma unroll
    for (int j = 0; j < VECTORS; ++j) {
      const int c = (lane + LANES * j) * 8;
      if (row >= rows || c >= channels) continue;
      s[j] = Load8(x + row * channels + c);
      if (delta != nullptr) {
        const Float8 d = Load8(delta + row * channels + c);
#pragma unroll
        for (int i = 0; i < 8; ++i)
          s[j].v[i] = __bfloat162float(__float2bfloat16_rn(s[j].v[i] + scale * d.v[i]));
        Store8(sum + row * channels + c, s[j]);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) squares += s[j].v[i] * s[j].v[i];
    }
    squares = GroupSum<LANES>(squares);
    const float inverse = rsqrtf(squares / static_cast<float>(channels) + eps);
    if (row < rows && lane == 0) rstd[row] = inverse;
#pragma unroll
    for (int j = 0; j < VECTORS; ++j) {
      const int c = (lane + LANES * j) * 8;
      if (row >= rows || c >= channels) continue;
      const Float8 g = Load8(gain + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) s[j].v[i] *= inverse * g.v[i];
      Store8(y + row * channels + c, s[j]);
    }
  }
}

// With n = s * rstd: ds = rstd * (g*dy - n * mean(g*dy*n)) + dsum. The gain's gradient: each lane
// sums its channels over its rows, a block over its groups, SumLater over blocks.
template <int LANES, int VECTORS>
__global__ void __launch_bounds__(kThreads)
    BackwardKernel(const bf16* __restrict__ sum, const float* __restrict__ gain,
                   const float* __restrict__ rstd, const bf16* __restrict__ dy,
                   const bf16* __restrict__ dsum, float scale, bf16* __restrict__ dx,
                   bf16* __restrict__ ddelta, float* __restrict__ partial, int64_t rows,
                   int channels, int64_t seat_stride) {
  extern __shared__ float block_gain[];  // (groups of the block, channels)
  sum = AtSeat(sum, seat_stride);
  gain = AtSeat(gain, seat_stride);
  rstd = AtSeat(rstd, seat_stride);
  dy = AtSeat(dy, seat_stride);
  if (dsum != nullptr) dsum = AtSeat(dsum, seat_stride);
  dx = AtSeat(dx, seat_stride);
  if (ddelta != nullptr) ddelta = AtSeat(ddelta, seat_stride);
  partial = AtSeat(partial, seat_stride);
  const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * kThreads / LANES;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / LANES;
  Float8 dgain[VECTORS];
#pragma unroll
  for (int j = 0; j < VECTORS; ++j) {
#pragma unroll
    for (int i = 0; i < 8; ++i) dgain[j].v[i] = 0;
  }
  for (int64_t turn = 0; turn < (rows + groups - 1) / groups; ++turn) {
    const int64_t row = first + turn * groups;
    Float8 s[VECTORS], d[VECTORS];
    float dot = 0;
    const float inverse = row < rows ? rstd[row] : 0;
#pragma unroll
    for (int j = 0; j < VECTORS; ++j) {
      const int c = (lane + LANES * j) * 8;
      if (row >= rows || c >= channels) continue;
      s[j] = Load8(sum + row * channels + c);
      d[j] = Load8(dy + row * channels + c);
      const Float8 g = Load8(gain + c);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        dgain[j].v[i] += d[j].v[i] * s[j].v[i] * inverse;
        d[j].v[i] *= g.v[i];
        dot += d[j].v[i] * s[j].v[i];
      }
    }
    dot = GroupSum<LANES>(dot);
    const float k = dot * inverse * inverse * inverse / static_cast<float>(channels);
#pragma unroll
    for (int j = 0; j < VECTORS; ++j) {
      const int c = (lane + LANES * j) * 8;
      if (row >= rows || c >= channels) continue;
#pragma unroll
      for (int i = 0; i < 8; ++i) d[j].v[i] = inverse * d[j].v[i] - s[j].v[i] * k;
      if (dsum != nullptr) {
        const Float8 ds = Load8(dsum + row * channels + c);
#pragma unroll
        for (int i = 0; i < 8; ++i) d[j].v[i] += ds.v[i];
      }
      Store8(dx + row * channels + c, d[j]);
      if (ddelta == nullptr) continue;
#pragma unroll
      for (int i = 0; i < 8; ++i) d[j].v[i] *= scale;
      Store8(ddelta + row * channels + c, d[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < VECTORS; ++j) {
    const int c = (lane + LANES * j) * 8;
    if (c >= channels) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) block_gain[group * channels + c + i] = dgain[j].v[i];
  }
  __syncthreads();
  for (int c = threadIdx.x; c < channels; c += kThreads) {
    float total = 0;
#pragma unroll 4
    for (int g = 0; g < kThreads / LANES; ++g) total += block_gain[g * channels + c];
    partial[static_cast<int64_t>(blockIdx.x) * channels + c] = total;
  }
}

// The same for wide rows: a block owns a row at a time, a thread 8 channels, the next row is on its
// way from memory meanwhile. A block's partial is its threads' own sums.
__global__ void __launch_bounds__(kMaxWidth / 8)
    WideBackwardKernel(const bf16* __restrict__ sum, const float* __restrict__ gain,
                       const float* __restrict__ rstd, const bf16* __restrict__ dy,
                       const bf16* __restrict__ dsum, float scale, bf16* __restrict__ dx,
                       bf16* __restrict__ ddelta, float* __restrict__ partial, int64_t rows,
                       int channels, int64_t seat_stride) {
  __shared__ float warp_dots[2][kMaxWidth / 8 / 32];
  const int c = static_cast<int>(threadIdx.x) * 8, warps = static_cast<int>(blockDim.x) / 32;
  const bool live = c < channels;
  sum = AtSeat(sum, seat_stride) + c;
  rstd = AtSeat(rstd, seat_stride);
  dy = AtSeat(dy, seat_stride) + c;
  if (dsum != nullptr) dsum = AtSeat(dsum, seat_stride) + c;
  dx = AtSeat(dx, seat_stride) + c;
  if (ddelta != nullptr) ddelta = AtSeat(ddelta, seat_stride) + c;
  struct Row {
    uint4 s, d, ds;
    float inverse;
  };
  const uint4 zero = make_uint4(0, 0, 0, 0);
  auto fetch = [&](int64_t row) {
    Row r{zero, zero, zero, 0};
    if (row >= rows) return r;
    r.inverse = rstd[row];
    if (!live) return r;
    r.s = *reinterpret_cast<const uint4*>(sum + row * channels);
    r.d = *reinterpret_cast<const uint4*>(dy + row * channels);
    if (dsum != nullptr) r.ds = *reinterpret_cast<const uint4*>(dsum + row * channels);
    return r;
  };
  Float8 g{}, dgain{};
  if (live) g = Load8(AtSeat(gain, seat_stride) + c);
  Row next = fetch(blockIdx.x);
  int buffer = 0;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x, buffer ^= 1) {
    const Row r = next;
    next = fetch(row + gridDim.x);
    const Float8 s = Unpack8(r.s);
    Float8 d = Unpack8(r.d);
    float dot = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      dgain.v[i] += d.v[i] * s.v[i] * r.inverse;
      d.v[i] *= g.v[i];
      dot += d.v[i] * s.v[i];
    }
    dot = GroupSum<32>(dot);
    if (threadIdx.x % 32 == 0) warp_dots[buffer][threadIdx.x / 32] = dot;
    __syncthreads();
    dot = 0;
    for (int w = 0; w < warps; ++w) dot += warp_dots[buffer][w];
    if (!live) continue;
    const float k = dot * r.inverse * r.inverse * r.inverse / static_cast<float>(channels);
    const Float8 ds = Unpack8(r.ds);
#pragma unroll
    for (int i = 0; i < 8; ++i) d.v[i] = r.inverse * d.v[i] - s.v[i] * k + ds.v[i];
    Store8(dx + row * channels, d);
    if (ddelta == nullptr) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) d.v[i] *= scale;
    Store8(ddelta + row * channels, d);
  }
  if (!live) return;
  float* out = AtSeat(partial, seat_stride) + static_cast<int64_t>(blockIdx.x) * channels + c;
#pragma unroll
  for (int i = 0; i < 8; ++i) out[i] = dgain.v[i];
}

// Calls fn with LANES and VECTORS as types for a width.
template <typename Fn>
void ByWidth(int64_t channels, Fn fn) {
  SWEEP_CHECK(channels % 8 == 0 && channels <= kMaxWidth);
  auto with = [&](auto lanes, auto vectors) { fn(lanes, vectors); };
  using std::integral_constant;
  if (channels <= 32) return with(integral_constant<int, 4>(), integral_constant<int, 1>());
  if (channels <= 64) return with(integral_constant<int, 8>(), integral_constant<int, 1>());
  if (channels <= 128) return with(integral_constant<int, 16>(), integral_constant<int, 1>());
  if (channels <= 256) return with(integral_constant<int, 32>(), integral_constant<int, 1>());
  if (channels <= 512) return with(integral_constant<int, 32>(), integral_constant<int, 2>());
  if (channels <= 1024) return with(integral_constant<int, 32>(), integral_constant<int, 4>());
  if (channels <= 2048) return with(integral_constant<int, 32>(), integral_constant<int, 8>());
  with(integral_constant<int, 32>(), integral_constant<int, 16>());
}

}  // namespace

void AddRmsNormOp::RunCuda(const CudaExec& exec) const {
  const int64_t channels = exec.InDims(0).back(), rows = NumElements(exec.InDims(0)) / channels;
  ByWidth(channels, [&](auto lanes, auto vectors) {
    constexpr int kRows = kThreads / lanes.value;
    const int64_t blocks =
        std::min<int64_t>((rows + kRows - 1) / kRows, exec.context.multiprocessors() * int64_t{32});
    ForwardKernel<lanes.value, vectors.value><<<exec.Grid(blocks), kThreads, 0, exec.stream>>>(
        exec.In(0), exec.HasIn(1) ? exec.In(1) : nullptr, exec.Master(2),
        static_cast<float>(scale_), static_cast<float>(eps_),
        exec.HasOut(0) ? exec.Out(0) : nullptr, exec.Out(1), exec.OutF32(2), rows,
        static_cast<int>(channels), exec.seat_stride);
  });
  CUDA_LAUNCHED("add_rms_norm");
}

void AddRmsNormBackwardOp::RunCuda(const CudaExec& exec) const {
  const int64_t channels = exec.InDims(0).back(), rows = NumElements(exec.InDims(0)) / channels;
  if (channels > kWide) {
    SWEEP_CHECK(channels % 8 == 0 && channels <= kMaxWidth);
    const int64_t threads = (channels / 8 + 31) / 32 * 32;
    const int64_t blocks =
        std::min(rows, exec.context.multiprocessors() * std::clamp<int64_t>(768 / threads, 2, 6));
    float* partial = exec.Partial(blocks * channels);
    WideBackwardKernel<<<exec.Grid(blocks), static_cast<unsigned>(threads), 0, exec.stream>>>(
        exec.In(0), exec.Master(1), exec.InF32(2), exec.In(3), exec.HasIn(4) ? exec.In(4) : nullptr,
        static_cast<float>(scale_), exec.Out(0), exec.HasOut(1) ? exec.Out(1) : nullptr, partial,
        rows, static_cast<int>(channels), exec.seat_stride);
    CUDA_LAUNCHED("add_rms_norm_wide_backward");
    exec.SumLater(partial, blocks, channels, channels, 2);
    return;
  }
  ByWidth(channels, [&](auto lanes, auto vectors) {
    constexpr int kRows = kThreads / lanes.value;
    const int64_t blocks =
        std::min<int64_t>((rows + kRows - 1) / kRows, exec.context.multiprocessors() * int64_t{4});
    float* partial = exec.Partial(blocks * channels);
    const int shared = static_cast<int>(kRows * channels * 4);
    auto kernel = BackwardKernel<lanes.value, vectors.value>;
    kernel<<<exec.Grid(blocks), kThreads, shared, exec.stream>>>(
        exec.In(0), exec.Master(1), exec.InF32(2), exec.In(3), exec.HasIn(4) ? exec.In(4) : nullptr,
        static_cast<float>(scale_), exec.Out(0), exec.HasOut(1) ? exec.Out(1) : nullptr, partial,
        rows, static_cast<int>(channels), exec.seat_stride);
    CUDA_LAUNCHED("add_rms_norm_backward");
    exec.SumLater(partial, blocks, channels, channels, 2);
  });
}

}  // namespace worker
