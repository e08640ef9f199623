// Approach 2, first step: at each budget, the model size of least loss, from a parabola
//   L = L* + a (x - x*)^2,   x = ln N or ln D,
// or another curve of isoflop_curve.h.
// A minimum that the data do not contain is refused, never extrapolated: the status says why.
// **Source:** Hoffmann et al. 2022 (arXiv:2203.15556), section 3.2; Marin's procedure
// (reference/delphi.md section 8), whose Huber(1) fit in log10 D is ordinary least squares. The
// parabola's bias on asymmetric curves: arXiv:2603.22339 (hence the optional window).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fit/isoflop_curve.h"
#include "fit/observation.h"

namespace fit {

enum class IsoflopAxis { kParams, kTokens };

struct IsoflopOptions {
  IsoflopAxis axis = IsoflopAxis::kParams;
  IsoflopCurve curve = IsoflopCurve::kParabola;
  int window = 0;                // 0: all points; k: the lowest point and k neighbours on each side
  double flat_tolerance = 1e-3;  // relative loss above the optimum that counts as equally good
};

struct IsoflopPoint {
  double log_params = 0, log_tokens = 0, loss = 0;
  double log_params_se = 0;  // of an optimum; 0: unknown
};

struct IsoflopGroup {
  double budget_flops = 0;
  std::vector<IsoflopPoint> points;
  std::vector<size_t> members;  // index of each point among the observations
};

// How budgets were told apart, stated in every result.
enum class BudgetGrouping {
  kNominal,     // the budget_flops column
  kEqualFlops,  // no such column, but the flops repeat exactly: they are nominal themselves
  kBuckets,     // realised flops in buckets 1.1^round(ln C / ln 1.1), each represented by the
                // geometric mean of its members
};
std::string_view Text(BudgetGrouping grouping);

struct IsoflopGroups {
  BudgetGrouping grouping = BudgetGrouping::kNominal;
  std::vector<IsoflopGroup> groups;  // by rising budget
};

// Rows without a nominal budget send the whole set to the fall-backs. Cannot fail.
IsoflopGroups GroupByBudget(const std::vector<Observation>& observations);

// The lowest loss that was reached by more than one lucky or mistyped run: the least of the
// budgets' second lowest losses, or of the lowest where a budget has fewer than three runs, and
// never below the second lowest of all runs where there are three.
// REQUIRES: one observation at least.
double LowestLoss(const std::vector<Observation>& observations);

enum class MinimumStatus {
  kInterior,        // usable
  kEdge,            // vertex outside the sampled sizes: widen the range
  kWrongCurvature,  // a <= 0: a maximum or a line
  kTooFewPoints,    // fewer sizes that differ by more than 0.1 % than the curve needs
};
std::string_view Text(MinimumStatus status);

struct IsoflopMinimum {
  double budget_flops = 0;
  MinimumStatus status = MinimumStatus::kTooFewPoints;
  std::string reason;    // for people; empty for kInterior
  int points = 0;        // points in the parabola
  int coefficients = 3;  // that the residuals paid for
  double curvature = 0;  // a, nats per (ln x)^2; times (ln 10)^2 for the coefficient in log10
  // The optimum; 0 unless kInterior. The coordinate that was not the axis is read off the budget's
  // own runs by interpolation of ln D against ln N, so that no FLOP formula is assumed.
  double params = 0, tokens = 0, loss = 0;
  // Sizes whose fitted loss is within flat_tolerance of the optimum, clipped to the sampled range.
  double flat_params_lo = 0, flat_params_hi = 0, flat_tokens_lo = 0, flat_tokens_hi = 0;
  // Per point of the group: fitted value and residual L - fitted; only where `in_window`.
  std::vector<double> fitted, residuals;
  std::vector<bool> in_window;

  bool ok() const { return status == MinimumStatus::kInterior; }
};

// `weights`: multiplicity of each point (a bootstrap resample), empty for all ones. The sampled
// range is that of all points of the group, whatever their weight. Thread-safe.
IsoflopMinimum FitMinimum(const IsoflopGroup& group, const IsoflopOptions& options,
                          const std::vector<double>& weights = {});

}  // namespace fit
