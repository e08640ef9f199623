// From model and data to a benchmark in two steps, with the errors of both:
//   soft metric = law(x)             a loss surface in (N, D), or a curve in C, on the task's bits
//   per byte hard metric = curve(soft)        accuracy or error, by a curve of curve.h
// Both are refitted in every bootstrap resample of whole runs, and the scatter of single runs about
// each is added, so that an error of the first step goes through the second. The first step's
// interval is widened for reach by what past forecasts needed (calibration.h) and united with what
// the range of its E does to it; the resamples are stretched to it before they go through the
// curve. The hard interval then covers what the other curves that the pairs do not rule out make of
// the soft one (curve_family.h), the curve without the pair of a perfect model among them, and is
// widened by what past forecasts of the hard metric needed.
// A forecast abstains where the runs do not identify it; HardForecast::abstains states the rule.
// **Source:** Bhagia et al. 2024 (arXiv:2412.04403), sections 3 and 4; the abstention is ours.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/bootstrap.h"
#include "fit/calibration.h"
#include "fit/checkpoints.h"
#include "fit/curve_family.h"
#include "fit/equation_fit.h"

namespace fit {

// What is fitted. `run` names the run (0, 1, ...) that a point comes from; the points of one run
// are resampled together.
struct TwoStepData {
  std::vector<FitPoint> soft;  // x of the law, y the soft metric, > 0
  std::vector<size_t> soft_run;
  std::vector<FitPoint> pairs;  // x[0] the soft metric, y the hard one
  std::vector<size_t> pair_run;
  // A pair that is supposed without a run, such as (0, 1): a perfect model. Never resampled, and
  // left out where the runs contradict it (TwoStep::contradiction).
  std::vector<FitPoint> known;
};

// How a run's checkpoints become points: its soft metric is the mean over its last `average` rows;
// pairs are trailing means over as many rows, without the first `drop` of the run. A run of one row
// is that row.
struct CheckpointPolicy {
  double drop = 0.1;
  size_t average = 5;
};

// x of the first step: (ln N, ln D, ln U) or, `by_flops`, ln C. Runs without a hard metric join the
// first step only.
TwoStepData MakeTwoStepData(const std::vector<Observation>& observations,
                            const std::vector<RunRows>& runs, bool by_flops,
                            const CheckpointPolicy& policy);

struct TwoStepOptions {
  LossSpec soft;                 // of the first step; the second is least squares
  int starts = 32;               // of each
  std::optional<double> chance;  // holds the curve's floor
  // Forecasts also where no run has passed the curve's middle (HardForecast::assumes).
  bool beyond_middle = false;
  BootstrapOptions bootstrap;
};

struct HardForecast {
  double soft = 0, hard = 0;
  Interval soft_interval;  // of the soft metric of one run, kind prediction
  Interval interval;  // of the hard metric of one run, kind prediction; NaN without a bootstrap
  // The range of the law's E with the soft metric at its ends, and the hard one there.
  std::optional<AsymptoteSpan> asymptote;
  double hard_at_E_lo = 0, hard_at_E_hi = 0;
  // The soft interval before it was widened for reach: what E's range is held against.
  Interval soft_unwidened;
  // Why the hard number must not be used; empty when it may. The first of:
  //   no run lies above the curve's floor by 3 times the scatter about the curve
  //   the curve's middle, halfway from its floor to its value for a perfect model, lies beyond the
  //     best run, and so does the forecast, by more than 2 times the scatter of the soft metric:
  //     no run has seen how the rise ends. (A pool that lies beyond the middle has seen the end
  //     that larger models go to, so nothing abstains for want of its start.)
  //   the interval is wider than half of the way from the floor to the curve's other end
  std::string abstains;
  // The reason that `beyond_middle` overruled; empty where there was none.
  std::string assumes;
};

class TwoStep {
 public:
  // `law` and `curve` live for ever. FAILED_PRECONDITION when there are fewer points than constants
  // or no start converges. REQUIRES: finite numbers, sizes that agree.
  static absl::StatusOr<TwoStep> Fit(const Equation& law, const Equation& curve,
                                     const TwoStepData& given, const TwoStepOptions& options);

  // reach: C over the largest fitted run's, for what widens the soft and the hard interval (the
  // latter in the hard metric's own unit: TestPoints of exp(hard)); null: they stay as they are.
  HardForecast At(const Inputs& x, double reach = 1, const Calibration* soft = nullptr,
                  const Calibration* hard = nullptr) const;
  // The soft metric's forecast of a run by the resamples alone, which is what its widening learns
  // from.
  TestPoint TestSoft(const Inputs& x, double flops, double actual) const;
  const CurveFamily& family() const { return family_; }
  // What is said where the runs contradict the known pairs, which are then left out: an F test at
  // the 5 % level, of the curve's squares with and without them, with as many observations as runs
  // (checkpoints of one run share their errors). Empty where they do not.
  const std::string& contradiction() const { return contradiction_; }
  const EquationFit& soft() const { return soft_; }
  const EquationFit& hard() const { return hard_; }
  // The soft metric over the runs that the curve was fitted to.
  double lowest() const { return lowest_; }
  double highest() const { return highest_; }
  // Root mean square of the hard metric about the curve.
  double scatter() const;
  // 90 % intervals (or whatever the level) of the reported constants of each step; of E the profile
  // likelihood united with the bootstrap.
  std::vector<std::pair<std::string, Interval>> SoftIntervals() const;
  std::vector<std::pair<std::string, Interval>> HardIntervals() const;
  const BootstrapDraws& draws() const { return draws_; }

 private:
  TwoStep(const Equation& law, const Equation& curve) : law_(&law), curve_(&curve) {}
  // hard_ and family_; drops known pairs that the runs contradict.
  void FitCurve(const TwoStepOptions& options, TwoStepData* data);
  void FindRangeOfAsymptote(const TwoStepData& data, const LossSpec& loss);
  // Of the soft metric at `x`, and of its mean, by the resamples alone.
  struct Drawn {
    std::vector<double> means, values;  // one a resample; values with the noise of a run
  };
  Drawn DrawSoft(const Inputs& x) const;
  void Judge(HardForecast& forecast) const;  // sets abstains, assumes
  std::string NoRise(double floor) const;
  std::string BeyondMiddle(double floor, double soft) const;
  std::string TooWide(double floor, const Interval& interval) const;
  // The curve, held to [0, 1] as its metric is.
  double HardAt(double soft) const;
  // Halfway from the floor to the value at soft 0; nullopt where the curve does not get there.
  std::optional<double> Middle(double floor) const;
  std::vector<std::pair<std::string, Interval>> Intervals(const Equation& equation,
                                                          const EquationFit& step,
                                                          size_t offset) const;

  const Equation* law_;
  const Equation* curve_;
  EquationFit soft_, hard_;
  CurveFamily family_;
  std::string contradiction_;
  BootstrapDraws draws_;            // theta of the law, then of the curve
  std::vector<double> soft_noise_;  // ln soft - ln law
  std::vector<double> hard_noise_;  // hard - curve
  BootstrapOptions bootstrap_;
  double lowest_ = 0, highest_ = 0;
  // The range of E and the law refitted at its ends; empty without any.
  std::optional<Interval> asymptote_;
  std::vector<double> theta_E_lo_, theta_E_hi_;
  bool beyond_middle_ = false;
};

}  // namespace fit
