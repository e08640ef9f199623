#include "fit/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "core/status_macros.h"
#include "core/units.h"
#include "fit/crossover.h"
#include "fit/deciding_run.h"
#include "fit/flops_check.h"
#include "fit/forecast.h"
#include "fit/frontier_curve.h"
#include "fit/labels.h"
#include "fit/multiplier_draws.h"
#include "fmt/format.h"

namespace fit {
namespace {

const double kInfinity = std::numeric_limits<double>::infinity();
const double kDecade = std::log(10);
constexpr int kTrendPoints = 7;
constexpr double kFarReach = 10;
constexpr uint64_t kSeedOfB = 0x9e3779b97f4a7c15;  // B's resamples must not be A's

std::vector<const FittedLaw*> Views(const FitSummary& summary) {
  std::vector<const FittedLaw*> views;
  for (const auto& law : summary.laws) views.push_back(law.get());
  return views;
}

// Of the laws in the cohort's own average, as `fit` forecasts its largest fitted budget with it;
// empty where there is no average.
std::map<std::string, double> OwnWeights(const FitSummary& summary) {
  std::map<std::string, double> weights;
  for (const Forecast& forecast : ForecastsOf(summary, {summary.largest_flops}))
    for (const AverageMember& member : forecast.members) weights[member.law] = member.weight;
  return weights;
}

const FittedLaw* LawOf(const FitSummary& summary, const std::string& name) {
  for (const auto& law : summary.laws)
    if (law->fit().law == name && std::isfinite(law->FrontierLoss(summary.largest_flops, {})))
      return law.get();
  return nullptr;
}

// The laws that both cohorts determine; failing that, one that both have.
std::vector<std::string> CommonLaws(const FitSummary& a, const FitSummary& b) {
  const std::vector<std::string> of_a = LawsOfAverage(Views(a)), of_b = LawsOfAverage(Views(b));
  std::vector<std::string> common;
  for (const std::string& law : of_a)
    if (std::find(of_b.begin(), of_b.end(), law) != of_b.end() && LawOf(a, law) != nullptr &&
        LawOf(b, law) != nullptr)
      common.push_back(law);
  if (!common.empty()) return common;
  for (const auto& law : a.laws)
    if (LawOf(a, law->fit().law) != nullptr && LawOf(b, law->fit().law) != nullptr)
      return {law->fit().law};
  return {};
}

absl::Status Named(const ComparedCohort& cohort, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      fmt::format("{}: {}", cohort.name, std::string(status.message())));
}

absl::StatusOr<FitSummary> FitOf(const ComparedCohort& cohort, FitOptions options, uint64_t seed) {
  options.predict.clear();
  options.sensitivity = false;
  options.spent_flops = cohort.spent_flops;
  options.law.bootstrap.seed = seed;
  auto summary = RunFit(cohort.observations, options, cohort.excluded);
  RETURN_IF_ERROR(Named(cohort, summary.status()));
  return summary;
}

// `options` for one of two cohorts: a column that may be mixed and that only the other one's file
// has is nothing to it.
FitOptions OptionsOf(const ComparedCohort& cohort, const ComparedCohort& other,
                     FitOptions options) {
  const auto has = [](const ComparedCohort& of, const std::string& column) {
    return !of.observations.empty() && of.observations.front().labels.count(column) > 0;
  };
  std::erase_if(options.allow_mixed, [&](const std::string& column) {
    return has(other, column) && !has(cohort, column);
  });
  options.experiment_option = false;
  return options;
}

absl::StatusOr<Cohort> CohortOf(const ComparedCohort& cohort, const FitOptions& options) {
  auto checked = CheckCohort(cohort.observations, options.allow_mixed);
  RETURN_IF_ERROR(Named(cohort, checked.status()));
  return checked;
}

// The range of ln C in which neither frontier is extrapolated; empty when lo >= hi.
struct Range {
  double lo = -kInfinity, hi = kInfinity;
};
Range CommonRange(const std::vector<LawPair>& laws) {
  Range range;
  for (const LawPair& pair : laws) {
    const FitSummary &a = pair.a->summary(), &b = pair.b->summary();
    const double from_a = pair.b->LnFlops(pair.a->LnLoss(std::log(a.smallest_flops)));
    const double to_a = pair.b->LnFlops(pair.a->LnLoss(std::log(a.largest_flops)));
    range.lo = std::max({range.lo, std::log(b.smallest_flops), from_a});
    range.hi = std::min({range.hi, std::log(b.largest_flops), to_a});
  }
  return range;
}

// Runs of `b` that are in `a` too, by all that was spent and measured.
size_t SharedRuns(const ComparedCohort& a, const ComparedCohort& b) {
  const auto key = [](const Observation& o) {
    return std::tuple(o.flops, o.params, o.tokens, o.loss, o.seed);
  };
  std::multiset<decltype(key(Observation()))> runs;
  for (const Observation& o : a.observations) runs.insert(key(o));
  size_t shared = 0;
  for (const Observation& o : b.observations) {
    const auto same = runs.find(key(o));
    if (same == runs.end()) continue;
    runs.erase(same);
    ++shared;
  }
  return shared;
}

// A thing against itself, or a part of itself, is refused; single runs in both are said.
void CheckShared(const ComparedCohort& a, const ComparedCohort& b, Comparability* out) {
  const size_t shared = SharedRuns(a, b);
  const size_t of_a = a.observations.size(), of_b = b.observations.size();
  if (shared == 0) return;
  if (shared == of_a || shared == of_b) {
    out->reasons.push_back(
        of_a == of_b ? fmt::format("{} and {} are the same {} runs: there is nothing to compare",
                                   a.name, b.name, shared)
                     : fmt::format("all {} runs of {} are among those of {}: there is nothing to "
                                   "compare",
                                   shared, shared == of_a ? a.name : b.name,
                                   shared == of_a ? b.name : a.name));
    return;
  }
  out->warnings.push_back(Warn(
      kSharedRuns, fmt::format("{} runs are in both {} and {}: the interval takes the cohorts for "
                               "independent",
                               shared, a.name, b.name)));
}

// C / (N D), geometric mean over the runs of the sizes that both have, of all where none are.
std::pair<double, double> FlopsPerParamToken(const ComparedCohort& a, const ComparedCohort& b) {
  const auto sizes = [](const ComparedCohort& cohort) {
    std::pair<double, double> ends = {kInfinity, 0};
    for (const Observation& o : cohort.observations)
      ends = {std::min(ends.first, o.params), std::max(ends.second, o.params)};
    return ends;
  };
  const double lo = std::max(sizes(a).first, sizes(b).first);
  const double hi = std::min(sizes(a).second, sizes(b).second);
  const auto mean = [&](const ComparedCohort& cohort) {
    double sum[2] = {0, 0}, n[2] = {0, 0};
    for (const Observation& o : cohort.observations) {
      const bool common = o.params >= lo && o.params <= hi;
      sum[common] += std::log(o.flops) - std::log(o.params) - std::log(o.tokens), n[common] += 1;
    }
    const bool overlap = lo <= hi && n[1] > 0;
    return std::exp(overlap ? sum[1] / n[1] : (sum[0] + sum[1]) / (n[0] + n[1]));
  };
  return {mean(a), mean(b)};
}

// A FLOP that is counted in another way, or in another unit, would pass for a multiplier.
void CheckFlopsAlike(const ComparedCohort& a, const ComparedCohort& b,
                     const std::vector<std::string>& factors, Comparability* out) {
  constexpr double kAlike = 1.05, kSame = 1.2;
  bool doubted = false;
  for (const ComparedCohort* cohort : {&a, &b}) {
    if (cohort->observations.empty() || !(cohort->observations.front().params > 0)) return;
    const std::string doubt = FlopsDoubt(cohort->observations);
    if (!doubt.empty()) out->reasons.push_back(fmt::format("{}: {}", cohort->name, doubt));
    doubted = doubted || !doubt.empty();
  }
  const auto [of_a, of_b] = FlopsPerParamToken(a, b);
  const double apart = std::max(of_a / of_b, of_b / of_a);
  if (doubted || apart < kAlike) return;
  const std::string text = fmt::format("C / (N D) at like N is {:.3g} in {} and {:.3g} in {}", of_a,
                                       a.name, of_b, b.name);
  const bool named = std::find(factors.begin(), factors.end(), kFlopsFactor) != factors.end();
  if (apart > kSame && !named) {
    out->reasons.push_back(fmt::format(
        "{}: where FLOPs are counted in two ways, the multiplier is that of the counting. Count "
        "both alike (6 N D, or the recipe's for both), or, if their models do cost that "
        "differently, add --factor {}",
        text, kFlopsFactor));
    return;
  }
  out->warnings.push_back(Warn(
      kFlopConvention,
      fmt::format("{}: up to {:.3g} times of the multiplier may be the counting", text, apart)));
}

// Columns that nobody mapped and that hold one text in each cohort, another in the other (numbers
// may follow from the runs), or that tell the runs of either apart, which `allow_mixed`
// lets pass, and hold other shares in the other.
std::vector<KeyDifference> ColumnsThatDiffer(const ComparedCohort& a, const ComparedCohort& b,
                                             const std::vector<std::string>& allow_mixed) {
  const auto constants = [](const ComparedCohort& cohort) {
    std::map<std::string, std::string> values = cohort.observations.front().labels;
    for (const Observation& o : cohort.observations)
      std::erase_if(values, [&](const auto& label) {
        const auto here = o.labels.find(label.first);
        return here == o.labels.end() || here->second != label.second;
      });
    return values;
  };
  std::vector<KeyDifference> differences;
  if (a.observations.empty() || b.observations.empty()) return differences;
  const std::map<std::string, std::string> of_a = constants(a), of_b = constants(b);
  for (const auto& [column, text] : of_a)
    if (const auto other = of_b.find(column);
        other != of_b.end() && other->second != text && !core::ParseNumber(text).ok())
      differences.push_back({column, text, other->second});
  std::set<std::string> mixed;
  for (const ComparedCohort* cohort : {&a, &b})
    for (const LabelFinding& finding : FindLabels(cohort->observations))
      mixed.insert(finding.columns.begin(), finding.columns.end());
  const auto shares = [](const ComparedCohort& cohort, const std::string& column) {
    std::map<std::string, int64_t> counts;
    for (const Observation& o : cohort.observations) {
      const auto found = o.labels.find(column);
      ++counts[found == o.labels.end() ? "(none)" : found->second];
    }
    return counts.size() == 1 ? counts.begin()->first : SharesText(counts);
  };
  for (const std::string& column : allow_mixed) {
    if (mixed.count(column) == 0) continue;
    std::string in_a = shares(a, column), in_b = shares(b, column);
    if (in_a != in_b) differences.push_back({column, std::move(in_a), std::move(in_b)});
  }
  return differences;
}

// Laws on both sides of 1, and forecasts of `fit` in the other order.
void WarnOfDisagreement(const FitSummary& fit_a, const FitSummary& fit_b, Multiplier* m) {
  const auto [least, most] =
      std::minmax_element(m->by_law.begin(), m->by_law.end(),
                          [](const auto& one, const auto& two) { return one.second < two.second; });
  if (least != m->by_law.end() && least->second < 1 && most->second > 1)
    m->warnings.push_back(
        Warn(kLawsDisagree, fmt::format("by {} CM is {:.3g}, by {} {:.3g}: the laws do not agree "
                                        "which cohort is better here",
                                        least->first, least->second, most->first, most->second)));
  const std::vector<Forecast> of_a = ForecastsOf(fit_a, {m->flops}),
                              of_b = ForecastsOf(fit_b, {m->flops});
  if (of_a.empty() || of_b.empty() || !of_a[0].primary || !of_b[0].primary) return;
  if ((of_a[0].loss > of_b[0].loss) == (m->value > 1)) return;
  m->warnings.push_back(
      Warn(kLawsDisagree,
           fmt::format("the primary forecasts of `fit` are {:.4f} of A and {:.4f} of B here, the "
                       "other order: neither is established",
                       of_a[0].loss, of_b[0].loss)));
}

std::string NoOverlap(const std::vector<LawPair>& laws, const Comparison& comparison) {
  const LawPair& pair = laws[0];
  const auto loss = [](const FrontierCurve& curve, double flops) {
    const double value = std::exp(curve.LnLoss(std::log(flops)));
    return std::isfinite(value) ? fmt::format("{:.4f}", value) : "where it has no optimum";
  };
  const auto losses = [&](const FrontierCurve& curve) {
    return fmt::format("{} to {}", loss(curve, curve.summary().smallest_flops),
                       loss(curve, curve.summary().largest_flops));
  };
  return fmt::format(
      "the losses do not overlap: the frontier of {} runs from {}, that of {} from {} ({}); every "
      "multiplier would be extrapolated",
      comparison.a, losses(*pair.a), comparison.b, losses(*pair.b), pair.a->law_name());
}

void AddFitWarnings(const FitSummary& summary, const std::string& name,
                    const std::vector<std::string>& laws, std::vector<Warning>& warnings) {
  for (const Warning& w : summary.warnings)
    warnings.push_back({w.code, fmt::format("{}: {}", name, w.text)});
  for (const LawFit& fit : summary.fits) {
    if (std::find(laws.begin(), laws.end(), fit.law) == laws.end()) continue;
    for (const Warning& w : fit.warnings)
      warnings.push_back({w.code, fmt::format("{}, {}: {}", name, fit.law, w.text)});
  }
}

class Comparer {
 public:
  Comparer(const CompareOptions& options, Comparison& comparison)
      : options_(options), out_(comparison), draws_(MakePairs()) {}

