#include "fit/frontier_model.h"

#include "core/clock.h"
#include "core/status_macros.h"
#include "fit/frontier_findings.h"
#include "fit/frontier_forecast.h"

namespace fit {
namespace {

class FittedFrontier final : public FittedLaw {
 public:
  FittedFrontier(FrontierEstimate estimate, LawFit findings)
      : estimate_(std::move(estimate)), fit_(std::move(findings)) {}

  const LawFit& fit() const override { return fit_; }
  std::optional<Forecast> Predict(const RunTarget& target) const override {
    const bool sees_runs =
        estimate_.kind == FrontierKind::kFrontier && !estimate_.options.observations_are_optima;
    if (target.params > 0 && !sees_runs) return std::nullopt;
    return ForecastOf(estimate_, target);
  }
  size_t resamples() const override { return estimate_.with_loss() ? estimate_.draws.size() : 0; }
  double FrontierLoss(double flops, std::optional<size_t> resample) const override {
    return LossAt(estimate_, flops, resample);
  }
  EffectiveCompute Compute(double flops) const override { return estimate_.laws.Effective(flops); }
  std::vector<TestPoint> Test(const std::vector<Observation>& later) const override {
    return TestOptima(estimate_, later);
  }
  std::optional<TestPoint> TestRun(const Observation& run) const override {
    return TestAt(estimate_, run.budget_flops > 0 ? run.budget_flops : run.flops, run.loss);
  }

 private:
  FrontierEstimate estimate_;
  LawFit fit_;
};

class FrontierModel final : public Law {
 public:
  explicit FrontierModel(FrontierKind kind) : kind_(kind) {}
  std::string_view name() const override { return Text(kind_); }
  bool forecasts_runs() const override { return kind_ == FrontierKind::kFrontier; }
  bool uses_checkpoints() const override { return kind_ == FrontierKind::kEnvelope; }
  // One budget more than constants: an exact interpolation has no error to learn from.
  size_t backtest_budgets(const LawOptions& options) const override {
    return options.pinned_E.has_value() ? 3 : 4;
  }
  absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(const std::vector<Observation>& observations,
                                                 const LawOptions& options) const override {
    const int64_t started_ms = core::SystemClock().MonotonicMs();
    ASSIGN_OR_RETURN(FrontierEstimate estimate, EstimateFrontier(kind_, options, observations));
    LawFit findings = FindingsOf(estimate);
    findings.elapsed_s = static_cast<double>(core::SystemClock().MonotonicMs() - started_ms) / 1e3;
    return std::make_unique<FittedFrontier>(std::move(estimate), std::move(findings));
  }

 private:
  FrontierKind kind_;
};

}  // namespace

std::unique_ptr<Law> MakeIsoflopModel() {
  return std::make_unique<FrontierModel>(FrontierKind::kIsoflop);
}
std::unique_ptr<Law> MakeFrontierModel() {
  return std::make_unique<FrontierModel>(FrontierKind::kFrontier);
}
std::unique_ptr<Law> MakeEnvelopeModel() {
  return std::make_unique<FrontierModel>(FrontierKind::kEnvelope);
}

}  // namespace fit
