// Command line of `train`, the same in both programs that have it.
#pragma once

#include "CLI/CLI.hpp"
#include "worker/trainer/trainer.h"

namespace worker {

inline void AddTrainOptions(CLI::App& train, TrainerOptions* options) {
  train.add_option("--device", options->cuda_device, "GPU, as CUDA counts; -1: the CPU");
  train.add_option("--gemm-table", options->gemm_table,
                   "file that pins the algorithms of matrix products; kept up to date");
  train
      .add_option("--connections", options->connections,
                  "trials at once; descriptor 3 then is a listening socket")
      ->check(CLI::Range(0, 256));
}

}  // namespace worker
