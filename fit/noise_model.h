// How the scatter of single runs changes with compute:
//   sd(ln L) = s (C / C0)^gamma,   C0 the geometric mean of the runs' C
// From repeats (runs of equal C, N and D) where there are at least 8 of them at 3 or more C, else
// from the residuals of a fit; by least squares of ln|r| on ln C, which a few wild runs cannot move
// much. The level is set so that it fits normal residuals, whose mean ln|r| lies 0.635 below ln sd.
// Weights: a run's share in a squared loss is 1/sd^2, in an absolute or Huber one (with delta far
// inside the noise) 1/sd: the likelihoods of Gauss and Laplace. They are scaled to a mean of 1.
// **Source:** the variance function estimation of Davidian and Carroll 1987, section 3.
#pragma once

#include <optional>
#include <vector>

#include "fit/loss_spec.h"
#include "fit/observation.h"

namespace fit {

struct NoiseModel {
  double log_sd = 0;  // ln s
  double gamma = 0, gamma_se = 0;
  double log_flops = 0;                          // ln C0
  double smallest_flops = 0, largest_flops = 0;  // of the runs
  size_t n = 0;
  bool repeats = false;

  // Held at its value at the ends of the runs' range beyond them: that noise goes on falling is a
  // guess.
  double Sd(double flops) const;
};

// `residuals`: ln L - ln Lhat, one a run. nullopt with fewer than 8 different from 0, or one C
// alone.
std::optional<NoiseModel> FitNoiseModel(const std::vector<Observation>& observations,
                                        const std::vector<double>& residuals);

std::vector<double> NoiseWeights(const NoiseModel& model,
                                 const std::vector<Observation>& observations, LossKind loss);

}  // namespace fit
