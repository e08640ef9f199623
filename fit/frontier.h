// Approach 2, second step: how the optimum moves with compute.
//   N*(C) = a_N C^alpha_N,   D*(C) = a_D C^alpha_D     ordinary least squares in ln-ln
//   L*(C) = E + A C^-p                                 E >= 0 nats, A >= 0, p in (0, 3]
// Where the FLOPs of a parameter and token change with N, the optima forecast are those of
// effective_compute.h, and N*(C), D*(C) describe the minima found.
// E is free or pinned. For fixed p the loss law is linear in (E, A), so only p is searched: over a
// grid of the whole range, then by golden section in the best cell (variable projection).
// **Source:** Hoffmann et al. 2022 (arXiv:2203.15556) section 3.2; the asymptotic power law of
// Marin's Delphi (reference/delphi.md section 9).
#pragma once

#include <optional>
#include <vector>

#include "fit/effective_compute.h"
#include "fit/isoflop.h"
#include "fit/loss_spec.h"

namespace fit {

struct PowerLaw {
  double log_coefficient = 0, exponent = 0;  // ln y = log_coefficient + exponent ln C
  double At(double flops) const;
};

// Weighted by `weights` when given (1/std^2 of ln value, as in arXiv:2406.19146). nullopt with
// fewer than 2 different flops. REQUIRES: all values and weights > 0, sizes equal.
std::optional<PowerLaw> FitPowerLaw(const std::vector<double>& flops,
                                    const std::vector<double>& values,
                                    const std::vector<double>& weights = {});

struct AsymptoticLaw {
  double E = 0, A = 0, p = 0;  // A in nats times FLOPs^p
  double objective = 0;        // sum of squared residuals / 2
  bool pinned = false;         // E was given
  bool E_at_bound = false;     // free, and the optimum is E = 0
  bool p_at_bound = false;     // p at the end of its range: the losses are not a decaying power law
  double At(double flops) const;
  double At(const EffectiveCompute& compute) const;
};

struct AsymptoticOptions {
  std::optional<double> pinned_E;
  // linear: least squares on L; log: on the relative residual Lhat/L - 1, which equals the log
  // residual to first order and keeps the law linear in (E, A).
  ResidualKind residual = ResidualKind::kLog;
  // LowestLoss (isoflop.h) of all runs, those of refused budgets too: E lies below it. 0: unknown.
  double lowest_loss = 0;
  // What is known of the variance of a loss (of the kind of `residual`) beside the law's own
  // residuals, and how many degrees of freedom that is worth; for ProfileAsymptote.
  double known_variance = 0, known_dof = 0;
  FlopsRelation flops;  // what a budget buys; for FitFrontier and FitEnvelope
};

// nullopt when unidentified: fewer than 3 different flops with free E, 2 with pinned E, or pinned E
// not below every loss. `excess`: as of EffectiveCompute, empty for ones. REQUIRES: flops, losses
// and excess > 0, of equal size.
std::optional<AsymptoticLaw> FitAsymptotic(const std::vector<double>& flops,
                                           const std::vector<double>& losses,
                                           const AsymptoticOptions& options,
                                           const std::vector<double>& excess = {});

// Profile interval of E: {E : RSS(E) <= RSS_min + t^2 s^2}, s^2 = (RSS_min + m v) / (n - 3 + m)
// with v the known variance, worth m degrees of freedom, and t the two-sided Student quantile of
// `level` with n - 3 + m; the whole of [0, min L) where n = 3. Without v four or five budgets would
// estimate their own scatter from one or two degrees of freedom, and the range of E would be a
// lottery.
struct AsymptoteProfile {
  AsymptoticLaw lo, hi;  // the refitted laws at both ends: lo.E <= E <= hi.E
  double level = 0;
};
std::optional<AsymptoteProfile> ProfileAsymptote(const std::vector<double>& flops,
                                                 const std::vector<double>& losses,
                                                 const AsymptoticOptions& options, double level,
                                                 const std::vector<double>& excess = {});

// Both steps on a set of budgets.
struct FrontierFit {
  std::vector<IsoflopMinimum> minima;  // one a group, refused ones too
  std::vector<double> flops, losses;   // of the interior minima
  std::optional<PowerLaw> params_law, tokens_law;
  std::optional<AsymptoticLaw> loss_law;
  // Where the relation of the options bends; the loss law is one of the effective compute then.
  FlopsRelation relation;
  std::vector<double> params, size_weights;  // N* of the interior minima; as of FitPowerLaw
  std::optional<OptimalSizes> sizes;
  std::vector<double> effective, excess;  // EffectiveCompute of the interior minima

  // The optimum of a budget; each REQUIRES the laws that it takes, and the loss law sizes.
  double ParamsAt(double at_flops) const;
  double TokensAt(double at_flops) const;
  EffectiveCompute Effective(double at_flops) const;
};

// Fits sizes and the loss law anew through flops, params and losses.
void FitLossLaw(const AsymptoticOptions& options, FrontierFit* fit);

// `weights[g]` as in FitMinimum, empty for all ones. With `points_are_optima` every observation is
// itself an optimum (published tables of optima) and no parabola is fitted; sizes are weighted by
// 1 / log_params_se^2 where all points have one (REQUIRES: all or none).
FrontierFit FitFrontier(const std::vector<IsoflopGroup>& groups, const IsoflopOptions& isoflop,
                        const AsymptoticOptions& asymptotic, bool points_are_optima = false,
                        const std::vector<std::vector<double>>& weights = {});

}  // namespace fit
