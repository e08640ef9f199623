#include "worker/trainer/device_memory.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace worker {
namespace {

const auto kNever = [] { return false; };

TEST(DeviceMemoryTest, NeverMoreThanThereIsAndEverybodyGetsATurn) {
  DeviceMemory memory(100);
  std::atomic<int64_t> used{0}, most{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&, i] {
      const int64_t bytes = 10 + 7 * i;
      auto share = memory.Take(bytes, kNever);
      ASSERT_TRUE(share.ok());
      const int64_t now = used += bytes;
      for (int64_t seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      used -= bytes;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 100);
  EXPECT_TRUE(memory.Take(100, kNever).ok());
}

TEST(DeviceMemoryTest, ALargeTrialIsNotOvertaken) {
  DeviceMemory memory(100);
  auto first = memory.Take(60, kNever);
  ASSERT_TRUE(first.ok());
  std::atomic<int> order{0}, large{0}, small{0};
  std::atomic<bool> large_waits{false}, small_waits{false};
  std::thread second([&] {
    auto share = memory.Take(95, [&] {
      large_waits = true;
      return false;
    });
    large = ++order;
  });
  while (!large_waits) std::this_thread::yield();
  std::thread third([&] {
    auto share = memory.Take(10, [&] {  // would fit at once
      small_waits = true;
      return false;
    });
    small = ++order;
  });
  while (!small_waits) std::this_thread::yield();
  EXPECT_EQ(order, 0);
  *first = DeviceMemory::Share();
  second.join();
  third.join();
  EXPECT_EQ(large, 1);
  EXPECT_EQ(small, 2);
}

TEST(DeviceMemoryTest, WhoGivesUpTakesNothing) {
  DeviceMemory memory(100);
  auto all = memory.Take(100, kNever);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(memory.Take(1, [] { return true; }).status().code(), absl::StatusCode::kCancelled);
  *all = DeviceMemory::Share();
  EXPECT_TRUE(memory.Take(100, kNever).ok());
}

}  // namespace
}  // namespace worker
