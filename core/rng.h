// Counter-based random numbers: every draw is a pure function of (seed, stream, counter), so
// nothing needs to be saved for an exact resume and threads need no order. Source: Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", SC'11 (Philox4x32-10).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace core {

// Four independent uniform 32-bit words for a 64-bit key and 128-bit counter.
inline std::array<uint32_t, 4> Philox4x32(uint64_t key, uint64_t stream, uint64_t counter) {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                               static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * x[0], p1 = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return x;
}

// A sequence of draws from one (seed, stream). Cheap to make; not thread-safe.
class Rng {
 public:
  // `block`: how many blocks of four words to skip.
  explicit Rng(uint64_t seed, uint64_t stream = 0, uint64_t block = 0)
      : seed_(seed), stream_(stream), counter_(block) {}

  uint32_t Next32() {
    if (used_ == 4) {
      block_ = Philox4x32(seed_, stream_, counter_++);
      used_ = 0;
    }
    return block_[used_++];
  }
  uint64_t Next64() {
    const uint64_t high = Next32();
    return high << 32 | Next32();
  }
  // Uniform in [0, 1), 53 bits.
  double Uniform() { return static_cast<double>(Next64() >> 11) * 0x1.0p-53; }
  // Uniform in {0, ..., n-1} without bias. REQUIRES: n > 0.
  uint64_t Below(uint64_t n) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x = Next64();
    while (x >= limit) x = Next64();
    return x % n;
  }
  // Standard normal (Box-Muller, one of the pair). Takes four words: one block, when nothing else
  // is drawn.
  double Normal() {
    const double u = 1.0 - Uniform(), v = Uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

 private:
  uint64_t seed_, stream_;
  uint64_t counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace core
