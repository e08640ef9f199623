#include "fit/remarks.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "core/units.h"
#include "fit/csv.h"
#include "fit/information.h"
#include "fit/labels.h"
#include "fit/law_list.h"
#include "fit/outliers.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace fit {

void RemarkOnConstants(LawFit& fit) {
  std::string what;
  for (const auto& [name, value] : fit.params)
    for (const auto& [other, interval] : fit.intervals)
      if (name == other && IsOutside(value, interval))
        what += fmt::format("{}{} = {:.5g} outside {:.5g} .. {:.5g}", what.empty() ? "" : ", ",
                            name, value, interval.lo, interval.hi);
  if (!what.empty())
    fit.warnings.push_back(
        Warn(kEstimateOutside,
             fmt::format("{}: the resamples sit elsewhere than the fit, which is a sign of a badly "
                         "determined law",
                         what)));
}

absl::Status RemarkOnLabels(const std::vector<Observation>& observations,
                            const std::vector<std::string>& allow_mixed, bool experiment_option,
                            FitSummary& summary) {
  std::string text, first, refused, allow;
  for (const LabelFinding& finding : FindLabels(observations)) {
    std::string names;
    for (const std::string& one : finding.columns)
      names += fmt::format("{}{}", names.empty() ? "" : " and ", ShownCell(one));
    const bool measured = !std::isnan(finding.offset);
    const std::string line = fmt::format(
        "{} in {} groups ({}){}", names, finding.groups, finding.counts,
        measured ? fmt::format(" whose losses differ by {:.2g} % (rms) at equal N and D",
                               100 * finding.offset)
                 : "");
    text += fmt::format("{}{}", text.empty() ? "" : "; ", line);
    if (first.empty()) first = ShownCell(finding.columns[0]);
    summary.registration_blocked.push_back(fmt::format("{}: {}", kMixedColumns, names));
    const bool allowed =
        std::any_of(finding.columns.begin(), finding.columns.end(), [&](const std::string& column) {
          return std::find(allow_mixed.begin(), allow_mixed.end(), column) != allow_mixed.end();
        });
    if (!measured || allowed) continue;
    refused += fmt::format("\n  {}", line);
    allow += fmt::format(" --allow-mixed {}", ShownCell(finding.columns[0]));
  }
  if (!refused.empty())
    return absl::FailedPreconditionError(fmt::format(
        "{} runs are of different experiments, by columns that nobody mapped:{}\nselect "
        "one with --where {}=TEXT, {}or accept the mixture with{} (the fit and its forecasts are "
        "marked, and none can be registered)",
        observations.size(), refused, first,
        experiment_option
            ? fmt::format("make the column part of the cohort with --experiment {}, ", first)
            : "",
        allow));
  if (text.empty()) return absl::OkStatus();
  summary.warnings.push_back(Warn(
      kMixedColumns,
      fmt::format("different experiments are fitted together as one, and no forecast from them can "
                  "be registered: by column {}. --where {}=TEXT chooses one{}",
                  text, first,
                  experiment_option
                      ? fmt::format(", --experiment {} makes the column part of the cohort", first)
                      : "")));
  return absl::OkStatus();
}

namespace {

// How many times smaller the residuals of `fit` are than those of `other`: of their mean sizes, or
// root mean squares under least squares. A difference of the deviances of n runs is 2 n times its
// logarithm in either likelihood. 0 where the two do not compare.
double TimesNearer(const LawFit& fit, const LawFit& other) {
  if (fit.n != other.n) return 0;
  const auto deviance = [](const LawFit& of) { return of.aicc - AiccPenalty(of.n, of.constants); };
  return std::exp((deviance(other) - deviance(fit)) / (2 * static_cast<double>(fit.n)));
}

}  // namespace

void RemarkOnRicherLaws(const std::vector<Observation>& observations, const LawOptions& options,
                        FitSummary& summary) {
  constexpr double kNoSupport = 10, kNearer = 1.5;
  constexpr int kRunsAConstant = 3;
  const LawFit* best = nullptr;
  for (const LawFit& fit : summary.fits) {
    // The points of a curve in C are others.
    const Law* law = LawByName(fit.law);
    if (law != nullptr && !law->in_compute() && !std::isnan(fit.aicc) &&
        (best == nullptr || fit.aicc < best->aicc))
      best = &fit;
  }
  if (best == nullptr) return;
  LawOptions quick = options;
  quick.bootstrap.resamples = 0;
  quick.profile = false;
  for (const char* name : {"kaplan", "farseer"}) {
    const bool asked = std::any_of(summary.fits.begin(), summary.fits.end(),
                                   [&](const LawFit& fit) { return fit.law == name; });
    const auto fitted = asked ? absl::UnknownError("") : LawByName(name)->Fit(observations, quick);
    if (!fitted.ok()) continue;
    const LawFit& richer = (*fitted)->fit();
    // With few runs AICc is its small-sample term, which is not what they show.
    if (richer.n < static_cast<size_t>(kRunsAConstant * richer.constants)) continue;
    const double better = best->aicc - richer.aicc, nearer = TimesNearer(richer, *best);
    if (!(better > kNoSupport && nearer > kNearer && richer.objective < best->objective)) continue;
    summary.warnings.push_back(Warn(
        kRicherLaw,
        fmt::format("the residuals of {} are {:.2g} times smaller than those of {} (AICc {:.0f} "
                    "lower): the surface of these runs may be of another shape, and sizes are the "
                    "first to suffer. --law default,{} lets it join the average if its held-out "
                    "errors say so too",
                    name, nearer, best->law, better, name)));
  }
}

