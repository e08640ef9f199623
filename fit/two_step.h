// From model and data to a benchmark in two steps, with the errors of both:
//   soft metric = law(N, D)          a loss surface on the task's bits per byte
//   hard metric = curve(soft)        accuracy or error, by a curve of curve.h
// Both are refitted in every bootstrap resample of whole runs, so that an error of the first step
// goes through the second, and a scatter about the curve is added.
// **Source:** Bhagia et al. 2024 (arXiv:2412.04403), sections 3 and 4.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/bootstrap.h"
#include "fit/equation_fit.h"
#include "fit/surface_law.h"

namespace fit {

// What is fitted. `run` names the run (0, 1, ...) that a point comes from; the points of one run
// are resampled together.
struct TwoStepData {
  std::vector<FitPoint> soft;  // x as of a surface, y the soft metric, > 0
  std::vector<size_t> soft_run;
  std::vector<FitPoint> pairs;  // x[0] the soft metric, y the hard one
  std::vector<size_t> pair_run;
  // A pair that is known without a run, such as (0, 1): a perfect model. Never resampled.
  std::vector<FitPoint> known;
};

struct TwoStepOptions {
  LossSpec soft;    // of the first step; the second is least squares on the hard metric
  int starts = 32;  // of each
  BootstrapOptions bootstrap;
};

struct HardForecast {
  double soft = 0, hard = 0;
  Interval interval;  // of the hard metric of one run, kind prediction; NaN without a bootstrap
  // Why the hard number must not be used; empty when it may. The pool does not span the middle of
  // the curve: its steepness and its floor are then guesses.
  std::string abstains;
};

class TwoStep {
 public:
  // `law` and `curve` live for ever. FAILED_PRECONDITION when there are fewer points than constants
  // or no start converges. REQUIRES: finite numbers, sizes that agree.
  static absl::StatusOr<TwoStep> Fit(const SurfaceLaw& law, const Equation& curve,
                                     const TwoStepData& data, const TwoStepOptions& options);

  HardForecast At(const Inputs& x) const;
  const EquationFit& soft() const { return soft_; }
  const EquationFit& hard() const { return hard_; }

 private:
  struct Draw {
    std::vector<double> soft, hard;
  };
  TwoStep(const SurfaceLaw& law, const Equation& curve) : law_(&law), curve_(&curve) {}

  const SurfaceLaw* law_;
  const Equation* curve_;
  EquationFit soft_, hard_;
  std::vector<Draw> draws_;
  std::vector<double> noise_;  // of the hard metric about the curve
  BootstrapOptions bootstrap_;
  double lowest_ = 0, highest_ = 0;  // soft metric of the pool
};

}  // namespace fit
