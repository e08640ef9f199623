// StepLoop: whole optimiser steps of one trial on a GPU with no host synchronisation inside. A step
// is one captured CUDA graph (two kinds of micro-step and an update, when the batch needs several
// micro-steps): it takes its batch and learning rates from a ring on the device, by the device's
// own step counter, and leaves its losses in another. The host fills one half of the ring while the
// GPU works on the other. Plain C++.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "worker/runtime/cuda/cuda_program.h"

namespace worker {

struct StepLoopGraph {
  TensorId tokens = kNoTensor, targets = kNoTensor, loss = kNoTensor;  // of the micro-step program
  TensorId hyper = kNoTensor;                                          // of the update program
  std::vector<TensorId> clip;
  int64_t micro_steps = 1;
  int64_t micro_tokens = 0;  // elements of `tokens`
};

struct DeviceStepResult {
  double nats = 0, squares = 0;
  std::vector<double> grad_norms;
};

class StepLoop {
 public:
  // Runs both programs once to settle algorithms and scratch (the parameters' contents are spoilt:
  // upload them afterwards), then captures. Null when memory is short.
  static std::unique_ptr<StepLoop> Create(CudaContext* context, CudaProgram* micro,
                                          CudaProgram* update, const StepLoopGraph& graph);
  ~StepLoop();

  // Fills step `step` of the run: tokens and targets of its whole batch (micro_steps * micro_tokens
  // int32 each), hyper (1 + groups).
  using Fill = std::function<void(int64_t step, int32_t* tokens, int32_t* targets, float* hyper)>;
  // Steps [first, first + count); returns when all are done. Results in step order.
  std::vector<DeviceStepResult> Run(int64_t first, int64_t count, const Fill& fill);

  // Bytes of the rings on the device.
  int64_t bytes() const;

 private:
  StepLoop() = default;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace worker
