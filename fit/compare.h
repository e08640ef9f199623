// How much better is cohort B than cohort A, in compute?
//   CM(C) = C_A(L_B(C)) / C
// L_B(C)  the loss of B's compute-optimal frontier at C training FLOPs
// C_A(L)  the compute at which A's frontier reaches the loss L
// CM = 2: A needs twice the compute for what B reaches at C; CM < 1: A is better. It depends on C
// where the frontiers are not parallel, so there is its trend, and the compute where they cross.
//
// Both cohorts are fitted with the same laws. ln CM of a law comes from its two frontiers, its
// resamples from resample i of A against resample i of B, drawn independently (the runs are
// different runs); resamples are stretched to the forecasts' intervals (frontier_curve.h). Laws are
// averaged with weights 1 / (1/w_A + 1/w_B), w those of the cohort's own average (average.h) at its
// largest fitted budget, and their resamples pooled, so that laws that disagree make the interval
// wide. One set of weights for all C: with others at every C the trend would be that of the weights
// too, which no resample has, and it is where the runs are that both cohorts' laws can be judged.
// A law's frontier is its own fit's, not its average over the profile, which has no resamples.
//
// Far beyond the runs the interval of CM is wider than estimates scatter: each cohort's forecast is
// widened there by its range of E and by what laws of its form have missed (calibration.h), and the
// draws of both are stretched to that independently, though an error of the form that both share
// moves both frontiers alike and cancels in CM. How much they share is not known; the interval
// counts both in full and errs on the wide side, and says so where either reach is above 10.
// **Source:** effective-compute comparisons as in Hoffmann et al. 2022 (figure 3) and marin issue
// 8096, which asks for an interval; pooling as in fit/average.h.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/comparable.h"
#include "fit/fit.h"

namespace fit {

struct ComparedCohort {
  std::string name;
  std::vector<Observation> observations;
  std::vector<Exclusion> excluded;
  double spent_flops = 0;  // 0: the sum over observations
};

struct CompareOptions {
  // Laws, resamples, level, seed, allow_mixed; B is resampled with another seed than A. predict and
  // sensitivity are not used.
  FitOptions fit;
  std::vector<double> at;            // C of B; empty: the largest at which nothing is extrapolated
  std::vector<std::string> factors;  // cohort keys that may differ (comparable.h)
};

// CM at one C. Ends of an interval may be 0 or infinity: A reaches that loss at no compute within
// six decades of its runs, or at any.
struct Multiplier {
  double flops = 0;                 // C
  double loss = 0;                  // L_B(C)
  double value = 0;                 // CM; infinity: A does not reach the loss
  double equivalent_flops = 0;      // C_A(L_B(C)) = CM C
  Interval interval;                // of CM; kind mean
  double reach_a = 0, reach_b = 0;  // C_A and C, by the largest fitted budget of A and of B
  std::vector<std::pair<std::string, double>> by_law;
  std::vector<Warning> warnings;  // outside-range, no-interval, laws-disagree
};

// CM is multiplied by `factor` with every decade of C, between lo and hi: the range of C in which
// both frontiers lie inside their fitted budgets. 1: the advantage neither grows nor shrinks.
struct Trend {
  double lo_flops = 0, hi_flops = 0;
  double factor = 1;  // exp of the least-squares slope of ln CM per decade
  Interval interval;  // of the factor; kind mean
};

// One change of sign of ln CM.
struct Crossing {
  double flops = 0;
  bool extrapolated = false;  // it lies outside the range of the trend
  // Of the resamples, weighed as the laws: those with a crossing the same way that is nearer to
  // this one than to the fit's others.
  double share = 0;
  std::string better_below, better_above;  // names of cohorts: beside it, up to the next one
};

// Where the frontiers cross: ln CM changes its sign, which it may do more than once. The first to
// be named is the lowest in the range of the trend; failing that the lowest above, then below.
struct Crossover {
  std::optional<double> flops;  // none found between lo and hi
  bool extrapolated = false;    // it lies outside the range of the trend
  // Of the crossing the same way, kind mean; 0 or infinity: not on this side of hi.
  Interval interval;
  // Of the resamples, weighed as the laws: those with a crossing in the range of the trend.
  double share_in_range = 0;
  double lo_flops = 0, hi_flops = 0;  // looked at: one decade below that range, two above
  // Names of cohorts on both sides of the crossing; without one both name the better at the end of
  // the range of the trend.
  std::string better_below, better_above;
  std::vector<Crossing> all;  // between lo and hi, ascending, `flops` among them
};

// The cheapest single run, or the fewest repetitions of it, after which CM's interval at `flops`
// would leave 1 out with a tenth to spare, if the estimate stays where it is: half_width_after is
// at most kDecidingMargin times the estimate's distance from 1, both in ln CM. Without the margin
// the cheapest run sits on its threshold, and the smallest miss of the promise leaves the question
// open. A linear-Gaussian update of the resamples:
//   Var(q | run) = Var(q) - Cov(q, y)^2 / (Var(y) + s^2 / n)
// q = ln CM, y = ln L of the cohort's frontier at the run's compute, s the scatter of single runs,
// n repetitions. The run is compute-optimal by the first of Comparison::laws, without the known
// bias of approach 2 (curve_bias.h). It knows nothing of a law that is wrong.
constexpr double kDecidingMargin = 0.9;

struct DecidingRun {
  double flops = 0;      // of the question: the first of CompareOptions::at that is open
  bool decided = false;  // the interval leaves 1 out already; nothing else is set
  bool found = false;    // the runs below decide; otherwise they are the most telling ones
  std::string why_none;  // no estimate: why; nothing else is set
  std::string cohort;
  double run_flops = 0, params = 0, tokens = 0;
  int runs = 0;
  // Of the interval of ln CM (kind mean) at `level`, on the side of 1.
  double half_width = 0, half_width_after = 0, level = 0.9;
};

struct Comparison {
  std::string a, b;
  Comparability comparability;  // reasons not empty: nothing below is set but the fits
  FitSummary fit_a, fit_b;
  std::vector<std::pair<std::string, double>> laws;  // with weights; sum 1
  std::vector<Multiplier> multipliers;
  Trend trend;
  Crossover crossover;
  DecidingRun deciding;
  std::vector<Warning> warnings;  // of comparability, and of both fits with their cohort's name
};

// Errors are those of RunFit for one of the cohorts, with its name. Cohorts that cannot be compared
// are a result, not an error: reasons say why, among them losses that do not overlap, no law that
// both determine, and cohorts of the very same runs. Deterministic.
absl::StatusOr<Comparison> Compare(const ComparedCohort& a, const ComparedCohort& b,
                                   const CompareOptions& options);

}  // namespace fit
