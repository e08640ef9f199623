#include "fit/two_step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "fmt/format.h"

namespace fit {
namespace {

constexpr LossSpec kLeastSquares{LossKind::kL2, 0, ResidualKind::kLinear};
constexpr uint64_t kNoiseStream = uint64_t{1} << 42;

std::vector<FitPoint> WithKnown(const TwoStepData& data) {
  std::vector<FitPoint> points = data.pairs;
  points.insert(points.end(), data.known.begin(), data.known.end());
  return points;
}

}  // namespace

absl::StatusOr<TwoStep> TwoStep::Fit(const SurfaceLaw& law, const Equation& curve,
                                     const TwoStepData& data, const TwoStepOptions& options) {
  SWEEP_CHECK(data.soft.size() == data.soft_run.size());
  SWEEP_CHECK(data.pairs.size() == data.pair_run.size());
  if (data.soft.size() < law.coordinates().size() || data.pairs.size() < curve.coordinates().size())
    return absl::FailedPreconditionError(fmt::format(
        "two-step: {} runs for the {} constants of {}, {} pairs for the {} of {}; add runs",
        data.soft.size(), law.coordinates().size(), law.name(), data.pairs.size(),
        curve.coordinates().size(), curve.name()));
  TwoStep fit(law, curve);
  fit.bootstrap_ = options.bootstrap;
  const std::vector<FitPoint> pairs = WithKnown(data);
  const std::vector<double> soft_ones(data.soft.size(), 1), pair_ones(pairs.size(), 1);
  fit.soft_ = FitEquation(law, data.soft, soft_ones, options.soft,
                          law.Starts(data.soft, soft_ones, options.starts));
  fit.hard_ = FitEquation(curve, pairs, pair_ones, kLeastSquares,
                          curve.Starts(pairs, pair_ones, options.starts));
  if (fit.soft_.theta.empty() || fit.hard_.theta.empty())
    return absl::FailedPreconditionError("two-step: no start gave a finite objective");
  fit.lowest_ = fit.highest_ = data.pairs[0].x[0];
  for (const FitPoint& p : data.pairs) {
    fit.lowest_ = std::min(fit.lowest_, p.x[0]);
    fit.highest_ = std::max(fit.highest_, p.x[0]);
    fit.noise_.push_back(p.y - curve.Value(fit.hard_.theta.data(), p.x));
  }

  size_t runs = 0;
  for (const size_t run : data.soft_run) runs = std::max(runs, run + 1);
  for (const size_t run : data.pair_run) runs = std::max(runs, run + 1);
  const size_t softs = fit.soft_.theta.size();
  const BootstrapDraws draws = RunBootstrap(options.bootstrap, [&](core::Rng& rng,
                                                                   std::vector<double>& row) {
    const std::vector<double> drawn = CaseWeights(rng, runs);
    std::vector<double> soft, pair;
    size_t used = 0;
    for (const size_t run : data.soft_run) {
      soft.push_back(drawn[run]);
      if (drawn[run] > 0) ++used;
    }
    for (const size_t run : data.pair_run) pair.push_back(drawn[run]);
    pair.insert(pair.end(), data.known.size(), 1.0);
    if (used <= law.coordinates().size()) return false;
    const EquationFit first = FitEquation(law, data.soft, soft, options.soft, {fit.soft_.theta});
    const EquationFit second = FitEquation(curve, pairs, pair, kLeastSquares, {fit.hard_.theta});
    if (first.theta.empty() || second.theta.empty()) return false;
    row = first.theta;
    row.insert(row.end(), second.theta.begin(), second.theta.end());
    return true;
  });
  for (const std::vector<double>& row : draws.rows) {
    const auto cut = row.begin() + static_cast<std::ptrdiff_t>(softs);
    fit.draws_.push_back({{row.begin(), cut}, {cut, row.end()}});
  }
  return fit;
}

HardForecast TwoStep::At(const Inputs& x) const {
  HardForecast forecast;
  forecast.soft = law_->Value(soft_.theta.data(), x);
  forecast.hard = curve_->Value(hard_.theta.data(), {forecast.soft});
  std::vector<double> values;
  for (size_t i = 0; i < draws_.size(); ++i) {
    core::Rng rng(bootstrap_.seed, kNoiseStream + i);
    const double soft = law_->Value(draws_[i].soft.data(), x);
    values.push_back(curve_->Value(draws_[i].hard.data(), {soft}) +
                     noise_[rng.Below(noise_.size())]);
  }
  forecast.interval = PercentileInterval(values, bootstrap_.level, IntervalKind::kPrediction,
                                         "bootstrap of runs through both steps + residuals");
  for (const auto& [name, middle] : curve_->Report(hard_.theta)) {
    if (name != "x0" || (middle >= lowest_ && middle <= highest_)) continue;
    forecast.abstains = fmt::format(
        "the middle of the {} lies at {:.4g}, outside the {:.4g} .. {:.4g} that the runs "
        "span: the curve beyond them is a guess",
        curve_->name(), middle, lowest_, highest_);
  }
  return forecast;
}

}  // namespace fit
