#include "fit/backtest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "fit/stats.h"

namespace fit {
namespace {

std::vector<double> ChooseCuts(const Law& law, const std::vector<Observation>& observations,
                               const IsoflopGroups& groups, const LawOptions& options,
                               const BacktestOptions& backtest) {
  std::vector<double> cuts;
  if (groups.grouping == BudgetGrouping::kBuckets && groups.groups.size() > 20) {
    std::vector<double> flops;
    for (const Observation& o : observations) flops.push_back(o.flops);
    for (const double q : {.5, .6, .7, .8, .9}) cuts.push_back(Quantile(flops, q));
    return cuts;
  }
  for (size_t g = law.backtest_budgets(options); g < groups.groups.size(); ++g)
    cuts.push_back(groups.groups[g - 1].budget_flops);
  const auto most = static_cast<size_t>(std::max(backtest.max_cuts, 1));
  if (cuts.size() > most) cuts.erase(cuts.begin(), cuts.end() - static_cast<std::ptrdiff_t>(most));
  return cuts;
}

}  // namespace

size_t JudgedRun(const IsoflopGroup& group) {
  std::vector<size_t> by_size(group.points.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) {
    return group.points[a].log_params < group.points[b].log_params;
  });
  const IsoflopMinimum minimum = FitMinimum(group, {});
  if (!minimum.ok()) return by_size[(by_size.size() - 1) / 2];
  const double best = std::log(minimum.params);
  return *std::min_element(by_size.begin(), by_size.end(), [&](size_t a, size_t b) {
    return std::fabs(group.points[a].log_params - best) <
           std::fabs(group.points[b].log_params - best);
  });
}

std::vector<RollingForecasts> KnownAt(const std::vector<BacktestRow>& rows, std::string_view law,
                                      double cut_flops) {
  std::vector<RollingForecasts> known;
  for (const BacktestRow& row : rows) {
    if (row.law != law || !(row.cut_flops < cut_flops)) continue;
    RollingForecasts outcomes;
    for (const TestPoint& test : row.judged)
      if (test.flops <= cut_flops * (1 + 1e-9)) outcomes.push_back(test);
    if (!outcomes.empty()) known.push_back(std::move(outcomes));
  }
  return known;
}

std::vector<BacktestRow> Backtest(const Law& law, const std::vector<Observation>& observations,
                                  const LawOptions& options, const BacktestOptions& backtest) {
  const IsoflopGroups groups = GroupByBudget(observations);
  // Nominal budgets and buckets are compared as such, lone runs by their own FLOPs.
  std::vector<double> flops(observations.size());
  for (size_t i = 0; i < observations.size(); ++i) flops[i] = observations[i].flops;
  if (groups.groups.size() <= 20 || groups.grouping != BudgetGrouping::kBuckets)
    for (const IsoflopGroup& group : groups.groups)
      for (const size_t i : group.members) flops[i] = group.budget_flops;

  LawOptions train_options = options;
  train_options.bootstrap.resamples = backtest.resamples;
  train_options.starts = std::min(options.starts, 16);
  train_options.profile = false;
  std::vector<BacktestRow> rows;
  const std::vector<double> cuts = backtest.cuts.empty()
                                       ? ChooseCuts(law, observations, groups, options, backtest)
                                       : backtest.cuts;
  for (const double cut : cuts) {
    std::vector<Observation> before, after;
    for (size_t i = 0; i < observations.size(); ++i)
      (flops[i] <= cut * (1 + 1e-9) ? before : after).push_back(observations[i]);
    if (before.empty() || after.empty()) continue;
    const auto fitted = law.Fit(before, train_options);
    if (!fitted.ok()) continue;
    const std::vector<TestPoint> tests = (*fitted)->Test(after);
    if (tests.empty()) continue;
    BacktestRow row;
    row.law = law.name();
    row.cut_flops = cut;
    row.aicc = (*fitted)->fit().aicc;
    row.n_train = before.size();
    row.n_test = tests.size();
    const Calibration calibration(law.name(), KnownAt(rows, law.name(), cut),
                                  options.bootstrap.level);
    std::vector<double> errors;
    size_t inside = 0, inside_raw = 0;
    bool intervals = true;
    for (const TestPoint& test : tests) {
      errors.push_back(test.predicted / test.actual - 1);
      row.max_rel = std::max(row.max_rel, std::fabs(errors.back()));
      row.reach = std::max(row.reach, test.flops / cut);
      intervals = intervals && std::isfinite(test.lo) && std::isfinite(test.hi);
      Interval interval{test.lo, test.hi};
      if (interval.lo <= test.actual && test.actual <= interval.hi) ++inside_raw;
      calibration.Apply(test.predicted, test.flops / cut, &interval);
      if (interval.lo <= test.actual && test.actual <= interval.hi) ++inside;
    }
    row.rms_rel = RootMeanSquare(errors);
    row.bias_rel = Mean(errors);
    const auto share = [&](size_t count) {
      return intervals ? static_cast<double>(count) / static_cast<double>(tests.size())
                       : std::numeric_limits<double>::quiet_NaN();
    };
    row.coverage = share(inside);
    row.coverage_raw = share(inside_raw);
    for (const IsoflopGroup& group : groups.groups) {
      if (group.budget_flops <= cut * (1 + 1e-9)) continue;
      const size_t run = group.members[JudgedRun(group)];
      std::optional<TestPoint> test = (*fitted)->TestRun(observations[run]);
      if (!test.has_value()) continue;
      test->reach = test->flops / cut;
      test->target = run;
      row.judged.push_back(*test);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace fit
