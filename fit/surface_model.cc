#include "fit/surface_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/clock.h"
#include "fit/asymptote.h"
#include "fit/envelope.h"
#include "fit/equation_fit.h"
#include "fit/information.h"
#include "fit/profile.h"
#include "fit/referee.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

// Streams of the prediction noise, apart from those of the resamples (their numbers).
constexpr uint64_t kNoiseStream = uint64_t{1} << 40;
constexpr double kCollinearCorrelation = 0.99;
constexpr double kFewStartsShare = 0.1;

// What a curve in C is about: the lower envelope of the runs; rows of a curve, all of them.
std::vector<Observation> OnCurve(const std::vector<Observation>& rows, const LawOptions& options) {
  const auto runs = GroupRuns(rows, false);
  if (options.rows_are_curve || !runs.ok()) return rows;
  std::vector<Observation> lowest;
  for (const EnvelopePoint& point : LowerEnvelope(rows, *runs)) {
    Observation o;
    o.flops = o.budget_flops = point.flops;
    o.params = point.params, o.tokens = point.tokens, o.loss = point.loss;
    lowest.push_back(std::move(o));
  }
  return lowest;
}

double Correlation(const std::vector<FitPoint>& points) {
  double n = 0, d = 0, nn = 0, dd = 0, nd = 0;
  for (const FitPoint& p : points) n += p.x[0], d += p.x[1];
  n /= static_cast<double>(points.size()), d /= static_cast<double>(points.size());
  for (const FitPoint& p : points) {
    nn += (p.x[0] - n) * (p.x[0] - n);
    dd += (p.x[1] - d) * (p.x[1] - d);
    nd += (p.x[0] - n) * (p.x[1] - d);
  }
  return nn > 0 && dd > 0 ? nd / std::sqrt(nn * dd) : 1;
}

class SurfaceModelFit final : public FittedLaw {
 public:
  SurfaceModelFit(const SurfaceLaw& law, const LawOptions& options)
      : law_(law), options_(options), box_(law.coordinates()) {
    if (law_.asymptote_coordinate() >= 0 && options_.pinned_E.has_value())
      Hold(static_cast<size_t>(law_.asymptote_coordinate()), *options_.pinned_E);
    for (size_t i = 0; i < box_.size(); ++i) {
      const bool log = IsLog(i);
      const auto held = options_.hold.find(Letter(i));
      if (held != options_.hold.end()) Hold(i, log ? std::log(held->second) : held->second);
    }
    free_ = static_cast<int>(std::count_if(box_.begin(), box_.end(),
                                           [](const Coordinate& c) { return c.lower < c.upper; }));
  }

  const LawFit& fit() const override { return fit_; }

