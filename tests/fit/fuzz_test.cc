// Ten thousand random and hostile CSV files through the whole fitter: a refusal says where and why,
// and an accepted file gives no number that is silently not one.
#include <cmath>
#include <string>

#include "core/rng.h"
#include "fit/csv.h"
#include "fit/fit.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/full.h"

namespace fit {
namespace {

// A file with `rows` runs that are plausible, extreme, constant or damaged, by the draw.
std::string HostileCsv(core::Rng& rng) {
  std::string text = "flops,params,tokens,loss\n";
  const uint64_t style = rng.Below(6);
  const uint64_t rows = rng.Below(style == 0 ? 4 : 28);
  const double constant = std::exp(40 * rng.Uniform());
  for (uint64_t i = 0; i < rows; ++i) {
    const double budget = 1e17 * std::pow(10, static_cast<double>(rng.Below(5)));
    double n = std::sqrt(budget / 120) * std::exp(1.5 * (rng.Uniform() - 0.5));
    double d = budget / 6 / n;
    double loss = 1.7 + 400 * std::pow(n, -.33) + 1500 * std::pow(d, -.36);
    loss *= std::exp(0.01 * rng.Normal());
    double flops = budget;
    if (style == 1)
      for (double* v : {&flops, &n, &d, &loss})
        if (rng.Below(3) == 0) *v = std::pow(10, 600 * (rng.Uniform() - 0.5));
    if (style == 2) n = d = constant;
    if (style == 3) loss = constant;
    if (style == 4) flops *= std::exp(rng.Normal());
    std::string row = fmt::format("{:.17g},{:.17g},{:.17g},{:.17g}", flops, n, d, loss);
    if (style == 5 && rng.Below(12) == 0) {
      const char* damage[] = {"nan", "-1", "", "1e999", "\"", "1,2", "abc", "0", "\xff\xfe", "inf"};
      row = fmt::format("{},{},{},{}", flops, damage[rng.Below(10)], d, loss);
    }
    text += row + "\n";
  }
  return text;
}

TEST(FuzzTest, TenThousandHostileFilesGiveAReasonOrSoundNumbers) {
  int refused = 0, fitted = 0, forecasts = 0;
  const uint64_t rounds = FullTest() ? 10000 : 2500;
  for (uint64_t round = 0; round < rounds; ++round) {
    core::Rng rng(31, round);
    const std::string text = HostileCsv(rng);
    const auto csv = ObservationsFromCsv(text, "hostile.csv", {});
    if (!csv.ok()) {
      ++refused;
      EXPECT_NE(csv.status().message().find("hostile.csv"), std::string::npos) << csv.status();
      continue;
    }
    FitOptions options;
    options.law.bootstrap.resamples = 25;
    options.law.bootstrap.threads = 1;
    options.law.starts = 4;
    options.law.profile = false;
    options.backtest = round % 10 == 0;
    options.backtest_options.resamples = 20;
    options.predict = {1e22};
    const auto summary = RunFit(csv->observations, options);
    if (!summary.ok()) {
      ++refused;
      EXPECT_GT(summary.status().message().size(), 20u);
      continue;
    }
    ++fitted;
    for (const LawFit& fit : summary->fits) {
      EXPECT_TRUE(std::isfinite(fit.objective)) << round << " " << fit.law;
      for (const auto& [name, value] : fit.params)
        EXPECT_TRUE(std::isfinite(value) || Has(fit.warnings, kOverflow))
            << round << " " << fit.law << " " << name << " " << value;
    }
    for (const Forecast& f : summary->predictions) {
      ++forecasts;
      EXPECT_TRUE(std::isfinite(f.loss) && f.loss >= 0) << round << " " << f.law << " " << f.loss;
      EXPECT_FALSE(std::isnan(f.params) || std::isnan(f.tokens)) << round << " " << f.law;
      const bool bounded = std::isfinite(f.interval.lo) && std::isfinite(f.interval.hi);
      EXPECT_TRUE(bounded || Has(f.warnings, kNoInterval)) << round << " " << f.law;
      if (bounded) {
        EXPECT_LE(f.interval.lo, f.interval.hi) << round << " " << f.law;
      }
    }
    if (round % 50 == 0) {
      EXPECT_FALSE(FitJson(*summary).dump().empty());
      EXPECT_EQ(FitText(*summary).find("nan"), std::string::npos) << FitText(*summary);
    }
  }
  std::printf("%d files refused with a reason, %d fitted, %d forecasts\n", refused, fitted,
              forecasts);
  EXPECT_GT(fitted, rounds / 5);
  EXPECT_GT(refused, rounds / 10);
}

}  // namespace
}  // namespace fit
