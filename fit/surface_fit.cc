#include "fit/surface_fit.h"

#include <algorithm>
#include <cmath>

namespace fit {
namespace {

void Hold(SurfaceFit& fit, size_t i, double value) { fit.box[i].lower = fit.box[i].upper = value; }

// The law's box with what the options give.
void SetBox(SurfaceFit& fit) {
  fit.box = fit.law->coordinates();
  if (fit.law->asymptote_coordinate() >= 0 && fit.options.pinned_E.has_value())
    Hold(fit, static_cast<size_t>(fit.law->asymptote_coordinate()), *fit.options.pinned_E);
  for (size_t i = 0; i < fit.box.size(); ++i) {
    const bool log = fit.IsLog(i);
    const auto held = fit.options.hold.find(fit.Letter(i));
    if (held != fit.options.hold.end()) Hold(fit, i, log ? std::log(held->second) : held->second);
  }
  fit.free = static_cast<int>(std::count_if(fit.box.begin(), fit.box.end(),
                                            [](const Coordinate& c) { return c.lower < c.upper; }));
}

// Scatter by compute, from the residuals, and the fit again by it; twice, because one changes the
// other.
void Weigh(SurfaceFit& fit, const std::vector<Observation>& observations,
           std::vector<std::vector<double>>& starts) {
  for (int round = 0; round < 2; ++round) {
    std::vector<double> residuals;
    for (const FitPoint& p : fit.points)
      residuals.push_back(p.log_y - std::log(fit.law->Value(fit.best.theta.data(), p.x)));
    const auto model = FitNoiseModel(observations, residuals);
    if (!model.has_value()) {
      fit.noise_untold = true;
      return;
    }
    fit.noise_model = model;
    fit.weights = NoiseWeights(*model, observations, fit.options.loss.kind);
    starts = fit.law->Starts(fit.points, fit.weights, fit.options.starts);
    starts.insert(starts.begin(), fit.best.theta);
    EquationFit refit =
        FitGlobally(*fit.law, fit.points, fit.weights, fit.options.loss, starts, &fit.box);
    if (!refit.theta.empty()) fit.best = std::move(refit);
  }
}

// Profiles of the asymptote and, unless switched off, of every free coordinate. Where one met a
// lower objective than the fit's, the place; else empty.
std::vector<double> Profile(SurfaceFit& fit) {
  fit.profiles.assign(fit.box.size(), std::nullopt);
  std::vector<double> better;
  const double cutoff = ProfileCutoff(fit.best.objective, fit.best.residuals, fit.free,
                                      fit.options.loss, fit.options.bootstrap.level);
  if (!std::isfinite(cutoff)) return better;
  for (size_t i = 0; i < fit.box.size(); ++i) {
    if (fit.box[i].lower == fit.box[i].upper) continue;
    if (!fit.options.profile && static_cast<int>(i) != fit.law->asymptote_coordinate()) continue;
    fit.profiles[i] = ProfileOf(*fit.law, fit.points, fit.weights, fit.options.loss, fit.box,
                                fit.best.theta, fit.best.objective, i, cutoff);
    if (fit.profiles[i]->found_better) better = fit.profiles[i]->better;
  }
  return better;
}

// A profile that runs into something better shows that the starts missed the optimum.
void ProfileAndCheck(SurfaceFit& fit) {
  const std::vector<double> better = Profile(fit);
  if (better.empty()) return;
  const EquationFit missed =
      FitEquation(*fit.law, fit.points, fit.weights, fit.options.loss, {better}, &fit.box);
  if (!(missed.objective < fit.best.objective)) return;
  EquationFit& best = fit.best;
  best.theta = missed.theta, best.objective = missed.objective;
  best.residuals = missed.residuals, best.condition = missed.condition;
  best.at_bound = missed.at_bound, best.starts_at_best = 0;
  Profile(fit);
}

// ln L - ln Lhat, widened for the parameters that the residuals paid for.
void CollectNoise(SurfaceFit& fit) {
  const auto n = static_cast<double>(fit.points.size());
  const double widen = n > fit.free ? std::sqrt(n / (n - fit.free)) : 1;
  for (size_t i = 0; i < fit.points.size(); ++i) {
    const FitPoint& p = fit.points[i];
    const double residual = p.log_y - std::log(fit.law->Value(fit.theta.data(), p.x));
    fit.noise.push_back(residual * widen / fit.NoiseScale(fit.flops[i]));
  }
}

BootstrapDraws ResampleCases(const SurfaceFit& fit, const std::vector<Observation>& observations,
                             const std::vector<std::vector<double>>& warm) {
  std::vector<size_t> cluster(fit.points.size());
  size_t clusters = fit.points.size();
  for (size_t i = 0; i < cluster.size(); ++i) cluster[i] = i;
  if (fit.options.cluster_by_budget) {
    const IsoflopGroups groups = GroupByBudget(observations);
    clusters = groups.groups.size();
    for (size_t g = 0; g < clusters; ++g)
      for (const size_t i : groups.groups[g].members) cluster[i] = g;
  }
  return RunBootstrap(
      fit.options.bootstrap, fit.box.size(), [&](core::Rng& rng, int, std::vector<double>& row) {
        std::vector<double> weights = ClusterWeights(rng, cluster, clusters);
        // A resample with fewer different runs than parameters determines nothing.
        const auto used =
            std::count_if(weights.begin(), weights.end(), [](double w) { return w > 0; });
        if (used <= fit.free) return false;
        for (size_t i = 0; i < weights.size(); ++i) weights[i] *= fit.weights[i];
        row = Refit(*fit.law, fit.points, weights, fit.options.loss, warm, &fit.box);
        return !row.empty();
      });
}

BootstrapDraws ResampleResiduals(const SurfaceFit& fit,
                                 const std::vector<std::vector<double>>& warm) {
  return RunBootstrap(
      fit.options.bootstrap, fit.box.size(), [&](core::Rng& rng, int, std::vector<double>& row) {
        std::vector<FitPoint> points = fit.points;
        for (size_t i = 0; i < points.size(); ++i) {
          FitPoint& p = points[i];
          p.y = fit.law->Value(fit.theta.data(), p.x) *
                std::exp(fit.noise[rng.Below(fit.noise.size())] * fit.NoiseScale(fit.flops[i]));
          p.log_y = std::log(p.y);
        }
        row = Refit(*fit.law, points, fit.weights, fit.options.loss, warm, &fit.box);
        return !row.empty();
      });
}

// Where runs are so few that most case resamples hold fewer of them than the law has parameters,
// every run is kept and its noise is redrawn.
void Bootstrap(SurfaceFit& fit, const std::vector<Observation>& observations,
               const std::vector<std::vector<double>>& starts) {
  std::vector<std::vector<double>> warm = {fit.theta};
  for (size_t i = 0; i < starts.size() && i < 2; ++i) warm.push_back(starts[i]);
  fit.draws = ResampleCases(fit, observations, warm);
  const bool noise_known = static_cast<int>(fit.points.size()) > fit.free;
  if (fit.draws.failed == 0 || EnoughResamples(fit.draws.size(), fit.draws.drawn) || !noise_known)
    return;
  fit.case_resamples_failed = fit.draws.failed;
  fit.draws = ResampleResiduals(fit, warm);
}

// The one range of E: what the resamples show, united with what fits as well; and the law
// refitted with E at both ends.
void RangeOfAsymptote(SurfaceFit& fit) {
  if (!fit.HasFreeAsymptote()) return;
  const auto e = static_cast<size_t>(fit.law->asymptote_coordinate());
  std::vector<double> asymptotes;
  for (size_t i = 0; i < fit.draws.size(); ++i)
    asymptotes.push_back(fit.law->Asymptote(fit.draws.Row(i)));
  fit.asymptote = PercentileInterval(asymptotes, fit.draws.drawn, fit.options.bootstrap.level,
                                     IntervalKind::kParameter, fit.Method());
  if (fit.profiles[e].has_value()) {
    const ProfileRange& range = *fit.profiles[e];
    const bool drawn = std::isfinite(fit.asymptote.lo);
    fit.asymptote.lo = drawn ? std::min(fit.asymptote.lo, range.lo) : range.lo;
    fit.asymptote.hi = drawn ? std::max(fit.asymptote.hi, range.hi) : range.hi;
    fit.asymptote.method =
        drawn ? "profile likelihood united with " + fit.Method() : "profile likelihood";
  }
  if (!std::isfinite(fit.asymptote.lo)) return;
  // A resample without the best runs may put E above what the fit says they reach. What the profile
  // allows stays: a lucky run, or a wrong one, is no bound.
  double reached = HUGE_VAL;
  for (const FitPoint& p : fit.points)
    reached = std::min(reached, fit.law->Value(fit.theta.data(), p.x));
  if (fit.profiles[e].has_value()) reached = std::max(reached, fit.profiles[e]->hi);
  fit.asymptote.lo = std::min(fit.asymptote.lo, reached);
  fit.asymptote.hi = std::min(fit.asymptote.hi, reached);
  for (const double value : {fit.asymptote.lo, fit.asymptote.hi}) {
    std::vector<Coordinate> held = fit.box;
    held[e].lower = held[e].upper = value;
    fit.held.push_back(
        FitEquation(*fit.law, fit.points, fit.weights, fit.options.loss, {fit.theta}, &held).theta);
  }
}

}  // namespace

bool SurfaceFit::HasFreeAsymptote() const {
  const int i = law->asymptote_coordinate();
  return i >= 0 && box[static_cast<size_t>(i)].lower < box[static_cast<size_t>(i)].upper;
}

std::string SurfaceFit::Method() const {
  if (case_resamples_failed > 0) return "residual bootstrap";
  return options.cluster_by_budget ? "bootstrap of budgets" : "case bootstrap";
}

double SurfaceFit::NoiseScale(double at_flops) const {
  return noise_model.has_value() ? noise_model->Sd(at_flops) : 1;
}

std::vector<FitPoint> PointsOf(const SurfaceLaw& law,
                               const std::vector<Observation>& observations) {
  std::vector<FitPoint> points = SurfacePoints(observations);
  if (law.in_compute())
    for (size_t i = 0; i < points.size(); ++i)
      points[i].x = {std::log(observations[i].flops), 0, 0};
  return points;
}

std::optional<SurfaceFit> FitSurface(const SurfaceLaw& law, const LawOptions& options,
                                     const std::vector<Observation>& observations) {
  SurfaceFit fit;
  fit.law = &law, fit.options = options;
  SetBox(fit);
  fit.points = PointsOf(law, observations);
  for (const Observation& o : observations) fit.flops.push_back(o.flops);
  fit.weights.assign(fit.points.size(), 1);
  std::vector<std::vector<double>> starts = law.Starts(fit.points, fit.weights, options.starts);
  fit.best = FitGlobally(law, fit.points, fit.weights, options.loss, starts, &fit.box);
  if (fit.best.theta.empty()) return std::nullopt;
  if (options.noise_by_flops) Weigh(fit, observations, starts);
  ProfileAndCheck(fit);
  fit.theta = fit.best.theta;
  fit.first_start = starts[0];
  CollectNoise(fit);
  Bootstrap(fit, observations, starts);
  RangeOfAsymptote(fit);
  return fit;
}

}  // namespace fit
