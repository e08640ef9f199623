#include "fit/surface_model.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/clock.h"
#include "fit/referee.h"
#include "fit/stats.h"
#include "fit/surface_fit.h"
#include "fmt/format.h"

namespace fit {
namespace {

// Streams of the prediction noise, apart from those of the resamples (their numbers).
constexpr uint64_t kNoiseStream = uint64_t{1} << 40;
constexpr double kCollinearCorrelation = 0.99;
constexpr double kFewStartsShare = 0.1;

double Correlation(const std::vector<SurfacePoint>& points) {
  double n = 0, d = 0, nn = 0, dd = 0, nd = 0;
  for (const SurfacePoint& p : points) n += p.log_params, d += p.log_tokens;
  n /= static_cast<double>(points.size()), d /= static_cast<double>(points.size());
  for (const SurfacePoint& p : points) {
    nn += (p.log_params - n) * (p.log_params - n);
    dd += (p.log_tokens - d) * (p.log_tokens - d);
    nd += (p.log_params - n) * (p.log_tokens - d);
  }
  return nn > 0 && dd > 0 ? nd / std::sqrt(nn * dd) : 1;
}

class SurfaceModelFit final : public FittedLaw {
 public:
  SurfaceModelFit(const SurfaceLaw& law, const LawOptions& options)
      : law_(law), options_(options), box_(law.coordinates()) {
    for (Coordinate& c : box_)
      if (c.name == "E" && options_.pinned_E.has_value()) c.lower = c.upper = *options_.pinned_E;
  }

  const LawFit& fit() const override { return fit_; }

  void Run(const std::vector<Observation>& observations) {
    const int64_t started_ms = core::SystemClock().MonotonicMs();
    const std::vector<SurfacePoint> points = SurfacePoints(observations);
    const std::vector<double> ones(points.size(), 1);
    const std::vector<std::vector<double>> starts = law_.Starts(points, ones, options_.starts);
    const SurfaceFit best = FitSurface(law_, points, ones, options_.loss, starts, &box_);
    theta_ = best.theta;
    if (theta_.empty()) return;  // no start has a finite objective; Fit() refuses
    Bootstrap(observations, points, starts);
    // ln L - ln Lhat, widened for the parameters that the residuals paid for.
    const double n = static_cast<double>(points.size());
    const double k = static_cast<double>(law_.coordinates().size()) - (options_.pinned_E ? 1 : 0);
    const double widen = n > k ? std::sqrt(n / (n - k)) : 1;
    for (const double r : best.log_residuals) noise_.push_back(-r * widen);

    fit_.law = law_.name();
    fit_.equation = law_.equation();
    fit_.loss = Name(options_.loss.kind);
    fit_.residual = Name(options_.loss.residual);
    fit_.delta = options_.loss.kind == LossKind::kHuber ? options_.loss.delta : 0;
    fit_.params = law_.Report(theta_);
    fit_.objective = best.objective;
    fit_.n = points.size();
    fit_.starts = best.starts;
    fit_.starts_at_best = best.starts_at_best;
    fit_.condition = best.condition;
    const RefereeResult referee = CeresReferee(law_, box_, points, options_.loss, starts[0]);
    if (std::isfinite(referee.objective)) fit_.referee_objective = referee.objective;
    fit_.resamples = options_.bootstrap.resamples;
    fit_.resamples_failed = draws_.failed;
    for (size_t i = 0; i < fit_.params.size() && options_.bootstrap.resamples > 0; ++i) {
      if (fit_.params[i].first == "E" && options_.pinned_E.has_value()) continue;
      std::vector<double> values;
      for (const std::vector<double>& row : draws_.rows)
        values.push_back(law_.Report(row)[i].second);
      fit_.intervals.emplace_back(
          fit_.params[i].first,
          PercentileInterval(values, options_.bootstrap.level, IntervalKind::kParameter, Method()));
    }
    ProfileAsymptote(points);
    AddWarnings(points, best);
    fit_.elapsed_s = static_cast<double>(core::SystemClock().MonotonicMs() - started_ms) / 1e3;
  }

