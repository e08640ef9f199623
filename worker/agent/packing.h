// Packing: how many trials at once are worth their place on a GPU, found by measurement. Starts
// low, admits a step more while the total rate grows by it, and falls back when it does not;
// trials come and go, so it asks again from time to time. No clock, no threads: the agent feeds it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace worker {

struct PackingSample {
  int64_t now_ms = 0;
  int running = 0;         // trials that have reported progress lately
  double flops_per_s = 0;  // model FLOPs of all of them
};

class Packing {
 public:
  // `most` >= 1: the number of slots there are.
  explicit Packing(int most);
  // Trials to have at once, in [1, most].
  int allowed() const { return levels_[level_]; }
  // About once a second. Returns a line for people when the number changes, else "".
  std::string Observe(const PackingSample& sample);

 private:
  // A step up must bring this much.
  static constexpr double kWorthwhile = 1.03;
  static constexpr int kSamples = 4;
  static constexpr int64_t kAskAgainMs = 60'000;

  std::vector<int> levels_;  // rising; the last is `most`
  size_t level_ = 0;
  std::vector<double> window_;  // rates at this level
  double below_ = 0;            // rate at the level below, 0 when it is not known
  int64_t settled_ms_ = -1;     // since when this level is taken as the best, -1: still asking
};

}  // namespace worker
