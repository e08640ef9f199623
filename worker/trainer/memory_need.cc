#include "worker/trainer/memory_need.h"

#include <algorithm>

#include "core/status_macros.h"
#include "worker/graph/memory_plan.h"
#include "worker/ops/attention.h"
#include "worker/runtime/cuda/cuda_program.h"
#include "worker/runtime/cuda/cudnn_attention.h"
#include "worker/trainer/cpu_trial.h"
#include "worker/trainer/programs.h"

namespace worker {
namespace {

// cuBLAS workspaces, batches, optimiser tables, what is left of the driver's.
constexpr int64_t kGpuOverheadBytes = int64_t{256} << 20;

}  // namespace

absl::StatusOr<int64_t> CpuBytes(const recipes::Plan& plan) {
  Parameters layout;
  ASSIGN_OR_RETURN(const auto step,
                   BuildStep(plan, ChooseMicrobatch(plan.batch, plan.seq_len), true, &layout));
  return layout.total() * 16 + PlanMemory(step->graph, 4, 4).arena_bytes;
}

int64_t GpuBytes(const recipes::Plan& plan, const Graph& step, const Parameters& layout,
                 int64_t sequences) {
  const auto config = [&](const char* key) { return plan.model.config.value(key, int64_t{0}); };
  // The most that one op asks for: logits of a chunk, or dS of cuDNN's attention backward.
  const int64_t logits =
      std::min<int64_t>(sequences * plan.seq_len * config("vocab_size") * 4, int64_t{1} << 30);
  int64_t scores = 0;
  if (!HasFusedAttention(config("head_dim"))) {
    const int64_t sequence = config("num_attention_heads") * plan.seq_len * plan.seq_len * 2;
    scores = std::clamp<int64_t>(sequence * sequences, sequence,
                                 std::max(sequence, AttentionTuning().backward_workspace_limit));
  }
  return layout.total() * kCudaBytesPerParameter + PlanCudaMemory(step).arena_bytes +
         std::max(logits, scores + scores / 8) + kGpuOverheadBytes;
}

absl::StatusOr<int64_t> LeastGpuBytes(const recipes::Plan& plan) {
  Parameters layout;
  ASSIGN_OR_RETURN(const auto step, BuildStep(plan, 1, true, &layout, true));
  return GpuBytes(plan, step->graph, layout, 1);
}

}  // namespace worker
