// What a fitted surface says of a target: the compute-optimal model of a budget, or a run at its
// own N and D, with intervals from the resamples and the range of E.
#pragma once

#include <optional>

#include "fit/surface_fit.h"

namespace fit {

// The compute-optimal model at `flops` by the constants `theta`, under the options' relation of N,
// D and C and their limit of unique tokens.
Optimum OptimumOf(const SurfaceFit& fit, const std::vector<double>& theta, double flops);

// nullopt when the law has no optimum at the target's FLOPs.
std::optional<Forecast> ForecastOf(const SurfaceFit& fit, const RunTarget& target);

// The forecast of a run that is already there, at its own N, D and unique tokens.
TestPoint TestOf(const SurfaceFit& fit, const Observation& run);

}  // namespace fit
