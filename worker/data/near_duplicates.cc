#include "worker/data/near_duplicates.h"

#include <algorithm>
#include <cctype>

namespace worker {
namespace {

constexpr uint32_t kEmpty = UINT32_MAX;
constexpr int kBands = 16, kRows = 4, kShingle = 5;

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9;
  x ^= x >> 27;
  x *= 0x94D049BB133111EB;
  return x ^ x >> 31;
}

uint64_t BandKey(const Sketch& sketch, int band) {
  uint64_t key = band;
  for (int r = 0; r < kRows; ++r) key = Mix(key * 0x9E3779B97F4A7C15 + sketch[band * kRows + r]);
  return key;
}

}  // namespace

Sketch MakeSketch(std::string_view text) {
  Sketch sketch;
  sketch.fill(kEmpty);
  std::array<uint64_t, kShingle> words{};
  int64_t count = 0;
  auto add = [&](int64_t use) {
    uint64_t hash = 0;
    for (int64_t k = 0; k < use; ++k)
      hash = Mix(hash * 0x9E3779B97F4A7C15 + words[(count - use + k) % kShingle]);
    uint32_t& bin = sketch[hash >> 58];
    bin = std::min(bin, static_cast<uint32_t>(hash) & 0x7FFFFFFF);
  };
  for (size_t i = 0; i < text.size();) {
    if (!std::isalnum(static_cast<unsigned char>(text[i])) && text[i] != '_') {
      ++i;
      continue;
    }
    uint64_t word = 1469598103934665603ull;  // FNV-1a
    for (; i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_');
         ++i) {
      word = (word ^ static_cast<unsigned char>(text[i])) * 1099511628211ull;
    }
    words[count % kShingle] = word;
    ++count;
    if (count >= kShingle) add(kShingle);
  }
  if (count > 0 && count < kShingle) add(count);
  return sketch;
}

double EstimatedJaccard(const Sketch& a, const Sketch& b) {
  int both = 0, equal = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == kEmpty && b[i] == kEmpty) continue;
    ++both;
    equal += a[i] == b[i];
  }
  return both == 0 ? 0 : static_cast<double>(equal) / both;
}

void SketchIndex::Add(const Sketch& sketch) {
  for (int band = 0; band < kBands; ++band)
    bands_.emplace(BandKey(sketch, band), static_cast<int>(sketches_.size()));
  sketches_.push_back(sketch);
}

bool SketchIndex::ContainsNear(const Sketch& sketch, double threshold) const {
  for (int band = 0; band < kBands; ++band) {
    // A band of empty bins says nothing.
    if (std::all_of(&sketch[band * kRows], &sketch[band * kRows] + kRows,
                    [](uint32_t b) { return b == kEmpty; }))
      continue;
    const auto [begin, end] = bands_.equal_range(BandKey(sketch, band));
    for (auto it = begin; it != end; ++it) {
      if (EstimatedJaccard(sketch, sketches_[it->second]) >= threshold) return true;
    }
  }
  return false;
}

}  // namespace worker
