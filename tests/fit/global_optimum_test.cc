// That the fit is the global optimum, on a thousand planted sets.
#include <cmath>

#include "core/rng.h"
#include "fit/chinchilla.h"
#include "fit/equation_fit.h"
#include "fit/law.h"
#include "gtest/gtest.h"

namespace fit {
namespace {

// Random laws, random designs, 0.1 to 3 % noise, an outlier in ten: the starts that a fit uses
// against five times as many and the planted truth.
TEST(GlobalOptimumTest, IsFoundOnAThousandNoisySets) {
  int found = 0;
  for (uint64_t set = 0; set < 1000; ++set) {
    core::Rng rng(77, set);
    const std::vector<double> truth = {std::log(100) + 3 * rng.Uniform(),
                                       std::log(200) + 4 * rng.Uniform(), 1 + 1.5 * rng.Uniform(),
                                       .2 + .3 * rng.Uniform(), .2 + .3 * rng.Uniform()};
    const double noise = 1e-3 * std::pow(30, rng.Uniform());
    const auto count = 15 + rng.Below(60);
    std::vector<FitPoint> points;
    for (uint64_t i = 0; i < count; ++i) {
      const double n = std::log(1e7) + 7 * rng.Uniform(), d = n + std::log(2) + 6 * rng.Uniform();
      const double log_loss = std::log(ChinchillaLaw().Loss(truth.data(), n, d)) +
                              noise * rng.Normal() * (rng.Below(10) == 0 ? 10 : 1);
      points.push_back({{n, d, d}, std::exp(log_loss), log_loss});
    }
    const std::vector<double> ones(points.size(), 1);
    const LossSpec loss{LossKind::kHuber, 1e-3};
    const double ours = FitGlobally(ChinchillaLaw(), points, ones, loss,
                                    ChinchillaLaw().Starts(points, ones, LawOptions().starts))
                            .objective;
    auto many = ChinchillaLaw().Starts(points, ones, 5 * LawOptions().starts);
    many.push_back(truth);
    const double best = FitEquation(ChinchillaLaw(), points, ones, loss, many).objective;
    if (ours <= best * (1 + 1e-9)) {
      ++found;
    } else {
      std::printf("set %d: ours %.10g, best %.10g\n", static_cast<int>(set), ours, best);
    }
  }
  std::printf("global optimum in %d of 1000 noisy sets\n", found);
  EXPECT_EQ(found, 1000);
}

}  // namespace
}  // namespace fit
