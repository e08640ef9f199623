// bf16 matrix products with f32 accumulation, through cuBLASLt. Which algorithm runs a shape is
// decided once: the candidates of the library's heuristic are timed when the shape is first seen,
// and the winner is kept in a table of the process (gemm_table.h). Row-major operands, as the CPU's
// Gemm.
#pragma once

#include <cstdint>

#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

enum class GemmKind {
  kForward,  // C[m,n] = A[m,k] B[n,k]^T
  kInput,    // C[m,n] = A[m,k] B[k,n]
  kWeight,   // C[m,n] = A[k,m]^T B[k,n]
};

struct GemmShape {
  GemmKind kind = GemmKind::kForward;
  int64_t m = 0, n = 0, k = 0;
  bool f32_out = false;  // else bf16
  bool add = false;      // C += instead of C =
  // Elements between rows of C (kForward) or of A (the others); 0: they are contiguous.
  int64_t row_stride = 0;
};

// Enqueues one product for every seat in use. Operands and their rows are 16-byte aligned. A shape
// that the table does not know yet runs on the heuristic's first algorithm and waits for
// SettleGemms. Whether one launch serves several seats is tried when a shape is first run for that
// many, outside capture.
void Gemm(CudaContext& context, const GemmShape& shape, const bf16* a, const bf16* b, void* c);

}  // namespace worker
