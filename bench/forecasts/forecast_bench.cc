// Retrospective forecasts over public data: every set, every cut, every law, scored. PROTOCOL.md
// says what is forecast from what and what each number means.
//   forecast_bench [DATA_FOLDER] [--csv FILE] [--rows FILE] [--law LAW,...] [--half HALF]
// Laws are those that fit/law_list.cc lists; a CSV file in the folder is a set: neither needs a
// change here.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "bench/forecasts/sets.h"
#include "core/file.h"
#include "fit/average.h"
#include "fit/backtest.h"
#include "fit/fit.h"
#include "fit/forecast.h"
#include "fit/frontier.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace bench {
namespace {

constexpr double kLevel = 0.9;
constexpr size_t kFewestBudgets = 4;

// One forecast of one method.
struct Scored {
  const ForecastSet* set = nullptr;
  std::string method;
  double cut = 0;
  fit::TestPoint test;
  fit::TestPoint own;  // a law's, before it is widened
  bool determined = true;
};

// How a method is fitted; what the same law needs for its baselines too.
struct LawMethod {
  std::string name, law;
  bool ours = true;  // widened by calibration.h and part of the average
  enum Pin { kFree, kZero, kHalf } pin = kFree;
  bool surface = false;
  fit::LossSpec loss;  // of surfaces
};

// Every law that forecasts losses, then the baselines. `only`: names of laws to keep, empty for
// all.
std::vector<LawMethod> LawMethods(const std::set<std::string>& only) {
  std::vector<LawMethod> list;
  for (const std::string& name : fit::LawNames()) {
    const fit::Law* law = fit::LawByName(name);
    if (law == nullptr || name == "isoflop" || (!only.empty() && only.count(name) == 0)) continue;
    list.push_back({name, name, true, LawMethod::kFree, law->surface() != nullptr});
  }
  list.insert(list.end(),
              {{"- approach 2, free E", "frontier", false},
               {"- approach 2, E = 0", "frontier", false, LawMethod::kZero},
               {"- approach 2, E pinned", "frontier", false, LawMethod::kHalf},
               {"- approach 3, bootstrap", "chinchilla", false, LawMethod::kFree, true}});
  // The other estimators that peers fit by.
  const fit::LossSpec l1{fit::LossKind::kL1}, l2{fit::LossKind::kL2};
  const fit::LossSpec asymmetric{.over = 10};
  for (const auto& [name, loss] :
       {std::pair{"- approach 3, L1", l1}, std::pair{"- approach 3, squares", l2},
        std::pair{"- approach 3, over x 10", asymmetric}})
    list.push_back({name, "chinchilla", false, LawMethod::kFree, true, loss});
  return list;
}

// The runs to forecast, by index: the judged run of every budget above the cut.
std::vector<size_t> Targets(const ForecastSet& set, double cut) {
  std::map<double, fit::IsoflopGroup> groups;
  for (size_t i = 0; i < set.observations.size(); ++i) {
    if (set.budgets[i] <= cut * (1 + 1e-9)) continue;
    const fit::Observation& o = set.observations[i];
    fit::IsoflopGroup& group = groups[set.budgets[i]];
    group.budget_flops = set.budgets[i];
    group.points.push_back({std::log(o.params), std::log(o.tokens), o.loss});
    group.members.push_back(i);
  }
  std::vector<size_t> targets;
  for (const auto& [budget, group] : groups)
    targets.push_back(group.members[fit::JudgedRun(group)]);
  return targets;
}

std::vector<fit::Observation> UpTo(const ForecastSet& set, double cut) {
  std::vector<fit::Observation> runs;
  for (size_t i = 0; i < set.observations.size(); ++i)
    if (set.budgets[i] <= cut * (1 + 1e-9)) runs.push_back(set.observations[i]);
  return runs;
}

std::vector<double> Cuts(const ForecastSet& set) {
  const std::set<double> budgets(set.budgets.begin(), set.budgets.end());
  const std::vector<double> sorted(budgets.begin(), budgets.end());
  std::vector<double> cuts;
  for (size_t k = kFewestBudgets; k < sorted.size(); ++k) cuts.push_back(sorted[k - 1]);
  return cuts;
}

std::unique_ptr<fit::FittedLaw> Fit(const LawMethod& method, const ForecastSet& set, double cut) {
  // Ready-made optima vary N and D together: no surface is determined by them.
  if (method.surface && set.optima) return nullptr;
  const std::vector<fit::Observation> before = UpTo(set, cut);
  fit::LawOptions options;
  options.bootstrap.resamples = 150;
  options.bootstrap.level = kLevel;
  options.starts = 16;
  options.profile = false;
  options.observations_are_optima = set.optima;
  options.loss = method.loss;
  double lowest = std::numeric_limits<double>::infinity();
  for (const fit::Observation& o : before) lowest = std::min(lowest, o.loss);
  if (method.pin == LawMethod::kZero) options.pinned_E = 0;
  if (method.pin == LawMethod::kHalf) options.pinned_E = lowest / 2;
  auto fitted = fit::LawByName(method.law)->Fit(before, options);
  return fitted.ok() ? *std::move(fitted) : nullptr;
}

// A straight line in ln-ln through the lowest runs of the last two budgets.
std::optional<fit::TestPoint> LastTwo(const ForecastSet& set, double cut,
                                      const fit::Observation& target) {
  std::map<double, const fit::Observation*> lowest;  // by budget
  for (size_t i = 0; i < set.observations.size(); ++i) {
    if (set.budgets[i] > cut * (1 + 1e-9)) continue;
    const fit::Observation*& best = lowest[set.budgets[i]];
    if (best == nullptr || set.observations[i].loss < best->loss) best = &set.observations[i];
  }
  std::vector<double> flops, losses;
  for (const auto& [budget, run] : lowest) flops.push_back(run->flops), losses.push_back(run->loss);
  if (flops.size() < 2) return std::nullopt;
  const std::vector<double> last_flops(flops.end() - 2, flops.end());
  const std::vector<double> last_losses(losses.end() - 2, losses.end());
  const auto line = fit::FitPowerLaw(last_flops, last_losses);
  if (!line.has_value()) return std::nullopt;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  return fit::TestPoint{target.flops, target.loss, line->At(target.flops), nan, nan};
}

void RunSet(const ForecastSet& set, const std::vector<LawMethod>& methods,
            std::vector<Scored>& scored) {
  // Everything one law has forecast so far, so that calibration and weights see only known
  // outcomes.
  std::vector<fit::BacktestRow> history;
  for (const double cut : Cuts(set)) {
    const std::vector<size_t> targets = Targets(set, cut);
    const std::vector<std::string> usual = fit::UsualLaws(UpTo(set, cut), set.optima);
    std::vector<fit::Candidate> candidates;
    std::map<size_t, std::vector<fit::AveragedLaw>> parts;  // by target
    std::vector<fit::BacktestRow> fresh;
    for (const LawMethod& method : methods) {
      const auto fitted = Fit(method, set, cut);
      if (fitted == nullptr) continue;
      const bool determined = fit::IsDetermined(fitted->fit());
      const auto known = fit::KnownAt(history, method.law, cut);
      const fit::Calibration calibration(method.law, known, kLevel);
      const bool joins = method.ours && determined &&
                         std::find(usual.begin(), usual.end(), method.law) != usual.end();
      if (joins)
        candidates.push_back({method.law, fitted->fit().aicc, fit::ProfileAverages(known)});
      fit::BacktestRow row;
      row.law = method.law;
      row.cut_flops = cut;
      for (const size_t run : targets) {
        const fit::Observation& target = set.observations[run];
        auto test = fitted->TestRun(target);
        if (!test.has_value()) continue;
        test->reach = test->flops / cut;
        test->target = run;
        row.judged.push_back(*test);
        const fit::TestPoint own = *test;
        if (method.ours) {
          if (joins) parts[run].push_back({method.law, *test, known});
          fit::Interval interval{test->lo, test->hi};
          calibration.Apply(test->predicted, test->reach, &interval);
          test->lo = interval.lo, test->hi = interval.hi;
        }
        scored.push_back({&set, method.name, cut, *test, own, determined});
        if (method.ours && own.averaged != nullptr) {
          fit::TestPoint raw = *own.averaged;
          raw.reach = target.flops / cut;
          scored.push_back({&set, "~ " + method.name, cut, raw, raw, determined});
        }
      }
      if (method.ours) fresh.push_back(std::move(row));
    }
    const std::vector<std::string> selected = fit::SelectLaws(candidates);
    for (const size_t run : targets) {
      const fit::Observation& target = set.observations[run];
      if (const auto list = parts.find(run); list != parts.end())
        std::erase_if(list->second, [&](const fit::AveragedLaw& law) {
          return std::find(selected.begin(), selected.end(), law.law) == selected.end();
        });
      if (const auto list = parts.find(run); list != parts.end() && !list->second.empty()) {
        const fit::MixturePart mixture =
            fit::AverageOfTests(list->second, fit::WeightsOf(list->second), kLevel);
        scored.push_back({&set,
                          "average",
                          cut,
                          {target.flops, target.loss, mixture.loss, mixture.lo, mixture.hi,
                           target.flops / cut}});
        scored.back().test.target = run;
      }
      if (auto line = LastTwo(set, cut, target)) {
        line->reach = target.flops / cut;
        line->target = run;
        scored.push_back({&set, "- last two budgets", cut, *line});
      }
    }
    history.insert(history.end(), fresh.begin(), fresh.end());
  }
}

// Gneiting and Raftery's interval score of ln L, in percent: the width, and 2/alpha times the miss.
double IntervalScore(const fit::TestPoint& t) {
  const double lo = std::log(t.lo), hi = std::log(t.hi), x = std::log(t.actual);
  const double alpha = 1 - kLevel;
  return 100 * (hi - lo + 2 / alpha * (std::max(lo - x, 0.0) + std::max(x - hi, 0.0)));
}

// As forecast.cc judges: ends a factor of 2 apart are no forecast.
bool IsDetermined(const fit::TestPoint& t) { return t.hi <= 2 * t.lo; }

struct Tally {
  std::vector<double> errors, scores, widths, determined;
  int inside = 0, with_interval = 0;
  void Add(const fit::TestPoint& t) {
    errors.push_back(100 * std::fabs(std::log(t.actual / t.predicted)));
    if (!std::isfinite(t.lo) || !std::isfinite(t.hi)) return;
    ++with_interval;
    inside += t.lo <= t.actual && t.actual <= t.hi;
    scores.push_back(IntervalScore(t));
    if (IsDetermined(t)) determined.push_back(scores.back());
    widths.push_back(100 * std::log(t.hi / t.lo));
  }
};

// One hopeless forecast must not decide the mean.
std::string CappedMean(std::vector<double> scores) {
  constexpr double kCap = 100;
  if (scores.empty()) return "-";
  for (double& score : scores) score = std::min(score, kCap);
  return fmt::format("{:.2f}", fit::Mean(scores));
}

void PrintTable(const std::string& title, const std::vector<const Scored*>& rows,
                const std::vector<std::string>& methods) {
  const double reaches[] = {3, 10, 30, 100, std::numeric_limits<double>::infinity()};
  fmt::print(
      "\n{}\n{:<24} {:>5} {:>8} {:>8} {:>8} {:>8} {:>6} {:>8} | coverage by reach <=3, 10, 30, "
      "100, "
      "more\n",
      title, "method", "n", "median%", "score%", "width%", "cover", "undet", "score*%");
  for (const std::string& method : methods) {
    Tally all;
    std::vector<Tally> by_reach(5);
    for (const Scored* s : rows) {
      if (s->method != method) continue;
      all.Add(s->test);
      for (size_t i = 0; i < 5; ++i)
        if (s->test.reach <= reaches[i]) {
          by_reach[i].Add(s->test);
          break;
        }
    }
    if (all.errors.empty()) continue;
    std::string coverage;
    for (const Tally& t : by_reach)
      coverage +=
          t.with_interval > 0
              ? fmt::format(" {:>3.0f}/{:<4}", 100.0 * t.inside / t.with_interval, t.with_interval)
              : "   -     ";
    const auto median = [](const std::vector<double>& v) {
      return v.empty() ? std::string("-") : fmt::format("{:.2f}", fit::Quantile(v, 0.5));
    };
    fmt::print(
        "{:<24} {:>5} {:>8} {:>8} {:>8} {:>8} {:>6} {:>8} |{}\n", method, all.errors.size(),
        median(all.errors), CappedMean(all.scores), median(all.widths),
        all.with_interval > 0 ? fmt::format("{:.0f} %", 100.0 * all.inside / all.with_interval)
                              : "-",
        all.with_interval > 0 ? fmt::format("{}", all.scores.size() - all.determined.size()) : "-",
        CappedMean(all.determined), coverage);
  }
}

// What two methods said of the same targets.
struct Pair {
  Tally ours, theirs;
  double nearer = 0;
  void Add(const fit::TestPoint& mine, const fit::TestPoint& other) {
    ours.Add(mine), theirs.Add(other);
    const double difference = theirs.errors.back() - ours.errors.back();
    nearer += difference > 0 ? 1 : difference == 0 ? 0.5 : 0;
  }
  std::string Text() const {
    if (ours.errors.empty()) return fmt::format("{:>5}", 0);
    const auto n = static_cast<double>(ours.errors.size());
    return fmt::format("{:>5} {:>8.2f} {:>6.2f} {:>8} {:>6} {:>6.0f} %", ours.errors.size(),
                       fit::Quantile(ours.errors, 0.5), fit::Quantile(theirs.errors, 0.5),
                       CappedMean(ours.scores), CappedMean(theirs.scores), 100 * nearer / n);
  }
};

// The average against every baseline on the forecasts that both made: methods that cannot forecast
// everything are else compared on different targets. Then the same where the average is determined,
// which is where a fit gives a forecast: both methods on those targets, chosen by our width alone.
void PrintPairs(const std::vector<const Scored*>& rows, const std::vector<std::string>& methods) {
  using Key = std::tuple<const ForecastSet*, double, size_t>;
  std::map<Key, const fit::TestPoint*> ours;
  for (const Scored* s : rows)
    if (s->method == "average") ours[{s->set, s->cut, s->test.target}] = &s->test;
  const char* columns = "   both      median%         score%    nearer";
  fmt::print("{:<24}{:<46} | where ours is determined\n", "average against", columns);
  for (const std::string& method : methods) {
    if (!method.starts_with("-")) continue;
    Pair all, determined;
    for (const Scored* s : rows) {
      const auto at = ours.find({s->set, s->cut, s->test.target});
      if (s->method != method || at == ours.end()) continue;
      all.Add(*at->second, s->test);
      if (IsDetermined(*at->second)) determined.Add(*at->second, s->test);
    }
    if (all.ours.errors.empty()) continue;
    fmt::print("{:<24} {:<45} | {}\n", method, all.Text(), determined.Text());
  }
}

std::string_view HalfName(ForecastSet::Half half) {
  return half == ForecastSet::kTuning ? "tuning" : half == ForecastSet::kTest ? "test" : "added";
}

// What the report of a fit quotes where its own data say too little (fit/reach_coverage.cc).
void PrintReach(const std::vector<Scored>& scored, const std::vector<std::string>& methods) {
  const double reaches[] = {10, 30, 100, 300};
  fmt::print("\nours over all sets: coverage of determined forecasts to reach 10, 30, 100, 300\n");
  for (const std::string& method : methods) {
    if (method.starts_with("-")) continue;
    std::string line;
    double before = 0;
    for (const double reach : reaches) {
      int inside = 0, all = 0;
      for (const Scored& s : scored) {
        const fit::TestPoint& t = s.test;
        if (s.method != method || !(t.reach > before && t.reach <= reach) || !IsDetermined(t))
          continue;
        ++all;
        inside += t.lo <= t.actual && t.actual <= t.hi;
      }
      before = reach;
      line += all > 0 ? fmt::format(" {:>5.1f}/{:<4}", 100.0 * inside / all, all) : "     -     ";
    }
    fmt::print("{:<24}{}\n", method, line);
  }
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  using namespace bench;
  std::string folder, csv, rows_path, only_half;
  std::set<std::string> only;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--csv" && i + 1 < argc) {
      csv = argv[++i];
    } else if (argument == "--rows" && i + 1 < argc) {
      rows_path = argv[++i];
    } else if (argument == "--half" && i + 1 < argc) {
      only_half = argv[++i];
    } else if (argument == "--law" && i + 1 < argc) {
      std::stringstream names(argv[++i]);
      for (std::string name; std::getline(names, name, ',');) only.insert(name);
    } else if (folder.empty() && !argument.starts_with("--")) {
      folder = argument;
    } else {
      folder.clear();
      break;
    }
  }
  if (folder.empty() && csv.empty()) {
    fmt::print(stderr,
               "usage: forecast_bench [DATA_FOLDER] [--csv FILE] [--rows FILE] [--law LAW,...]\n"
               "                      [--half tuning|test|added]\n");
    return 2;
  }
  std::vector<ForecastSet> sets;
  if (!folder.empty()) sets = LoadForecastSets(folder);
  if (!csv.empty())
    for (ForecastSet& set : LoadForecastCsv(csv)) sets.push_back(std::move(set));
  if (!only_half.empty())
    std::erase_if(sets, [&](const ForecastSet& set) { return only_half != HalfName(set.half); });
  std::vector<Scored> scored;
  const std::vector<LawMethod> law_methods = LawMethods(only);
  for (const ForecastSet& set : sets) RunSet(set, law_methods, scored);

  std::vector<std::string> methods = {"average"};
  for (const LawMethod& method : law_methods) methods.push_back(method.name);
  methods.emplace_back("- last two budgets");
  size_t retrospective = 0;
  for (const Scored& s : scored) retrospective += s.method == "- last two budgets";
  fmt::print("{} sets, {} targets (set x cut x later budget), {} forecasts\n", sets.size(),
             retrospective, scored.size());
  for (const auto half : {ForecastSet::kTuning, ForecastSet::kTest, ForecastSet::kAdded}) {
    std::vector<const Scored*> runs, optima;
    for (const Scored& s : scored)
      if (s.set->half == half) (s.set->optima ? optima : runs).push_back(&s);
    const std::string title = half == ForecastSet::kTuning ? "tuning half"
                              : half == ForecastSet::kTest ? "test half"
                                                           : "added since";
    if (!runs.empty()) {
      PrintTable(title + ", runs", runs, methods);
      PrintPairs(runs, methods);
    }
    if (!optima.empty()) {
      PrintTable(title + ", ready-made optima", optima, methods);
      PrintPairs(optima, methods);
    }
  }
  PrintReach(scored, methods);
  if (!rows_path.empty()) {
    std::string text =
        "set,method,cut_flops,target_flops,reach,actual,forecast,lo,hi,own_lo,own_hi,mean_lo,mean_"
        "hi,"
        "at_E_lo,at_E_hi,determined\n";
    for (const Scored& s : scored)
      text += fmt::format(
          "\"{}\",\"{}\",{:.6g},{:.6g},{:.4g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:."
          "6g},{:.6g},{:.6g},{:.6g},{:.6g},{}\n",
          s.set->name, s.method, s.cut, s.test.flops, s.test.reach, s.test.actual, s.test.predicted,
          s.test.lo, s.test.hi, s.own.lo, s.own.hi, s.own.mean_lo, s.own.mean_hi, s.own.at_E_lo,
          s.own.at_E_hi, s.determined ? 1 : 0);
    if (const auto status = core::WriteFileAtomically(rows_path, text); !status.ok()) {
      fmt::print(stderr, "{}\n", std::string(status.message()));
      return 73;
    }
  }
  return 0;
}
