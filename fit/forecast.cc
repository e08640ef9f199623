#include "fit/forecast.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "core/units.h"
#include "fit/asymptote.h"
#include "fit/average.h"
#include "fit/calibration.h"
#include "fit/law_list.h"
#include "fmt/format.h"

namespace fit {

namespace {

// Warnings about the law as a whole go along with every number taken from it; those about single
// budgets stay with the fit, and LeftOutBudgets sums them up.
bool BearsOnForecast(const Warning& warning) {
  return warning.code != kEdgeMinimum && warning.code != kWrongCurvature &&
         warning.code != kTooFewPoints;
}

// Budgets that the law could not use, and how far the target lies from what it did use. Empty:
// none.
std::string LeftOutBudgets(const LawFit& fit, double target_flops) {
  constexpr size_t kNamed = 3;
  std::vector<std::string> refused;
  double kept = 0;
  for (const BudgetOptimum& budget : fit.budgets) {
    if (budget.minimum.status == MinimumStatus::kInterior) {
      kept = std::max(kept, budget.minimum.budget_flops);
    } else {
      refused.push_back(core::FormatFlops(budget.minimum.budget_flops));
    }
  }
  if (refused.empty() || kept == 0) return "";
  std::string names;
  for (size_t i = 0; i < std::min(refused.size(), kNamed); ++i)
    names += (i == 0 ? "" : ", ") + refused[i];
  if (refused.size() > kNamed) names += ", ...";
  return fmt::format(
      "{} leaves out {} of {} budgets, whose minima it cannot use: {}; the largest it keeps is {}, "
      "and {} is {:.3g} times that",
      fit.law, refused.size(), fit.budgets.size(), names, core::FormatFlops(kept),
      core::FormatFlops(target_flops), target_flops / kept);
}

// Why a law does not join the average, by its code; empty where it does.
std::string_view Undetermined(const LawFit& fit) {
  for (const std::string_view code : {kCollinear, kNotConverged, kParameterAtBound})
    if (Has(fit.warnings, code)) return code;
  if (fit.law != "frontier" && Has(fit.warnings, kFewDegreesOfFreedom)) return kFewDegreesOfFreedom;
  return "";
}
// Estimates of a forecast outside their own intervals.
void RemarkOutside(Forecast& forecast) {
  std::string what;
  const auto check = [&](std::string_view name, double value, const Interval& interval) {
    if (!IsOutside(value, interval)) return;
    what += fmt::format("{}{} = {:.5g} outside {:.5g} .. {:.5g}", what.empty() ? "" : ", ", name,
                        value, interval.lo, interval.hi);
  };
  check("loss", forecast.loss, forecast.interval);
  check("mean loss", forecast.loss, forecast.mean_interval);
  if (forecast.params > 0) check("N*", forecast.params, forecast.params_interval);
  if (forecast.tokens > 0) check("D*", forecast.tokens, forecast.tokens_interval);
  if (!what.empty())
    forecast.warnings.push_back(
        Warn(kEstimateOutside,
             fmt::format("estimates of {} outside their own intervals ({}): the resamples sit "
                         "elsewhere than the fit, which is a sign of a badly determined law",
                         forecast.law, what)));
}

// Where the target, or its optimum, lies outside what was fitted; empty where neither does.
std::string OutsideRange(const RunTarget& target, const Forecast& optimum, const Scale& scale) {
  std::string text;
  const std::string flops = core::FormatFlops(target.flops);
  if (const double reach = target.flops / scale.largest_flops; reach > 1 + 1e-9)
    text = fmt::format("{} is {:.3g} times the largest fitted budget {}", flops, reach,
                       core::FormatFlops(scale.largest_flops));
  if (target.flops < scale.smallest_flops * (1 - 1e-9))
    text =
        fmt::format("{} lies below the smallest fitted budget {}, by a factor of {:.3g}", flops,
                    core::FormatFlops(scale.smallest_flops), scale.smallest_flops / target.flops);
  const bool run = target.params > 0;
  const double ratio = run ? target.tokens / target.params : optimum.tokens / optimum.params;
  const double most = scale.most_tokens_per_param;
  if (!(ratio > 0 && most > 0) || !std::isfinite(ratio) || !std::isfinite(most)) return text;
  // Optima wander with C, out of a narrow design by a little.
  constexpr double kRounding = 1.01, kWandering = 2;
  const double off = run ? kRounding : kWandering;
  if (ratio < scale.fewest_tokens_per_param / off || ratio > most * off)
    text += fmt::format(
        "{}{:.3g} tokens a parameter{} lie outside the {:.3g} .. {:.3g} of the fitted runs, and no "
        "interval knows how laws fail there",
        text.empty() ? "" : "; ", ratio, run ? "" : " (its optimum's)",
        scale.fewest_tokens_per_param, most);
  return text;
}

// `value` and `interval` of every member, mixed.
template <typename Value, typename Of>
void Mix(const std::vector<const Forecast*>& members, const std::vector<double>& weights,
         const Value& value, const Of& interval_of, double* mixed, Interval* interval) {
  std::vector<MixturePart> parts;
  for (size_t i = 0; i < members.size(); ++i) {
    const Interval& own = interval_of(*members[i]);
    // A law in C alone says nothing about sizes.
    if (value(*members[i]) > 0) parts.push_back({weights[i], value(*members[i]), own.lo, own.hi});
  }
  if (parts.empty()) return;
  const Interval& first = interval_of(*members[0]);
  const MixturePart mixture = Mixture(parts, first.level);
  *mixed = mixture.loss;
  *interval = {mixture.lo, mixture.hi, first.level, first.kind, "mixture of laws"};
}

// What to train: a law whose N* lies elsewhere than the primary one's, neither within the other's
// interval.
void RemarkOnSizes(Forecast& primary, Forecast& other) {
  const Interval &own = primary.params_interval, &theirs = other.params_interval;
  if (!(primary.params > 0) || !(other.params > 0) || !std::isfinite(own.lo) ||
      !std::isfinite(theirs.lo) || !IsOutside(other.params, own) ||
      !IsOutside(primary.params, theirs))
    return;
  const std::string text = fmt::format(
      "at {} N* is {} by {} ({:.10g} % {} interval {} .. {}) and {} by {} ({} .. {}): the size is "
      "less certain than either says",
      core::FormatFlops(primary.flops), core::FormatCount(primary.params), primary.law,
      100 * own.level, Name(own.kind), core::FormatCount(own.lo), core::FormatCount(own.hi),
      core::FormatCount(other.params), other.law, core::FormatCount(theirs.lo),
      core::FormatCount(theirs.hi));
  for (Forecast* forecast : {&primary, &other})
    forecast->warnings.push_back(Warn(kLawsDisagree, text));
}

// An interval whose ends are a factor of 2 apart says that the data do not determine the forecast;
// the rule is about use, not about any data set. Nor do they where there is no interval at all.
// Then nothing is said of sizes that are equally good either.
void JudgeWidth(Forecast& forecast) {
  constexpr double kWidest = 2;
  const Interval& interval = forecast.interval;
  const bool known = std::isfinite(interval.lo) && std::isfinite(interval.hi);
  if (known && interval.hi <= kWidest * interval.lo) return;
  forecast.determined = false;
  if (!known) return;
  forecast.flat_params_lo = forecast.flat_params_hi = 0;
  forecast.flat_by.clear();
  forecast.warnings.push_back(
      Warn(kNotDetermined,
           fmt::format("at {} the {:.10g} % interval {:.4g} .. {:.4g} spans more than a factor of "
                       "{:g}: {} is not determined by these runs; add budgets nearer to the target",
                       core::FormatFlops(forecast.flops), 100 * interval.level, interval.lo,
                       interval.hi, kWidest, forecast.law)));
}

// Each law's own range of E at once: the average of their forecasts at the ends, as the forecast
// averages them.
void AverageAsymptote(const std::vector<const Forecast*>& members,
                      const std::vector<double>& weights, double total, Forecast& average) {
  average.asymptote.reset();
  double log_lo = 0, log_hi = 0;
  AsymptoteSpan span;
  bool any = false;
  for (size_t i = 0; i < members.size(); ++i) {
    const Forecast& member = *members[i];
    double at_lo = member.loss, at_hi = member.loss;
    if (member.asymptote.has_value()) {
      // A law that weighs next to nothing moves the forecast as little: its E is not the average's.
      constexpr double kCounts = 0.05;
      at_lo = member.asymptote->loss_at_E_lo, at_hi = member.asymptote->loss_at_E_hi;
      if (weights[i] >= kCounts * total) {
        const double lo = any ? span.E.lo : HUGE_VAL, hi = any ? span.E.hi : -HUGE_VAL;
        span.E = member.asymptote->E;
        span.E.lo = std::min(span.E.lo, lo), span.E.hi = std::max(span.E.hi, hi);
        any = true;
      }
    }
    log_lo += weights[i] / total * std::log(at_lo);
    log_hi += weights[i] / total * std::log(at_hi);
  }
  if (!any) return;
  span.E.method = "outermost ends among the laws of 5 % weight or more; each law at its own";
  span.loss_at_E_lo = std::exp(log_lo), span.loss_at_E_hi = std::exp(log_hi);
  average.asymptote = span;
}

// The sizes on which the laws that know any agree: only where they carry most of the weight and
// N* is among them.
void AverageFlatSizes(const std::vector<const Forecast*>& members,
                      const std::vector<double>& weights, double total, Forecast& average) {
  double lo = 0, hi = HUGE_VAL, known = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    if (!(members[i]->flat_params_lo > 0)) continue;
    lo = std::max(lo, members[i]->flat_params_lo);
    hi = std::min(hi, members[i]->flat_params_hi);
    average.within = members[i]->within;
    average.flat_by.push_back(members[i]->law);
    known += weights[i] / total;
  }
  const bool holds = known > 0.5 && lo <= average.params && average.params <= hi;
  average.flat_params_lo = holds ? lo : 0, average.flat_params_hi = holds ? hi : 0;
  if (!holds) average.flat_by.clear();
}

const double kInfinity = std::numeric_limits<double>::infinity();

// A law's forecast as the average takes it: without the known bias of N* and D*, and averaged over
// its profile, where the law does that, with the interval widened by what such averages taught.
Forecast AsMember(const Forecast& own, const std::vector<BacktestRow>& backtest) {
  Forecast member = own;
  member.params /= own.params_ratio, member.tokens /= own.tokens_ratio;
  if (!own.averaged.has_value()) return member;
  member.loss = own.averaged->loss;
  member.interval = member.unwidened = own.averaged->interval;
  member.mean_interval = own.averaged->mean_interval;
  member.asymptote = own.averaged->asymptote;
  const Calibration calibration = CalibrationOf(
      own.law, true, ProfileAverages(KnownAt(backtest, own.law, kInfinity)), own.interval.level);
  calibration.Apply(member.loss, member.reach, &member.interval);
  calibration.Apply(member.loss, member.reach, &member.mean_interval);
  return member;
}

// Of each member, any scale.
std::vector<double> WeightsOf(const std::vector<const Forecast*>& members,
                              const std::vector<BacktestRow>& backtest, const Beside& beside) {
  std::vector<double> weights;
  if (!beside.weighed.empty() && beside.weighed[0].members.size() == members.size()) {
    for (const AverageMember& member : beside.weighed[0].members) weights.push_back(member.weight);
    return weights;
  }
  std::vector<std::string> names;
  std::vector<std::vector<RollingForecasts>> known;
  for (const Forecast* member : members) {
    names.push_back(member->law);
    known.push_back(KnownAt(backtest, member->law, kInfinity));
  }
  weights = ScoreWeights(names, known);
  for (size_t i = 0; i < members.size(); ++i)
    weights[i] *=
        PrecisionWeight(members[i]->loss, members[i]->interval.lo, members[i]->interval.hi);
  return weights;
}

// A member's warning as the average repeats it: by name, unless it is of them all.
Warning OfMember(const Warning& warning, const Forecast& member,
                 const std::vector<const Forecast*>& members) {
  const bool of_all = std::all_of(members.begin(), members.end(), [&](const Forecast* other) {
    return std::any_of(other->warnings.begin(), other->warnings.end(), [&](const Warning& own) {
      return own.code == warning.code && own.text == warning.text;
    });
  });
  if (of_all || warning.text.find(member.law) != std::string::npos) return warning;
  return {warning.code, fmt::format("{}: {}", member.law, warning.text)};
}

Forecast AverageOf(const std::vector<const Forecast*>& own,
                   const std::vector<BacktestRow>& backtest, const Beside& beside) {
  std::vector<Forecast> taken;
  for (const Forecast* member : own) taken.push_back(AsMember(*member, backtest));
  std::vector<const Forecast*> members;
  for (const Forecast& member : taken) members.push_back(&member);
  Forecast average = *members[0];
  average.law = "average";
  average.warnings.clear();
  average.members.clear();
  average.joint.reset();
  average.averaged.reset();
  average.flops_per_param_token = average.flops_extrapolated = 0;
  average.params_ratio = average.tokens_ratio = 1;
  const std::vector<double> weights = WeightsOf(members, backtest, beside);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i < members.size(); ++i)
    average.members.push_back({members[i]->law, weights[i] / total, members[i]->loss,
                               members[i]->interval, members[i]->mean_interval,
                               members[i]->params_ratio, members[i]->tokens_ratio});
  Mix(
      members, weights, [](const Forecast& f) { return f.loss; },
      [](const Forecast& f) -> const Interval& { return f.interval; }, &average.loss,
      &average.interval);
  double unused = 0;
  Mix(
      members, weights, [](const Forecast& f) { return f.loss; },
      [](const Forecast& f) -> const Interval& { return f.mean_interval; }, &unused,
      &average.mean_interval);
  Mix(
      members, weights, [](const Forecast& f) { return f.loss; },
      [](const Forecast& f) -> const Interval& { return f.unwidened; }, &unused,
      &average.unwidened);
  Mix(
      members, weights, [](const Forecast& f) { return f.params; },
      [](const Forecast& f) -> const Interval& { return f.params_interval; }, &average.params,
      &average.params_interval);
  Mix(
      members, weights, [](const Forecast& f) { return f.tokens; },
      [](const Forecast& f) -> const Interval& { return f.tokens_interval; }, &average.tokens,
      &average.tokens_interval);
  for (const Forecast* member : own)
    if (member->averaged.has_value())
      for (Interval* interval : {&average.interval, &average.mean_interval})
        if (interval->method.find("profile") == std::string::npos)
          interval->method += ", each " + member->averaged->interval.method;
  average.off_optimum = 0;
  for (size_t i = 0; i < members.size(); ++i)
    average.off_optimum += weights[i] / total * members[i]->off_optimum;
  AverageFlatSizes(members, weights, total, average);
  AverageAsymptote(members, weights, total, average);
  // A run's loss lies at least where its mean may, and where E alone may move it.
  Interval ends{average.loss, average.loss};
  if (average.asymptote.has_value()) {
    const AsymptoteSpan& span = *average.asymptote;
    ends.lo = std::min(span.loss_at_E_lo, span.loss_at_E_hi);
    ends.hi = std::max(span.loss_at_E_lo, span.loss_at_E_hi);
  }
  Interval mean = average.mean_interval;
  CoverAsymptote(average.loss, ends, &mean, &average.unwidened);
  CoverAsymptote(average.loss, ends, &average.mean_interval, &average.interval);
  if (auto warning = UnidentifiedAsymptote(average, average.unwidened))
    average.warnings.push_back(*warning);
  for (const Forecast* member : members)
    for (const Warning& warning : member->warnings)
      if (!Has(average.warnings, warning.code) && warning.code != kAsymptoteUnidentified &&
          !(warning.code == kNoInterval && std::isfinite(average.interval.lo)))
        average.warnings.push_back(OfMember(warning, *member, members));
  return average;
}

