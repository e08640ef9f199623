// Data order "feistel-1": which window sequence i of a run reads is a pure function of (data seed,
// i), so every run consumes a prefix of one stream whatever its batch, and nothing is stored to
// resume. Step k takes sequences k*B .. k*B+B-1.
#pragma once

#include <cstdint>
#include <vector>

namespace worker {

// A pseudo-random bijection of [0, n) by a 4-round Feistel network over Philox with cycle walking;
// at most four evaluations expected. Source: Luby and Rackoff, 1988; Black and Rogaway, "Ciphers
// with arbitrary finite domains", 2002.
uint64_t Permute(uint64_t n, uint64_t key, uint64_t stream, uint64_t i);

struct WindowRef {
  int source = 0;
  int64_t epoch = 0;   // 0-based pass over that source
  int64_t window = 0;  // within the source
};

// Mixture of sources by weight: in every block of 1,024 sequences each source gets its share
// (largest remainder), in an order permuted a block; within a source windows are permuted an epoch.
class DataOrder {
 public:
  // windows[s] > 0 whole windows of source s; weights > 0.
  DataOrder(std::vector<int64_t> windows, const std::vector<double>& weights, uint64_t seed);
  WindowRef At(int64_t sequence) const;
  // Passes over source s that a run of this many sequences makes.
  double Epochs(int source, int64_t sequences) const;

 private:
  static constexpr int kBlock = 1024;
  std::vector<int64_t> windows_;
  std::vector<int64_t> share_;    // per block
  std::vector<int> slot_source_;  // [kBlock]
  std::vector<int> slot_rank_;    // [kBlock]
  uint64_t seed_;
};

}  // namespace worker
