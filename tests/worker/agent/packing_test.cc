#include "worker/agent/packing.h"

#include <cmath>

#include "gtest/gtest.h"

namespace worker {
namespace {

// Runs `seconds` samples of a device whose total rate is rate(trials); returns where it ends.
template <typename Rate>
int After(Packing& packing, int seconds, Rate rate, int64_t* now_ms) {
  for (int s = 0; s < seconds; ++s) {
    *now_ms += 1000;
    packing.Observe({*now_ms, packing.allowed(), 1e12 * rate(packing.allowed())});
  }
  return packing.allowed();
}

TEST(PackingTest, StopsWhereMoreTrialsBringNothing) {
  int64_t now = 0;
  Packing saturating(16);
  EXPECT_EQ(After(
                saturating, 40, [](int k) { return std::min(k, 8) * 10.0; }, &now),
            8);
  Packing growing(16);
  EXPECT_EQ(After(
                growing, 40, [](int k) { return std::pow(k, 0.5); }, &now),
            16);
  Packing worse(16);
  EXPECT_EQ(After(
                worse, 40, [](int k) { return 100.0 / k; }, &now),
            4);
}

TEST(PackingTest, AsksAgainWhenTheTrialsHaveChanged) {
  int64_t now = 0;
  Packing packing(16);
  EXPECT_EQ(After(
                packing, 50, [](int k) { return 100.0 / k; }, &now),
            4);
  EXPECT_EQ(After(
                packing, 120, [](int k) { return static_cast<double>(k); }, &now),
            16);
}

TEST(PackingTest, IgnoresMomentsWhenNotAllTrialsRun) {
  Packing packing(8);
  for (int s = 0; s < 50; ++s) packing.Observe({s * 1000, packing.allowed() - 1, 1e12});
  EXPECT_EQ(packing.allowed(), 4);
}

TEST(PackingTest, NeverMoreThanTheSlots) {
  int64_t now = 0;
  Packing two(2);
  EXPECT_EQ(two.allowed(), 2);
  EXPECT_EQ(After(
                two, 20, [](int k) { return static_cast<double>(k); }, &now),
            2);
}

}  // namespace
}  // namespace worker
