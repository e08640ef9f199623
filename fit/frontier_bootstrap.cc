#include "fit/frontier_bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "fit/stats.h"

namespace fit {
namespace {

// Budgets a resample of ready-made optima must keep apart, as in Delphi's bootstrap
// (reference/delphi.md section 9).
constexpr size_t kDistinctOptima = 4;
// The minima of the budgets are kept for so many resamples: their intervals need no more.
constexpr int kMinimaKept = 8192;

const double kNaN = std::numeric_limits<double>::quiet_NaN();

FrontierFit OneResample(const FrontierEstimate& estimate, core::Rng& rng) {
  if (estimate.kind == FrontierKind::kEnvelope)
    return FitEnvelope(
        LowerEnvelope(estimate.observations, estimate.runs, CaseWeights(rng, estimate.runs.size())),
        estimate.asymptotic);
  std::vector<IsoflopGroup> groups = estimate.groups;
  std::vector<std::vector<double>> weights(groups.size());
  if (estimate.options.observations_are_optima) {
    const std::vector<double> drawn = CaseWeights(rng, groups.size());
    for (size_t g = 0; g < groups.size(); ++g) weights[g].assign(groups[g].points.size(), drawn[g]);
  } else {
    for (size_t g = 0; g < groups.size(); ++g) {
      GroupResample resample = ResampleGroup(rng, estimate.groups[g], estimate.laws.minima[g],
                                             estimate.pool, estimate.options.within_budget);
      groups[g] = std::move(resample.group);
      weights[g] = std::move(resample.weights);
    }
  }
  return LawsThrough(estimate, groups, weights);
}

}  // namespace

FrontierFit LawsOf(const FrontierEstimate& estimate, size_t resample) {
  const double* c = estimate.draws.row(resample);
  FrontierFit laws;
  laws.relation = estimate.laws.relation;
  laws.params_law = PowerLaw{c[kLogAN], c[kAlphaN]};
  laws.tokens_law = PowerLaw{c[kLogAD], c[kAlphaD]};
  if (std::isfinite(c[kH])) laws.sizes = OptimalSizes{c[kLogG], c[kAlpha], c[kH]};
  laws.loss_law.emplace();
  laws.loss_law->E = c[kE], laws.loss_law->A = c[kA], laws.loss_law->p = c[kP];
  return laws;
}

void ResampleFrontier(FrontierEstimate& estimate) {
  const LawOptions& options = estimate.options;
  // Without a single residual every resample would equal the data: no interval is the truth.
  if (estimate.kind != FrontierKind::kEnvelope && !options.observations_are_optima &&
      estimate.pool.empty() && options.within_budget == WithinBudget::kResiduals)
    return;
  const size_t minima_width = 3 * estimate.groups.size();
  std::vector<double>& minima = estimate.minima;
  minima.assign(
      minima_width * static_cast<size_t>(std::min(options.bootstrap.resamples, kMinimaKept)), kNaN);
  const auto one = [&](core::Rng& rng, int number, std::vector<double>& row) {
    const FrontierFit refit = OneResample(estimate, rng);
    double* own = minima.data() + static_cast<size_t>(number) * minima_width;
    for (size_t g = 0; g < refit.minima.size() && number < kMinimaKept; ++g) {
      const IsoflopMinimum& m = refit.minima[g];
      if (m.ok()) own[3 * g] = m.params, own[3 * g + 1] = m.tokens, own[3 * g + 2] = m.loss;
    }
    const size_t distinct = std::set<double>(refit.flops.begin(), refit.flops.end()).size();
    if (options.observations_are_optima && !options.pinned_E.has_value() &&
        distinct < kDistinctOptima)
      return false;
    if (!refit.params_law.has_value() || !refit.tokens_law.has_value() ||
        (estimate.with_loss() && !refit.loss_law.has_value()))
      return false;
    row.assign(kFrontierColumns, kNaN);
    row[kLogAN] = refit.params_law->log_coefficient, row[kAlphaN] = refit.params_law->exponent;
    row[kLogAD] = refit.tokens_law->log_coefficient, row[kAlphaD] = refit.tokens_law->exponent;
    if (estimate.with_loss())
      row[kE] = refit.loss_law->E, row[kA] = refit.loss_law->A, row[kP] = refit.loss_law->p;
    if (refit.sizes.has_value())
      row[kLogG] = refit.sizes->log_G, row[kAlpha] = refit.sizes->alpha, row[kH] = refit.sizes->h;
    return true;
  };
  estimate.draws = RunBootstrap(options.bootstrap, kFrontierColumns, one);
}

void WeighBudgets(FrontierEstimate& estimate) {
  constexpr int kEnough = 200;
  const int asked = estimate.options.bootstrap.resamples;
  estimate.options.bootstrap.resamples = std::min(asked, kEnough);
  ResampleFrontier(estimate);
  estimate.options.bootstrap.resamples = asked;
  for (size_t g = 0; g < estimate.groups.size(); ++g)
    for (const size_t axis : {0u, 1u}) {
      std::vector<double> logs = estimate.Minima(3 * g + axis);
      for (double& value : logs) value = std::log(value);
      double variance = 0;
      for (const double value : logs) variance += std::pow(value - Mean(logs), 2);
      if (logs.size() > 1) variance /= static_cast<double>(logs.size()) - 1;
      // A budget that the resamples hardly ever resolve weighs nothing.
      const double weight = logs.size() > 20 && variance > 0 ? 1 / variance : 0;
      estimate.budget_weights[axis][estimate.groups[g].budget_flops] = weight;
    }
  estimate.laws = LawsThrough(estimate, estimate.groups, {});
}

}  // namespace fit