// The laws that are not in the average, and why.
std::vector<std::pair<std::string, std::string>> LeftOut(const std::vector<const FittedLaw*>& laws,
                                                         const std::vector<Forecast>& forecasts,
                                                         const std::vector<Candidate>& candidates,
                                                         const std::vector<std::string>& selected,
                                                         const RunTarget& target) {
  double least = HUGE_VAL, least_error = HUGE_VAL;
  std::map<std::string, double> errors;
  for (const Candidate& c : candidates) {
    errors[c.law] = HeldOutError(c);
    if (!std::isfinite(c.aicc)) continue;
    least = std::min(least, c.aicc);
    least_error = std::min(least_error, errors[c.law]);
  }
  std::vector<std::pair<std::string, std::string>> left_out;
  for (const FittedLaw* law : laws) {
    const LawFit& fit = law->fit();
    const bool is_in = std::find(selected.begin(), selected.end(), fit.law) != selected.end();
    const bool forecast = std::any_of(forecasts.begin(), forecasts.end(),
                                      [&](const Forecast& f) { return f.law == fit.law; });
    if (fit.law == "isoflop" || (is_in && forecast)) continue;
    std::string why;
    if (const std::string_view code = Undetermined(fit); !code.empty()) {
      for (const Warning& warning : fit.warnings)
        if (why.empty() && warning.code == code)
          why = fmt::format("{}: {}", warning.code, warning.text);
    } else if (!forecast) {
      const Law* known = LawByName(fit.law);
      if (target.params == 0)
        why = "no optimum at this budget";
      else if (known != nullptr && !known->forecasts_runs())
        why = "a law in C cannot forecast a run away from the optimum";
      else
        why = "it knows optima, and the run's size is far from them";
    } else {
      why = SelectedBy(candidates) == Selection::kHeldOut
                ? fmt::format(
                      "its held-out errors, {:.3g} % (rms), are {:.3g} times those of the "
                      "best law of the runs; 1.5 times is the limit",
                      100 * errors[fit.law], errors[fit.law] / least_error)
                : fmt::format("its AICc lies {:.1f} above that of the best law of the runs",
                              fit.aicc - least);
    }
    left_out.emplace_back(fit.law, std::move(why));
  }
  return left_out;
}

}  // namespace

