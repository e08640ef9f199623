// Initial weights of a trial: a pure function of (plan.init, init seed, parameter name), so every
// backend and every layout starts from the same numbers.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "recipes/plan.h"
#include "worker/graph/parameters.h"

namespace worker {

// Fills `out` (view.elements() values). INVALID_ARGUMENT when no rule names the view's role.
absl::Status InitialValues(const recipes::Plan& plan, const ParameterView& view,
                           std::vector<double>* out);

}  // namespace worker