  std::optional<Forecast> Predict(double flops) const override {
    const Optimum optimum = OptimumAt(theta_, flops);
    if (!optimum.found) return std::nullopt;
    Forecast forecast;
    forecast.law = fit_.law;
    forecast.flops = flops;
    forecast.loss = optimum.loss;
    forecast.params = optimum.params;
    forecast.tokens = optimum.tokens;
    std::vector<double> mean, params, tokens;
    for (size_t i = 0; i < draws_.rows.size(); ++i) {
      const Optimum drawn = OptimumAt(draws_.rows[i], flops);
      if (!drawn.found) continue;
      mean.push_back(drawn.loss);
      params.push_back(drawn.params);
      tokens.push_back(drawn.tokens);
      AddNoise(drawn.loss, i, forecast.draws);
    }
    const double level = options_.bootstrap.level;
    forecast.mean_interval = PercentileInterval(mean, level, IntervalKind::kMean, Method());
    forecast.interval = PercentileInterval(forecast.draws, level, IntervalKind::kPrediction,
                                           Method() + " + residuals");
    forecast.params_interval = PercentileInterval(params, level, IntervalKind::kMean, Method());
    forecast.tokens_interval = PercentileInterval(tokens, level, IntervalKind::kMean, Method());
    if (held_.size() == 2 && !held_[0].empty() && !held_[1].empty()) {
      const Optimum low = OptimumAt(held_[0], flops), high = OptimumAt(held_[1], flops);
      if (low.found && high.found)
        forecast.asymptote =
            AsymptoteSpan{law_.Asymptote(held_[0]), law_.Asymptote(held_[1]), low.loss, high.loss};
    }
    return forecast;
  }

  std::vector<TestPoint> Test(const std::vector<Observation>& later) const override {
    std::vector<TestPoint> tests;
    for (const Observation& o : later) {
      const double n = std::log(o.params), d = std::log(o.tokens);
      std::vector<double> draws;
      for (size_t i = 0; i < draws_.rows.size(); ++i)
        AddNoise(law_.Loss(draws_.rows[i].data(), n, d), i, draws);
      const Interval interval =
          PercentileInterval(draws, options_.bootstrap.level, IntervalKind::kPrediction, Method());
      tests.push_back({o.flops, o.loss, law_.Loss(theta_.data(), n, d), interval.lo, interval.hi});
    }
    return tests;
  }

 private:
  std::string Method() const {
    return options_.cluster_by_budget ? "bootstrap of budgets" : "case bootstrap";
  }

  Optimum OptimumAt(const std::vector<double>& theta, double flops) const {
    return options_.flops_relation
               ? law_.ComputeOptimalUnder(theta, flops, options_.flops_relation)
               : law_.ComputeOptimal(theta, flops, options_.flops_per_param_token);
  }

  // A few noise values a resample, so that the tails of heavy-tailed residuals are sampled too.
  void AddNoise(double loss, size_t resample, std::vector<double>& out) const {
    constexpr int kPerResample = 4;
    core::Rng rng(options_.bootstrap.seed, kNoiseStream + resample);
    for (int k = 0; k < kPerResample; ++k)
      out.push_back(loss * std::exp(noise_[rng.Below(noise_.size())]));
  }

  void Bootstrap(const std::vector<Observation>& observations,
                 const std::vector<SurfacePoint>& points,
                 const std::vector<std::vector<double>>& starts) {
    std::vector<size_t> cluster(points.size());
    size_t clusters = points.size();
    for (size_t i = 0; i < cluster.size(); ++i) cluster[i] = i;
    if (options_.cluster_by_budget) {
      const IsoflopGroups groups = GroupByBudget(observations);
      clusters = groups.groups.size();
      for (size_t g = 0; g < clusters; ++g)
        for (const size_t i : groups.groups[g].members) cluster[i] = g;
    }
    std::vector<std::vector<double>> warm = {theta_};
    for (size_t i = 0; i < starts.size() && i < 2; ++i) warm.push_back(starts[i]);
    draws_ = RunBootstrap(options_.bootstrap, [&](core::Rng& rng, std::vector<double>& row) {
      const std::vector<double> weights = ClusterWeights(rng, cluster, clusters);
      // A resample with fewer different runs than parameters determines nothing.
      const auto used =
          std::count_if(weights.begin(), weights.end(), [](double w) { return w > 0; });
      if (static_cast<size_t>(used) <= law_.coordinates().size()) return false;
      row = FitSurface(law_, points, weights, options_.loss, warm, &box_).theta;
      return !row.empty();
    });
  }

  // The law refitted with E held at each end of its bootstrap interval.
  void ProfileAsymptote(const std::vector<SurfacePoint>& points) {
    if (options_.pinned_E.has_value()) return;
    std::vector<double> asymptotes;
    for (const std::vector<double>& row : draws_.rows) asymptotes.push_back(law_.Asymptote(row));
    const Interval interval = PercentileInterval(asymptotes, options_.bootstrap.level,
                                                 IntervalKind::kParameter, Method());
    if (!std::isfinite(interval.lo)) return;
    const std::vector<double> ones(points.size(), 1);
    for (const double e : {interval.lo, interval.hi}) {
      std::vector<Coordinate> held = box_;
      for (Coordinate& c : held)
        if (c.name == "E") c.lower = c.upper = e;
      held_.push_back(FitSurface(law_, points, ones, options_.loss, {theta_}, &held).theta);
    }
  }