  void Run(const std::vector<Observation>& observations) {
    const int64_t started_ms = core::SystemClock().MonotonicMs();
    const std::vector<FitPoint> points = Points(observations);
    weights_.assign(points.size(), 1);
    std::vector<std::vector<double>> starts = law_.Starts(points, weights_, options_.starts);
    EquationFit best = FitGlobally(law_, points, weights_, options_.loss, starts, &box_);
    if (best.theta.empty()) return;  // no start has a finite objective; Fit() refuses
    if (options_.noise_by_flops) Weigh(observations, points, starts, best);
    // A profile that runs into something better shows that the starts missed the optimum.
    Profile(points, best);
    if (!better_.empty()) {
      const EquationFit missed =
          FitEquation(law_, points, weights_, options_.loss, {better_}, &box_);
      if (missed.objective < best.objective) {
        best.theta = missed.theta, best.objective = missed.objective;
        best.residuals = missed.residuals, best.condition = missed.condition;
        best.at_bound = missed.at_bound, best.starts_at_best = 0;
        Profile(points, best);
      }
    }
    theta_ = best.theta;
    Bootstrap(observations, points, starts);
    // ln L - ln Lhat, widened for the parameters that the residuals paid for.
    const double n = static_cast<double>(points.size());
    const double widen = n > free_ ? std::sqrt(n / (n - free_)) : 1;
    std::vector<double> residuals;
    for (size_t i = 0; i < points.size(); ++i) {
      residuals.push_back(points[i].log_y - std::log(law_.Value(theta_.data(), points[i].x)));
      noise_.push_back(residuals[i] * widen / NoiseScale(observations[i].flops));
    }

    fit_.law = law_.name();
    fit_.equation = law_.equation();
    fit_.loss = Name(options_.loss.kind);
    fit_.residual = Name(options_.loss.residual);
    fit_.delta = options_.loss.kind == LossKind::kHuber ? options_.loss.delta : 0;
    fit_.over = options_.loss.over;
    fit_.constants = free_;
    // The likelihood of ln L where every run has a scale of its own.
    double log_scales = 0;
    for (size_t i = 0; i < residuals.size(); ++i) {
      residuals[i] /= NoiseScale(observations[i].flops);
      log_scales += std::log(NoiseScale(observations[i].flops));
    }
    if (options_.loss.over == 1)  // no likelihood is matched to an asymmetric loss
      fit_.aicc = Aicc(residuals, free_, options_.loss.kind) + 2 * log_scales;
    fit_.params = law_.Report(theta_);
    fit_.objective = best.objective;
    fit_.n = points.size();
    fit_.starts = best.starts;
    fit_.starts_at_best = best.starts_at_best;
    fit_.condition = best.condition;
    const RefereeResult referee =
        CeresReferee(law_, box_, points, weights_, options_.loss, starts[0]);
    if (std::isfinite(referee.objective)) fit_.referee_objective = referee.objective;
    fit_.resamples = options_.bootstrap.resamples;
    fit_.resamples_failed = draws_.failed;
    for (const LocalOptimum& other : best.others)
      fit_.other_optima.push_back({law_.Report(other.theta), other.objective, other.starts});
    RangeOfAsymptote(points);
    DescribeIntervals();
    AddWarnings(points, best);
    fit_.elapsed_s = static_cast<double>(core::SystemClock().MonotonicMs() - started_ms) / 1e3;
  }

  std::optional<Forecast> Predict(const RunTarget& target) const override {
    const double flops = target.flops;
    const Optimum optimum = OptimumAt(theta_, flops);
    if (!optimum.found) return std::nullopt;
    const bool run = target.params > 0 && !law_.in_compute();
    const Inputs x = run ? InputsOf(target) : Inputs{};
    const auto loss_of = [&](const std::vector<double>& theta, const Optimum& best) {
      return run ? law_.Value(theta.data(), x) : best.loss;
    };
    Forecast forecast;
    forecast.law = fit_.law;
    forecast.flops = flops;
    forecast.run_params = target.params, forecast.run_tokens = target.tokens;
    forecast.loss = loss_of(theta_, optimum);
    forecast.off_optimum = forecast.loss / optimum.loss - 1;
    forecast.params = optimum.params;
    forecast.tokens = optimum.tokens;
    if (!law_.in_compute()) DescribeFlops(&forecast);
    std::vector<double> mean, best, params, tokens, draws;
    for (size_t i = 0; i < draws_.size(); ++i) {
      const Optimum drawn = OptimumAt(draws_.Row(i), flops);
      if (!drawn.found) continue;
      best.push_back(drawn.loss);
      mean.push_back(loss_of(draws_.Row(i), drawn));
      params.push_back(drawn.params);
      tokens.push_back(drawn.tokens);
      AddNoise(mean.back(), i, NoiseScale(flops), draws);
    }
    const double level = options_.bootstrap.level;
    forecast.mean_interval = PercentileInterval(mean, level, IntervalKind::kMean, Method());
    forecast.interval =
        PercentileInterval(draws, level, IntervalKind::kPrediction, Method() + " + residuals");
    forecast.params_interval = PercentileInterval(params, level, IntervalKind::kMean, Method());
    forecast.tokens_interval = PercentileInterval(tokens, level, IntervalKind::kMean, Method());
    if (!law_.in_compute()) forecast.joint = JointRegionOf(params, tokens, best, level, Method());
    FlatRange(optimum, flops, &forecast);
    if (held_.size() == 2 && !held_[0].empty() && !held_[1].empty()) {
      const Optimum low = OptimumAt(held_[0], flops), high = OptimumAt(held_[1], flops);
      if (low.found && high.found) {
        const double at_lo = loss_of(held_[0], low), at_hi = loss_of(held_[1], high);
        forecast.asymptote = AsymptoteSpan{asymptote_, at_lo, at_hi};
        if (std::isfinite(forecast.mean_interval.lo))
          UniteWithAsymptote(forecast.loss, at_lo, at_hi, NoiseAt(flops), &forecast.mean_interval,
                             &forecast.interval);
        if (auto warning = UnidentifiedAsymptote(forecast))
          forecast.warnings.push_back(*std::move(warning));
      }
    }
    return forecast;
  }

