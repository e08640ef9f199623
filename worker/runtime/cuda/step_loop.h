// StepLoop: whole optimiser steps of one trial, or of the trials in a context's seats, on a GPU
// with no host synchronisation inside. A step is one captured CUDA graph (two kinds of micro-step
// and an update, when the batch needs several micro-steps): it takes its batch and learning rates
// from a ring on the device, by the device's own step counter, and leaves its losses in another.
// The host fills one half of the ring while the GPU works on the other. Plain C++.
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

  // Fills step `step` of a trial: tokens and targets of its whole batch (micro_steps * micro_tokens
  // int32 each), hyper (1 + groups), whose first element is never 0.
  using Fill = std::function<void(int64_t step, int32_t* tokens, int32_t* targets, float* hyper)>;
  // What a trial wants of a run; results are appended in step order.
  struct SeatRun {
    int seat = 0;
    int64_t first = 0;
    const Fill* fill = nullptr;
    std::vector<DeviceStepResult>* results = nullptr;
  };
  // `count` steps of each of the trials from its own first; returns when all are done. One graph
  // serves the seats up to the last one asked for, captured when that number is first met; seats
  // between that nobody asked for must be open and keep their weights.
  void Run(int64_t count, const std::vector<SeatRun>& runs);
  // Steps [first, first + count) of the trial in seat 0.
  std::vector<DeviceStepResult> Run(int64_t first, int64_t count, const Fill& fill);

  // Bytes of a seat's rings on the device.
  int64_t bytes() const;

 private:
  StepLoop() = default;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace worker