bool IsDetermined(const LawFit& fit) { return fit.law != "isoflop" && Undetermined(fit).empty(); }

bool IsOutside(double value, const Interval& interval) {
  return value < interval.lo || value > interval.hi;
}

std::string PrimaryLaw(const std::vector<const FittedLaw*>& laws, bool one_law) {
  constexpr size_t kGoodBudgets = 3;
  size_t determined = 0;
  bool averages = false;
  for (const FittedLaw* law : laws)
    if (IsDetermined(law->fit())) ++determined, averages = averages || law->averages_profile();
  if (!one_law && (determined >= 2 || averages)) return "average";
  // What the data determine comes first; a law that they do not is named only if there is no other,
  // and says so (NotDetermined).
  for (bool determined : {true, false}) {
    for (const FittedLaw* law : laws)
      if (law->fit().law == "frontier" && law->fit().n >= kGoodBudgets &&
          (!determined || IsDetermined(law->fit())))
        return law->fit().law;
    for (const FittedLaw* law : laws)
      if (law->fit().law != "isoflop" && (!determined || IsDetermined(law->fit())))
        return law->fit().law;
  }
  return "";
}

std::vector<std::string> LawsOfAverage(const std::vector<const FittedLaw*>& laws) {
  std::vector<std::string> names;
  for (const FittedLaw* law : laws)
    if (IsDetermined(law->fit())) names.push_back(law->fit().law);
  return names;
}