std::optional<Warning> Undercoverage(std::string_view what, double level, double inside,
                                     size_t tested) {
  constexpr double kTolerated = 0.15;
  constexpr size_t kFewest = 5;
  if (tested < kFewest) return std::nullopt;
  const double coverage = inside / static_cast<double>(tested);
  if (coverage >= level - kTolerated) return std::nullopt;
  return Warn(kUndercoverage,
              fmt::format("{:.10g} % intervals of {} held only {:.0f} % of {} later values in the "
                          "backtest: read them as too narrow",
                          100 * level, what, 100 * coverage, tested));
}

void RemarkOnLevel(const BootstrapOptions& bootstrap, FitSummary& summary) {
  const double beyond = (1 - bootstrap.level) / 2 * bootstrap.resamples;
  if (bootstrap.resamples == 0 || beyond >= 1 - 1e-9) return;
  const double enough = std::ceil(2 / (1 - bootstrap.level) - 1e-6);
  summary.warnings.push_back(Warn(
      kFewResamples,
      fmt::format("{:.10g} % intervals end where {:.2g} of {} resamples lie beyond: their ends "
                  "are little more than the outermost resamples; {}",
                  100 * bootstrap.level, beyond, bootstrap.resamples,
                  enough <= 1e6 ? fmt::format("--bootstrap {:.0f} or a lower --level", enough)
                                : std::string("give a lower --level"))));
}

void RemarkOnCoverage(double level, FitSummary& summary) {
  std::vector<std::string> names;
  for (const LawFit& fit : summary.fits) names.push_back(fit.law);
  names.emplace_back("average");
  for (const std::string& law : names) {
    double inside = 0;
    size_t tested = 0;
    for (const BacktestRow& row : summary.backtest) {
      if (row.law != law || !std::isfinite(row.coverage)) continue;
      inside += row.coverage * static_cast<double>(row.n_test);
      tested += row.n_test;
    }
    const std::optional<Warning> warning = Undercoverage(law, level, inside, tested);
    if (!warning.has_value()) continue;
    for (LawFit& fit : summary.fits)
      if (fit.law == law) fit.warnings.push_back(*warning);
    for (Forecast& forecast : summary.predictions)
      if (forecast.law == law && forecast.determined) forecast.warnings.push_back(*warning);
  }
}

void RemarkOnRepeats(const std::vector<Observation>& observations, const LawOptions& options,
                     FitSummary& summary) {
  const auto repeated =
      std::count_if(observations.begin(), observations.end(), [](const Observation& o) {
        return o.unique_tokens > 0 && o.unique_tokens < o.tokens * (1 - 1e-9);
      });
  if (repeated == 0 || options.unique_tokens > 0) return;
  summary.warnings.push_back(
      Warn(kRepeatedData, fmt::format("{} of {} runs repeat their data; every forecast here is of "
                                      "fresh data, as much as it takes: --unique-tokens U says "
                                      "how much there is",
                                      repeated, observations.size())));
}

void RemarkOnRepeatedIds(const std::vector<Observation>& observations, FitSummary& summary) {
  std::map<std::pair<std::string, int64_t>, size_t> rows;
  for (const Observation& o : observations)
    if (!o.id.empty()) ++rows[{o.id, o.seed}];
  size_t many = 0, counted = 0;
  std::string first;
  for (const auto& [run, count] : rows) {
    if (count < 2) continue;
    if (many++ == 0) first = run.first;
    counted += count;
  }
  if (many == 0) return;
  const std::string text = fmt::format(
      "{} rows are of {} runs by their names, '{}' the first, and each row counts as a run, in "
      "intervals and in what was spent: keep the last row of each, or say that they are "
      "checkpoints",
      counted, many, first);
  summary.warnings.push_back(Warn(kOneRunManyRows, text));
  summary.registration_blocked.push_back(fmt::format("{}: {}", kOneRunManyRows, text));
}

namespace {

// What the forecasts would be under one change.
std::string Moved(const FitSummary& summary, const std::string& change) {
  std::string text;
  for (const Sensitivity& s : summary.sensitivities) {
    if (s.change != change) continue;
    if (!s.failed.empty())
      text += fmt::format("; without them {} cannot be fitted", s.law);
    else if (s.flops > 0)
      text += fmt::format("; without them {} at {} is {:.4f} instead of {:.4f} ({:+.2f} %)", s.law,
                          core::FormatFlops(s.flops), s.loss, s.loss_before,
                          100 * (s.loss / s.loss_before - 1));
  }
  return text;
}

}  // namespace

void RemarkOnOutliers(const std::vector<Observation>& observations, FitSummary& summary) {
  const std::vector<Outlier> outliers = FindOutliers(observations);
  if (outliers.empty()) return;
  summary.warnings.push_back(
      Warn(kOutliers,
           fmt::format("{} of {} runs lie far from all others, which a run that diverged, "
                       "ended early or stands in another unit does: {}{}",
                       outliers.size(), observations.size(), OutlierText(observations, outliers),
                       Moved(summary, WithoutOutliers(outliers.size())))));
}

void RemarkOnClamps(const std::vector<Observation>& observations, FitSummary& summary) {
  std::set<std::string> kinds;
  size_t clamped = 0;
  for (const Observation& o : observations) {
    clamped += !o.clamps.empty();
    kinds.insert(o.clamps.begin(), o.clamps.end());
  }
  if (clamped == 0) return;
  std::string text = fmt::format("{} of {} observations are clamped ({})", clamped,
                                 observations.size(), fmt::join(kinds, ", "));
  if (clamped == observations.size()) text += "; nothing is left without them";
  text += Moved(summary, WithoutClamped(clamped));
  summary.warnings.push_back(Warn(kClampedPoints, std::move(text)));
}

}  // namespace fit