  // False, with a reason, when there is nothing to compare on.
  bool Prepare() {
    if (draws_.laws().empty()) {
      out_.comparability.reasons.push_back(fmt::format(
          "no law gives both a frontier; `sweepctl fit` on {} and on {} says why", out_.a, out_.b));
      return false;
    }
    for (const LawPair& pair : draws_.laws())
      out_.laws.emplace_back(pair.a->law_name(), pair.weight);
    range_ = CommonRange(draws_.laws());
    if (range_.lo < range_.hi) return true;
    out_.comparability.reasons.push_back(NoOverlap(draws_.laws(), out_));
    return false;
  }

  void Run() {
    std::vector<double> at = options_.at;
    if (at.empty()) at.push_back(std::exp(range_.hi));
    for (const double flops : at) out_.multipliers.push_back(MultiplierAt(flops));
    FindTrend();
    out_.crossover = FindCrossover(draws_, range_.lo, range_.hi, {out_.a, out_.b}, Level());
    // The first of them that is open.
    double question = at[0];
    for (auto m = out_.multipliers.rbegin(); m != out_.multipliers.rend(); ++m)
      if (!(m->interval.lo > 1 || m->interval.hi < 1)) question = m->flops;
    out_.deciding = FindDecidingRun(draws_, question, {out_.a, out_.b}, Level());
  }