  size_t resamples() const override { return draws_.size(); }

  double FrontierLoss(double flops, std::optional<size_t> resample) const override {
    const Optimum optimum = OptimumAt(resample ? draws_.Row(*resample) : theta_, flops);
    return optimum.found ? optimum.loss : std::numeric_limits<double>::quiet_NaN();
  }

  std::vector<TestPoint> Test(const std::vector<Observation>& later) const override {
    std::vector<TestPoint> tests;
    for (const Observation& o : law_.in_compute() ? OnCurve(later, options_) : later)
      tests.push_back(*TestRun(o));
    return tests;
  }

  std::optional<TestPoint> TestRun(const Observation& o) const override {
    const Inputs x = Points({o})[0].x;
    const double loss = law_.Value(theta_.data(), x);
    std::vector<double> mean_draws, draws;
    for (size_t i = 0; i < draws_.size(); ++i) {
      mean_draws.push_back(law_.Value(draws_.row(i), x));
      AddNoise(mean_draws.back(), i, NoiseScale(o.flops), draws);
    }
    const double level = options_.bootstrap.level;
    Interval mean = PercentileInterval(mean_draws, level, IntervalKind::kMean, Method());
    Interval run = PercentileInterval(draws, level, IntervalKind::kPrediction, Method());
    if (held_.size() == 2 && !held_[0].empty() && !held_[1].empty() && std::isfinite(mean.lo))
      UniteWithAsymptote(loss, law_.Value(held_[0].data(), x), law_.Value(held_[1].data(), x),
                         NoiseAt(o.flops), &mean, &run);
    TestPoint test{o.flops, o.loss, loss, run.lo, run.hi};
    test.mean_lo = mean.lo, test.mean_hi = mean.hi;
    if (held_.size() == 2 && !held_[0].empty() && !held_[1].empty()) {
      test.at_E_lo = law_.Value(held_[0].data(), x);
      test.at_E_hi = law_.Value(held_[1].data(), x);
    }
    return test;
  }

 private:
  std::vector<FitPoint> Points(const std::vector<Observation>& observations) const {
    std::vector<FitPoint> points = SurfacePoints(observations);
    if (law_.in_compute())
      for (size_t i = 0; i < points.size(); ++i)
        points[i].x = {std::log(observations[i].flops), 0, 0};
    return points;
  }

  // A run that is to be trained; where data are limited, it repeats them.
  Inputs InputsOf(const RunTarget& run) const {
    const double tokens = std::log(run.tokens);
    const double unique =
        options_.unique_tokens > 0 ? std::min(tokens, std::log(options_.unique_tokens)) : tokens;
    return {std::log(run.params), tokens, unique};
  }

  std::string Method() const {
    return options_.cluster_by_budget ? "bootstrap of budgets" : "case bootstrap";
  }

  bool IsLog(size_t i) const { return box_[i].name.starts_with("ln"); }
  // The letter under which a coordinate is reported.
  std::string Letter(size_t i) const { return IsLog(i) ? box_[i].name.substr(2) : box_[i].name; }
  void Hold(size_t i, double value) { box_[i].lower = box_[i].upper = value; }
  bool HasFreeAsymptote() const {
    const int i = law_.asymptote_coordinate();
    return i >= 0 && box_[static_cast<size_t>(i)].lower < box_[static_cast<size_t>(i)].upper;
  }

