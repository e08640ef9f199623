// Reverse-mode differentiation of a graph.
#pragma once

#include "worker/graph/graph.h"

namespace worker {

// Appends to `graph` the nodes that add d(loss)/d(block) to the gradient of every parameter block
// that influences `loss`. The loss op itself scales (1/targets). Tensors used twice get a sum node.
// Returns the index of the first backward node. REQUIRES: loss is an output of the last node so
// far.
size_t Differentiate(Graph& graph, TensorId loss);

}  // namespace worker
