#include "fit/frontier_estimate.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/status_macros.h"
#include "fit/frontier_bootstrap.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

// What to do about it.
std::string Remedy(const FrontierEstimate& estimate) {
  const bool one_each =
      std::all_of(estimate.groups.begin(), estimate.groups.end(),
                  [](const IsoflopGroup& group) { return group.points.size() == 1; });
  return one_each ? "with one run a budget, say --optima if the rows are optima, or fit a surface "
                    "(--law chinchilla)"
                  : "add budgets, or to a refused one sizes on both sides of its best (of a "
                    "sweep, `plan --next` names them), or fit a surface (--law chinchilla), which "
                    "needs no "
                    "minima";
}

// The first few reasons; a data set that is no IsoFLOP design has one for every run.
std::string Refusals(const FrontierEstimate& estimate) {
  constexpr int kShown = 3;
  std::string text;
  int refused = 0;
  for (const IsoflopMinimum& m : estimate.laws.minima)
    if (!m.ok() && ++refused <= kShown) text += fmt::format("; {}", m.reason);
  if (refused > kShown) text += fmt::format("; and {} more", refused - kShown);
  return text;
}

absl::Status CheckLaws(const FrontierEstimate& estimate) {
  const LawOptions& options = estimate.options;
  const size_t wanted = !estimate.with_loss() || options.pinned_E.has_value() ? 2 : 3;
  const size_t good = estimate.budgets();
  if (good < wanted && estimate.kind == FrontierKind::kEnvelope)
    return absl::FailedPreconditionError(
        fmt::format("envelope: {} points of it lie between smaller and larger models, {} are "
                    "needed; add sizes",
                    good, wanted));
  if (good < wanted)
    return absl::FailedPreconditionError(fmt::format(
        "{}: {} of {} budgets have a usable minimum, {} are needed{}. {}", Text(estimate.kind),
        good, estimate.groups.size(), wanted, Refusals(estimate), Remedy(estimate)));
  const std::vector<double>& losses = estimate.laws.losses;
  if (estimate.with_loss() && !estimate.laws.loss_law.has_value())
    return absl::FailedPreconditionError(fmt::format(
        "{}: pinned E = {:g} is not below every optimum loss (lowest {:g})", Text(estimate.kind),
        options.pinned_E.value_or(0), *std::min_element(losses.begin(), losses.end())));
  return absl::OkStatus();
}

// How well single minima are known, from the scatter about their curves: a curve of three
// coefficients through n centred points has 9/(4n) of a point's variance at its vertex. Worth few
// degrees of freedom, whatever the number of runs: it knows nothing of lack of fit.
void KnowScatterOfMinima(FrontierEstimate& estimate) {
  constexpr double kMostWorth = 4;
  double share = 0, dof = 0, budgets = 0;
  for (const IsoflopMinimum& m : estimate.laws.minima) {
    if (!m.ok()) continue;
    share += 2.25 / m.points, dof += m.points - m.coefficients, ++budgets;
  }
  if (estimate.pool.empty() || !(dof > 0)) return;
  const double rms = RootMeanSquare(estimate.pool);
  AsymptoticOptions& asymptotic = estimate.asymptotic;
  const double scale =
      asymptotic.residual == ResidualKind::kLinear ? Mean(estimate.laws.losses) : 1;
  asymptotic.known_variance = rms * rms * scale * scale * share / budgets;
  asymptotic.known_dof = std::min(dof, kMostWorth);
}

// Scatter of single runs around the law: the residuals of the parabolas, or those of the loss
// law where they are larger (lack of fit). Relative, widened for the fitted constants.
void CollectNoise(FrontierEstimate& estimate) {
  const FrontierFit& laws = estimate.laws;
  const AsymptoticOptions& asymptotic = estimate.asymptotic;
  estimate.noise = estimate.pool = PooledResiduals(laws.minima);
  KnowScatterOfMinima(estimate);
  if (!estimate.with_loss()) return;
  std::vector<double> lack;
  const auto n = static_cast<double>(laws.flops.size());
  const double k = estimate.options.pinned_E.has_value() ? 2 : 3;
  if (n <= k) return;
  for (size_t i = 0; i < laws.flops.size(); ++i)
    lack.push_back(std::log(laws.losses[i] / laws.loss_law->At(laws.Effective(laws.flops[i]))) *
                   std::sqrt(n / (n - k)));
  // As uncertain as its few degrees of freedom, so what is known of the minima joins it.
  const double own = RootMeanSquare(lack), known = asymptotic.known_dof;
  if (own > 0 && known > 0 && asymptotic.residual == ResidualKind::kLog) {
    const double variance =
        ((n - k) * own * own + known * asymptotic.known_variance) / (n - k + known);
    for (double& r : lack) r *= std::sqrt(variance) / own;
  }
  if (RootMeanSquare(lack) > RootMeanSquare(estimate.noise)) estimate.noise = lack;
}

