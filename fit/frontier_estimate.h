// Approaches 1 and 2 fitted to runs: the optima, the laws through them, what single runs scatter,
// the resamples, and the range of E. Numbers only; frontier_forecast.h asks it about targets,
// frontier_findings.h says what is to be thought of it.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "fit/curve_bias.h"
#include "fit/envelope.h"
#include "fit/frontier.h"
#include "fit/law.h"

namespace fit {

// isoflop: how the optimum moves; frontier: its loss too; envelope: both, from the lower envelope
// of all runs instead of the minima of budgets.
enum class FrontierKind { kIsoflop, kFrontier, kEnvelope };
constexpr std::string_view Text(FrontierKind kind) {
  return kind == FrontierKind::kIsoflop    ? "isoflop"
         : kind == FrontierKind::kFrontier ? "frontier"
                                           : "envelope";
}

struct FrontierEstimate {
  FrontierKind kind = FrontierKind::kFrontier;
  LawOptions options;
  AsymptoticOptions asymptotic;
  std::vector<Observation> observations;  // envelope
  std::vector<RunRows> runs;
  std::vector<EnvelopePoint> envelope;
  // isoflop and frontier; moved onto the relation where runs do not all spend what it says: a run
  // of N and D at a budget C has the loss that N and C / (k(N) N) tokens would have had.
  std::vector<IsoflopGroup> groups;
  double moved = 0;  // root mean square of what that changed in ln L
  FrontierFit laws;
  // Of ln N* and of ln D*, by budget, where budgets do not weigh alike; empty: all alike.
  std::array<std::map<double, double>, 2> budget_weights;
  std::optional<AsymptoteProfile> profile;  // united with the resamples'
  // Of minima of budgets.
  std::optional<CurveBias> bias;
  std::vector<double> pool;   // relative residuals of the parabolas
  std::vector<double> noise;  // of single runs around the forecast, as ln L - ln Lhat
  // One row a resample (frontier_bootstrap.h).
  BootstrapDraws draws;
  // Of the first resamples, whether laws go through them or not: N*, D*, L* of each budget, NaN:
  // none.
  std::vector<double> minima;

  bool with_loss() const { return kind != FrontierKind::kIsoflop; }
  size_t budgets() const;      // with different C that the laws go through
  std::string Method() const;  // of the resamples, for people
  // REQUIRES: profile.
  Interval AsymptoteInterval() const;
  // Finite values of a statistic of the budgets' minima, 3 * budget + 0, 1, 2 for N*, D*, L*.
  std::vector<double> Minima(size_t index) const;
  size_t minima_drawn() const { return groups.empty() ? 0 : minima.size() / (3 * groups.size()); }
};

// The minima of `groups` under multiplicities of their points, and the laws through them, budgets
// weighing as the estimate says.
FrontierFit LawsThrough(const FrontierEstimate& estimate, const std::vector<IsoflopGroup>& groups,
                        const std::vector<std::vector<double>>& weights);

// The groups moved onto the relation by the loss law of `laws`, whose slope in ln C at a budget is
// that of L in ln D, at the optimum exactly and elsewhere nearly. `rms`, if not null: as
// FrontierEstimate::moved.
std::vector<IsoflopGroup> MovedOntoRelation(const FrontierFit& laws,
                                            std::vector<IsoflopGroup> groups, double* rms);

// FAILED_PRECONDITION when too few budgets have a minimum; the message says why they have none.
// Deterministic. REQUIRES: valid observations, not empty.
absl::StatusOr<FrontierEstimate> EstimateFrontier(FrontierKind kind, const LawOptions& options,
                                                  const std::vector<Observation>& observations);

}  // namespace fit
