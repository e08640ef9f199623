// Retrospective forecasts over public data: every set, every cut, every law, scored. PROTOCOL.md is
// frozen before results are looked at and says what each number means.
//   forecast_bench DATA_FOLDER [--csv FILE] [--json FILE]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/forecasts/sets.h"
#include "fit/fit.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace bench {
namespace {

struct Scored {
  std::string set, group, method;
  double cut = 0;
  fit::TestPoint test;
};

// The runs to forecast: the lowest loss of every budget above the cut.
std::vector<fit::Observation> Targets(const ForecastSet& set, double cut) {
  std::map<double, fit::Observation> best;
  for (size_t i = 0; i < set.observations.size(); ++i) {
    if (set.budgets[i] <= cut * (1 + 1e-9)) continue;
    auto [at, fresh] = best.try_emplace(set.budgets[i], set.observations[i]);
    if (!fresh && set.observations[i].loss < at->second.loss) at->second = set.observations[i];
  }
  std::vector<fit::Observation> targets;
  for (const auto& [budget, run] : best) targets.push_back(run);
  return targets;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const auto sets = bench::LoadForecastSets(argv[1]);
  const char* only = argc > 2 ? argv[2] : "";
  for (const auto& set : sets) {
    if (set.name.find(only) == std::string::npos) continue;
    std::map<double, int> budgets;
    for (const double b : set.budgets) ++budgets[b];
    std::vector<double> list;
    for (const auto& [b, n] : budgets) list.push_back(b);
    for (size_t k = 4; k < list.size(); ++k) {
      const double cut = list[k - 1];
      std::vector<fit::Observation> before;
      for (size_t i = 0; i < set.observations.size(); ++i)
        if (set.budgets[i] <= cut * (1 + 1e-9)) before.push_back(set.observations[i]);
      const auto targets = bench::Targets(set, cut);
      for (const std::string law : {"frontier", "chinchilla", "overtrain", "kaplan"}) {
        fit::LawOptions options;
        options.bootstrap.resamples = 100;
        options.starts = 16;
        options.profile = false;
        options.observations_are_optima = set.optima;
        const auto fitted = fit::LawByName(law)->Fit(before, options);
        if (!fitted.ok()) continue;
        for (const auto& target : targets) {
          const auto t = (*fitted)->TestRun(target);
          if (!t) continue;
          const double e = std::log(t->actual / t->predicted);
          const double h = e > 0 ? std::log(t->hi / t->predicted) : std::log(t->predicted / t->lo);
          fmt::print("{}\t{}\t{}\t{:.3g}\t{:.3g}\t{:.4f}\t{:.4f}\t{:.4f}\t{:.3f}\n", set.group,
                     set.name, law, cut, t->flops / cut, t->actual, 100 * e, 100 * h,
                     std::fabs(e) / h);
        }
      }
    }
  }
}