  Optimum OptimumAt(const std::vector<double>& theta, double flops) const {
    if (law_.in_compute()) return {0, 0, law_.Value(theta.data(), {std::log(flops), 0, 0}), true};
    if (law_.knows_repetition() && options_.unique_tokens > 0)
      return law_.ComputeOptimalLimited(theta, flops, options_.flops, options_.unique_tokens);
    return law_.ComputeOptimalUnder(theta, flops, options_.flops);
  }

  // What the optimum costs a parameter and token, and whether that is known so far out.
  void DescribeFlops(Forecast* forecast) const {
    const FlopsRelation& relation = options_.flops;
    forecast->flops_per_param_token = relation.PerParamToken(forecast->params);
    constexpr double kNear = 1.1, kSame = 0.02;
    if (!(forecast->params > kNear * relation.params_hi)) return;
    forecast->flops_extrapolated = forecast->params / relation.params_hi;
    const double last = relation.PerParamToken(relation.params_hi);
    if (std::fabs(forecast->flops_per_param_token / last - 1) <= kSame) return;
    forecast->warnings.push_back(
        Warn(kFlopConvention,
             fmt::format("C / (N D) is taken as {:.3g} at N* = {:.3g}, {:.3g} times the largest "
                         "model counted, where it is {:.3g}",
                         forecast->flops_per_param_token, forecast->params,
                         forecast->flops_extrapolated, last)));
  }

  // A few noise values a resample, so that the tails of heavy-tailed residuals are sampled too.
  void AddNoise(double loss, size_t resample, double scale, std::vector<double>& out) const {
    const int per_resample = draws_.size() > 10000 ? 1 : 4;
    core::Rng rng(options_.bootstrap.seed, kNoiseStream + resample);
    for (int k = 0; k < per_resample; ++k)
      out.push_back(loss * std::exp(scale * noise_[rng.Below(noise_.size())]));
  }

  // Scatter by compute, from the residuals, and the fit again by it; twice, because one changes the
  // other.
  void Weigh(const std::vector<Observation>& observations, const std::vector<FitPoint>& points,
             std::vector<std::vector<double>>& starts, EquationFit& best) {
    for (int round = 0; round < 2; ++round) {
      std::vector<double> residuals;
      for (const FitPoint& p : points)
        residuals.push_back(p.log_y - std::log(law_.Value(best.theta.data(), p.x)));
      const auto model = FitNoiseModel(observations, residuals);
      if (!model.has_value()) {
        fit_.warnings.push_back(Warn(kTooFewPoints,
                                     "too few runs, or runs of one C alone, tell how noise depends "
                                     "on C: all runs weigh alike"));
        return;
      }
      fit_.noise = model;
      weights_ = NoiseWeights(*model, observations, options_.loss.kind);
      starts = law_.Starts(points, weights_, options_.starts);
      starts.insert(starts.begin(), best.theta);
      EquationFit refit = FitGlobally(law_, points, weights_, options_.loss, starts, &box_);
      if (!refit.theta.empty()) best = std::move(refit);
    }
  }

  // The scatter of runs at `flops` in units of noise_.
  double NoiseScale(double flops) const {
    return fit_.noise.has_value() ? fit_.noise->Sd(flops) : 1;
  }
  std::vector<double> NoiseAt(double flops) const {
    std::vector<double> noise = noise_;
    for (double& r : noise) r *= NoiseScale(flops);
    return noise;
  }

  // Sizes at this budget within the tolerance of the optimum's loss, to both sides.
  void FlatRange(const Optimum& optimum, double flops, Forecast* forecast) const {
    forecast->within = options_.isoflop.flat_tolerance;
    if (law_.in_compute() || !(forecast->within > 0)) return;
    const double unique = law_.knows_repetition() && options_.unique_tokens > 0
                              ? std::log(options_.unique_tokens)
                              : HUGE_VAL;
    const double limit = optimum.loss * (1 + forecast->within);
    const auto inside = [&](double n) {
      const double d = options_.flops.LogTokens(n, flops);
      return law_.Value(theta_.data(), {n, d, std::min(d, unique)}) <= limit;
    };
    const auto end = [&](int side) {
      constexpr double kFarthest = 14;  // a factor of a million
      double in = std::log(optimum.params), step = 0.05;
      while (inside(in + side * step)) {
        in += side * step;
        step *= 1.3;
        if (std::fabs(in - std::log(optimum.params)) > kFarthest) return 0.0;
      }
      for (int i = 0; i < 40; ++i) {
        step *= 0.5;
        if (inside(in + side * step)) in += side * step;
      }
      return std::exp(in);
    };
    forecast->flat_params_lo = end(-1), forecast->flat_params_hi = end(+1);
    if (!(forecast->flat_params_lo > 0 && forecast->flat_params_hi > 0))
      forecast->flat_params_lo = forecast->flat_params_hi = 0;
  }

