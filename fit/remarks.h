// What must be said of a fit as a whole, beside what each law says of itself.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "fit/fit.h"

namespace fit {

// estimate-outside-interval: constants outside their own interval.
void RemarkOnConstants(LawFit& fit);

// Columns of the file that split the runs into experiments although nobody said so.
// FAILED_PRECONDITION, with their groups, where losses are seen to differ and none of the mirrored
// columns is in `allow_mixed`. Else mixed-columns, and no forecast may be registered. Advice names
// --experiment where there is that option.
absl::Status RemarkOnLabels(const std::vector<Observation>& observations,
                            const std::vector<std::string>& allow_mixed, bool experiment_option,
                            FitSummary& summary);

// undercoverage where of `tested` later values (5 or more) so few were `inside` that the share lies
// 15 points below the level.
std::optional<Warning> Undercoverage(std::string_view what, double level, double inside,
                                     size_t tested);

// few-resamples: fewer than one of the resamples lies beyond either end of an interval.
void RemarkOnLevel(const BootstrapOptions& bootstrap, FitSummary& summary);

// undercoverage, of laws and of forecasts that are determined: intervals of this level that missed
// too often where the truth is known are not to be trusted further out.
void RemarkOnCoverage(double level, FitSummary& summary);

// one-run-many-rows: runs of one id and seed that stand with different numbers, and each counts as
// a run; no forecast may be registered then.
void RemarkOnRepeatedIds(const std::vector<Observation>& observations, FitSummary& summary);

// outlying-runs: which runs lie far from all others (outliers.h), and what the forecasts would be
// without them, from the summary's sensitivities.
void RemarkOnOutliers(const std::vector<Observation>& observations, FitSummary& summary);

// richer-law: kaplan or farseer, which were not asked for, lie nearer to the runs than every
// surface that was: AICc more than 10 lower, the objective lower and the residuals more than 1.5
// times smaller, in the mean of their sizes (root mean square under least squares), of at least 3
// runs a constant: with fewer, AICc differs by its small-sample term alone. Real surfaces always
// bend a little; richer laws follow them in range and did not forecast better out of it
// (bench/forecasts), so less than that is not said. Cost: one fit without bootstrap of each.
void RemarkOnRicherLaws(const std::vector<Observation>& observations, const LawOptions& options,
                        FitSummary& summary);

// repeated-data: how many runs repeat their data, and that forecasts are of fresh data where nobody
// says how much there is.
void RemarkOnRepeats(const std::vector<Observation>& observations, const LawOptions& options,
                     FitSummary& summary);

// clamped-points: runs where a limit of the recipe bit, and what the forecasts would be without
// them, from the summary's sensitivities.
void RemarkOnClamps(const std::vector<Observation>& observations, FitSummary& summary);

}  // namespace fit
