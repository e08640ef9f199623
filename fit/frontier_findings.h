// What is to be said of a fitted frontier: its constants and the minima of its budgets with their
// intervals, and the warnings that follow.
#pragma once

#include "fit/frontier_estimate.h"

namespace fit {

// elapsed_s is left to the caller.
LawFit FindingsOf(const FrontierEstimate& estimate);

}  // namespace fit
