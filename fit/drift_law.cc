#include "fit/drift_law.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "fit/average.h"
#include "fit/drift.h"
#include "fmt/format.h"

namespace fit {
namespace {

// The choice of prior, for reports.
std::string DriftPriorText(const LawOptions& options) {
  return options.exponent_prior ? "weak prior: p near 0.16, alpha and beta near 0.35"
                                : "no prior on exponents";
}

// Relative scatter of single runs about the curves of their budgets; 0 where it is not known.
double ScatterOfRuns(const std::vector<BudgetOptimum>& budgets) {
  double squares = 0;
  int freedom = 0;
  for (const BudgetOptimum& budget : budgets) {
    const IsoflopMinimum& m = budget.minimum;
    if (!m.ok() || m.points <= m.coefficients) continue;
    for (size_t i = 0; i < m.residuals.size(); ++i)
      if (m.in_window[i]) squares += std::pow(m.residuals[i] / m.fitted[i], 2);
    freedom += m.points - m.coefficients;
  }
  return freedom > 0 ? std::sqrt(squares / freedom) : 0;
}

DriftPoint OptimumAt(const FittedLaw& law, double flops, double loss, bool in_flops) {
  const double judged = law.FrontierLoss(flops, std::nullopt);
  DriftPoint point{std::log(flops), {std::log(flops), 0}, loss, 1, judged};
  if (in_flops) return point;
  const EffectiveCompute compute = law.Compute(flops);
  point.u[0] = std::log(compute.flops), point.factor = compute.excess;
  return point;
}

// Whether N is known to count every parameter.
bool CountsAllParams(const std::vector<Observation>& observations) {
  return std::all_of(observations.begin(), observations.end(), [](const Observation& o) {
    const auto counted = o.cohort.find("n_convention");
    return counted != o.cohort.end() &&
           (counted->second == "params" || counted->second == "with-embedding");
  });
}

// Of two fits that nothing in range tells apart: their mixture in equal parts, over both ranges of
// E.
DriftForecast Mixed(const DriftForecast& a, const DriftForecast& b, double level) {
  const auto mix = [&](double a_lo, double a_hi, double b_lo, double b_hi) {
    return Mixture({{1, a.loss, a_lo, a_hi}, {1, b.loss, b_lo, b_hi}}, level);
  };
  const MixturePart run = mix(a.lo, a.hi, b.lo, b.hi);
  const MixturePart mean = mix(a.mean_lo, a.mean_hi, b.mean_lo, b.mean_hi);
  DriftForecast mixed{run.loss, run.lo, run.hi, mean.lo, mean.hi};
  mixed.at_E_lo = std::min({a.at_E_lo, b.at_E_lo, a.at_E_hi, b.at_E_hi});
  mixed.at_E_hi = std::max({a.at_E_lo, b.at_E_lo, a.at_E_hi, b.at_E_hi});
  return mixed;
}

class AveragedFit final : public FittedLaw {
 public:
  // `in_flops`: of a frontier whose C / (N D) bends, the fit to C itself.
  AveragedFit(std::unique_ptr<FittedLaw> law, DriftFit drift, std::optional<DriftFit> in_flops,
              DriftKind kind, const LawOptions& options)
      : law_(std::move(law)),
        drift_(std::move(drift)),
        in_flops_(std::move(in_flops)),
        kind_(kind),
        options_(options) {}

  const LawFit& fit() const override { return law_->fit(); }
  size_t resamples() const override { return law_->resamples(); }
  bool averages_profile() const override { return true; }
  double FrontierLoss(double flops, std::optional<size_t> resample) const override {
    return law_->FrontierLoss(flops, resample);
  }

  std::optional<Forecast> Predict(const RunTarget& target) const override {
    std::optional<Forecast> forecast = law_->Predict(target);
    if (!forecast.has_value()) return forecast;
    const bool run = target.params > 0;
    const double params = run ? target.params : forecast->params;
    const double tokens = run ? target.tokens : forecast->tokens;
    const DriftForecast drift = At(target.flops, params, tokens);
    // A frontier's curve is of optima; what a run loses by its shape is the law's business.
    const double shape = kind_ == DriftKind::kFrontier ? 1 + forecast->off_optimum : 1;
    const double level = options_.bootstrap.level;
    const std::string method = fmt::format(
        "averaged over its profile ({}{})", DriftPriorText(options_),
        in_flops_.has_value() ? "; half by 6 N* D* and half by C, since n_convention does not say "
                                "that N counts all parameters"
                              : "");
    const auto ends = [&](double lo, double hi, IntervalKind what) {
      return Interval{lo * shape, hi * shape, level, what, method};
    };
    ProfileAverage averaged;
    averaged.loss = drift.loss * shape;
    averaged.interval = ends(drift.lo, drift.hi, IntervalKind::kPrediction);
    averaged.mean_interval = ends(drift.mean_lo, drift.mean_hi, IntervalKind::kMean);
    Interval E{drift_.E_lo(), drift_.E_hi(), level, IntervalKind::kParameter,
               "profile and its weight"};
    if (in_flops_.has_value())
      E.lo = std::min(E.lo, in_flops_->E_lo()), E.hi = std::max(E.hi, in_flops_->E_hi());
    averaged.asymptote = AsymptoteSpan{E, drift.at_E_lo * shape, drift.at_E_hi * shape};
    forecast->averaged = std::move(averaged);
    return forecast;
  }

  std::vector<TestPoint> Test(const std::vector<Observation>& later) const override {
    return law_->Test(later);
  }

