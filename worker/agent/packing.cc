#include "worker/agent/packing.h"

#include <algorithm>

#include "fmt/format.h"

namespace worker {

Packing::Packing(int most) {
  for (int level : {4, 6, 8, 12, 16, 24, 32}) {
    if (level < most) levels_.push_back(level);
  }
  levels_.push_back(std::max(1, most));
}

std::string Packing::Observe(const PackingSample& sample) {
  if (settled_ms_ >= 0) {
    if (sample.now_ms - settled_ms_ < kAskAgainMs) return "";
    settled_ms_ = -1;
    window_.clear();
    below_ = 0;
  }
  // Only what this number of trials does counts.
  if (sample.running != allowed() || sample.flops_per_s <= 0) return "";
  window_.push_back(sample.flops_per_s);
  if (window_.size() < kSamples) return "";
  std::nth_element(window_.begin(), window_.begin() + kSamples / 2, window_.end());
  const double rate = window_[kSamples / 2];
  window_.clear();
  const int tried = allowed();
  if (below_ > 0 && rate < kWorthwhile * below_) {
    --level_;
    settled_ms_ = sample.now_ms;
    return fmt::format("{} trials at once do {:.1f} TFLOP/s, {} did {:.1f}: back to {}", tried,
                       rate / 1e12, allowed(), below_ / 1e12, allowed());
  }
  if (level_ + 1 == levels_.size()) {
    settled_ms_ = sample.now_ms;
    return "";
  }
  below_ = rate;
  ++level_;
  return fmt::format("{} trials at once do {:.1f} TFLOP/s: trying {}", tried, rate / 1e12,
                     allowed());
}

}  // namespace worker
