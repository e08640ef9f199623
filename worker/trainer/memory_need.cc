#include "worker/trainer/memory_need.h"

#include <algorithm>

#include "core/status_macros.h"
#include "worker/graph/memory_plan.h"
#include "worker/trainer/cpu_trial.h"
#include "worker/trainer/programs.h"

namespace worker {
namespace {

// Master weight, gradient and two moments in f32, and the bf16 copy.
constexpr int64_t kGpuBytesPerParameter = 18;
constexpr int64_t kGpuOverheadBytes = int64_t{256} << 20;

}  // namespace

absl::StatusOr<int64_t> CpuBytes(const recipes::Plan& plan) {
  Parameters layout;
  ASSIGN_OR_RETURN(const auto step,
                   BuildStep(plan, ChooseMicrobatch(plan.batch, plan.seq_len), true, &layout));
  return layout.total() * 16 + PlanMemory(step->graph, 4, 4).arena_bytes;
}

absl::StatusOr<int64_t> LeastGpuBytes(const recipes::Plan& plan) {
  Parameters layout;
  ASSIGN_OR_RETURN(const auto step, BuildStep(plan, 1, true, &layout, true));
  const auto config = [&](const char* key) { return plan.model.config.value(key, int64_t{0}); };
  // What one op asks for at a time: a chunk of logits, or attention's scores.
  const int64_t logits =
      std::min<int64_t>(plan.seq_len * config("vocab_size") * 4, int64_t{1} << 30);
  const int64_t scores = config("num_attention_heads") * plan.seq_len * plan.seq_len * 2;
  return layout.total() * kGpuBytesPerParameter + PlanMemory(step->graph, 2, 4).arena_bytes +
         std::max(logits, scores + scores / 8) + kGpuOverheadBytes;
}

}  // namespace worker