  std::optional<TestPoint> TestRun(const Observation& run) const override {
    std::optional<TestPoint> test = law_->TestRun(run);
    if (!test.has_value()) return test;
    const DriftForecast drift = At(test->flops, run.params, run.tokens);
    auto averaged = std::make_shared<TestPoint>(*test);
    averaged->predicted = drift.loss;
    averaged->at_E_lo = drift.at_E_lo, averaged->at_E_hi = drift.at_E_hi;
    averaged->lo = drift.lo, averaged->hi = drift.hi;
    averaged->mean_lo = drift.mean_lo, averaged->mean_hi = drift.mean_hi;
    test->averaged = std::move(averaged);
    return test;
  }

 private:
  DriftForecast At(double flops, double params, double tokens) const {
    if (kind_ != DriftKind::kFrontier)
      return drift_.At({std::log(flops), {std::log(params), std::log(tokens)}, 0});
    const DriftForecast bent = drift_.At(OptimumAt(*law_, flops, 0, false));
    if (!in_flops_.has_value()) return bent;
    return Mixed(bent, in_flops_->At(OptimumAt(*law_, flops, 0, true)), options_.bootstrap.level);
  }

  std::unique_ptr<FittedLaw> law_;
  DriftFit drift_;
  std::optional<DriftFit> in_flops_;
  DriftKind kind_;
  LawOptions options_;
};

class AveragedLawModel final : public Law {
 public:
  AveragedLawModel(std::unique_ptr<Law> law, DriftKind kind) : law_(std::move(law)), kind_(kind) {}

  std::string_view name() const override { return law_->name(); }
  std::vector<std::string> constants() const override { return law_->constants(); }
  const SurfaceLaw* surface() const override { return law_->surface(); }
  bool in_compute() const override { return law_->in_compute(); }
  bool forecasts_runs() const override { return law_->forecasts_runs(); }
  bool uses_checkpoints() const override { return law_->uses_checkpoints(); }
  size_t backtest_budgets(const LawOptions& options) const override {
    return law_->backtest_budgets(options);
  }

  absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(const std::vector<Observation>& observations,
                                                 const LawOptions& options) const override {
    auto fitted = law_->Fit(observations, options);
    if (!fitted.ok() || !IsUsualEstimator(options)) return fitted;
    DriftOptions drift;
    drift.level = options.bootstrap.level;
    std::vector<DriftPoint> points;
    drift.lowest_loss = LowestLoss(observations);
    for (const Observation& o : observations)
      if (o.unique_tokens > 0 && o.unique_tokens < o.tokens * (1 - 1e-9)) return fitted;
    std::optional<DriftFit> in_flops;
    if (kind_ == DriftKind::kFrontier) {
      drift.terms = 1, drift.scale = 0.005, drift.usual_g = 0.16, drift.prior_spread = 1;
      const bool optima = options.observations_are_optima;
      drift.run_scatter = optima ? 0 : ScatterOfRuns((*fitted)->fit().budgets);
      if (!options.exponent_prior) drift.prior_spread = 0;  // in_flops is fitted here
      const auto optima_by = [&](bool by_flops) {
        std::vector<DriftPoint> found;
        const auto add = [&](double flops, double loss) {
          found.push_back(OptimumAt(**fitted, flops, loss, by_flops));
        };
        if (optima)
          for (const Observation& o : observations)
            add(o.budget_flops > 0 ? o.budget_flops : o.flops, o.loss);
        else
          for (const BudgetOptimum& budget : (*fitted)->fit().budgets)
            if (budget.minimum.ok() && budget.minimum.loss > 0)
              add(budget.minimum.budget_flops, budget.minimum.loss);
        return found;
      };
      points = optima_by(false);
      const std::optional<FrontierCompute>& compute = (*fitted)->fit().compute;
      if (compute.has_value() && compute->sizes.has_value() && !CountsAllParams(observations))
        in_flops = DriftFit::Fit(optima_by(true), drift);
    } else {
      drift.terms = 2, drift.scale = 0.01, drift.usual_g = 0.35, drift.prior_spread = 0.6;
      drift.weigh_runs = true;
      std::map<std::string, double> constants((*fitted)->fit().params.begin(),
                                              (*fitted)->fit().params.end());
      for (const Observation& o : observations) {
        const double judged = constants["E"] +
                              constants["A"] * std::pow(o.params, -constants["alpha"]) +
                              constants["B"] * std::pow(o.tokens, -constants["beta"]);
        points.push_back({std::log(o.flops),
                          {std::log(o.params), std::log(o.tokens)},
                          o.loss,
                          1,
                          std::isfinite(judged) ? judged : 0});
      }
    }
    if (!options.exponent_prior) drift.prior_spread = 0;
    std::optional<DriftFit> averaged = DriftFit::Fit(std::move(points), drift);
    if (!averaged.has_value()) return fitted;
    return std::unique_ptr<FittedLaw>(std::make_unique<AveragedFit>(
        *std::move(fitted), *std::move(averaged), std::move(in_flops), kind_, options));
  }

 private:
  std::unique_ptr<Law> law_;
  DriftKind kind_;
};

}  // namespace

bool IsUsualEstimator(const LawOptions& options) {
  const LossSpec usual;
  const LossSpec& loss = options.loss;
  return options.hold.empty() && !options.pinned_E.has_value() && loss.over == 1 &&
         loss.kind == usual.kind && loss.delta == usual.delta && loss.residual == usual.residual &&
         !options.noise_by_flops;
}

std::unique_ptr<Law> WithProfileAverage(std::unique_ptr<Law> law, DriftKind kind) {
  return std::make_unique<AveragedLawModel>(std::move(law), kind);
}

}  // namespace fit
