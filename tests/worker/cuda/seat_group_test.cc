// Trials of equal shape that come and go from threads of their own share groups, and nothing
// changes for any of them. Needs a GPU.
#include "worker/trainer/seat_group.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/rng.h"
#include "tests/worker/test_plan.h"
#include "worker/trainer/trial.h"

namespace worker {
namespace {

recipes::Plan PlanOf(uint64_t seed) {
  recipes::Plan plan = SmallPlan(64, 2, 2, 2, 32, 128, 512, 64);
  plan.numerics = "bf16-mixed";
  plan.batch = 8;
  plan.init_seed = seed;
  plan.optimizer[0].peak_lr = 1e-3 * static_cast<double>(seed);  // no matter for the shape
  Parameters layout;
  EXPECT_TRUE(BuildStep(plan, plan.batch, true, &layout).ok());
  plan.params = layout.total();
  return plan;
}

// Losses, then all weights.
std::vector<double> Train(uint64_t seed, int64_t steps, DeviceMemory* memory, int max_seats) {
  const recipes::Plan plan = PlanOf(seed);
  auto taken = SeatGroup::Take(plan, {.memory = memory, .max_seats = max_seats});
  EXPECT_TRUE(taken.ok()) << taken.status();
  SeatGroup::Seat& seat = **taken;
  const ShapePrograms& shape = seat.shape();
  CpuParameters<float> host(shape.layout);
  EXPECT_TRUE(InitializeWeights(plan, shape.layout, 1, host).ok());
  seat.Alone([&] { shape.parameters->UploadWeights(host, *shape.context); });
  std::vector<double> out;
  const StepLoop::Fill fill = [&](int64_t s, int32_t* tokens, int32_t* targets, float* hyper) {
    core::Rng rng(seed * 1000 + s);
    for (int64_t i = 0; i < plan.batch * plan.seq_len; ++i) {
      tokens[i] = static_cast<int32_t>(rng.Below(8));
      targets[i] = (tokens[i] * 3 + 1) % 8;
    }
    hyper[0] = static_cast<float>(s + 1);
    hyper[1] = hyper[2] = 1e-3f * static_cast<float>(seed);
  };
  for (int64_t first = 0, count = 1; first < steps; first += count, count = count * 2 + 1) {
    count = std::min(count, steps - first);
    for (const DeviceStepResult& r : seat.Run(first, count, fill)) out.push_back(r.nats);
    // As a checkpoint does.
    seat.Alone([&] { shape.parameters->Download(host, *shape.context); });
  }
  for (const ParameterView& view : shape.layout.views())
    out.insert(out.end(), host.view(view), host.view(view) + view.elements());
  return out;
}

TEST(SeatGroupTest, WhoComesAndGoesChangesNobodysResult) {
  constexpr int kTrials = 10;
  std::vector<std::vector<double>> alone, together(kTrials);
  for (int i = 0; i < kTrials; ++i) alone.push_back(Train(1 + i, 30 + 17 * i, nullptr, 1));
  int64_t free_bytes = 0, total_bytes = 0;
  CudaContext::MemoryInfo(0, &free_bytes, &total_bytes);
  DeviceMemory memory(free_bytes / 2);
  std::vector<std::thread> threads;
  for (int i = 0; i < kTrials; ++i) {
    threads.emplace_back([&, i] {
      std::this_thread::sleep_for(std::chrono::milliseconds(40 * i));
      // Four seats a group: more groups than one, and seats taken again.
      for (int again = 0; again < 2; ++again) together[i] = Train(1 + i, 30 + 17 * i, &memory, 4);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kTrials; ++i) EXPECT_TRUE(alone[i] == together[i]) << i;
}

TEST(SeatGroupTest, NoMemoryForAnotherMeansWaitingAndGivingUpEndsIt) {
  const recipes::Plan plan = PlanOf(1);
  auto first = SeatGroup::Take(plan, {});
  ASSERT_TRUE(first.ok()) << first.status();
  DeviceMemory memory((*first)->shape().needed_bytes);  // for one
  auto only = SeatGroup::Take(plan, {.memory = &memory});
  ASSERT_TRUE(only.ok()) << only.status();
  int asked = 0;
  const auto refused =
      SeatGroup::Take(plan, {.memory = &memory, .give_up = [&] { return ++asked > 2; }});
  EXPECT_TRUE(absl::IsCancelled(refused.status())) << refused.status();
  only->reset();
  EXPECT_TRUE(SeatGroup::Take(plan, {.memory = &memory}).ok());
}

}  // namespace
}  // namespace worker
