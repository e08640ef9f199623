// Two strategies. Here: the logits of a chunk of rows by cuBLASLt, their softmax and gradient in
// place, then the two gradient products. head_loss_fused.cu: 128 or 256 channels and many rows,
// where the logits' traffic would dominate.
#include <algorithm>

#include "core/check.h"
#include "worker/ops/cuda_math.cuh"
#include "worker/ops/head_loss.h"
#include "worker/ops/head_loss_cuda.h"
#include "worker/runtime/cuda/gemm.h"

namespace worker {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunkBytes = int64_t{1} << 30;

__device__ inline float BlockMax(float x, float* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (int i = 1; i < kThreads / 32; ++i) x = fmaxf(x, shared[i]);
  __syncthreads();
  return x;
}
__device__ inline float BlockSum(float x, float* shared) {
  x = GroupSum<32>(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = 0;
  for (int i = 0; i < kThreads / 32; ++i) x += shared[i];
  __syncthreads();
  return x;
}

// Softmax of one row of logits a block; a row of up to 16 values a thread stays in registers, a
// longer one is read twice. T: bf16 in training (the gradient overwrites the logits), f32 when only
// scoring. Rows are `width` apart, a multiple of 8; columns from `vocab` on are padding, whatever
// they hold. row_out (rows, 3): nats, lse^2, scored.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    Softmax(T* __restrict__ logits, const int32_t* __restrict__ targets,
            float* __restrict__ row_out, int64_t vocab, int64_t width, bool training, float scale,
            float z_weight, int64_t seat_stride) {
  __shared__ float shared[kThreads / 32];
  logits = AtSeat(logits, seat_stride);
  targets = AtSeat(targets, seat_stride);
  row_out = AtSeat(row_out, seat_stride);
  const int64_t row = blockIdx.x;
  T* l = logits + row * width;
  auto load = [&](int64_t c) {
    Float8 x = Load8(l + c);
    if (c + 8 > vocab) {
      for (int i = 0; i < 8; ++i)
        if (c + i >= vocab) x.v[i] = -INFINITY;
    }
    return x;
  };
  const int32_t target = targets[row];
  if (target < 0) {
    if (training) {
      for (int64_t c = threadIdx.x * 8; c < vocab; c += kThreads * 8) {
        for (int i = 0; i < 8; ++i) l[c + i] = T(0.0f);
      }
    }
    if (threadIdx.x < 3) row_out[row * 3 + threadIdx.x] = 0;
    return;
  }
  const float target_logit = static_cast<float>(l[target]);
  constexpr int kHeld = 2;  // vectors of 8 a thread
  const bool held = vocab <= kThreads * 8 * kHeld;
  Float8 keep[kHeld];
  float top = -1e30f, sum = 0;
  if (held) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int64_t c = (threadIdx.x + j * kThreads) * 8;
      if (c >= vocab) continue;
      keep[j] = load(c);
#pragma unroll
      for (int i = 0; i < 8; ++i) top = fmaxf(top, keep[j].v[i]);
    }
    top = BlockMax(top, shared);
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int64_t c = (threadIdx.x + j * kThreads) * 8;
      if (c >= vocab) continue;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        keep[j].v[i] = __expf(keep[j].v[i] - top);
        sum += keep[j].v[i];
      }
    }
  } else {
    for (int64_t c = threadIdx.x * 8; c < vocab; c += kThreads * 8) {
      const Float8 x = load(c);
      float best = x.v[0];
#pragma unroll
      for (int i = 1; i < 8; ++i) best = fmaxf(best, x.v[i]);
      if (best > top) {
        sum *= __expf(top - best);
        top = best;
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += __expf(x.v[i] - top);
    }
    const float own = top;
    top = BlockMax(top, shared);
    sum *= __expf(own - top);
  }
  sum = BlockSum(sum, shared);
  const float lse = top + __logf(sum);
  if (threadIdx.x == 0) {
    row_out[row * 3] = lse - target_logit;
    row_out[row * 3 + 1] = lse * lse;
    row_out[row * 3 + 2] = 1;
  }
  if constexpr (std::is_same_v<T, bf16>) {
    if (!training) return;
    // d/dlogit_j = softmax_j (1 + 2 z lse) - [j == target], times scale.
    const float factor = scale * (1.0f + 2.0f * z_weight * lse);
    if (held) {
#pragma unroll
      for (int j = 0; j < kHeld; ++j) {
        const int64_t c = (threadIdx.x + j * kThreads) * 8;
        if (c >= vocab) continue;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          keep[j].v[i] *= factor / sum;
          if (c + i == target) keep[j].v[i] -= scale;
        }
        Store8(l + c, keep[j]);
      }
    } else {
      for (int64_t c = threadIdx.x * 8; c < vocab; c += kThreads * 8) {
        Float8 x = load(c);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x.v[i] = __expf(x.v[i] - lse) * factor;
          if (c + i == target) x.v[i] -= scale;
        }
        Store8(l + c, x);
      }
    }
  }
}

