// Copies between ordinary host memory and a device at the bus's rate: through pinned pieces that
// several threads fill or empty (cudaMemcpy from pageable memory takes one thread and a fifth of
// the rate). Plain C++.
#pragma once

#include <cstdint>
#include <vector>

namespace worker {

struct CopyPart {
  void* host = nullptr;
  void* device = nullptr;
  int64_t bytes = 0;
};

enum class CopyDirection { kToDevice, kToHost };

// Returns when all is copied. The caller has waited for whoever writes the source or uses the
// destination. One copy of the process runs at a time; 128 MiB of pinned memory stay with it.
void StagedCopy(int device, const std::vector<CopyPart>& parts, CopyDirection direction);

}  // namespace worker
