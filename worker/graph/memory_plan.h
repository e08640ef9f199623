// Memory plan: where in one arena every activation lives, from lifetimes in the node list.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/graph/graph.h"

namespace worker {

struct MemoryPlan {
  std::vector<int64_t> offset;  // by tensor, bytes into the arena; -1 for tensors outside it
  int64_t arena_bytes = 0;
  int64_t peak_live_bytes = 0;  // lower bound of any plan: the largest sum of live tensors
};

// Greedy by size: larger tensors first, each at the lowest 64-byte-aligned offset that no
// overlapping lifetime uses. real_bytes and accum_bytes are the element sizes of Element::kReal and
// kAccum on the backend. Source: Pisarchyk and Lee, "Efficient memory management for deep neural
// net inference" (2020), greedy-by-size offsets.
MemoryPlan PlanMemory(const Graph& graph, int64_t real_bytes, int64_t accum_bytes);

}  // namespace worker
