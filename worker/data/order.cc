#include "worker/data/order.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "core/rng.h"

namespace worker {

uint64_t Permute(uint64_t n, uint64_t key, uint64_t stream, uint64_t i) {
  SWEEP_CHECK(i < n);
  if (n == 1) return 0;
  const int bits = std::max(2, static_cast<int>(std::bit_width(n - 1)));
  const int half = (bits + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  uint64_t x = i;
  do {
    uint64_t left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const auto words = core::Philox4x32(key, stream, right << 3 | round);
      const uint64_t f = (static_cast<uint64_t>(words[1]) << 32 | words[0]) & mask;
      left = std::exchange(right, left ^ f);
    }
    x = left << half | right;
  } while (x >= n);
  return x;
}

DataOrder::DataOrder(std::vector<int64_t> windows, const std::vector<double>& weights,
                     uint64_t seed)
    : windows_(std::move(windows)), share_(windows_.size()), seed_(seed) {
  SWEEP_CHECK(!windows_.empty() && windows_.size() == weights.size());
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::pair<double, int>> remainder;
  int64_t given = 0;
  for (size_t s = 0; s < weights.size(); ++s) {
    const double exact = kBlock * weights[s] / total;
    share_[s] = static_cast<int64_t>(exact);
    given += share_[s];
    remainder.emplace_back(share_[s] - exact, static_cast<int>(s));
  }
  std::stable_sort(remainder.begin(), remainder.end());
  for (int64_t k = 0; k < kBlock - given; ++k) ++share_[remainder[k % remainder.size()].second];
  for (size_t s = 0; s < share_.size(); ++s) {
    for (int64_t r = 0; r < share_[s]; ++r) {
      slot_source_.push_back(static_cast<int>(s));
      slot_rank_.push_back(static_cast<int>(r));
    }
  }
}

WindowRef DataOrder::At(int64_t sequence) const {
  const int64_t block = sequence / kBlock;
  const uint64_t slot =
      Permute(kBlock, seed_, uint64_t{1} << 62 | static_cast<uint64_t>(block), sequence % kBlock);
  WindowRef ref;
  ref.source = slot_source_[slot];
  const int64_t nth = block * share_[ref.source] + slot_rank_[slot];
  ref.epoch = nth / windows_[ref.source];
  const uint64_t stream =
      static_cast<uint64_t>(ref.source) << 40 | static_cast<uint64_t>(ref.epoch);
  ref.window = static_cast<int64_t>(
      Permute(windows_[ref.source], seed_, stream, nth % windows_[ref.source]));
  return ref;
}

double DataOrder::Epochs(int source, int64_t sequences) const {
  return static_cast<double>(sequences) * share_[source] / kBlock / windows_[source];
}

}  // namespace worker
