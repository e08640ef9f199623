// Planted sweeps of many kinds, for power analysis: laws, designs, noise and reach all vary.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/rng.h"
#include "fit/chinchilla.h"
#include "fit/power.h"
#include "fmt/format.h"

namespace fit {

struct PlantedPower {
  Prior prior;
  std::vector<PlannedRun> runs;
  std::vector<PowerTarget> targets;
  std::string text;
};

// Sweep `number`: a pure function of it.
inline PlantedPower DrawPlanted(int number) {
  core::Rng rng(4711, static_cast<uint64_t>(number));
  const auto pick = [&](double low, double high) { return low + rng.Uniform() * (high - low); };
  PlantedPower planted;
  // E, A, B, alpha, beta within the range of published fits (reference/fitting.md, section 2).
  const double alpha = pick(0.28, 0.45), beta = pick(0.28, 0.45), E = pick(1.4, 2.1);
  // Terms of one nat together at 1e19 FLOPs and 20 tokens a parameter.
  const double share = pick(0.35, 0.65), total = pick(0.7, 1.3);
  const double params = std::sqrt(1e19 / 120), tokens = 20 * params;
  planted.prior.law = &ChinchillaLaw();
  planted.prior.name = "planted";
  planted.prior.draws = {{std::log(share * total) + alpha * std::log(params),
                          std::log((1 - share) * total) + beta * std::log(tokens), E, alpha, beta}};
  const double noise = std::exp(pick(std::log(0.001), std::log(0.008)));
  planted.prior.noise = {noise * std::sqrt(0.8), noise * std::sqrt(0.2)};
  const int budgets = 4 + static_cast<int>(rng.Below(4)),
            points = 5 + static_cast<int>(rng.Below(6));
  const double ratio = rng.Below(2) == 0 ? 2.0 : std::sqrt(10.0);
  const double width = pick(1.8, 3.5), shift = pick(-0.2, 0.2);
  const double top = std::exp(pick(std::log(1e19), std::log(1e21)));
  const int seeds = 1 + static_cast<int>(rng.Below(2));
  for (int b = 0; b < budgets; ++b) {
    const double budget = top / std::pow(ratio, budgets - 1 - b);
    const Optimum best = ChinchillaLaw().ComputeOptimal(planted.prior.draws[0], budget, 6);
    for (int i = 0; i < points; ++i) {
      PlannedRun run;
      run.flops = run.budget_flops = budget;
      run.params = best.params * std::exp(shift + (i - 0.5 * (points - 1)) * width / (points - 1));
      run.tokens = budget / 6 / run.params;
      run.repeats = seeds;
      planted.runs.push_back(run);
    }
  }
  const double reach = std::exp(pick(std::log(2.0), std::log(100.0)));
  planted.targets = {{top * reach, 0, 0}};
  planted.text = fmt::format("{}x{}x{} ratio {:.1f} noise {:.2f}% reach {:.0f}", budgets, points,
                             seeds, ratio, 100 * noise, reach);
  return planted;
}

}  // namespace fit
