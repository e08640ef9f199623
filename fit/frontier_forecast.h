// What a fitted frontier says of a target: the optimum of a budget and its loss, or a run off that
// optimum, with intervals from the resamples and the range of E.
#pragma once

#include <optional>

#include "fit/frontier_estimate.h"

namespace fit {

// nullopt where the estimate knows no losses.
std::optional<Forecast> ForecastOf(const FrontierEstimate& estimate, const RunTarget& target);

// L* at `flops`, of the laws or of resample number `resample`; NaN where no losses are known.
double LossAt(const FrontierEstimate& estimate, double flops, std::optional<size_t> resample);

// The forecast at `flops` beside what came; nullopt where no losses are known.
std::optional<TestPoint> TestAt(const FrontierEstimate& estimate, double flops, double actual);

// Forecasts of the optimum of every later budget that has one.
std::vector<TestPoint> TestOptima(const FrontierEstimate& estimate,
                                  const std::vector<Observation>& later);

}  // namespace fit