  void AddWarnings(const std::vector<SurfacePoint>& points, const SurfaceFit& best) {
    const auto warn = [&](std::string_view code, std::string text) {
      fit_.warnings.push_back(Warn(code, std::move(text)));
    };
    if (!best.converged) warn(kNotConverged, "the best start stopped before it converged");
    if (fit_.referee_objective.has_value() &&
        *fit_.referee_objective < best.objective * (1 - 1e-7) - 1e-20)
      warn(kNotConverged,
           fmt::format("Ceres reaches {:.10g}, below our {:.10g}: the fit is not the "
                       "optimum",
                       *fit_.referee_objective, best.objective));
    if (options_.pinned_E.has_value())
      warn(kAsymptotePinned, fmt::format("E = {:g} was given, every interval is conditional on it",
                                         *options_.pinned_E));
    if (best.starts >= 8 && best.starts_at_best < kFewStartsShare * best.starts)
      warn(kFewStartsAgree,
           fmt::format("only {} of {} starts reach the best objective; there may be "
                       "a better optimum",
                       best.starts_at_best, best.starts));
    size_t at_zero = 0;
    for (const std::vector<double>& row : draws_.rows)
      if (law_.Asymptote(row) <= 0) ++at_zero;
    bool bound = false;
    for (const size_t i : best.at_bound) {
      const Coordinate& c = law_.coordinates()[i];
      bound = bound || c.bound_warning == kAsymptoteAtBound;
      if (!c.bound_warning.empty())
        warn(c.bound_warning, fmt::format("{} = {:.6g} sits on its bound [{:g}, {:g}]", c.name,
                                          theta_[i], c.lower, c.upper));
    }
    if (!options_.pinned_E.has_value() && !draws_.rows.empty() && 20 * at_zero > draws_.rows.size())
      warn(kAsymptoteUnidentified,
           fmt::format(
               "E is 0 in {:.0f} % of the resamples{}: the data do not show where the loss "
               "levels off",
               100.0 * static_cast<double>(at_zero) / static_cast<double>(draws_.rows.size()),
               bound ? " and in the fit" : ""));
    const auto dof = static_cast<int>(points.size()) - static_cast<int>(law_.coordinates().size());
    if (dof < 5)
      warn(kFewDegreesOfFreedom, fmt::format("{} observations for {} parameters", points.size(),
                                             law_.coordinates().size()));
    const double correlation = Correlation(points);
    if (std::fabs(correlation) > kCollinearCorrelation)
      warn(kCollinear,
           fmt::format("ln N and ln D have correlation {:.4f}: their terms cannot be told "
                       "apart; vary tokens per parameter",
                       correlation));
    if (draws_.failed > 0)
      warn(kBootstrapFailures, fmt::format("{:.1f} % of {} resamples could not be fitted and are "
                                           "missing from the intervals",
                                           100 * draws_.FailedShare(), fit_.resamples));
  }

  const SurfaceLaw& law_;
  LawOptions options_;
  std::vector<Coordinate> box_;  // the law's, with E pinned where that was asked for
  LawFit fit_;
  std::vector<double> theta_;
  std::vector<std::vector<double>> held_;  // theta with E at the ends of its interval
  BootstrapDraws draws_;
  std::vector<double> noise_;
};

class SurfaceModel final : public Law {
 public:
  explicit SurfaceModel(const SurfaceLaw& law) : law_(law) {}
  std::string_view name() const override { return law_.name(); }
  size_t backtest_budgets(const LawOptions&) const override { return 3; }

  absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(const std::vector<Observation>& observations,
                                                 const LawOptions& options) const override {
    std::set<std::pair<double, double>> different;
    for (const Observation& o : observations) different.emplace(o.params, o.tokens);
    if (different.size() < law_.coordinates().size())
      return absl::FailedPreconditionError(
          fmt::format("{}: {} different (params, tokens) pairs for {} parameters; add runs",
                      law_.name(), different.size(), law_.coordinates().size()));
    auto fitted = std::make_unique<SurfaceModelFit>(law_, options);
    fitted->Run(observations);
    if (fitted->fit().params.empty())
      return absl::FailedPreconditionError(fmt::format(
          "{}: no start gave a finite objective; check the data for extreme values", law_.name()));
    return std::unique_ptr<FittedLaw>(std::move(fitted));
  }

 private:
  const SurfaceLaw& law_;
};

}  // namespace

std::unique_ptr<Law> MakeSurfaceModel(const SurfaceLaw& law) {
  return std::make_unique<SurfaceModel>(law);
}

}  // namespace fit
