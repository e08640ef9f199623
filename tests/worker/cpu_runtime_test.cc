// The thread pool under the CPU engine: every part once, whatever the threads; no race.
#include "worker/runtime/cpu/cpu_runtime.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

namespace worker {
namespace {

TEST(CpuRuntimeTest, EveryPartRunsOnceAndItsWritesAreSeenByTheCaller) {
  CpuRuntime runtime(3);
  for (int round = 0; round < 2000; ++round) {
    const int64_t parts = round % 17;
    std::vector<int> ran(17, 0);  // plain integers: the pool itself must order them
    runtime.ParallelFor(parts, [&](int64_t part, int thread) {
      EXPECT_TRUE(thread >= 0 && thread < 3);
      ran[part] += round + 1;
    });
    for (int64_t part = 0; part < 17; ++part)
      ASSERT_EQ(ran[part], part < parts ? round + 1 : 0) << "round " << round;
  }
}

TEST(CpuRuntimeTest, SleepingHelpersWakeUp) {
  CpuRuntime runtime(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than they spin
    int64_t sum[8] = {};
    runtime.ParallelFor(8, [&](int64_t part, int) { sum[part] = part; });
    EXPECT_EQ(std::accumulate(sum, sum + 8, int64_t{0}), 28);
  }
}

TEST(CpuRuntimeTest, RangesCoverEveryItemAndOnlyTheSizesDecideTheParts) {
  for (const int64_t n : {0, 1, 7, 64, 1000}) {
    std::vector<std::pair<int64_t, int64_t>> first;
    for (const int threads : {1, 2, 4}) {
      CpuRuntime runtime(threads);
      std::vector<std::pair<int64_t, int64_t>> parts(CpuRuntime::kMaxParts, {-1, -1});
      std::atomic<int> used{0};
      runtime.ParallelRange(n, 10, [&](int64_t begin, int64_t end, int) {
        parts[used++] = {begin, end};
      });
      parts.resize(used);
      std::sort(parts.begin(), parts.end());
      int64_t covered = 0;
      for (const auto& [begin, end] : parts) {
        EXPECT_EQ(begin, covered);
        covered = end;
      }
      EXPECT_EQ(covered, n);
      if (threads == 1) first = parts;
      EXPECT_EQ(parts, first) << n << " items on " << threads << " threads";
    }
  }
}

TEST(CpuRuntimeTest, ThreadsCanBeChangedBetweenRunsAndProductsStayTheSameBits) {
  constexpr int64_t m = 192, n = 160, k = 256;  // large enough for several parts
  std::vector<float> a(m * k), b(k * n), first;
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 23) / 7 - 1;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 19) / 5 - 2;
  CpuRuntime runtime(1);
  for (const int threads : {1, 3, 2, 4, 1}) {
    runtime.SetThreads(threads);
    std::vector<float> c(m * n, 0.5f);
    runtime.Gemm(false, false, m, n, k, 1.0f, a.data(), k, b.data(), n, 2.0f, c.data(), n);
    if (first.empty()) first = c;
    EXPECT_EQ(c, first) << threads << " threads";
  }
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += static_cast<double>(a[i]) * b[i * n];
  EXPECT_NEAR(first[0], sum + 1.0, 1e-3);
}

TEST(CpuRuntimeTest, RuntimesBesideOneAnotherDoNotDisturbEachOther) {
  std::vector<std::thread> owners;
  for (int owner = 0; owner < 3; ++owner) {
    owners.emplace_back([owner] {
      CpuRuntime runtime(2);
      for (int round = 0; round < 300; ++round) {
        float* scratch[2] = {};
        std::vector<int64_t> squares(16);
        runtime.ParallelFor(16, [&](int64_t part, int thread) {
          scratch[thread] = runtime.Scratch<float>(thread, 0, 64);
          scratch[thread][0] = static_cast<float>(owner);
          squares[part] = part * part;
        });
        ASSERT_EQ(std::accumulate(squares.begin(), squares.end(), int64_t{0}), 1240);
        for (const float* mine : scratch) {
          ASSERT_TRUE(mine == nullptr || mine[0] == static_cast<float>(owner));
        }
      }
    });
  }
  for (std::thread& owner : owners) owner.join();
}

}  // namespace
}  // namespace worker