// row_out (rows, 3) -> loss (3), adding when told: one block, f64, fixed order.
__global__ void SumRows(const float* __restrict__ row_out, int64_t rows, float* __restrict__ loss,
                        int64_t seat_stride) {
  row_out = AtSeat(row_out, seat_stride);
  loss = AtSeat(loss, seat_stride);
  __shared__ double sums[3][1024 / 32];
  double sum[3] = {0, 0, 0};
  for (int64_t r = threadIdx.x; r < rows; r += 1024) {
    for (int i = 0; i < 3; ++i) sum[i] += row_out[r * 3 + i];
  }
  for (int i = 0; i < 3; ++i) {
    for (int offset = 16; offset > 0; offset /= 2)
      sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], offset);
    if (threadIdx.x % 32 == 0) sums[i][threadIdx.x / 32] = sum[i];
  }
  __syncthreads();
  if (threadIdx.x >= 3) return;
  double total = 0;
  for (int w = 0; w < 32; ++w) total += sums[threadIdx.x][w];
  loss[threadIdx.x] = static_cast<float>(total);
}

}  // namespace

void SumLossRows(CudaContext& context, const float* row_out, int64_t rows, float* loss) {
  SumRows<<<SeatGrid(context, 1), 1024, 0, context.handles().stream>>>(row_out, rows, loss,
                                                                       context.seats().stride);
  CUDA_LAUNCHED("head_loss_sum");
}

void ChunkedHead(CudaContext& context, const HeadCall& call) {
  const cudaStream_t stream = context.handles().stream;
  const int64_t rows = call.rows, channels = call.channels, vocab = call.vocab;
  const int64_t width = (vocab + 7) / 8 * 8;  // rows of logits start at 16 bytes
  const int64_t row_stride = width == vocab ? 0 : width;
  const int64_t element = call.training ? 2 : 4;
  int64_t chunks = (rows * width * element + kChunkBytes - 1) / kChunkBytes;
  while (rows % chunks != 0) ++chunks;
  const int64_t chunk = rows / chunks;
  const int64_t logit_bytes = chunk * width * element;
  auto* scratch = static_cast<std::byte*>(context.Scratch(logit_bytes + rows * 12));
  auto* row_out = reinterpret_cast<float*>(scratch + logit_bytes);
  for (int64_t first = 0; first < rows; first += chunk) {
    const bf16* x = call.x + first * channels;
    const int32_t* targets = call.targets + first;
    Gemm(context,
         {.kind = GemmKind::kForward,
          .m = chunk,
          .n = vocab,
          .k = channels,
          .f32_out = !call.training,
          .row_stride = row_stride},
         x, call.weight, scratch);
    if (call.training) {
      Softmax<<<SeatGrid(context, chunk), kThreads, 0, stream>>>(
          reinterpret_cast<bf16*>(scratch), targets, row_out + first * 3, vocab, width, true,
          call.scale, call.z_weight, context.seats().stride);
    } else {
      Softmax<<<SeatGrid(context, chunk), kThreads, 0, stream>>>(
          reinterpret_cast<float*>(scratch), targets, row_out + first * 3, vocab, width, false,
          call.scale, call.z_weight, context.seats().stride);
    }
    CUDA_LAUNCHED("head_loss_softmax");
    if (!call.training) continue;
    const bf16* dlogits = reinterpret_cast<const bf16*>(scratch);
    Gemm(
        context,
        {.kind = GemmKind::kInput, .m = chunk, .n = channels, .k = vocab, .row_stride = row_stride},
        dlogits, call.weight, call.dx + first * channels);
    Gemm(context,
         {.kind = GemmKind::kWeight,
          .m = vocab,
          .n = channels,
          .k = chunk,
          .f32_out = true,
          .add = first > 0 || call.add,
          .row_stride = row_stride},
         dlogits, x, call.dweight);
  }
  SumLossRows(context, row_out, rows, call.loss);
}

void HeadLossOp::RunCuda(const CudaExec& exec) const {
  HeadCall call{.x = exec.In(0),
                .weight = exec.In(1),
                .targets = exec.InInt(2),
                .rows = NumElements(exec.InDims(0)) / exec.InDims(0).back(),
                .channels = exec.InDims(0).back(),
                .vocab = vocab_,
                .training = training_,
                .scale = static_cast<float>(scale_),
                .z_weight = static_cast<float>(z_weight_),
                .loss = exec.OutF32(0)};
  if (training_) {
    call.add = exec.Adds(2);
    call.dx = exec.Out(1);
    call.dweight = exec.OutF32(2);
  }
  if (FusedHeadTakes(call)) {
    FusedHead(exec.context, call);
  } else {
    ChunkedHead(exec.context, call);
  }
}

}  // namespace worker