  void Bootstrap(const std::vector<Observation>& observations, const std::vector<FitPoint>& points,
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
    draws_ = RunBootstrap(
        options_.bootstrap, box_.size(), [&](core::Rng& rng, int, std::vector<double>& row) {
          std::vector<double> weights = ClusterWeights(rng, cluster, clusters);
          // A resample with fewer different runs than parameters determines nothing.
          const auto used =
              std::count_if(weights.begin(), weights.end(), [](double w) { return w > 0; });
          if (used <= free_) return false;
          for (size_t i = 0; i < weights.size(); ++i) weights[i] *= weights_[i];
          row = Refit(law_, points, weights, options_.loss, warm, &box_);
          return !row.empty();
        });
  }

  // Profiles of the asymptote and, unless switched off, of every free coordinate.
  void Profile(const std::vector<FitPoint>& points, const EquationFit& best) {
    profiles_.assign(box_.size(), std::nullopt);
    better_.clear();
    const double cutoff = ProfileCutoff(best.objective, best.residuals, free_, options_.loss,
                                        options_.bootstrap.level);
    if (!std::isfinite(cutoff)) return;
    for (size_t i = 0; i < box_.size(); ++i) {
      if (box_[i].lower == box_[i].upper) continue;
      if (!options_.profile && static_cast<int>(i) != law_.asymptote_coordinate()) continue;
      profiles_[i] = ProfileOf(law_, points, weights_, options_.loss, box_, best.theta,
                               best.objective, i, cutoff);
      if (profiles_[i]->found_better) better_ = profiles_[i]->better;
    }
  }

  // The one range of E: what the resamples show, united with what fits as well; and the law
  // refitted with E at both ends.
  void RangeOfAsymptote(const std::vector<FitPoint>& points) {
    if (!HasFreeAsymptote()) return;
    const auto e = static_cast<size_t>(law_.asymptote_coordinate());
    std::vector<double> asymptotes;
    for (size_t i = 0; i < draws_.size(); ++i) asymptotes.push_back(law_.Asymptote(draws_.Row(i)));
    asymptote_ = PercentileInterval(asymptotes, options_.bootstrap.level, IntervalKind::kParameter,
                                    Method());
    if (profiles_[e].has_value()) {
      const bool drawn = std::isfinite(asymptote_.lo);
      asymptote_.lo = drawn ? std::min(asymptote_.lo, profiles_[e]->lo) : profiles_[e]->lo;
      asymptote_.hi = drawn ? std::max(asymptote_.hi, profiles_[e]->hi) : profiles_[e]->hi;
      asymptote_.method =
          drawn ? "profile likelihood united with " + Method() : "profile likelihood";
    }
    if (!std::isfinite(asymptote_.lo)) return;
    for (const double value : {asymptote_.lo, asymptote_.hi}) {
      std::vector<Coordinate> held = box_;
      held[e].lower = held[e].upper = value;
      held_.push_back(FitEquation(law_, points, weights_, options_.loss, {theta_}, &held).theta);
    }
  }

