// Everything a reader must know beside a number. A warning is data: a code that programs match and
// a text with the numbers that belong to it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fit {

struct Warning {
  std::string code;
  std::string text;
};

// The codes. Programs rely on them (DESIGN.md section 5): add, never rename.
inline constexpr std::string_view kEdgeMinimum = "edge-minimum";
inline constexpr std::string_view kWrongCurvature = "wrong-curvature";
inline constexpr std::string_view kCurveBias = "curve-bias";
inline constexpr std::string_view kTooFewPoints = "too-few-points";
inline constexpr std::string_view kAsymptoteAtBound = "asymptote-at-bound";
inline constexpr std::string_view kParameterAtBound = "parameter-at-bound";
inline constexpr std::string_view kDecayAtBound = "decay-at-bound";
inline constexpr std::string_view kAsymptoteUnidentified = "asymptote-unidentified";
inline constexpr std::string_view kAsymptotePinned = "asymptote-pinned";
inline constexpr std::string_view kOtherEstimator = "not-the-usual-estimator";
inline constexpr std::string_view kFewDegreesOfFreedom = "few-degrees-of-freedom";
inline constexpr std::string_view kCollinear = "collinear-n-d";
inline constexpr std::string_view kOutsideRange = "outside-range";
inline constexpr std::string_view kRicherLaw = "richer-law";
inline constexpr std::string_view kPerfectModel = "perfect-model-contradicted";
inline constexpr std::string_view kClampedPoints = "clamped-points";
inline constexpr std::string_view kOneRunManyRows = "one-run-many-rows";
inline constexpr std::string_view kOutliers = "outlying-runs";
inline constexpr std::string_view kRescaledLoss = "rescaled-loss";
inline constexpr std::string_view kMixedCohort = "mixed-cohort";
inline constexpr std::string_view kUnknownCohort = "unknown-cohort";
inline constexpr std::string_view kConfounded = "confounded";
inline constexpr std::string_view kUnlabelled = "unlabelled";
inline constexpr std::string_view kSharedRuns = "shared-runs";
inline constexpr std::string_view kDroppedRows = "dropped-rows";
inline constexpr std::string_view kBootstrapFailures = "bootstrap-failures";
inline constexpr std::string_view kNoInterval = "no-interval";
inline constexpr std::string_view kUndercoverage = "backtest-undercoverage";
inline constexpr std::string_view kNotConverged = "not-converged";
inline constexpr std::string_view kFewStartsAgree = "few-starts-agree";
inline constexpr std::string_view kOtherOptimum = "other-optimum";
inline constexpr std::string_view kEqualOptima = "equal-optima";
inline constexpr std::string_view kWeaklyIdentified = "weakly-identified";
inline constexpr std::string_view kNoAsymptote = "no-asymptote";
inline constexpr std::string_view kRepeatedData = "repeated-data";
inline constexpr std::string_view kOverflow = "overflow";
inline constexpr std::string_view kNotFitted = "not-fitted";
inline constexpr std::string_view kNoForecast = "no-forecast";
inline constexpr std::string_view kLawsDisagree = "laws-disagree";
inline constexpr std::string_view kFlopConvention = "flop-convention";
inline constexpr std::string_view kImpossibleLoss = "impossible-loss";
inline constexpr std::string_view kTargetsIncluded = "targets-included";
inline constexpr std::string_view kNotDetermined = "not-determined";
inline constexpr std::string_view kAbstains = "abstains";
// Another curve describes the pairs of a two-step forecast better than the one asked for.
inline constexpr std::string_view kCurveMisfit = "curve-misfit";
// A two-step forecast beyond the curve's middle, asked for, that no run has seen.
inline constexpr std::string_view kCurveAssumed = "curve-assumed";
inline constexpr std::string_view kCheckpoints = "checkpoints";
inline constexpr std::string_view kEstimateOutside = "estimate-outside-interval";
inline constexpr std::string_view kMixedColumns = "mixed-columns";
// The level's ends lie beyond what the resamples reach.
inline constexpr std::string_view kFewResamples = "few-resamples";
// An option of the command line that nothing asked for uses.
inline constexpr std::string_view kWithoutEffect = "option-without-effect";
inline constexpr std::string_view kBudgetsLeftOut = "budgets-left-out";

inline Warning Warn(std::string_view code, std::string text) {
  return {std::string(code), std::move(text)};
}

// True when one of `warnings` has this code.
inline bool Has(const std::vector<Warning>& warnings, std::string_view code) {
  for (const Warning& warning : warnings)
    if (warning.code == code) return true;
  return false;
}

}  // namespace fit
