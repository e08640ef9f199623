// The trainer process: speaks proto/sweep/v1/trainer.proto on its sockets, trains one trial at a
// time on each, exits when all have reached end of file. It never speaks to the coordinator and
// links no gRPC.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace worker {

struct TrainerOptions {
  // A connected socket; with `connections` > 0 a listening one: trials side by side, each with a
  // stream of its own, as many as the GPU's memory holds; more of them wait.
  int fd = 3;
  int connections = 0;
  // The GPU to train on, as CUDA counts; -1: the CPU.
  int cuda_device = -1;
  // File that pins which algorithm runs which matrix product: read at the start, where there is
  // one, and written whenever a new shape was timed. Empty: none. The same file, the same bits.
  std::string gemm_table;
};

// Serves the agent until it closes; a listening trainer serves until it is killed. Returns the
// process's exit code: 0 after end of file, 70 when this machine lacks what the kernels need, 76
// when the agent broke the protocol.
int TrainerMain(const TrainerOptions& options);

}  // namespace worker
