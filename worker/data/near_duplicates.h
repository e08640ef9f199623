// Near-duplicate documents, so that no held-out document has a twin in the training data.
// Sketch: one-permutation MinHash of 5-word shingles, 64 bins; candidates by 16 bands of 4 bins; a
// pair counts when the estimated Jaccard similarity is at least the threshold. Sources: Broder,
// 1997; Li, Owen and Zhang, "One permutation hashing", 2012.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace worker {

using Sketch = std::array<uint32_t, 64>;

// Documents under 5 words sketch their words whole.
Sketch MakeSketch(std::string_view text);
// Share of equal non-empty bins, in [0, 1].
double EstimatedJaccard(const Sketch& a, const Sketch& b);

// Sketches of the held-out documents, to ask of each training document whether it is a twin of one.
// Thread-compatible.
class SketchIndex {
 public:
  void Add(const Sketch& sketch);
  bool ContainsNear(const Sketch& sketch, double threshold) const;

 private:
  std::vector<Sketch> sketches_;
  std::unordered_multimap<uint64_t, int> bands_;
};

}  // namespace worker
