// Power analysis against what fits of planted sweeps print.
#include "fit/power.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <thread>

#include "fit/stats.h"
#include "gtest/gtest.h"
#include "tests/fit/planted_power.h"

namespace fit {
namespace {

// Half-width of the primary forecast of sweep `number`: RunFit with the defaults of all that an
// interval is made of (laws, starts, 400 resamples, 100 in the backtest).
double RealisedHalfWidth(const PlantedPower& planted, uint64_t number) {
  constexpr uint64_t kOtherSeed = 77;  // never one that SimulatePower sees
  FitOptions fit;
  fit.predict = {planted.targets[0].flops};
  fit.law.bootstrap.threads = 1;
  // Neither changes a forecast.
  fit.sensitivity = fit.clamp_effect = false;
  fit.law.profile = false;  // of constants other than E
  const auto summary = RunFit(
      SimulateSweep(planted.prior, planted.prior.draws[0], planted.runs, kOtherSeed, number), fit);
  if (!summary.ok() || summary->predictions.empty()) return std::nan("");
  const Forecast& forecast = summary->predictions[0];
  EXPECT_TRUE(forecast.primary);
  return 0.5 * (forecast.interval.hi - forecast.interval.lo) / forecast.loss;
}

void PrintQuantiles(const char* what, const std::vector<double>& values) {
  std::printf("%s:", what);
  for (const double q : {0., 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.})
    std::printf(" %.2f", Quantile(values, q));
  std::printf("  (0, 5, 10, 25, 50, 75, 90, 95, 100 %%)\n");
}

int CountWithin(const std::vector<double>& ratios) {
  return static_cast<int>(
      std::count_if(ratios.begin(), ratios.end(), [](double r) { return r >= 0.7 && r <= 1.4; }));
}

// What is asserted, of 100 planted sweeps that differ in law, design, noise, seeds and reach:
//   the width that a sweep will typically print (median of 7 fresh ones, fitted with the defaults)
//     lies within 0.7 to 1.4 of the predicted one, for each of the 100;
//   a single fresh sweep's width does so for at least 75 of them: widths scatter from sweep to
//     sweep, and no prediction can know that;
//   the predicted range of the middle 80 % holds 74 to 86 % of the 700 single widths.
TEST(PowerCalibrationTest, RealisedWidthsOf100PlantedSweepsAreThePredictedOnes) {
  constexpr int kSweeps = 100, kFresh = 7;
  std::vector<double> typical(kSweeps), single(kSweeps), inside(kSweeps), identified(kSweeps);
  std::atomic<int> next{0};
  const auto work = [&] {
    for (int i = next.fetch_add(1); i < kSweeps; i = next.fetch_add(1)) {
      const PlantedPower planted = DrawPlanted(i);
      PowerOptions options;
      options.seed = 1000 + static_cast<uint64_t>(i);
      options.simulations = 24;
      options.threads = 1;
      const auto power = SimulatePower(planted.prior, planted.runs, planted.targets, options);
      ASSERT_TRUE(power.ok()) << power.status();
      const TargetPower& target = power->targets[0];
      std::vector<double> widths;
      for (int k = 0; k < kFresh; ++k) {
        widths.push_back(RealisedHalfWidth(planted, static_cast<uint64_t>(k)));
        ASSERT_TRUE(std::isfinite(widths.back())) << planted.text;
        if (target.half_width_lo <= widths[k] && widths[k] <= target.half_width_hi)
          inside[i] += 1.0 / kFresh;
      }
      single[i] = widths[0] / target.half_width;
      typical[i] = Quantile(widths, 0.5) / target.half_width;
      identified[i] = target.identified;
      if (typical[i] < 0.7 || typical[i] > 1.4)
        std::printf("%s: predicted %.2f %%, typically %.2f %%\n", planted.text.c_str(),
                    100 * target.half_width, 100 * typical[i] * target.half_width);
    }
  };
  std::thread helper(work);
  work();
  helper.join();
  PrintQuantiles("typical realised over predicted width", typical);
  PrintQuantiles("single realised over predicted width ", single);
  PrintQuantiles("share of sweeps with E identified    ", identified);
  std::printf("typical within 0.7 .. 1.4: %d of %d; single: %d; in the predicted range: %.1f %%\n",
              CountWithin(typical), kSweeps, CountWithin(single), 100 * Mean(inside));
  EXPECT_EQ(CountWithin(typical), kSweeps);
  EXPECT_GE(CountWithin(single), 75);
  EXPECT_GT(Mean(inside), 0.74);
  EXPECT_LT(Mean(inside), 0.86);
}

}  // namespace
}  // namespace fit
