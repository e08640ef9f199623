// What the CUDA strategies of the head share. For .cu files only.
#pragma once

#include <cstdint>

#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

// One head, and the same at every further seat in use: x (R, C), weight (V, C), targets (R) -> loss
// (3); when training, dx (R, C) and dweight (V, C), which is overwritten or, with `add`, added to.
// head_loss.h has the equations.
struct HeadCall {
  const bf16* x = nullptr;
  const bf16* weight = nullptr;
  const int32_t* targets = nullptr;
  int64_t rows = 0, channels = 0, vocab = 0;
  bool training = false, add = false;
  float scale = 0, z_weight = 0;
  float* loss = nullptr;
  bf16* dx = nullptr;
  float* dweight = nullptr;
};

// Logits of up to 1 GiB of rows at a time in scratch. Any V.
void ChunkedHead(CudaContext& context, const HeadCall& call);

// Logits in registers alone: computed twice, never stored. C is 128 or 256; Takes says whether this
// is the faster strategy.
bool FusedHeadTakes(const HeadCall& call);
void FusedHead(CudaContext& context, const HeadCall& call);

// row_out (rows, 3): nats, lse^2 and 1, or zeros where nothing is scored, of a row or of several
// -> loss (3), summed in f64 in a fixed order.
void SumLossRows(CudaContext& context, const float* row_out, int64_t rows, float* loss);

}  // namespace worker
