// Observations drawn from a known Chinchilla surface on an IsoFLOP design.
#pragma once

#include <cmath>
#include <vector>

#include "core/rng.h"
#include "fit/chinchilla.h"
#include "fit/observation.h"

namespace fit {

struct Planted {
  std::vector<double> theta = {std::log(482.), std::log(2085.), 1.817, .3478, .3658};
  std::vector<double> budgets = {1e18, 3e18, 1e19, 3e19, 1e20, 3e20};
  int points = 8;
  double noise = 0;  // of ln L, one standard deviation
  double width = 3;  // of the sizes at one budget, in ln N
  double shift = 0;  // of their centre from the optimum, in ln N

  double Loss(double params, double tokens) const {
    return ChinchillaLaw().Loss(theta.data(), std::log(params), std::log(tokens));
  }
  Optimum Best(double flops) const { return ChinchillaLaw().ComputeOptimal(theta, flops, 6); }

  std::vector<Observation> Draw(uint64_t seed = 1) const {
    core::Rng rng(seed);
    std::vector<Observation> runs;
    for (const double budget : budgets)
      for (int i = 0; i < points; ++i) {
        Observation o;
        o.flops = o.budget_flops = budget;
        const double offset = points > 1 ? (i - 0.5 * (points - 1)) * width / (points - 1) : 0;
        o.params = Best(budget).params * std::exp(shift + offset);
        o.tokens = budget / 6 / o.params;
        o.loss = Loss(o.params, o.tokens) * std::exp(noise * rng.Normal());
        o.cohort = {{"metric", "planted"}};
        runs.push_back(o);
      }
    return runs;
  }
};

}  // namespace fit
