#include "fit/backtest.h"

#include <algorithm>
#include <cmath>
#include <limits>

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
    row.n_train = before.size();
    row.n_test = tests.size();
    std::vector<double> errors;
    size_t inside = 0;
    bool intervals = true;
    for (const TestPoint& test : tests) {
      errors.push_back(test.predicted / test.actual - 1);
      row.max_rel = std::max(row.max_rel, std::fabs(errors.back()));
      row.reach = std::max(row.reach, test.flops / cut);
      intervals = intervals && std::isfinite(test.lo) && std::isfinite(test.hi);
      if (test.lo <= test.actual && test.actual <= test.hi) ++inside;
    }
    row.rms_rel = RootMeanSquare(errors);
    row.bias_rel = Mean(errors);
    row.coverage = intervals ? static_cast<double>(inside) / static_cast<double>(tests.size())
                             : std::numeric_limits<double>::quiet_NaN();
    rows.push_back(row);
  }
  return rows;
}

}  // namespace fit
