// LateSums: column sums that many ops leave for the end of a program, where one kernel makes all of
// them: a gain's gradient, summed by blocks inside an op, then over blocks here. A sum is two or
// three microseconds of an otherwise idle device, and a layer has four. For .cu files and
// cuda_program.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/runtime/cuda/cuda_context.h"

namespace worker {

struct LateSum {
  const float* partial = nullptr;  // (parts, stride); columns [0, columns) of each row
  int64_t parts = 0, stride = 0, columns = 0;
  float* out = nullptr;
  bool overwrites = false;  // unless the run accumulates: the first writer of its gradient
};

class LateSums {
 public:
  // In the program's first run; later ones enqueue the same.
  void Add(const LateSum& sum) {
    if (table_.get() == nullptr) sums_.push_back(sum);
  }
  // Enqueues all of them, each in part order. The first call allocates and synchronises.
  void Run(bool accumulate, CudaContext& context);

 private:
  std::vector<LateSum> sums_;
  int64_t blocks_ = 0;
  DeviceBuffer table_;
};

}  // namespace worker
