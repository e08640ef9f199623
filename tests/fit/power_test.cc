// Power analysis against what fits of planted sweeps print.
#include "fit/power.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <thread>

#include "fit/stats.h"
#include "gtest/gtest.h"
#include "tests/fit/planted_power.h"
#include "tests/full.h"

namespace fit {
namespace {

struct Realised {
  double half_width = 0;
  bool identified = false, close = false, covered = false;
};

// The primary forecast of sweep `number`, and an outcome of its target: RunFit with the defaults of
// all that an interval is made of (laws, starts, 400 resamples, 100 in the backtest).
Realised Fresh(const PlantedPower& planted, uint64_t seed, uint64_t number) {
  FitOptions fit;
  fit.predict = {planted.targets[0].flops};
  fit.law.bootstrap.threads = 1;
  // Neither changes a forecast.
  fit.sensitivity = false;
  fit.law.profile = false;  // of constants other than E
  const std::vector<double>& theta = planted.prior.draws[0];
  const auto summary = RunFit(SimulateSweep(planted.prior, theta, planted.runs, seed, number), fit);
  Realised realised{std::nan("")};
  if (!summary.ok() || summary->predictions.empty()) return realised;
  const Forecast& forecast = summary->predictions[0];
  EXPECT_TRUE(forecast.primary);
  constexpr uint64_t kOutcomes = uint64_t{1} << 50;  // a stream apart from the sweeps'
  core::Rng rng(seed, kOutcomes + number);
  const double outcome = planted.prior.law->ComputeOptimal(theta, forecast.flops, 6).loss *
                         std::exp(planted.prior.noise.Total() * rng.Normal());
  realised.half_width = 0.5 * (forecast.interval.hi - forecast.interval.lo) / forecast.loss;
  realised.identified = AsymptoteHalfRange(forecast) <= PowerOptions().E_within;
  realised.close = std::fabs(forecast.loss / outcome - 1) < 0.002;
  realised.covered = forecast.interval.lo <= outcome && outcome <= forecast.interval.hi;
  return realised;
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
//   the width that a sweep will typically print (median of fresh ones, fitted with the defaults)
//     lies within 0.7 to 1.4 of the predicted one: for at least 97 with a median of 7 fresh sweeps,
//     and for each of the 100 when those outside are looked at again with a median of 28;
//   a single fresh sweep's width does so for at least 85 of them: widths scatter from sweep to
//     sweep (standard deviation of ln width .18, not less with four times the resamples: it is the
//     scatter of the runs, judged from these few runs), and no prediction can know that;
//   the range predicted for four of five sweeps holds 74 to 86 % of the 700 single widths;
//   over all, the shares of sweeps with E identified, with an error below 0.2 % and with the
//     outcome inside the interval are the predicted ones within 0.05.
// The first 25 of them, unless the full test is asked for: at least 24, all, and 20; 70 to 90 %;
// within 0.1.
TEST(PowerCalibrationTest, RealisedWidthsOf100PlantedSweepsAreThePredictedOnes) {
  constexpr int kFresh = 7, kSecondLook = 28;
  const bool full = FullTest();
  const int kSweeps = full ? 100 : 25;
  std::vector<double> typical(kSweeps), again(kSweeps), single(kSweeps), inside(kSweeps);
  // Predicted and realised shares of: E identified, close, covered.
  std::vector<std::array<double, 3>> predicted(kSweeps), realised(kSweeps);
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
      predicted[i] = {target.identified, target.close, target.covered};
      std::vector<double> widths;
      for (int k = 0; k < kFresh; ++k) {
        const Realised fresh =
            Fresh(planted, 5000 + static_cast<uint64_t>(i), static_cast<uint64_t>(k));
        ASSERT_TRUE(std::isfinite(fresh.half_width)) << planted.text;
        widths.push_back(fresh.half_width);
        const bool within = target.half_width_lo <= widths[k] && widths[k] <= target.half_width_hi;
        inside[i] += within ? 1.0 / kFresh : 0;
        realised[i][0] += fresh.identified ? 1.0 / kFresh : 0;
        realised[i][1] += fresh.close ? 1.0 / kFresh : 0;
        realised[i][2] += fresh.covered ? 1.0 / kFresh : 0;
      }
      single[i] = widths[0] / target.half_width;
      typical[i] = Quantile(widths, 0.5) / target.half_width;
      again[i] = typical[i];
      if (typical[i] >= 0.7 && typical[i] <= 1.4) continue;
      for (int k = kFresh; k < kSecondLook; ++k)
        widths.push_back(
            Fresh(planted, 5000 + static_cast<uint64_t>(i), static_cast<uint64_t>(k)).half_width);
      again[i] = Quantile(widths, 0.5) / target.half_width;
      std::printf("%s: predicted %.2f %%, typically %.2f of it, at second look %.2f\n",
                  planted.text.c_str(), 100 * target.half_width, typical[i], again[i]);
    }
  };
  std::thread helper(work);
  work();
  helper.join();
  PrintQuantiles("typical realised over predicted width", typical);
  PrintQuantiles("single realised over predicted width ", single);
  std::printf("within 0.7 .. 1.4: typical %d of %d, at second look %d; single %d\n",
              CountWithin(typical), kSweeps, CountWithin(again), CountWithin(single));
  std::printf("single widths in the range predicted for 80 %%: %.1f %%\n", 100 * Mean(inside));
  EXPECT_GE(CountWithin(typical), full ? 97 : 24);
  EXPECT_EQ(CountWithin(again), kSweeps);
  EXPECT_GE(CountWithin(single), full ? 85 : 20);
  EXPECT_NEAR(Mean(inside), 0.8, full ? 0.06 : 0.1);
  const char* names[] = {"E identified", "error < 0.2 %", "outcome inside the interval"};
  for (size_t what = 0; what < 3; ++what) {
    double told = 0, came = 0;
    for (int i = 0; i < kSweeps; ++i)
      told += predicted[i][what] / kSweeps, came += realised[i][what] / kSweeps;
    std::printf("%s: predicted %.3f, realised %.3f\n", names[what], told, came);
    EXPECT_NEAR(told, came, full ? 0.05 : 0.1) << names[what];
  }
}

// The median width of `count` fresh sweeps of a design under its true prior.
double TypicalWidth(const PlantedPower& planted, uint64_t seed, int count) {
  std::vector<double> widths;
  for (int k = 0; k < count; ++k)
    widths.push_back(Fresh(planted, seed, static_cast<uint64_t>(k)).half_width);
  return Quantile(widths, 0.5);
}

// What a prior that is wrong costs. Exponents 15 % and E 20 % off (a draw from such ranges) leave
// most widths within the same factor, because noise, design and reach make them; a noise that is
// half the true one foretells too little, and nothing warns of it. So the noise is what a prior
// must know, less than it was before default intervals held what real surfaces are off by beside
// the noise (calibration.h): 1.2 to 1.7 times where it was 2.
TEST(PowerCalibrationTest, AWrongPriorMisleadsByItsNoiseMoreThanByItsConstants) {
  const int kSweeps = FullTest() ? 40 : 3, kFresh = FullTest() ? 7 : 3;
  std::vector<double> constants(kSweeps), noise(kSweeps);
  std::atomic<int> next{0};
  const auto work = [&] {
    for (int i = next.fetch_add(1); i < kSweeps; i = next.fetch_add(1)) {
      const PlantedPower planted = DrawPlanted(200 + i);
      PowerOptions options;
      options.seed = 7000 + static_cast<uint64_t>(i);
      if (!FullTest()) options.simulations = 8;
      options.threads = 1;
      double n = 0, d = 0;
      for (const PlannedRun& run : planted.runs)
        n += std::log(run.params), d += std::log(run.tokens);
      const auto runs = static_cast<double>(planted.runs.size());
      ConstantRanges ranges;
      for (const auto& [letter, value] : planted.prior.law->Report(planted.prior.draws[0])) {
        if (letter == "alpha" || letter == "beta") ranges[letter] = {.85 * value, 1.15 * value};
        if (letter == "E") ranges[letter] = {.8 * value, 1.2 * value};
      }
      const auto ranged = WithRanges(planted.prior, ranges, std::exp(n / runs), std::exp(d / runs),
                                     4, options.seed);
      ASSERT_TRUE(ranged.ok()) << ranged.status();
      Prior wrong = *ranged;
      wrong.draws = {ranged->draws.back()};
      const auto width = [&](const Prior& prior) {
        const auto power = SimulatePower(prior, planted.runs, planted.targets, options);
        EXPECT_TRUE(power.ok()) << power.status();
        return power.ok() ? power->targets[0].half_width : std::nan("");
      };
      const double typical = TypicalWidth(planted, 9000 + static_cast<uint64_t>(i), kFresh);
      constants[i] = typical / width(wrong);
      Prior quiet = planted.prior;
      quiet.noise.shape /= 2, quiet.noise.seed /= 2;
      noise[i] = typical / width(quiet);
    }
  };
  std::thread helper(work);
  work();
  helper.join();
  PrintQuantiles("typical over predicted, constants wrong ", constants);
  PrintQuantiles("typical over predicted, noise half      ", noise);
  std::printf("within 0.7 .. 1.4: constants wrong %d, noise half %d of %d\n",
              CountWithin(constants), CountWithin(noise), kSweeps);
  EXPECT_GE(CountWithin(constants), kSweeps * 2 / 3);
  EXPECT_GT(Quantile(noise, 0.5), 1.1 * Quantile(constants, 0.5)) << "half the noise must show";
  EXPECT_LT(Quantile(noise, 0.5), 2.6);
}

}  // namespace
}  // namespace fit
