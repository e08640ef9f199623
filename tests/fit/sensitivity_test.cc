#include "fit/sensitivity.h"

#include <cmath>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fit {
namespace {

using ::testing::HasSubstr;

// The mean loss, wherever it is asked for, if `runs` runs or more were fitted; of fewer it is a law
// that fits and has no optimum, as a surface whose exponents leave its bounds of N.
class MeanLaw : public Law {
 public:
  explicit MeanLaw(size_t runs) : runs_(runs) {}
  std::string_view name() const override { return "mean"; }
  size_t backtest_budgets(const LawOptions&) const override { return 2; }
  absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(const std::vector<Observation>& observations,
                                                 const LawOptions&) const override {
    double sum = 0;
    for (const Observation& o : observations) sum += o.loss;
    const auto n = static_cast<double>(observations.size());
    return std::make_unique<Fitted>(sum / n, observations.size() >= runs_);
  }

 private:
  class Fitted : public FittedLaw {
   public:
    Fitted(double loss, bool forecasts) : loss_(loss), forecasts_(forecasts) {
      fit_.law = "mean";
      fit_.params = {{"p", loss}};
    }
    const LawFit& fit() const override { return fit_; }
    std::optional<Forecast> Predict(const RunTarget& target) const override {
      if (!forecasts_) return std::nullopt;
      Forecast forecast;
      forecast.law = "mean";
      forecast.flops = target.flops;
      forecast.loss = loss_;
      return forecast;
    }
    std::vector<TestPoint> Test(const std::vector<Observation>&) const override { return {}; }
    std::optional<TestPoint> TestRun(const Observation&) const override { return std::nullopt; }

   private:
    double loss_;
    bool forecasts_;
    LawFit fit_;
  };
  size_t runs_;
};

// Three budgets of four runs, losses falling.
std::vector<Observation> Runs() {
  std::vector<Observation> runs;
  for (const double budget : {1e18, 1e19, 1e20}) {
    for (const double params : {1e8, 2e8, 4e8, 8e8}) {
      Observation o;
      o.flops = o.budget_flops = budget;
      o.params = params;
      o.tokens = budget / 6 / params;
      o.loss = 4 - 0.3 * std::log10(budget / 1e18);
      runs.push_back(o);
    }
  }
  return runs;
}

std::vector<Sensitivity> RowsWhere(const Law& law) {
  const std::vector<Observation> runs = Runs();
  const auto fitted = law.Fit(runs, {});
  const RunTarget target{1e22, 0, 0};
  Forecast average = *(*fitted)->Predict(target);
  average.law = "average";
  average.members.resize(1);
  average.members[0].law = "mean", average.members[0].weight = 1;
  average.members[0].loss = average.loss;
  return Sensitivities({&law}, {fitted->get()}, runs, {}, {target}, {average});
}

TEST(SensitivityTest, TheAverageMovesAsItsLawDoes) {
  const std::vector<Sensitivity> rows = RowsWhere(MeanLaw(0));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].law, "average");
  EXPECT_EQ(rows[1].law, "mean");
  EXPECT_THAT(rows[1].change, HasSubstr("without the smallest budget 1e+18 (4 runs)"));
  for (const Sensitivity& row : rows) {
    EXPECT_EQ(row.failed + row.not_applicable, "");
    EXPECT_DOUBLE_EQ(row.loss_before, 3.7);
    EXPECT_DOUBLE_EQ(row.loss, 3.55);
  }
}

TEST(SensitivityTest, ALawWhoseRefitHasNoOptimumSaysSoAndSoDoesTheAverage) {
  const std::vector<Sensitivity> rows = RowsWhere(MeanLaw(12));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].law, "average");
  EXPECT_THAT(rows[0].failed, HasSubstr("mean: no optimum"));
  EXPECT_EQ(rows[0].loss, 0);
  EXPECT_THAT(rows[1].failed, HasSubstr("no optimum"));
}

}  // namespace
}  // namespace fit
