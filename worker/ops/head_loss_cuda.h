// What the CUDA strategies of the head share. For .cu files only.
#pragma once

#include <cstdint>

#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

// row_out (rows, 3): nats, lse^2 and 1, or zeros where nothing is scored -> loss (3), summed in f64
// in a fixed order.
void SumLossRows(const float* row_out, int64_t rows, float* loss, cudaStream_t stream);

}  // namespace worker
