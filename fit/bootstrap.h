// Uncertainty by resampling. A resample is a pure function of (seed, its number), so results do
// not depend on how many threads shared the work.
// **Source:** Efron and Tibshirani 1993; percentiles of refits as in Besiroglu et al. 2024
// (arXiv:2404.10102), section 3.2.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "fit/isoflop.h"
#include "fit/warnings.h"

namespace fit {

// What an interval is about:
//   parameter   a constant of the law
//   mean        the law's value at a target, the loss an average run would reach
//   prediction  the loss one run will reach: the mean and the scatter of single runs
enum class IntervalKind { kParameter, kMean, kPrediction };
std::string_view Name(IntervalKind kind);

struct Interval {
  double lo = 0, hi = 0;
  double level = 0;  // nominal coverage, e.g. 0.9
  IntervalKind kind = IntervalKind::kParameter;
  std::string method;  // "case bootstrap", "residual bootstrap within budgets", ...
};

struct BootstrapOptions {
  int resamples = 400;  // 0 switches every bootstrap interval off
  uint64_t seed = 0;
  int threads = 2;
  double level = 0.9;
};

// Statistics of the resamples that could be fitted, in memory that does not grow with their number:
// the first 16,384 are kept row after row, later ones are only counted, column by column, between
// the sorted values of those kept. So constants know every resample, and whatever is derived from
// whole rows (a forecast) knows 16,384, an error of .2 % in the rank of a 5 % quantile. NaN marks a
// single statistic that a resample did not yield.
struct BootstrapDraws {
  size_t width = 0;  // statistics of a row
  std::vector<double> values;
  int failed = 0;    // resamples that could not be fitted at all
  int counted = 0;   // fitted ones beyond the rows kept
  size_t drawn = 0;  // resamples that the rows kept are from, those that could not be fitted too

  size_t size() const { return width == 0 ? 0 : values.size() / width; }
  bool empty() const { return values.empty(); }
  const double* row(size_t i) const { return values.data() + i * width; }
  std::vector<double> Row(size_t i) const { return {row(i), row(i) + width}; }
  double FailedShare() const;
  // Finite values of a column of the rows kept.
  std::vector<double> Column(size_t index) const;
  // Percentile interval of a column over all resamples, as PercentileInterval of their values.
  Interval Percentiles(size_t index, double level, IntervalKind kind,
                       std::string_view method) const;

  // By column, where resamples were counted: the sorted finite values kept, and how many later ones
  // lie below the first, between neighbours, and above the last.
  std::vector<std::vector<double>> knots;
  std::vector<std::vector<uint32_t>> between;
};

// Calls `one` for every resample with a generator of its own and its number; it fills the row with
// `width` numbers or returns false. `one` runs on several threads at once.
using Resample = std::function<bool(core::Rng& rng, int number, std::vector<double>& row)>;
BootstrapDraws RunBootstrap(const BootstrapOptions& options, size_t width, const Resample& one);

// Whether percentiles of what `given` of the `tried` resamples gave are an interval: at least half
// of them, and 20. Fewer are a selection, the resamples that the data happened to allow, and say
// less than all would about how a value scatters.
bool EnoughResamples(size_t given, size_t tried);

// Percentile interval of the values that `tried` resamples gave, `each` a resample, NaN not among
// them; lo = hi = NaN where those are not EnoughResamples.
Interval PercentileInterval(const std::vector<double>& values, size_t tried, double level,
                            IntervalKind kind, std::string_view method, size_t each = 1);

// What must be said of resamples that could not be fitted: bootstrap-failures, and no-interval
// where too few are left.
std::vector<Warning> WarningsOfResamples(const BootstrapDraws& draws);

// Multiplicities of a case bootstrap of n points.
std::vector<double> CaseWeights(core::Rng& rng, size_t n);
// Whole clusters at a time: cluster[i] names the cluster of point i, in 0 .. clusters-1.
std::vector<double> ClusterWeights(core::Rng& rng, const std::vector<size_t>& cluster,
                                   size_t clusters);

// How the runs of one budget are resampled. Residuals keep the designed sizes and redraw only the
// noise; cases redraw runs.
enum class WithinBudget { kResiduals, kCases };

// Relative residuals of all interior curves with more points than coefficients k, each widened by
// sqrt(n/(n-k)) for them.
std::vector<double> PooledResiduals(const std::vector<IsoflopMinimum>& minima);

// One resample of a group whose parabola is `minimum`: the group with redrawn losses, or the same
// group with multiplicities, which keeps the sampled range that decides about edge minima.
// kResiduals draws from the budget's own widened residuals when it has at least 8 points, else from
// `pool`: the residuals of 3 points are 0 and those of 4 one pattern, which would claim certainty.
struct GroupResample {
  IsoflopGroup group;
  std::vector<double> weights;
};
GroupResample ResampleGroup(core::Rng& rng, const IsoflopGroup& group,
                            const IsoflopMinimum& minimum, const std::vector<double>& pool,
                            WithinBudget method);

}  // namespace fit
