// What a set of plans will need, before anything has run. Estimates, and labelled as such wherever
// they are printed: the trainer's memory plan and the scheduler's measured throughput replace them.
#pragma once

#include <cstdint>
#include <vector>

#include "recipes/plan.h"

namespace sweeps {

// Bytes a trainer needs for one plan: 16 a parameter (f32 weights, gradients, two moments; 2 more
// for the bf16 copy) and the saved activations of the largest microbatch of at most 16,384 tokens
// (at least one sequence): per token and layer 2 residuals, 2 norms, q, k, v, the attention's
// output, gate, up and their product; logits in chunks of 1,024 tokens.
double EstimateMemoryBytes(const recipes::Plan& plan);

// Passes over each source that the plan makes: tokens * weight share / tokens of the source, in the
// order of plan.data.sources; NaN for a source that is not prepared.
std::vector<double> EpochsOfSources(const recipes::Plan& plan);

struct Cost {
  double recipe_flops = 0, model_flops = 0;
  int64_t tokens = 0;
  double seconds = 0;  // on one device, one trial after the other
  double dollars = 0;
};

// Sums over plans. model_flops_per_second: what the device reaches on this work (peak * MFU); 0
// leaves seconds and dollars 0. dollars_per_hour: price of that device.
Cost EstimateCost(const std::vector<const recipes::Plan*>& plans, double model_flops_per_second,
                  double dollars_per_hour);

}  // namespace sweeps
