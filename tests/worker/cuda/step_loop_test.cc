// Whole steps through StepLoop: repeated, accumulated and packed. Needs a GPU.
#include "worker/runtime/cuda/step_loop.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "core/rng.h"
#include "tests/worker/test_plan.h"
#include "worker/runtime/cuda/cuda_program.h"
#include "worker/runtime/cuda/gemm_table.h"
#include "worker/trainer/programs.h"
#include "worker/trainer/step_loop_graph.h"

namespace worker {
namespace {

void DrawWeights(const Parameters& layout, uint64_t seed, CpuParameters<float>& host) {
  core::Rng weights(seed);
  for (const ParameterView& view : layout.views()) {
    for (int64_t i = 0; i < view.elements(); ++i)
      host.view(view)[i] = view.cols == 1 ? 1.0f : static_cast<float>(0.1 * weights.Normal());
  }
}

StepLoop::Fill FillOf(int64_t batch_tokens, uint64_t seed) {
  return [batch_tokens, seed](int64_t s, int32_t* tokens, int32_t* targets, float* hyper) {
    core::Rng rng(seed * 1000 + s);
    for (int64_t i = 0; i < batch_tokens; ++i) {
      tokens[i] = static_cast<int32_t>(rng.Below(8));
      targets[i] = (tokens[i] * 3 + 1) % 8;
    }
    hyper[0] = static_cast<float>(s + 1);
    hyper[1] = hyper[2] = 3e-3f;
  };
}

// Losses and gradient norms of `steps` steps of a small model on random tokens: everything is made
// anew, so a call shows what a process would that trains this trial alone or among others.
std::vector<double> Train(int64_t micro_batch, int64_t steps, uint64_t seed) {
  recipes::Plan plan = SmallPlan(64, 2, 2, 2, 32, 128, 512, 64);
  plan.batch = 8;
  Parameters layout;
  const auto step = *BuildStep(plan, micro_batch, true, &layout);
  const auto update = *BuildUpdate(plan, layout);
  std::string error;
  const auto context = CudaContext::Create(0, &error);
  const auto parameters = CudaParameters::Create(layout, context.get());
  const auto micro = CudaProgram::Create(&step->graph, parameters.get(), context.get());
  const auto optimise = CudaProgram::Create(&update->graph, parameters.get(), context.get());
  const auto loop = StepLoop::Create(context.get(), micro.get(), optimise.get(),
                                     LoopGraph(plan, micro_batch, *step, *update));
  CpuParameters<float> host(layout);
  DrawWeights(layout, seed, host);
  parameters->UploadWeights(host, *context);
  std::vector<double> out;
  // Uneven pieces, so that runs end anywhere in the ring.
  for (int64_t first = 0, count = 1; first < steps; first += count, count = count % 5 + 1) {
    count = std::min(count, steps - first);
    const auto results = loop->Run(first, count, FillOf(plan.batch * plan.seq_len, seed));
    for (const DeviceStepResult& r : results) {
      out.push_back(r.nats);
      out.insert(out.end(), r.grad_norms.begin(), r.grad_norms.end());
    }
  }
  return out;
}

TEST(StepLoopTest, LearnsAndRepeatsToTheBit) {
  const std::vector<double> first = Train(8, 60, 1);
  EXPECT_LT(first[first.size() - 3], 0.7 * first[0]);
  EXPECT_EQ(first, Train(8, 60, 1));
}

TEST(StepLoopTest, MicroStepsAddUpToTheWholeBatch) {
  const std::vector<double> whole = Train(8, 20, 2), parts = Train(2, 20, 2);
  ASSERT_EQ(whole.size(), parts.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(parts[i] / whole[i], 1, 2e-2) << i;
}

TEST(StepLoopTest, ManyAtOnceStartInAnyOrderAndChangeNothing) {
  std::vector<std::vector<double>> alone, packed(12);
  for (int i = 0; i < 12; ++i) alone.push_back(Train(i % 2 == 0 ? 8 : 4, 40, 10 + i));
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&, i] {
      for (int again = 0; again < 3; ++again) packed[i] = Train(i % 2 == 0 ? 8 : 4, 40, 10 + i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(alone, packed);
}

// What Train does, for several seeds in the seats of one context. `runs`: which of them take how
// many steps next.
using Runs = std::vector<std::pair<std::vector<int>, int64_t>>;
std::vector<std::vector<double>> TrainInSeats(int64_t micro_batch,
                                              const std::vector<uint64_t>& seeds,
                                              const Runs& runs) {
  recipes::Plan plan = SmallPlan(64, 2, 2, 2, 32, 128, 512, 64);
  plan.batch = 8;
  Parameters layout;
  const auto step = *BuildStep(plan, micro_batch, true, &layout);
  const auto update = *BuildUpdate(plan, layout);
  std::string error;
  const auto context = CudaContext::Create(0, &error, static_cast<int>(seeds.size()), 256 << 20);
  const auto parameters = CudaParameters::Create(layout, context.get());
  const auto micro = CudaProgram::Create(&step->graph, parameters.get(), context.get());
  const auto optimise = CudaProgram::Create(&update->graph, parameters.get(), context.get());
  const auto loop = StepLoop::Create(context.get(), micro.get(), optimise.get(),
                                     LoopGraph(plan, micro_batch, *step, *update));
  std::vector<std::vector<double>> out(seeds.size());
  std::vector<int64_t> position(seeds.size());
  std::vector<StepLoop::Fill> fills;
  for (size_t seat = 0; seat < seeds.size(); ++seat) {
    EXPECT_TRUE(seat == 0 || context->OpenSeat(static_cast<int>(seat)));
    CpuParameters<float> host(layout);
    DrawWeights(layout, seeds[seat], host);
    context->UseSeats(static_cast<int>(seat), 1);
    parameters->UploadWeights(host, *context);
    fills.push_back(FillOf(plan.batch * plan.seq_len, seeds[seat]));
  }
  for (const auto& [who, count] : runs) {
    std::vector<StepLoop::SeatRun> seats;
    std::vector<std::vector<DeviceStepResult>> results(seeds.size());
    for (int seat : who) {
      seats.push_back(
          {.seat = seat, .first = position[seat], .fill = &fills[seat], .results = &results[seat]});
      position[seat] += count;
    }
    loop->Run(count, seats);
    for (size_t seat = 0; seat < seeds.size(); ++seat) {
      for (const DeviceStepResult& r : results[seat]) {
        out[seat].push_back(r.nats);
        out[seat].insert(out[seat].end(), r.grad_norms.begin(), r.grad_norms.end());
      }
    }
  }
  std::printf("    %s\n", BatchedGemmsText(*context).c_str());
  return out;
}

TEST(StepLoopTest, OneBatchedGraphGivesEveryTrialTheBitsItHasAlone) {
  for (int64_t micro_batch : {8, 2}) {
    const std::vector<uint64_t> seeds = {31, 32, 33, 34};
    // They come, sit steps out and leave in any order; each takes 70 in all, past the ring's end.
    const Runs runs = {{{0, 1, 2, 3}, 9}, {{0, 2}, 11}, {{3}, 61}, {{0, 1, 2}, 50}, {{1}, 11}};
    const auto together = TrainInSeats(micro_batch, seeds, runs);
    for (size_t i = 0; i < seeds.size(); ++i)
      EXPECT_EQ(together[i], Train(micro_batch, 70, seeds[i])) << i << " of " << micro_batch;
  }
}

TEST(GemmTableTest, ASavedTableIsTakenAndOneOfAnotherLibraryIsNot) {
  (void)Train(8, 1, 3);
  const std::string text = GemmTableText();
  EXPECT_GT(LoadGemmTable(text), 10);
  EXPECT_EQ(LoadGemmTable("environment another\n" + text.substr(text.find('\n') + 1)), 0);
  EXPECT_EQ(GemmTableText(), text);
}

}  // namespace
}  // namespace worker
