#include "worker/graph/recompute.h"

#include <cstring>

#include "core/rng.h"
#include "gtest/gtest.h"
#include "tests/worker/test_plan.h"
#include "worker/graph/memory_plan.h"
#include "worker/runtime/cpu/cpu_program.h"
#include "worker/trainer/init.h"
#include "worker/trainer/programs.h"

namespace worker {
namespace {

struct Outcome {
  double nats = 0;
  std::vector<std::vector<float>> gradients;
  int64_t arena_bytes = 0;
};

Outcome TrainOneStep(const recipes::Plan& plan, bool recompute) {
  Parameters layout;
  auto step = BuildStep(plan, 2, true, &layout, recompute);
  EXPECT_TRUE(step.ok()) << step.status();
  CpuParameters<float> parameters(layout);
  for (const ParameterView& view : layout.views())
    EXPECT_TRUE(InitialValues(plan, view, 1, parameters.view(view)).ok());
  CpuRuntime runtime(2);
  CpuProgram<float> program(&(*step)->graph, &parameters, &runtime);
  core::Rng rng(3);
  const int64_t vocab = plan.model.config["vocab_size"];
  for (int64_t i = 0; i < 2 * plan.seq_len; ++i) {
    program.Int((*step)->tokens)[i] = static_cast<int32_t>(rng.Below(vocab));
    program.Int((*step)->targets)[i] = static_cast<int32_t>(rng.Below(vocab));
  }
  program.Run();
  Outcome out;
  out.nats = program.Real((*step)->loss)[0];
  for (const auto& block : parameters.grad)
    out.gradients.emplace_back(block.data(), block.data() + block.size());
  out.arena_bytes = PlanMemory((*step)->graph, 4, 4).arena_bytes;
  return out;
}

TEST(RecomputeTest, SameBitsInLessMemory) {
  for (bool qk_norm : {true, false}) {
    recipes::Plan plan = SmallPlan(32, 6, 4, 4, 8, 128, 64, 96);
    plan.model.config["qk_norm"] = qk_norm;
    const Outcome kept = TrainOneStep(plan, false), again = TrainOneStep(plan, true);
    EXPECT_EQ(again.nats, kept.nats);
    EXPECT_GT(kept.nats, 0);
    EXPECT_EQ(again.gradients, kept.gradients);
    EXPECT_LT(again.arena_bytes, 0.8 * static_cast<double>(kept.arena_bytes));
  }
}

// The scaled branch; the first norm has none.
TEST(RecomputeTest, EveryFormOfTheNorm) {
  recipes::Plan plan = SmallPlan(24, 2, 3, 3, 8, 40, 61, 33);
  plan.model.config["residual_multiplier"] = 0.5;
  const Outcome kept = TrainOneStep(plan, false), again = TrainOneStep(plan, true);
  EXPECT_EQ(again.nats, kept.nats);
  EXPECT_EQ(again.gradients, kept.gradients);
}

}  // namespace
}  // namespace worker
