// Initial weights of a trial: a pure function of (plan.init, init seed, parameter name), so every
// backend, every layout and any number of threads starts from the same numbers.
#pragma once

#include "absl/status/status.h"
#include "recipes/plan.h"
#include "worker/graph/parameters.h"

namespace worker {

// Fills `out` (view.elements() values). T is float or double. INVALID_ARGUMENT when no rule names
// the view's role. About 30 ns a value on one thread.
template <typename T>
absl::Status InitialValues(const recipes::Plan& plan, const ParameterView& view, int threads,
                           T* out);

}  // namespace worker