 private:
  double Level() const { return options_.fit.law.bootstrap.level; }

  std::vector<LawPair> MakePairs() {
    std::vector<std::string> laws = CommonLaws(out_.fit_a, out_.fit_b);
    std::map<std::string, double> of_a = OwnWeights(out_.fit_a), of_b = OwnWeights(out_.fit_b);
    std::map<std::string, double> weights;
    double total = 0;
    for (const std::string& law : laws)
      if (of_a[law] > 0 && of_b[law] > 0)
        total += weights[law] = 1 / (1 / of_a[law] + 1 / of_b[law]);
    std::vector<LawPair> pairs;
    for (const std::string& law : laws) {
      // A law that one cohort's average leaves out is in no comparison; where that leaves none, or
      // there is no average, nothing says which law is better.
      if (total > 0 && !weights.contains(law)) continue;
      LawPair pair;
      pair.a = std::make_unique<FrontierCurve>(out_.fit_a, *LawOf(out_.fit_a, law));
      pair.b = std::make_unique<FrontierCurve>(out_.fit_b, *LawOf(out_.fit_b, law));
      pair.weight = total > 0 ? weights[law] / total : 1 / static_cast<double>(laws.size());
      pairs.push_back(std::move(pair));
    }
    return pairs;
  }

  Multiplier MultiplierAt(double flops) const {
    const double x = std::log(flops);
    Multiplier m;
    m.flops = flops;
    double ln_loss = 0;
    for (const LawPair& pair : draws_.laws()) {
      const double ln_cm = pair.LnMultiplier(x, FrontierCurve::kAsFitted);
      m.by_law.emplace_back(pair.a->law_name(), std::exp(ln_cm));
      ln_loss += pair.weight * pair.b->LnLoss(x);
    }
    m.loss = std::exp(ln_loss);
    m.value = std::exp(draws_.LnMultiplier(x));
    m.equivalent_flops = m.value * flops;
    m.interval = draws_.IntervalOf(draws_.LnMultipliers(x), Level());
    if (std::isnan(m.interval.lo))
      m.warnings.push_back(Warn(
          kNoInterval,
          "fewer than 20 of the resamples, or less than half of their weight, say anything here: "
          "no interval"));
    m.reach_a = m.equivalent_flops / out_.fit_a.largest_flops;
    m.reach_b = flops / out_.fit_b.largest_flops;
    const auto outside = [&](const std::string& name, double c, const FitSummary& fit) {
      if (c <= fit.largest_flops * (1 + 1e-9) && c >= fit.smallest_flops * (1 - 1e-9)) return;
      m.warnings.push_back(
          Warn(kOutsideRange,
               fmt::format("{} is extrapolated: {} lies outside its fitted budgets {} to "
                           "{}",
                           name, core::FormatFlops(c), core::FormatFlops(fit.smallest_flops),
                           core::FormatFlops(fit.largest_flops))));
    };
    outside(out_.b, flops, out_.fit_b);
    if (std::isfinite(m.equivalent_flops))
      outside(out_.a, m.equivalent_flops, out_.fit_a);
    else
      m.warnings.push_back(Warn(
          kOutsideRange, fmt::format("{} does not reach a loss of {:.4f} at any compute within six "
                                     "decades of its runs",
                                     out_.a, m.loss)));
    if (std::isfinite(m.interval.lo) && (m.reach_a > kFarReach || m.reach_b > kFarReach))
      m.warnings.push_back(
          Warn(kOutsideRange,
               fmt::format("reach above {:g}: each cohort's own error out of range is counted in "
                           "full: what both share does not cancel here, so the interval errs on "
                           "the wide side",
                           kFarReach)));
    WarnOfDisagreement(out_.fit_a, out_.fit_b, &m);
    return m;
  }

