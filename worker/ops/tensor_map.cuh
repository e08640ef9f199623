// Descriptions of tensors for the copy engine. For .cu files only.
#pragma once

#include <cuda.h>

#include <initializer_list>

#include "core/check.h"
#include "worker/runtime/cuda/cuda_exec.h"

namespace worker {

// A bf16 tensor, copied in boxes. dims and box: elements, innermost first; strides: bytes of all
// dimensions but the innermost, multiples of 16. What a box has out of bounds arrives as zeros.
inline CUtensorMap TensorMapOf(const bf16* data, std::initializer_list<int64_t> dims,
                               std::initializer_list<int64_t> strides,
                               std::initializer_list<int64_t> box,
                               CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B) {
  static const auto encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    CUDA_OK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                             cudaEnableDefault, &found));
    SWEEP_CHECK(found == cudaDriverEntryPointSuccess);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  cuuint64_t sizes[5], distances[4];
  cuuint32_t boxes[5], steps[5] = {1, 1, 1, 1, 1};
  const auto rank = static_cast<cuuint32_t>(dims.size());
  for (cuuint32_t i = 0; i < rank; ++i) {
    sizes[i] = static_cast<cuuint64_t>(dims.begin()[i]);
    boxes[i] = static_cast<cuuint32_t>(box.begin()[i]);
    if (i + 1 < rank) distances[i] = static_cast<cuuint64_t>(strides.begin()[i]);
  }
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, rank, const_cast<bf16*>(data), sizes,
             distances, boxes, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  SWEEP_CHECK(result == CUDA_SUCCESS);
  return map;
}

}  // namespace worker
