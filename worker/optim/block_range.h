// A parameter view as an optimiser op sees it.
#pragma once

#include <cstdint>

namespace worker {

// Elements [offset, offset + count) of the op's storage block number `block`.
struct BlockRange {
  int block = 0;
  int64_t offset = 0, count = 0;
};

}  // namespace worker
