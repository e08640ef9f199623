// Resamples of approaches 1 and 2. Every budget is resampled, its curve refitted, and the laws
// refitted through the new minima, so the errors of both steps are carried; ready-made optima are
// drawn whole, and the envelope resamples whole runs.
#pragma once

#include "fit/frontier_estimate.h"

namespace fit {

// A row of FrontierEstimate::draws.
enum FrontierColumn {
  kLogAN,
  kAlphaN,
  kLogAD,
  kAlphaD,
  kE,
  kA,
  kP,
  kLogG,  // this and the next two: of OptimalSizes
  kAlpha,
  kH,
  kFrontierColumns
};

// The laws of resample number `resample`, without the minima they go through.
FrontierFit LawsOf(const FrontierEstimate& estimate, size_t resample);

// Fills draws and minima; none where runs leave no residual to redraw. REQUIRES: laws, pool.
void ResampleFrontier(FrontierEstimate& estimate);

// Sets budget_weights to the inverse squares of the resampled standard deviation of ln N* and of
// ln D*, from a few resamples, and fits the laws again.
// **Source:** arXiv:2406.19146, weights of its power laws.
void WeighBudgets(FrontierEstimate& estimate);

}  // namespace fit