  void FindTrend() {
    out_.trend.lo_flops = std::exp(range_.lo);
    out_.trend.hi_flops = std::exp(range_.hi);
    // Least squares over equally spaced points: weights proportional to the distance from their
    // middle.
    std::vector<double> slopes(draws_.size(), 0);
    double slope = 0, sum = 0;
    for (int i = 0; i < kTrendPoints; ++i) {
      const double share = static_cast<double>(i) / (kTrendPoints - 1);
      const double from_middle = (share - 0.5) * (range_.hi - range_.lo) / kDecade;
      sum += from_middle * from_middle;
      const double x = range_.lo + share * (range_.hi - range_.lo);
      slope += from_middle * draws_.LnMultiplier(x);
      const std::vector<double> logs = draws_.LnMultipliers(x);
      for (size_t d = 0; d < logs.size(); ++d) slopes[d] += from_middle * logs[d];
    }
    for (double& s : slopes) s /= sum;
    out_.trend.factor = std::exp(slope / sum);
    out_.trend.interval = draws_.IntervalOf(slopes, Level());
  }

  const CompareOptions& options_;
  Comparison& out_;
  MultiplierDraws draws_;
  Range range_;
};

}  // namespace

absl::StatusOr<Comparison> Compare(const ComparedCohort& a, const ComparedCohort& b,
                                   const CompareOptions& options) {
  for (const double flops : options.at) {
    if (!(std::isfinite(flops) && flops > 0))
      return absl::InvalidArgumentError(fmt::format("compare at {}: must be above 0", flops));
  }
  Comparison comparison;
  comparison.a = a.name;
  comparison.b = b.name;
  const FitOptions of_a = OptionsOf(a, b, options.fit), of_b = OptionsOf(b, a, options.fit);
  ASSIGN_OR_RETURN(const Cohort cohort_a, CohortOf(a, of_a));
  ASSIGN_OR_RETURN(const Cohort cohort_b, CohortOf(b, of_b));
  comparison.comparability = CheckComparable(cohort_a, cohort_b, a.name, b.name, options.factors,
                                             ColumnsThatDiffer(a, b, options.fit.allow_mixed));
  CheckShared(a, b, &comparison.comparability);
  CheckFlopsAlike(a, b, options.factors, &comparison.comparability);
  if (!comparison.comparability.reasons.empty()) return comparison;
  const uint64_t seed = options.fit.law.bootstrap.seed;
  ASSIGN_OR_RETURN(comparison.fit_a, FitOf(a, of_a, seed));
  ASSIGN_OR_RETURN(comparison.fit_b, FitOf(b, of_b, seed ^ kSeedOfB));
  comparison.warnings = comparison.comparability.warnings;
  Comparer comparer(options, comparison);
  if (!comparer.Prepare()) return comparison;
  std::vector<std::string> laws;
  for (const auto& [law, weight] : comparison.laws) laws.push_back(law);
  AddFitWarnings(comparison.fit_a, a.name, laws, comparison.warnings);
  AddFitWarnings(comparison.fit_b, b.name, laws, comparison.warnings);
  comparer.Run();
  return comparison;
}

}  // namespace fit
