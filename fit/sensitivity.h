// How much a forecast hangs on choices that a careful reader would question: the smallest budgets
// (exponents drift with scale), points where a recipe limit bit, which parameters N counts, how
// FLOPs are counted. Each is a refit of a law and the change of its forecast and of its exponents.
#pragma once

#include <string>
#include <vector>

#include "fit/law.h"

namespace fit {

struct Sensitivity {
  std::string change;  // "without the smallest budget 1e+18 (8 runs)"
  std::string law;
  double flops = 0;                  // target; 0: only the constants are compared
  double loss = 0, loss_before = 0;  // of the changed and of the reported fit; 0 without a target
  NamedValues exponents;             // of the changed fit: the constants without a unit
  NamedValues exponents_before;
  // Why there is nothing to compare: the change touches nothing that this law uses, or
  std::string not_applicable;
  std::string failed;  // the changed data could not be fitted. Nothing else is set then.
};

// Sensitivity::change of a refit without `runs` clamped runs.
std::string WithoutClamped(size_t runs);
// The same without outlying runs (outliers.h).
std::string WithoutOutliers(size_t runs);

// For every law of `fits` but isoflop (frontier refits the same optima):
//   without the smallest budget (of approach 2: up to the smallest that it uses; where runs have no
//     budgets: what lies within a factor of 2 of the smallest C), where enough is left
//   with N without embeddings, where every run says it and N differs
//   with C = 6 N D, and with C / (N D) held beyond the largest model counted, where they differ
//   without the runs where a limit of the recipe bit
//   without outlying runs
// And for an average among `forecasts`: its laws refitted, their weights held. Forecasts at each of
// `targets`. Deterministic; cost: one fit without bootstrap a law and change.
std::vector<Sensitivity> Sensitivities(const std::vector<const Law*>& laws,
                                       const std::vector<const FittedLaw*>& fits,
                                       const std::vector<Observation>& observations,
                                       const LawOptions& options,
                                       const std::vector<RunTarget>& targets,
                                       const std::vector<Forecast>& forecasts);

}  // namespace fit
