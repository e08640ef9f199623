// What a 90 % interval of `fit`, as it prints it by default, holds of new runs within the fitted
// range.
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <thread>
#include <vector>

#include "core/rng.h"
#include "fit/fit.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"
#include "tests/full.h"

namespace fit {
namespace {

// Exponents of published fits (reference/fitting.md, section 2). Both terms together are `total`
// nats at 1e19 FLOPs and 20 tokens a parameter, `share` of them the parameters'.
struct Truth {
  const char* name;
  double E, alpha, beta, share, total;
};
constexpr std::array<Truth, 5> kTruths = {{{"chinchilla", 1.817, 0.348, 0.366, 0.50, 1.00},
                                           {"hoffmann", 1.690, 0.340, 0.280, 0.40, 1.20},
                                           {"llama-3", 1.828, 0.327, 0.365, 0.55, 0.80},
                                           {"marin", 2.520, 0.639, 0.400, 0.35, 0.90},
                                           {"figure 4", 1.964, 0.398, 0.509, 0.60, 0.70}}};
constexpr std::array<double, 4> kNoises = {0.001, 0.002, 0.004, 0.008};
constexpr size_t kKinds = kTruths.size() * kNoises.size();

struct Count {
  int inside = 0, all = 0;
  void Add(const Count& other) { inside += other.inside, all += other.all; }
  double Percent() const { return 100.0 * inside / all; }
};

// Sweep `number`: its truth and noise take turns, its design is drawn.
Planted Sweep(size_t number, core::Rng& rng) {
  const auto pick = [&](double low, double high) { return low + rng.Uniform() * (high - low); };
  const Truth& truth = kTruths[number % kTruths.size()];
  Planted planted;
  const double params = std::sqrt(1e19 / 120), tokens = 20 * params;
  planted.theta = {std::log(truth.share * truth.total) + truth.alpha * std::log(params),
                   std::log((1 - truth.share) * truth.total) + truth.beta * std::log(tokens),
                   truth.E, truth.alpha, truth.beta};
  planted.noise = kNoises[number / kTruths.size() % kNoises.size()];
  planted.points = 6 + static_cast<int>(rng.Below(7));
  planted.width = pick(2.0, 3.5);
  planted.shift = pick(-0.2, 0.2);
  const double ratio = rng.Below(2) == 0 ? 2.0 : std::sqrt(10.0);
  planted.budgets = {std::exp(pick(std::log(3e17), std::log(3e18)))};
  for (auto more = 4 + rng.Below(4); more > 0; --more)
    planted.budgets.push_back(planted.budgets.back() * ratio);
  return planted;
}

// The primary forecasts at every budget and halfway between neighbours, each against one new run.
// `by_others`: forecasts that are not the average's, which are not counted here.
Count Judge(size_t number, std::atomic<int>& by_others) {
  core::Rng rng(2203, number);
  const Planted planted = Sweep(number, rng);
  FitOptions options;  // as `sweepctl fit` has them: laws, starts, 400 resamples, 100 at each cut
  for (size_t b = 0; b < planted.budgets.size(); ++b) {
    options.predict.push_back(planted.budgets[b]);
    if (b > 0) options.predict.push_back(std::sqrt(planted.budgets[b - 1] * planted.budgets[b]));
  }
  options.law.bootstrap.threads = 1;
  // Neither changes a forecast.
  options.sensitivity = false;
  options.law.profile = false;  // of constants other than E
  const auto summary = RunFit(planted.Draw(100000 + number), options);
  EXPECT_TRUE(summary.ok()) << summary.status();
  Count count;
  if (!summary.ok()) return count;
  EXPECT_FALSE(summary->backtest.empty());
  for (const Forecast& forecast : summary->predictions) {
    if (!forecast.primary) continue;
    EXPECT_LE(forecast.flops, summary->largest_flops * (1 + 1e-9));
    const double outcome =
        planted.Best(forecast.flops).loss * std::exp(planted.noise * rng.Normal());
    if (forecast.law != "average") {
      ++by_others;
      continue;
    }
    count.inside += forecast.interval.lo <= outcome && outcome <= forecast.interval.hi;
    ++count.all;
  }
  return count;
}

// 88 to 92 %, as promised, over all forecasts of 400 sweeps; of 100 of them, two standard errors
// more on either side, unless the full test is asked for.
TEST(RangeCoverageTest, DefaultIntervalsHoldNineOfTenNewRunsInRange) {
  const bool full = FullTest();
  const size_t sweeps = full ? 400 : 100;
  std::vector<Count> counts(sweeps);
  std::atomic<size_t> next = 0;
  std::atomic<int> by_others = 0;
  const auto work = [&] {
    for (size_t i = next++; i < sweeps; i = next++) counts[i] = Judge(i, by_others);
  };
  std::thread other(work);
  work();
  other.join();

  Count pooled;
  std::array<Count, kKinds> kinds;
  for (size_t i = 0; i < sweeps; ++i) {
    pooled.Add(counts[i]);
    kinds[i % kKinds].Add(counts[i]);
  }
  std::printf("%% of new runs inside, by truth and noise\n%-12s", "");
  for (const double noise : kNoises) std::printf(" %10.1f %%", 100 * noise);
  for (size_t t = 0; t < kTruths.size(); ++t) {
    std::printf("\n%-12s", kTruths[t].name);
    for (size_t n = 0; n < kNoises.size(); ++n) {
      const Count& kind = kinds[n * kTruths.size() + t];
      std::printf(" %6.1f/%-4d ", kind.Percent(), kind.all);
    }
  }
  std::printf("\npooled: %.2f %% of %d; %d forecasts by another law than the average\n",
              pooled.Percent(), pooled.all, by_others.load());
  EXPECT_GE(pooled.all, full ? 1000 : 250);
  EXPECT_LT(by_others, pooled.all / 10);
  const double slack = full ? 0 : 2 * std::sqrt(90.0 * 10 / pooled.all);
  EXPECT_GE(pooled.Percent(), 88 - slack);
  EXPECT_LE(pooled.Percent(), 92 + slack);
}

}  // namespace
}  // namespace fit
