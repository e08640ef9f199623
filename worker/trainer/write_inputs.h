// What a trainer that is not ours needs to repeat a plan exactly: its first weights and its data in
// order (`sweep-worker inputs`). Everything else stands in the plan.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace worker {

struct WriteInputsOptions {
  std::string plan_path;  // canonical bytes
  std::string data_dir;
  std::string out_dir;  // made if absent
};

// Writes, each completely or not at all,
//   initial.safetensors  the plan's initial weights in f32, Hugging Face names
//   sequences.i32        little-endian int32 (steps * batch, seq_len): the tokens of training
//                        sequence i; step k takes rows k*batch .. k*batch + batch - 1, and a row's
//                        targets are the row shifted by one, its first token never a target
// Errors as Dataset::Open, plus INVALID_ARGUMENT for a model that the plan misdescribes. 4 bytes of
// disk a token; memory for the weights only.
absl::Status WriteInputs(const WriteInputsOptions& options);

}  // namespace worker
