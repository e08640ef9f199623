// Which runs determine a forecast, from a prior and before any of them is trained. Linear theory:
//   M = sum over shapes of w g g',   g = d ln L / d theta at the shape,
//   w = 1 / (h (shape^2 + seed^2 / repeats)),
//   variance of ln L at a target: g_t' M^-1 g_t, and the scatter of the target's own run on top,
// with h the variance of Huber's estimator over that of least squares under normal noise. `fit`
// widens intervals out of range, so the half-width here is multiplied by what calibration.h applies
// to a surface before it has learned anything. V-optimal runs make this half-width small, D-optimal
// runs make det M large.
//
// Linear theory takes the law for exact and E for unbounded, and knows nothing of the average over
// laws: it ranks designs in microseconds. What `fit` will print is simulated (power.h).
// **Source:** Fedorov 1972 (V- and D-optimality, exchange); Huber 1964 for h; for scaling laws
// arXiv:2604.22753 and arXiv:2605.08541 (reference/fitting.md, section 4.15).
#pragma once

#include <vector>

#include "fit/prior.h"

namespace fit {

// A shape to be trained, `repeats` times with different seeds.
struct PlannedRun {
  double flops = 0;         // of one run, in the recipe's convention; > 0
  double budget_flops = 0;  // nominal
  double params = 0, tokens = 0;
  int repeats = 1;
};

// What is to be forecast. Without params and tokens: the prior's optimum under C = 6 N D.
struct PowerTarget {
  double flops = 0;
  double params = 0, tokens = 0;
};

// Half the width of the prediction interval at the target, relative to the loss; averaged over the
// prior's draws. Infinity where the runs do not determine the law. REQUIRES: noise above 0.
double LinearHalfWidth(const Prior& prior, const std::vector<PlannedRun>& runs,
                       const PowerTarget& target, double level);

// Condition number of J'J of the runs at the prior's best guess, as LawFit::condition counts it.
double DesignCondition(const Prior& prior, const std::vector<PlannedRun>& runs);

// Half-widths above this are beyond linear theory: they still rank designs, and are no widths.
constexpr double kLinearUpTo = 0.5;

enum class Criterion { kV, kD };

struct ChooseOptions {
  Criterion criterion = Criterion::kV;
  double max_flops = 0;  // of all chosen runs together; > 0
  int max_runs = 30;
  double level = 0.9;
};

struct ChosenRun {
  size_t candidate = 0;  // index among the candidates; again: another seed
  // Linear, with this run and those before it: of the prediction interval at ChooseOptions::level,
  // relative to the loss, geometric mean over targets and draws.
  double half_width = 0;
  double log_det_gain = 0;     // of M, by this run after those before it
  double shrink_per_flop = 0;  // fall of ln(half-width) by this run, over its FLOPs
};

struct RunChoice {
  std::vector<ChosenRun> runs;  // by falling shrink_per_flop, each after those before it
  double half_width_before = 0, half_width_after = 0;  // as in ChosenRun
  double flops = 0;
  int exchanges = 0;  // swaps that improved on the greedy choice
};

// Runs to add to `known` within max_flops: greedy by gain per FLOP and greedy by gain, each
// improved by exchanging one chosen run for another until none helps; the better of both. A
// candidate may be chosen again, and one that has known runs is a repeat of them. Candidates'
// `repeats` are ignored. Draws of the prior that `known` does not determine are left out; with none
// left the choice starts from the first draw and a trace of regularisation. Deterministic. Empty
// when nothing is affordable. REQUIRES: targets not empty, noise above 0.
RunChoice ChooseRuns(const Prior& prior, const std::vector<PlannedRun>& known,
                     const std::vector<PlannedRun>& candidates,
                     const std::vector<PowerTarget>& targets, const ChooseOptions& options);

}  // namespace fit
