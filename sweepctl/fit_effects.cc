#include "sweepctl/fit_effects.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "fit/drift_law.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace sweepctl {
namespace {

enum class Needs { kNothing, kHuber, kRuns, kAverage };

struct Use {
  std::string_view option;
  std::vector<std::string> laws;  // that use it
  Needs needs = Needs::kNothing;  // besides
  // Part of the default estimator: without that, frontier is not averaged over its profile.
  bool estimator = false;
};

// As measured: every pair of law and option fitted with and without it, and the same of --optima.
const std::vector<Use>& Uses() {
  static const auto* const uses = [] {
    const std::vector<std::string> curves = {"chinchilla", "overtrain", "data-constrained",
                                             "kaplan",     "farseer",   "bnsl"};
    const std::vector<std::string> budgets = {"isoflop", "frontier"};
    const auto with = [](std::vector<std::string> laws, const std::vector<std::string>& more) {
      laws.insert(laws.end(), more.begin(), more.end());
      return laws;
    };
    const std::vector<std::string> robust = with(curves, {"two-step"});
    return new std::vector<Use>{
        {"--loss", robust, Needs::kNothing, true},
        {"--delta", robust, Needs::kHuber, true},
        {"--asymmetry", robust, Needs::kNothing, true},
        {"--residual", with({"frontier", "envelope"}, robust)},
        {"--noise-by-flops", curves, Needs::kNothing, true},
        {"--within",
         with(budgets, {"chinchilla", "overtrain", "data-constrained", "kaplan", "farseer"}),
         Needs::kRuns},
        {"--isoflop-curve", budgets, Needs::kRuns},
        {"--isoflop-window", budgets, Needs::kRuns},
        {"--weigh-budgets", budgets, Needs::kRuns},
        {"--no-exponent-prior", {"frontier", "chinchilla"}, Needs::kAverage},
        {"--unique-tokens", {"data-constrained"}}};
  }();
  return *uses;
}

std::string Unmet(Needs needs, const fit::FitOptions& options, const fit::FitSummary& summary) {
  if (needs == Needs::kHuber && options.law.loss.kind != fit::LossKind::kHuber)
    return "it is of --loss huber";
  if (needs == Needs::kRuns && options.law.observations_are_optima)
    return "it is of runs, and --optima says that rows are none";
  if (needs == Needs::kAverage && summary.one_law)
    return "it is of the average over laws, and one law was asked for";
  if (needs == Needs::kAverage && !fit::IsUsualEstimator(options.law))
    return "it is of the average by the default estimator";
  return "";
}

}  // namespace

std::vector<fit::Warning> OptionsWithoutEffect(const FitArgs& args, const fit::FitOptions& options,
                                               const fit::FitSummary& summary) {
  std::vector<std::string> fitted;
  for (const fit::LawFit& fit : summary.fits) fitted.push_back(fit.law);
  if (summary.two_step.has_value()) fitted.emplace_back("two-step");
  std::vector<fit::Warning> warnings;
  for (const Use& use : Uses()) {
    if (std::find(args.given.begin(), args.given.end(), use.option) == args.given.end()) continue;
    std::string why = Unmet(use.needs, options, summary);
    const auto is_fitted = [&](const std::string& law) {
      return std::find(fitted.begin(), fitted.end(), law) != fitted.end();
    };
    const bool used = std::any_of(use.laws.begin(), use.laws.end(), is_fitted) ||
                      (use.estimator && !summary.one_law && is_fitted("frontier"));
    if (why.empty() && !used)
      why = fmt::format("it is of {}, not among the laws fitted", fmt::join(use.laws, ", "));
    if (!why.empty())
      warnings.push_back(fit::Warn(
          fit::kWithoutEffect, fmt::format("{} changes no estimate here: {}", use.option, why)));
  }
  return warnings;
}

}  // namespace sweepctl