  void DescribeIntervals() {
    for (size_t i = 0; i < fit_.params.size(); ++i) {
      const std::string& name = fit_.params[i].first;
      size_t coordinate = box_.size();
      for (size_t c = 0; c < box_.size(); ++c)
        if (Letter(c) == name) coordinate = c;
      const bool known = coordinate < box_.size();
      if (known && box_[coordinate].lower == box_[coordinate].upper) continue;
      if (known && static_cast<int>(coordinate) == law_.asymptote_coordinate()) {
        if (std::isfinite(asymptote_.lo)) fit_.intervals.emplace_back(name, asymptote_);
        continue;
      }
      if (options_.bootstrap.resamples > 0) {
        std::vector<double> values;
        values.reserve(draws_.size());
        for (size_t d = 0; d < draws_.size(); ++d)
          values.push_back(law_.Report(draws_.Row(d))[i].second);
        Interval interval = PercentileInterval(values, options_.bootstrap.level,
                                               IntervalKind::kParameter, Method());
        // A constant that is a coordinate, or its exponential, knows every resample.
        if (known && draws_.counted > 0) {
          interval = draws_.Percentiles(coordinate, options_.bootstrap.level,
                                        IntervalKind::kParameter, Method());
          if (IsLog(coordinate))
            interval.lo = std::exp(interval.lo), interval.hi = std::exp(interval.hi);
        }
        fit_.intervals.emplace_back(name, interval);
      }
      if (!known || !profiles_[coordinate].has_value()) continue;
      const ProfileRange& range = *profiles_[coordinate];
      const auto value = [&](double v) { return IsLog(coordinate) ? std::exp(v) : v; };
      const double infinity = std::numeric_limits<double>::infinity();
      fit_.profiles.emplace_back(
          name, Interval{range.lo_open && IsLog(coordinate) ? 0 : value(range.lo),
                         range.hi_open ? infinity : value(range.hi), options_.bootstrap.level,
                         IntervalKind::kParameter, "profile likelihood"});
    }
  }

  // A constant that may be ten times larger or smaller is not known, whatever its estimate.
  void WarnOfWeakIdentification() {
    constexpr double kFactor = 10;
    for (size_t i = 0; i < profiles_.size(); ++i) {
      if (!profiles_[i].has_value() || !IsLog(i)) continue;
      const ProfileRange& range = *profiles_[i];
      if (!range.lo_open && !range.hi_open && range.hi - range.lo < std::log(kFactor)) continue;
      fit_.warnings.push_back(Warn(
          kWeaklyIdentified,
          fmt::format("{} = {:.4g} is weakly identified: {} .. {} fits as well ({:.4g} % profile)",
                      Letter(i), std::exp(theta_[i]),
                      range.lo_open ? "0" : fmt::format("{:.4g}", std::exp(range.lo)),
                      range.hi_open ? "infinity" : fmt::format("{:.4g}", std::exp(range.hi)),
                      100 * options_.bootstrap.level)));
    }
    for (const OtherOptimum& other : fit_.other_optima) {
      std::string constants;
      for (const auto& [name, value] : other.params)
        constants += fmt::format("{}{} {:.6g}", constants.empty() ? "" : ", ", name, value);
      fit_.warnings.push_back(Warn(
          kOtherOptimum, fmt::format("another optimum lies {:.3g} % above the best one: {}",
                                     100 * (other.objective / fit_.objective - 1), constants)));
    }
  }

