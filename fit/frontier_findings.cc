#include "fit/frontier_findings.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/units.h"
#include "fit/frontier_bootstrap.h"
#include "fmt/format.h"

namespace fit {
namespace {

// How sizes weigh that weigh unequally.
std::string WeightsOf(const FrontierEstimate& estimate) {
  if (estimate.laws.size_weights.empty()) return "";
  if (!estimate.options.observations_are_optima)
    return "budgets weighted by the inverse square of the resampled spread of their minima";
  double lo = HUGE_VAL, hi = 0;
  for (const IsoflopGroup& group : estimate.groups)
    for (const IsoflopPoint& p : group.points)
      lo = std::min(lo, p.log_params_se), hi = std::max(hi, p.log_params_se);
  return fmt::format("sizes weighted by 1 / params_log_se^2, of {:.3g} to {:.3g}", lo, hi);
}

void DescribeConstants(const FrontierEstimate& estimate, LawFit& out) {
  const FrontierFit& laws = estimate.laws;
  out.weights = WeightsOf(estimate);
  for (const IsoflopMinimum& m : laws.minima)
    if (m.ok())
      out.objective += 0.5 * std::pow(std::log(m.params / laws.params_law->At(m.budget_flops)), 2);
  if (estimate.with_loss()) {
    out.objective = laws.loss_law->objective;
    out.params = {{"E", laws.loss_law->E}, {"A", laws.loss_law->A}, {"p", laws.loss_law->p}};
  }
  out.params.emplace_back("a_N", std::exp(laws.params_law->log_coefficient));
  out.params.emplace_back("alpha_N", laws.params_law->exponent);
  out.params.emplace_back("a_D", std::exp(laws.tokens_law->log_coefficient));
  out.params.emplace_back("alpha_D", laws.tokens_law->exponent);
  if (estimate.options.bootstrap.resamples == 0) return;
  const auto add = [&](const char* name, FrontierColumn column, bool exponential) {
    Interval interval = estimate.draws.Percentiles(column, estimate.options.bootstrap.level,
                                                   IntervalKind::kParameter, estimate.Method());
    if (exponential) interval.lo = std::exp(interval.lo), interval.hi = std::exp(interval.hi);
    out.intervals.emplace_back(name, interval);
  };
  if (estimate.with_loss()) {
    if (estimate.profile.has_value()) out.intervals.emplace_back("E", estimate.AsymptoteInterval());
    add("A", kA, false), add("p", kP, false);
  }
  add("a_N", kLogAN, true), add("alpha_N", kAlphaN, false);
  add("a_D", kLogAD, true), add("alpha_D", kAlphaD, false);
}

void DescribeBudgets(const FrontierEstimate& estimate, LawFit& out) {
  const size_t tried = estimate.minima_drawn();
  for (size_t g = 0; g < estimate.laws.minima.size(); ++g) {
    BudgetOptimum budget;
    budget.minimum = estimate.laws.minima[g];
    const auto interval = [&](const std::vector<double>& values) {
      return PercentileInterval(values, tried, estimate.options.bootstrap.level,
                                IntervalKind::kMean, estimate.Method());
    };
    const std::vector<double> params = estimate.Minima(3 * g);
    budget.params = interval(params);
    budget.tokens = interval(estimate.Minima(3 * g + 1));
    budget.loss = interval(estimate.Minima(3 * g + 2));
    if (tried > 0)
      budget.share_without_minimum =
          1 - static_cast<double>(params.size()) / static_cast<double>(tried);
    if (estimate.bias.has_value()) {
      const CurveBias::AtBudget& bias = estimate.bias->budgets[g];
      budget.params_bias = bias.params, budget.tokens_bias = bias.tokens;
      budget.loss_bias = bias.loss;
    }
    out.budgets.push_back(std::move(budget));
  }
}

void WarnOfBudgets(const FrontierEstimate& estimate, LawFit& out) {
  const auto warn = [&](std::string_view code, std::string text) {
    out.warnings.push_back(Warn(code, std::move(text)));
  };
  std::string few;
  int few_count = 0;
  for (const IsoflopMinimum& m : estimate.laws.minima) {
    if (m.status == MinimumStatus::kEdge) warn(kEdgeMinimum, m.reason + "; left out");
    if (m.status == MinimumStatus::kWrongCurvature) warn(kWrongCurvature, m.reason + "; left out");
    if (m.status != MinimumStatus::kTooFewPoints) continue;
    if (++few_count <= 5) few += (few.empty() ? "" : ", ") + core::FormatFlops(m.budget_flops);
    if (few_count == 6) few += ", ...";
  }
  if (few_count > 0)
    warn(kTooFewPoints, fmt::format("{} of {} budgets have fewer than 3 different sizes and are "
                                    "left out: {}",
                                    few_count, estimate.laws.minima.size(), few));
  std::set<double> models;
  for (const EnvelopePoint& point : estimate.envelope) models.insert(point.params);
  if (estimate.kind == FrontierKind::kEnvelope && models.size() < 6)
    warn(kFewDegreesOfFreedom,
         fmt::format("the envelope consists of {} models: its laws step from one to the next",
                     models.size()));
  const int constants = !estimate.with_loss() || estimate.options.pinned_E.has_value() ? 2 : 3;
  const size_t good = estimate.budgets();
  if (static_cast<int>(good) - constants < 3)
    warn(kFewDegreesOfFreedom, fmt::format("{} budgets for {} constants", good, constants));
}

// Where the resamples' interval of N* does not reach to what it would be without the curve's bias.
void WarnOfBias(LawFit& out) {
  const BudgetOptimum* worst = nullptr;
  size_t beyond = 0, known = 0;
  for (const BudgetOptimum& b : out.budgets) {
    if (!std::isfinite(b.params_bias) || !std::isfinite(b.params.lo)) continue;
    ++known;
    const double without = b.minimum.params / (1 + b.params_bias);
    if (b.params_bias > 0 ? without >= b.params.lo : without <= b.params.hi) continue;
    ++beyond;
    if (worst == nullptr || std::fabs(b.params_bias) > std::fabs(worst->params_bias)) worst = &b;
  }
  if (worst == nullptr) return;
  out.warnings.push_back(Warn(
      kCurveBias,
      fmt::format("at {} of {} budgets the curve's known bias of N* is larger than its "
                  "interval, which does not hold it: at {} {:+.1f} % of N*, {:+.2f} % of L*, "
                  "by a surface through the same runs; intervals of N* and D* cover it, and an "
                  "average takes both without it",
                  beyond, known, core::FormatFlops(worst->minimum.budget_flops),
                  100 * worst->params_bias, 100 * worst->loss_bias)));
}

void WarnOfLossLaw(const AsymptoticLaw& law, LawFit& out) {
  if (law.pinned)
    out.warnings.push_back(
        Warn(kAsymptotePinned,
             fmt::format("E = {:g} was given, every interval of a constant is conditional on it",
                         law.E)));
  if (law.E_at_bound)
    out.warnings.push_back(Warn(kAsymptoteAtBound, "the best E is 0: no levelling off is visible"));
  if (law.p_at_bound)
    out.warnings.push_back(
        Warn(kParameterAtBound, fmt::format("p = {:.4g}, A = {:.4g}: the optimum losses do not "
                                            "fall like a power law",
                                            law.p, law.A)));
}

void WarnOfResamples(const FrontierEstimate& estimate, LawFit& out) {
  for (Warning& warning : WarningsOfResamples(estimate.draws))
    out.warnings.push_back(std::move(warning));
  double worst = 0, worst_budget = 0;
  for (const BudgetOptimum& b : out.budgets)
    if (b.minimum.ok() && b.share_without_minimum > worst)
      worst = b.share_without_minimum, worst_budget = b.minimum.budget_flops;
  if (worst > 0.05)
    out.warnings.push_back(
        Warn(kBootstrapFailures, fmt::format("at {} {:.0f} % of the resamples have no minimum: its "
                                             "optimum is barely determined",
                                             core::FormatFlops(worst_budget), 100 * worst)));
}

}  // namespace

LawFit FindingsOf(const FrontierEstimate& estimate) {
  LawFit out;
  out.law = Text(estimate.kind);
  out.equation = "N* = a_N C^alpha_N; D* = a_D C^alpha_D";
  if (estimate.with_loss())
    out.equation = (estimate.laws.sizes.has_value()
                        ? "L* = E + A F X^-p, N* g^h = G X^alpha, X = 6 N* D*; about "
                        : "L* = E + A C^-p; ") +
                   out.equation;
  if (estimate.with_loss()) out.compute = FrontierCompute{estimate.laws.sizes, estimate.moved};
  out.loss = "l2";
  out.residual = estimate.with_loss() ? Name(estimate.asymptotic.residual) : "log";
  out.n = estimate.budgets();
  out.starts = out.starts_at_best = 1;  // one-dimensional global search
  out.resamples = estimate.options.bootstrap.resamples;
  out.resamples_failed = estimate.draws.failed;
  DescribeConstants(estimate, out);
  DescribeBudgets(estimate, out);
  WarnOfBudgets(estimate, out);
  WarnOfBias(out);
  if (estimate.with_loss()) WarnOfLossLaw(*estimate.laws.loss_law, out);
  WarnOfResamples(estimate, out);
  return out;
}

}  // namespace fit
