// Two strategies, by width. Here: the logits of a chunk of rows by cuBLASLt, their softmax and
// gradient in place, then the two gradient products. head_loss_fused.cu: widths at which the
// logits' traffic would dominate.
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
// scoring. row_out (rows, 3): nats, lse^2, scored.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    Softmax(T* __restrict__ logits, const int32_t* __restrict__ targets,
            float* __restrict__ row_out, int64_t vocab, bool training, float scale,
            float z_weight) {
  __shared__ float shared[kThreads / 32];
  const int64_t row = blockIdx.x;
  T* l = logits + row * vocab;
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
      keep[j] = Load8(l + c);
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
      const Float8 x = Load8(l + c);
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
        Float8 x = Load8(l + c);
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
__global__ void SumRows(const float* __restrict__ row_out, int64_t rows, float* __restrict__ loss) {
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

void SumLossRows(const float* row_out, int64_t rows, float* loss, cudaStream_t stream) {
  SumRows<<<1, 1024, 0, stream>>>(row_out, rows, loss);
  CUDA_LAUNCHED("head_loss_sum");
}

void HeadLossOp::RunCuda(const CudaExec& exec) const {
  const int64_t channels = exec.InDims(0).back(), rows = NumElements(exec.InDims(0)) / channels;
  SWEEP_CHECK(vocab_ % 8 == 0);
  const int64_t element = training_ ? 2 : 4;
  int64_t chunks = (rows * vocab_ * element + kChunkBytes - 1) / kChunkBytes;
  while (rows % chunks != 0) ++chunks;
  const int64_t chunk = rows / chunks;
  const int64_t logit_bytes = chunk * vocab_ * element;
  auto* scratch = exec.Scratch<std::byte>(logit_bytes + rows * 12);
  auto* row_out = reinterpret_cast<float*>(scratch + logit_bytes);
  for (int64_t first = 0; first < rows; first += chunk) {
    const bf16* x = exec.In(0) + first * channels;
    const int32_t* targets = exec.InInt(2) + first;
    Gemm(
        exec.context,
        {.kind = GemmKind::kForward, .m = chunk, .n = vocab_, .k = channels, .f32_out = !training_},
        x, exec.In(1), scratch);
    const float scale = static_cast<float>(scale_), z = static_cast<float>(z_weight_);
    if (training_) {
      Softmax<<<static_cast<unsigned>(chunk), kThreads, 0, exec.stream>>>(
          reinterpret_cast<bf16*>(scratch), targets, row_out + first * 3, vocab_, true, scale, z);
    } else {
      Softmax<<<static_cast<unsigned>(chunk), kThreads, 0, exec.stream>>>(
          reinterpret_cast<float*>(scratch), targets, row_out + first * 3, vocab_, false, scale, z);
    }
    CUDA_LAUNCHED("head_loss_softmax");
    if (!training_) continue;
    const bf16* dlogits = reinterpret_cast<const bf16*>(scratch);
    Gemm(exec.context, {.kind = GemmKind::kInput, .m = chunk, .n = channels, .k = vocab_}, dlogits,
         exec.In(1), exec.Out(1) + first * channels);
    Gemm(exec.context,
         {.kind = GemmKind::kWeight,
          .m = vocab_,
          .n = channels,
          .k = chunk,
          .f32_out = true,
          .add = first > 0 || exec.Adds(2)},
         dlogits, x, exec.OutF32(2));
  }
  SumLossRows(row_out, rows, exec.OutF32(0), exec.stream);
}

}  // namespace worker