std::optional<AsymptoteProfile> ProfileOfE(const FrontierEstimate& estimate) {
  const double level = estimate.options.bootstrap.level;
  if (estimate.kind != FrontierKind::kEnvelope)
    return ProfileAsymptote(estimate.laws.effective, estimate.laws.losses, estimate.asymptotic,
                            level, estimate.laws.excess);
  // Neighbours on one run's curve are one fact: its middle stands for them.
  const std::vector<EnvelopePoint>& envelope = estimate.envelope;
  std::vector<double> flops, losses, excess;
  for (size_t i = 0; i < envelope.size();) {
    size_t end = i;
    while (end < envelope.size() && envelope[end].params == envelope[i].params) ++end;
    const EnvelopePoint& middle = envelope[(i + end) / 2];
    const EffectiveCompute compute = estimate.laws.Effective(middle.flops);
    flops.push_back(compute.flops), excess.push_back(compute.excess);
    losses.push_back(middle.loss);
    i = end;
  }
  return ProfileAsymptote(flops, losses, estimate.asymptotic, level, excess);
}

// With one or two degrees of freedom the optima can lie on a curve by luck and the profile is far
// too narrow; the bootstrap knows the noise of the runs. The wider end of both is taken.
void WidenProfile(FrontierEstimate& estimate) {
  if (!estimate.profile.has_value() || estimate.draws.empty()) return;
  const Interval interval = PercentileInterval(estimate.draws.Column(kE), estimate.draws.drawn,
                                               estimate.options.bootstrap.level,
                                               IntervalKind::kParameter, estimate.Method());
  const auto widen = [&](AsymptoticLaw& end, double e) {
    AsymptoticOptions held = estimate.asymptotic;
    held.pinned_E = e;
    const auto law =
        FitAsymptotic(estimate.laws.effective, estimate.laws.losses, held, estimate.laws.excess);
    if (law.has_value()) end = *law;
  };
  AsymptoteProfile& profile = *estimate.profile;
  if (interval.lo < profile.lo.E) widen(profile.lo, interval.lo);
  if (interval.hi > profile.hi.E) widen(profile.hi, interval.hi);
}

}  // namespace

size_t FrontierEstimate::budgets() const {
  return std::set<double>(laws.flops.begin(), laws.flops.end()).size();
}

std::string FrontierEstimate::Method() const {
  if (kind == FrontierKind::kEnvelope) return "bootstrap of runs";
  if (options.observations_are_optima) return "bootstrap of optima";
  return options.within_budget == WithinBudget::kResiduals ? "residual bootstrap within budgets"
                                                           : "case bootstrap within budgets";
}

Interval FrontierEstimate::AsymptoteInterval() const {
  return {profile->lo.E, profile->hi.E, options.bootstrap.level, IntervalKind::kParameter,
          EnoughResamples(draws.size(), draws.drawn) ? "profile likelihood united with " + Method()
                                                     : "profile likelihood"};
}

std::vector<double> FrontierEstimate::Minima(size_t index) const {
  std::vector<double> values;
  const size_t width = 3 * groups.size();
  for (size_t i = 0; i * width < minima.size(); ++i)
    if (std::isfinite(minima[i * width + index])) values.push_back(minima[i * width + index]);
  return values;
}

