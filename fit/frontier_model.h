// Approaches 1 and 2 as Laws that share what is fitted through the optima:
//   isoflop    the optima of the budgets and N*(C), D*(C); forecasts sizes, not losses
//   frontier   the same and L*(C) = E + A C^-p
//   envelope   the laws of frontier through the lower envelope of all runs (envelope.h)
// isoflop is the published procedure. Where C / (N D) bends, the other two forecast by the
// effective compute (effective_compute.h), and frontier first moves every run to what C / (N D) as
// counted gives its budget (frontier_estimate.h). Uncertainty: every budget is resampled, its
// parabola refitted, and the laws refitted through the new minima, so the errors of both steps are
// carried; the envelope resamples whole runs (a minimum is never below that of the data, so its
// intervals lean upwards). The range of E is the union of its profile and bootstrap intervals, and
// the frontier's intervals are never narrower than what moving E over that range does to the
// forecast.
#pragma once

#include <memory>

#include "fit/law.h"

namespace fit {

std::unique_ptr<Law> MakeIsoflopModel();
std::unique_ptr<Law> MakeFrontierModel();
std::unique_ptr<Law> MakeEnvelopeModel();

}  // namespace fit