  void AddWarnings(const std::vector<FitPoint>& points, const EquationFit& best) {
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
    if (options_.pinned_E.has_value() && law_.asymptote_coordinate() >= 0)
      warn(kAsymptotePinned, fmt::format("E = {:g} was given, every interval is conditional on it",
                                         *options_.pinned_E));
    if (best.starts >= 8 && best.starts_at_best < kFewStartsShare * best.starts)
      warn(kFewStartsAgree,
           fmt::format("only {} of {} starts reach the best objective; there may be "
                       "a better optimum",
                       best.starts_at_best, best.starts));
    size_t at_zero = 0;
    for (size_t i = 0; i < draws_.size(); ++i)
      if (law_.Asymptote(draws_.Row(i)) <= 0) ++at_zero;
    bool bound = false;
    for (const size_t i : best.at_bound) {
      const Coordinate& c = law_.coordinates()[i];
      bound = bound || c.bound_warning == kAsymptoteAtBound;
      if (!c.bound_warning.empty())
        warn(c.bound_warning, fmt::format("{} = {:.6g} sits on its bound [{:g}, {:g}]", c.name,
                                          theta_[i], c.lower, c.upper));
    }
    if (law_.asymptote_coordinate() < 0 && !(law_.Asymptote(theta_) > 0))
      warn(kNoAsymptote, fmt::format("{} pins no irreducible loss: far out it tends to promise too "
                                     "much",
                                     law_.name()));
    if (HasFreeAsymptote() && !draws_.empty() && 20 * at_zero > draws_.size())
      warn(kAsymptoteUnidentified,
           fmt::format("E is 0 in {:.0f} % of the resamples{}: the data do not show where the loss "
                       "levels off",
                       100.0 * static_cast<double>(at_zero) / static_cast<double>(draws_.size()),
                       bound ? " and in the fit" : ""));
    if (static_cast<int>(points.size()) - free_ < 5)
      warn(kFewDegreesOfFreedom,
           fmt::format("{} observations for {} parameters", points.size(), free_));
    const auto repeated = std::count_if(points.begin(), points.end(),
                                        [](const FitPoint& p) { return p.x[2] < p.x[1] - 1e-9; });
    if (repeated > 0 && !law_.knows_repetition() && !law_.in_compute())
      warn(kRepeatedData, fmt::format("{} of {} runs repeat their data, which {} does not know; "
                                      "data-constrained does",
                                      repeated, points.size(), law_.name()));
    WarnOfWeakIdentification();
    const double correlation = Correlation(points);
    if (std::fabs(correlation) > kCollinearCorrelation && !law_.in_compute())
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
  std::vector<Coordinate> box_;  // the law's, with what is given held
  int free_ = 0;                 // coordinates that are fitted
  LawFit fit_;
  std::vector<double> theta_;
  Interval asymptote_;                                 // of E
  std::vector<std::vector<double>> held_;              // theta with E at its ends
  std::vector<std::optional<ProfileRange>> profiles_;  // by coordinate
  std::vector<double> better_;  // where a profile met a lower objective than the fit's
  BootstrapDraws draws_;
  std::vector<double> weights_;  // of the runs; 1 without a noise model
  std::vector<double> noise_;    // ln L - ln Lhat of the runs, in units of NoiseScale
};

class SurfaceModel final : public Law {
 public:
  explicit SurfaceModel(const SurfaceLaw& law) : law_(law) {}
  std::string_view name() const override { return law_.name(); }
  bool in_compute() const override { return law_.in_compute(); }
  const SurfaceLaw* surface() const override { return law_.in_compute() ? nullptr : &law_; }
  size_t backtest_budgets(const LawOptions&) const override { return 3; }
  std::vector<std::string> constants() const override {
    std::vector<std::string> letters;
    for (const Coordinate& c : law_.coordinates())
      letters.push_back(c.name.starts_with("ln") ? c.name.substr(2) : c.name);
    return letters;
  }

  absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(const std::vector<Observation>& all,
                                                 const LawOptions& options) const override {
    const std::vector<Observation> observations = law_.in_compute() ? OnCurve(all, options) : all;
    for (const Coordinate& c : law_.coordinates()) {
      const bool log = c.name.starts_with("ln");
      const auto held = options.hold.find(log ? c.name.substr(2) : c.name);
      if (held != options.hold.end() && log && !(held->second > 0))
        return absl::InvalidArgumentError(fmt::format("{}: {} is held at {}, must be above 0",
                                                      law_.name(), held->first, held->second));
    }
    const bool repeats =
        std::any_of(observations.begin(), observations.end(), [](const Observation& o) {
          return o.unique_tokens > 0 && o.unique_tokens < o.tokens * (1 - 1e-9);
        });
    if (law_.knows_repetition() && !repeats)
      return absl::FailedPreconditionError(fmt::format(
          "{}: no run repeats its data (unique_tokens below tokens); chinchilla is the same law "
          "there",
          law_.name()));
    std::set<std::pair<double, double>> different;
    for (const Observation& o : observations)
      law_.in_compute() ? different.emplace(o.flops, 0) : different.emplace(o.params, o.tokens);
    if (different.size() <
        law_.coordinates().size() - std::min(law_.coordinates().size(), options.hold.size()))
      return absl::FailedPreconditionError(fmt::format(
          "{}: {} different {} for {} parameters; add runs", law_.name(), different.size(),
          law_.in_compute() ? "budgets" : "(params, tokens) pairs", law_.coordinates().size()));
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
