#include "worker/graph/recompute.h"

#include <map>
#include <utility>
#include <vector>

#include "worker/graph/op.h"

namespace worker {

void RecomputeCheap(Graph& graph, size_t first_backward) {
  std::vector<int> maker(graph.tensors().size(), -1);
  std::map<TensorId, TensorId> again;  // kNoTensor: it is kept
  std::vector<Node> nodes = graph.TakeNodes();
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (i < first_backward) {
      for (TensorId id : nodes[i].outputs) {
        if (id != kNoTensor && graph.tensor(id).storage == Storage::kActivation)
          maker[id] = static_cast<int>(i);
      }
      graph.AppendNode(std::move(nodes[i]));
      continue;
    }
    for (TensorId& id : nodes[i].inputs) {
      if (id == kNoTensor || maker[id] < 0) continue;
      if (again.count(id) == 0) {
        // Forward nodes are back at their places. A copy: Repeat appends to the list.
        const Op& op = *graph.nodes()[maker[id]].op;
        const Node node(nullptr, graph.nodes()[maker[id]].inputs, graph.nodes()[maker[id]].outputs);
        std::vector<TensorId> remade(node.outputs.size(), kNoTensor);
        op.Repeat(graph, node, remade);
        for (size_t o = 0; o < remade.size(); ++o) again[node.outputs[o]] = remade[o];
      }
      if (again[id] != kNoTensor) id = again[id];
    }
    graph.AppendNode(std::move(nodes[i]));
  }
}

}  // namespace worker