std::vector<Forecast> ForecastAt(const std::vector<const FittedLaw*>& laws, const RunTarget& target,
                                 const Scale& scale, const std::vector<BacktestRow>& backtest,
                                 const Beside& beside) {
  const double flops = target.flops;
  const std::string primary = PrimaryLaw(laws, scale.one_law);
  std::vector<Forecast> forecasts;
  for (const FittedLaw* law : laws) {
    std::optional<Forecast> forecast = law->Predict(target);
    if (!forecast.has_value()) continue;
    for (const Warning& warning : law->fit().warnings)
      if (BearsOnForecast(warning) && !Has(forecast->warnings, warning.code))
        forecast->warnings.push_back(warning);
    if (std::string text = LeftOutBudgets(law->fit(), flops); !text.empty())
      forecast->warnings.push_back(Warn(kBudgetsLeftOut, std::move(text)));
    forecast->primary = forecast->law == primary;
    forecast->metric = scale.metric;
    forecast->reach = flops / scale.largest_flops;
    forecast->leverage = scale.spent_flops > 0 ? flops / scale.spent_flops
                                               : std::numeric_limits<double>::quiet_NaN();
    const Calibration calibration(
        forecast->law, KnownAt(backtest, forecast->law, std::numeric_limits<double>::infinity()),
        forecast->interval.level);
    forecast->unwidened = forecast->interval;
    calibration.Apply(forecast->loss, forecast->reach, &forecast->interval);
    calibration.Apply(forecast->loss, forecast->reach, &forecast->mean_interval);
    if (auto warning = UnidentifiedAsymptote(*forecast, forecast->unwidened))
      forecast->warnings.push_back(*std::move(warning));
    if (std::string text = OutsideRange(target, *forecast, scale); !text.empty())
      forecast->warnings.push_back(Warn(kOutsideRange, std::move(text)));
    if (!std::isfinite(forecast->interval.lo) || !std::isfinite(forecast->interval.hi))
      forecast->warnings.push_back(Warn(
          kNoInterval,
          "no interval: too few resamples could be fitted, or the fit leaves no residuals (three "
          "sizes a budget, three budgets); add sizes and budgets"));
    if (forecast->primary && !IsDetermined(law->fit())) {
      forecast->determined = false;
      forecast->warnings.push_back(
          Warn(kNotDetermined, fmt::format("{} is not determined by these runs (its warnings say "
                                           "why), and no other law is",
                                           forecast->law)));
    }
    for (Interval* interval : {&forecast->interval, &forecast->mean_interval})
      interval->method += ", of this law alone";
    forecasts.push_back(*std::move(forecast));
  }
  if (primary == "average") {
    std::vector<Candidate> candidates;
    for (const FittedLaw* law : laws)
      if (IsDetermined(law->fit()) &&
          std::any_of(forecasts.begin(), forecasts.end(),
                      [&](const Forecast& f) { return f.law == law->fit().law; }))
        candidates.push_back({law->fit().law, law->fit().aicc,
                              ProfileAverages(KnownAt(backtest, law->fit().law, kInfinity))});
    const std::vector<std::string> selected = SelectLaws(candidates);
    std::vector<const Forecast*> members;
    for (const std::string& law : selected)
      for (const Forecast& forecast : forecasts)
        if (forecast.law == law) members.push_back(&forecast);
    if (!members.empty()) {
      Forecast average = AverageOf(members, backtest, beside);
      average.primary = true;
      average.left_out = LeftOut(laws, forecasts, candidates, selected, target);
      forecasts.push_back(std::move(average));
    }
  }
  // The free fit may have another primary law.
  if (!beside.unpinned.empty())
    for (Forecast& forecast : forecasts) {
      const auto same = std::find_if(beside.unpinned.begin(), beside.unpinned.end(),
                                     [&](const Forecast& f) { return f.law == forecast.law; });
      VaryPinnedAsymptote(beside.pinned_E,
                          same == beside.unpinned.end() ? beside.unpinned[0] : *same, &forecast);
    }
  for (Forecast& forecast : forecasts) {
    JudgeWidth(forecast);
    RemarkOutside(forecast);
  }
  std::stable_partition(forecasts.begin(), forecasts.end(),
                        [](const Forecast& f) { return f.primary; });
  if (forecasts.empty() || !forecasts[0].primary) return forecasts;
  for (size_t i = 1; i < forecasts.size(); ++i) RemarkOnSizes(forecasts[0], forecasts[i]);
  for (size_t i = 1; i < forecasts.size(); ++i) {
    const Interval& interval = forecasts[0].interval;
    if (!std::isfinite(interval.lo) || !std::isfinite(interval.hi) ||
        !(forecasts[i].loss < interval.lo || forecasts[i].loss > interval.hi))
      continue;
    std::string text =
        fmt::format("at {} {} forecasts {:.4f}, outside the interval {:.4f} .. {:.4f} of {}",
                    core::FormatFlops(flops), forecasts[i].law, forecasts[i].loss, interval.lo,
                    interval.hi, forecasts[0].law);
    for (const AverageMember& member : forecasts[0].members)
      if (member.law == forecasts[i].law && forecasts[i].averaged.has_value())
        text += fmt::format(", which takes {:.4f} from it, averaged over its profile", member.loss);
    forecasts[0].warnings.push_back(Warn(kLawsDisagree, text));
    forecasts[i].warnings.push_back(Warn(kLawsDisagree, text));
  }
  return forecasts;
}

}  // namespace fit
