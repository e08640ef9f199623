#include "worker/graph/memory_plan.h"

#include <algorithm>

namespace worker {

MemoryPlan PlanMemory(const Graph& graph, int64_t real_bytes, int64_t accum_bytes) {
  struct Life {
    TensorId id;
    int64_t bytes;
    int first, last;
  };
  const int num_tensors = static_cast<int>(graph.tensors().size());
  const int num_nodes = static_cast<int>(graph.nodes().size());
  std::vector<int> first(num_tensors, num_nodes), last(num_tensors, -1);
  for (int i = 0; i < num_nodes; ++i) {
    auto touch = [&](TensorId id) {
      if (id == kNoTensor) return;
      if (graph.tensor(id).view_of != kNoTensor) id = graph.tensor(id).view_of;
      first[id] = std::min(first[id], i);
      last[id] = std::max(last[id], i);
    };
    for (TensorId id : graph.nodes()[i].inputs) touch(id);
    for (TensorId id : graph.nodes()[i].outputs) touch(id);
  }
  std::vector<Life> lives;
  for (TensorId id = 0; id < num_tensors; ++id) {
    const Tensor& t = graph.tensor(id);
    if (t.storage != Storage::kActivation || last[id] < 0) continue;
    const int64_t size = t.element == Element::kInt    ? 4
                         : t.element == Element::kReal ? real_bytes
                                                       : accum_bytes;
    lives.push_back({id, (NumElements(t.dims) * size + 63) / 64 * 64, first[id], last[id]});
  }
  MemoryPlan plan;
  plan.offset.assign(num_tensors, -1);
  std::vector<int64_t> live(num_nodes + 1, 0);
  for (const Life& life : lives) {
    for (int i = life.first; i <= life.last; ++i) live[i] += life.bytes;
  }
  plan.peak_live_bytes = *std::max_element(live.begin(), live.end());

  std::stable_sort(lives.begin(), lives.end(),
                   [](const Life& a, const Life& b) { return a.bytes > b.bytes; });
  std::vector<Life> placed;  // sorted by offset
  for (const Life& life : lives) {
    int64_t offset = 0;
    for (const Life& other : placed) {
      if (other.last < life.first || other.first > life.last) continue;
      const int64_t start = plan.offset[other.id];
      if (offset + life.bytes <= start) break;
      offset = std::max(offset, start + other.bytes);
    }
    plan.offset[life.id] = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + life.bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](int64_t o, const Life& l) { return o < plan.offset[l.id]; }),
                  life);
  }
  return plan;
}

}  // namespace worker
