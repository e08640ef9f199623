#include "fit/surface_findings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fit/information.h"
#include "fit/referee.h"
#include "fmt/format.h"

namespace fit {
namespace {

constexpr double kCollinearCorrelation = 0.99;
constexpr double kFewStartsShare = 0.1;

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

// The likelihood of ln L, where every run may have a scale of its own.
double AiccOf(const SurfaceFit& fit) {
  std::vector<double> residuals;
  double log_scales = 0;
  for (size_t i = 0; i < fit.points.size(); ++i) {
    const FitPoint& p = fit.points[i];
    const double residual = p.log_y - std::log(fit.law->Value(fit.theta.data(), p.x));
    residuals.push_back(residual / fit.NoiseScale(fit.flops[i]));
    log_scales += std::log(fit.NoiseScale(fit.flops[i]));
  }
  return Aicc(residuals, fit.free, fit.options.loss.kind) + 2 * log_scales;
}

void DescribeIntervals(const SurfaceFit& fit, LawFit& out) {
  const double level = fit.options.bootstrap.level;
  for (size_t i = 0; i < out.params.size(); ++i) {
    const std::string& name = out.params[i].first;
    size_t coordinate = fit.box.size();
    for (size_t c = 0; c < fit.box.size(); ++c)
      if (fit.Letter(c) == name) coordinate = c;
    const bool known = coordinate < fit.box.size();
    if (known && fit.box[coordinate].lower == fit.box[coordinate].upper) continue;
    if (known && static_cast<int>(coordinate) == fit.law->asymptote_coordinate()) {
      if (std::isfinite(fit.asymptote.lo)) out.intervals.emplace_back(name, fit.asymptote);
      continue;
    }
    if (fit.options.bootstrap.resamples > 0) {
      std::vector<double> values;
      values.reserve(fit.draws.size());
      for (size_t d = 0; d < fit.draws.size(); ++d)
        values.push_back(fit.law->Report(fit.draws.Row(d))[i].second);
      Interval interval = PercentileInterval(values, fit.draws.drawn, level,
                                             IntervalKind::kParameter, fit.Method());
      // A constant that is a coordinate, or its exponential, knows every resample.
      if (known && fit.draws.counted > 0) {
        interval = fit.draws.Percentiles(coordinate, level, IntervalKind::kParameter, fit.Method());
        if (fit.IsLog(coordinate))
          interval.lo = std::exp(interval.lo), interval.hi = std::exp(interval.hi);
      }
      out.intervals.emplace_back(name, interval);
    }
    if (!known || !fit.profiles[coordinate].has_value()) continue;
    const ProfileRange& range = *fit.profiles[coordinate];
    const bool log = fit.IsLog(coordinate);
    const auto value = [&](double v) { return log ? std::exp(v) : v; };
    const double infinity = std::numeric_limits<double>::infinity();
    out.profiles.emplace_back(name, Interval{range.lo_open && log ? 0 : value(range.lo),
                                             range.hi_open ? infinity : value(range.hi), level,
                                             IntervalKind::kParameter, "profile likelihood"});
  }
}

// A constant that may be ten times larger or smaller is not known, whatever its estimate.
void WarnOfWeakIdentification(const SurfaceFit& fit, LawFit& out) {
  constexpr double kFactor = 10;
  const auto size = [](double log) {
    const double value = std::exp(log);
    return std::isfinite(value) ? fmt::format("{:.4g}", value) : "too large a number";
  };
  for (size_t i = 0; i < fit.profiles.size(); ++i) {
    if (!fit.profiles[i].has_value() || !fit.IsLog(i)) continue;
    const ProfileRange& range = *fit.profiles[i];
    if (!range.lo_open && !range.hi_open && range.hi - range.lo < std::log(kFactor)) continue;
    out.warnings.push_back(
        Warn(kWeaklyIdentified,
             fmt::format("{} = {} is weakly identified: {} .. {} fits as well ({:.10g} % profile)",
                         fit.Letter(i), size(fit.theta[i]), range.lo_open ? "0" : size(range.lo),
                         range.hi_open ? "infinity" : size(range.hi),
                         100 * fit.options.bootstrap.level)));
  }
  for (const OtherOptimum& other : out.other_optima) {
    std::string constants;
    for (const auto& [name, value] : other.params)
      constants += fmt::format("{}{} {}", constants.empty() ? "" : ", ", name,
                               std::isfinite(value) ? fmt::format("{:.6g}", value) : "too large");
    out.warnings.push_back(
        Warn(kOtherOptimum, fmt::format("another optimum lies {:.3g} % above the best one: {}",
                                        100 * (other.objective / out.objective - 1), constants)));
  }
}

// How the fit came to be: the solver, its starts and the box.
void WarnOfSolution(const SurfaceFit& fit, LawFit& out) {
  const auto warn = [&](std::string_view code, std::string text) {
    out.warnings.push_back(Warn(code, std::move(text)));
  };
  const EquationFit& best = fit.best;
  if (!best.converged) warn(kNotConverged, "the best start stopped before it converged");
  if (out.referee_objective.has_value() &&
      *out.referee_objective < best.objective * (1 - 1e-7) - 1e-20)
    warn(kNotConverged,
         fmt::format("Ceres reaches {:.10g}, below our {:.10g}: the fit is not the optimum",
                     *out.referee_objective, best.objective));
  if (fit.options.pinned_E.has_value() && fit.law->asymptote_coordinate() >= 0)
    warn(kAsymptotePinned,
         fmt::format("E = {:g} was given, every interval of a constant is conditional on it",
                     *fit.options.pinned_E));
  if (best.starts >= 8 && best.starts_at_best < kFewStartsShare * best.starts)
    warn(kFewStartsAgree,
         fmt::format("only {} of {} starts reach the best objective; there may be a better optimum",
                     best.starts_at_best, best.starts));
  if (!best.equals.empty())
    warn(kEqualOptima,
         fmt::format(
             "{} other sets of constants have this objective to rounding: the printed one is "
             "no better than they",
             best.equals.size()));
  for (const size_t i : best.at_bound) {
    const Coordinate& c = fit.law->coordinates()[i];
    if (!c.bound_warning.empty())
      warn(c.bound_warning, fmt::format("{} = {:.6g} sits on its bound [{:g}, {:g}]", c.name,
                                        fit.theta[i], c.lower, c.upper));
  }
}

void WarnOfAsymptote(const SurfaceFit& fit, LawFit& out) {
  const SurfaceLaw& law = *fit.law;
  if (law.asymptote_coordinate() < 0 && !(law.Asymptote(fit.theta) > 0))
    out.warnings.push_back(
        Warn(kNoAsymptote, fmt::format("{} pins no irreducible loss: far out it tends to promise "
                                       "too much",
                                       law.name())));
  size_t at_zero = 0;
  for (size_t i = 0; i < fit.draws.size(); ++i)
    if (law.Asymptote(fit.draws.Row(i)) <= 0) ++at_zero;
  if (!fit.HasFreeAsymptote() || fit.draws.empty() || 20 * at_zero <= fit.draws.size()) return;
  const bool bound = std::any_of(fit.best.at_bound.begin(), fit.best.at_bound.end(), [&](size_t i) {
    return law.coordinates()[i].bound_warning == kAsymptoteAtBound;
  });
  out.warnings.push_back(
      Warn(kAsymptoteUnidentified,
           fmt::format("E is 0 in {:.0f} % of the resamples{}: the data do not show where the loss "
                       "levels off",
                       100.0 * static_cast<double>(at_zero) / static_cast<double>(fit.draws.size()),
                       bound ? " and in the fit" : "")));
}

// Runs that cannot tell what the law asks.
void WarnOfRuns(const SurfaceFit& fit, LawFit& out) {
  const auto warn = [&](std::string_view code, std::string text) {
    out.warnings.push_back(Warn(code, std::move(text)));
  };
  const SurfaceLaw& law = *fit.law;
  if (static_cast<int>(fit.points.size()) - fit.free < 5)
    warn(kFewDegreesOfFreedom,
         fmt::format("{} observations for {} parameters", fit.points.size(), fit.free));
  const auto repeated = std::count_if(fit.points.begin(), fit.points.end(),
                                      [](const FitPoint& p) { return p.x[2] < p.x[1] - 1e-9; });
  if (repeated > 0 && !law.knows_repetition() && !law.in_compute())
    warn(kRepeatedData, fmt::format("{} of {} runs repeat their data, which {} does not know; "
                                    "data-constrained does",
                                    repeated, fit.points.size(), law.name()));
  WarnOfWeakIdentification(fit, out);
  const double correlation = Correlation(fit.points);
  if (std::fabs(correlation) > kCollinearCorrelation && !law.in_compute())
    warn(kCollinear, fmt::format("ln N and ln D have correlation {:.4f}: their terms cannot be "
                                 "told apart; vary tokens per parameter",
                                 correlation));
  if (fit.case_resamples_failed > 0)
    warn(kBootstrapFailures,
         fmt::format("{} of {} case resamples hold too few different runs for {} parameters: "
                     "residuals are resampled instead",
                     fit.case_resamples_failed, fit.options.bootstrap.resamples, fit.free));
  for (Warning& warning : WarningsOfResamples(fit.draws))
    out.warnings.push_back(std::move(warning));
}

}  // namespace

LawFit FindingsOf(const SurfaceFit& fit) {
  const LossSpec& loss = fit.options.loss;
  LawFit out;
  out.law = fit.law->name();
  out.equation = fit.law->equation();
  out.loss = Name(loss.kind);
  out.residual = Name(loss.residual);
  out.delta = loss.kind == LossKind::kHuber ? loss.delta : 0;
  out.over = loss.over;
  out.constants = fit.free;
  out.noise = fit.noise_model;
  if (loss.over == 1) out.aicc = AiccOf(fit);  // no likelihood is matched to an asymmetric loss
  out.params = fit.law->Report(fit.theta);
  out.objective = fit.best.objective;
  out.n = fit.points.size();
  out.starts = fit.best.starts;
  out.starts_at_best = fit.best.starts_at_best;
  out.condition = fit.best.condition;
  const RefereeResult referee =
      CeresReferee(*fit.law, fit.box, fit.points, fit.weights, loss, fit.first_start);
  if (std::isfinite(referee.objective)) out.referee_objective = referee.objective;
  out.resamples = fit.options.bootstrap.resamples;
  out.resamples_failed = fit.draws.failed;
  out.equal_optima = static_cast<int>(fit.best.equals.size());
  for (const LocalOptimum& other : fit.best.others)
    out.other_optima.push_back({fit.law->Report(other.theta), other.objective, other.starts});
  DescribeIntervals(fit, out);
  if (fit.noise_untold)
    out.warnings.push_back(Warn(kTooFewPoints,
                                "too few runs, or runs of one C alone, tell how noise depends on "
                                "C: all runs weigh alike"));
  WarnOfSolution(fit, out);
  WarnOfAsymptote(fit, out);
  WarnOfRuns(fit, out);
  return out;
}

}  // namespace fit
