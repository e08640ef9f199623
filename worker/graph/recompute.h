// Recomputation: trades memory for a little time.
#pragma once

#include <cstddef>

#include "worker/graph/graph.h"

namespace worker {

// Rewrites a differentiated graph so that what Op::Repeat can make again (norms, rotary positions,
// SwiGLU) is not kept from the forward to the backward pass but made again before the first
// backward node that reads it. Losses and gradients stay the same to the last bit; a transformer's
// activations shrink by about a third, for the time of those ops' forward. `first_backward`: what
// Differentiate returned. Source: Korthikanti et al., "Reducing activation recomputation in large
// transformer models", 2022 (selective recomputation).
void RecomputeCheap(Graph& graph, size_t first_backward);

}  // namespace worker
