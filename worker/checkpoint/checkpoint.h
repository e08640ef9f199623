// A checkpoint folder: everything an exact resume needs, and weights other tools can read.
//   model.safetensors      weights in f32, Hugging Face names
//   config.json            Hugging Face model configuration
//   optimizer.safetensors  first and second moments, "m.<name>" and "v.<name>"
//   state.json             completed steps, trial_id
//   plan.json              the plan's canonical bytes
//   checkpoint.json        sizes and SHA-256 of the others, written last
// Written under a temporary name, flushed, then renamed: a folder with the final name is complete.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/plan.h"
#include "worker/graph/parameters.h"
#include "worker/runtime/cpu/cpu_program.h"

namespace worker {

struct CheckpointInfo {
  std::string path;
  int64_t step = 0;
  std::string manifest_hash;  // SHA-256 of checkpoint.json
};

// Writes <parent>/step-<step>. RESOURCE_EXHAUSTED on a full disk; the previous checkpoints stand.
absl::StatusOr<CheckpointInfo> WriteCheckpoint(const std::string& parent, int64_t step,
                                               std::string_view plan_bytes,
                                               const recipes::Plan& plan, const Parameters& layout,
                                               CpuParameters<float>& parameters);

// Verifies every file's size and hash, and that it belongs to this plan; fills the parameters and
// moments. Returns the completed steps. DATA_LOSS names the damaged file; FAILED_PRECONDITION when
// it is of another plan.
absl::StatusOr<int64_t> ReadCheckpoint(const std::string& path, std::string_view plan_bytes,
                                       const Parameters& layout, CpuParameters<float>& parameters);

// Other checkpoints of the trial whose attempts write below one folder (TRIAL/ATTEMPT/step-N, and
// `path` is one of them), the furthest first. Whether they are whole, ReadCheckpoint says.
std::vector<std::string> OtherCheckpoints(const std::string& path);

// Hugging Face configuration of a transformer plan (Qwen3ForCausalLM).
core::Json HuggingFaceConfig(const recipes::Plan& plan);

}  // namespace worker