FrontierFit LawsThrough(const FrontierEstimate& estimate, const std::vector<IsoflopGroup>& groups,
                        const std::vector<std::vector<double>>& weights) {
  FrontierFit fit = FitFrontier(groups, estimate.options.isoflop, estimate.asymptotic,
                                estimate.options.observations_are_optima, weights);
  if (estimate.budget_weights[0].empty()) return fit;
  std::vector<double> flops, params, tokens, of_params, of_tokens;
  for (const IsoflopMinimum& m : fit.minima) {
    if (!m.ok()) continue;
    const double n = estimate.budget_weights[0].at(m.budget_flops);
    const double d = estimate.budget_weights[1].at(m.budget_flops);
    fit.size_weights.push_back(n);
    if (!(n > 0 && d > 0)) continue;
    flops.push_back(m.budget_flops), params.push_back(m.params), tokens.push_back(m.tokens);
    of_params.push_back(n), of_tokens.push_back(d);
  }
  fit.params_law = FitPowerLaw(flops, params, of_params);
  fit.tokens_law = FitPowerLaw(flops, tokens, of_tokens);
  // Only where it goes through sizes does the loss law depend on these weights.
  if (fit.sizes.has_value() && fit.params_law.has_value()) FitLossLaw(estimate.asymptotic, &fit);
  return fit;
}

std::vector<IsoflopGroup> MovedOntoRelation(const FrontierFit& laws,
                                            std::vector<IsoflopGroup> groups, double* rms) {
  if (laws.relation.exact() || !laws.loss_law.has_value()) return groups;
  std::vector<double> changes;
  for (IsoflopGroup& group : groups) {
    const double above_E = laws.loss_law->At(laws.Effective(group.budget_flops)) - laws.loss_law->E;
    for (IsoflopPoint& p : group.points) {
      // What the run would have had to stop short of, in ln D.
      const double more = p.log_tokens - laws.relation.LogTokens(p.log_params, group.budget_flops);
      const double change = laws.loss_law->p * above_E * more;
      p.log_tokens -= more, p.loss += change;
      changes.push_back(change / p.loss);
    }
  }
  if (rms != nullptr) *rms = RootMeanSquare(changes);
  return groups;
}

absl::StatusOr<FrontierEstimate> EstimateFrontier(FrontierKind kind, const LawOptions& options,
                                                  const std::vector<Observation>& observations) {
  FrontierEstimate estimate;
  estimate.kind = kind, estimate.options = options;
  AsymptoticOptions& asymptotic = estimate.asymptotic;
  asymptotic.pinned_E = options.pinned_E;
  asymptotic.residual = options.loss.residual;
  // isoflop is the published procedure, through the runs as they are; and a table of optima is
  // fitted as its authors do: its N and D are rounded, and each is a fit of its own.
  if (estimate.with_loss() && !options.observations_are_optima) asymptotic.flops = options.flops;
  asymptotic.lowest_loss = LowestLoss(observations);
  if (kind == FrontierKind::kEnvelope) {
    estimate.observations = observations;
    ASSIGN_OR_RETURN(estimate.runs, GroupRuns(observations, options.checkpoints));
    estimate.envelope = LowerEnvelope(observations, estimate.runs);
    estimate.laws = FitEnvelope(estimate.envelope, asymptotic);
  } else {
    estimate.groups = GroupByBudget(observations).groups;
    estimate.laws = LawsThrough(estimate, estimate.groups, {});
    if (!estimate.laws.relation.exact()) {
      estimate.groups = MovedOntoRelation(estimate.laws, estimate.groups, &estimate.moved);
      estimate.laws = LawsThrough(estimate, estimate.groups, {});
    }
  }
  RETURN_IF_ERROR(CheckLaws(estimate));
  CollectNoise(estimate);
  if (estimate.with_loss() && !options.pinned_E.has_value())
    estimate.profile = ProfileOfE(estimate);
  if (options.weigh_budgets && kind != FrontierKind::kEnvelope &&
      !options.observations_are_optima) {
    WeighBudgets(estimate);
    if (!estimate.laws.params_law.has_value() || !estimate.laws.tokens_law.has_value())
      return absl::FailedPreconditionError(fmt::format(
          "{}: fewer than 2 budgets have a resampled spread to weigh them by; leave out "
          "--weigh-budgets",
          Text(kind)));
  }
  ResampleFrontier(estimate);
  WidenProfile(estimate);
  if (!estimate.groups.empty() && !options.observations_are_optima) {
    std::vector<bool> used;
    for (const IsoflopMinimum& m : estimate.laws.minima) used.push_back(m.ok());
    estimate.bias = BiasOfCurve(estimate.groups, used, options.isoflop);
  }
  return estimate;
}

}  // namespace fit
