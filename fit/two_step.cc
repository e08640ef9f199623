#include "fit/two_step.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "core/check.h"
#include "fit/asymptote.h"
#include "fit/profile.h"
#include "fit/stats.h"
#include "fit/surface_law.h"
#include "fmt/format.h"

namespace fit {
namespace {

constexpr LossSpec kLeastSquares{LossKind::kL2, 0, ResidualKind::kLinear};
constexpr uint64_t kNoiseStream = uint64_t{1} << 42;
constexpr double kScattersAboveFloor = 3, kWidestShare = 0.5;

std::vector<FitPoint> WithKnown(const TwoStepData& data) {
  std::vector<FitPoint> points = data.pairs;
  points.insert(points.end(), data.known.begin(), data.known.end());
  return points;
}

std::optional<double> Named(const NamedValues& values, std::string_view name) {
  for (const auto& [key, value] : values)
    if (key == name) return value;
  return std::nullopt;
}

}  // namespace

TwoStepData MakeTwoStepData(const std::vector<Observation>& observations,
                            const std::vector<RunRows>& runs, bool by_flops,
                            const CheckpointPolicy& policy) {
  TwoStepData data;
  for (size_t r = 0; r < runs.size(); ++r) {
    const RunRows& rows = runs[r];
    // Means over the rows that end at `last`, none of them before `first`.
    const auto from = [&](size_t first, size_t last) {
      return std::max(first, last + 1 - std::min(policy.average, last + 1));
    };
    const auto mean = [&](size_t first, size_t last, const auto& value) {
      const size_t start = from(first, last);
      double sum = 0;
      for (size_t i = start; i <= last; ++i) sum += value(observations[rows[i]]);
      return sum / static_cast<double>(last + 1 - start);
    };
    const auto soft_of = [](const Observation& o) { return o.loss; };
    const auto hard_of = [](const Observation& o) { return *o.hard; };
    const Observation& end = observations[rows.back()];
    FitPoint point = SurfacePoints({end})[0];
    if (by_flops) point.x = {std::log(end.flops), 0, 0};
    point.y = mean(0, rows.size() - 1, soft_of);
    point.log_y = std::log(point.y);
    data.soft.push_back(point);
    data.soft_run.push_back(r);
    // A run of one row is that row.
    const size_t first =
        std::min(static_cast<size_t>(std::ceil(policy.drop * static_cast<double>(rows.size()))),
                 rows.size() - 1);
    for (size_t i = first; i < rows.size(); ++i) {
      if (!std::all_of(rows.begin() + static_cast<std::ptrdiff_t>(from(first, i)),
                       rows.begin() + static_cast<std::ptrdiff_t>(i + 1),
                       [&](size_t row) { return observations[row].hard.has_value(); }))
        continue;
      data.pairs.push_back({{mean(first, i, soft_of)}, mean(first, i, hard_of), 0});
      data.pair_run.push_back(r);
    }
  }
  return data;
}

absl::StatusOr<TwoStep> TwoStep::Fit(const Equation& law, const Equation& curve,
                                     const TwoStepData& given, const TwoStepOptions& options) {
  TwoStepData data = given;
  SWEEP_CHECK(data.soft.size() == data.soft_run.size());
  SWEEP_CHECK(data.pairs.size() == data.pair_run.size());
  if (data.soft.size() < law.coordinates().size() || data.pairs.size() < curve.coordinates().size())
    return absl::FailedPreconditionError(fmt::format(
        "two-step: {} runs for the {} constants of {}, {} pairs for the {} of {}; add runs",
        data.soft.size(), law.coordinates().size(), law.name(), data.pairs.size(),
        curve.coordinates().size(), curve.name()));
  TwoStep fit(law, curve);
  fit.bootstrap_ = options.bootstrap;
  fit.beyond_middle_ = options.beyond_middle;
  const std::vector<Coordinate> box = CurveBox(curve, options.chance);
  const std::vector<double> soft_ones(data.soft.size(), 1);
  fit.soft_ = FitEquation(law, data.soft, soft_ones, options.soft,
                          law.Starts(data.soft, soft_ones, options.starts));
  fit.FitCurve(options, &data);
  const std::vector<FitPoint> pairs = WithKnown(data);
  if (fit.soft_.theta.empty() || fit.hard_.theta.empty())
    return absl::FailedPreconditionError(
        "two-step: no start gave a finite objective; check the data for extreme values");
  fit.lowest_ = fit.highest_ = data.pairs[0].x[0];
  for (const FitPoint& p : data.pairs) {
    fit.lowest_ = std::min(fit.lowest_, p.x[0]);
    fit.highest_ = std::max(fit.highest_, p.x[0]);
    fit.hard_noise_.push_back(p.y - curve.Value(fit.hard_.theta.data(), p.x));
  }
  // Widened for the constants that the residuals paid for.
  const double n = static_cast<double>(data.soft.size());
  const double k = static_cast<double>(law.coordinates().size());
  const double widen = n > k ? std::sqrt(n / (n - k)) : 1;
  for (const FitPoint& p : data.soft)
    fit.soft_noise_.push_back((p.log_y - std::log(law.Value(fit.soft_.theta.data(), p.x))) * widen);

  size_t runs = 0;
  for (const size_t run : data.soft_run) runs = std::max(runs, run + 1);
  for (const size_t run : data.pair_run) runs = std::max(runs, run + 1);
  fit.draws_ =
      RunBootstrap(options.bootstrap, fit.soft_.theta.size() + fit.hard_.theta.size(),
                   [&](core::Rng& rng, int index, std::vector<double>& row) {
                     const std::vector<double> drawn = CaseWeights(rng, runs);
                     std::vector<double> soft, pair;
                     size_t used = 0;
                     for (const size_t run : data.soft_run) {
                       soft.push_back(drawn[run]);
                       if (drawn[run] > 0) ++used;
                     }
                     for (const size_t run : data.pair_run) pair.push_back(drawn[run]);
                     if (std::none_of(pair.begin(), pair.end(), [](double w) { return w > 0; }))
                       return false;
                     // Known pairs are supposed, not measured: half of the resamples do without.
                     pair.insert(pair.end(), data.known.size(), index % 2 == 0 ? 1.0 : 0.0);
                     if (used <= law.coordinates().size()) return false;
                     row = Refit(law, data.soft, soft, options.soft, {fit.soft_.theta});
                     const std::vector<double> second =
                         Refit(curve, pairs, pair, kLeastSquares, {fit.hard_.theta}, &box);
                     if (row.empty() || second.empty()) return false;
                     row.insert(row.end(), second.begin(), second.end());
                     return true;
                   });
  fit.FindRangeOfAsymptote(data, options.soft);
  return fit;
}

void TwoStep::FitCurve(const TwoStepOptions& options, TwoStepData* data) {
  const std::vector<Coordinate> box = CurveBox(*curve_, options.chance);
  const auto fitted = [&](const std::vector<FitPoint>& pairs) {
    const std::vector<double> ones(pairs.size(), 1);
    return FitEquation(*curve_, pairs, ones, kLeastSquares,
                       curve_->Starts(pairs, ones, options.starts), &box);
  };
  hard_ = fitted(WithKnown(*data));
  EquationFit free;
  if (!data->known.empty()) free = fitted(data->pairs);
  const auto squares = [](const EquationFit& fit) {
    const double rms = RootMeanSquare(fit.residuals);
    return rms * rms * static_cast<double>(fit.residuals.size());
  };
  const std::set<size_t> runs(data->pair_run.begin(), data->pair_run.end());
  const double left = static_cast<double>(runs.size()) - static_cast<double>(box.size());
  // Hard metrics are written to about six digits: residuals below that contradict nothing, and
  // no fit is taken to be nearer.
  constexpr double kRounding = 1e-6;
  if (!free.theta.empty() && !hard_.theta.empty() && left >= 1 &&
      RootMeanSquare(hard_.residuals) > kRounding) {
    constexpr double kLevel = 0.95;
    const double t = StudentTwoSided(kLevel, left);
    const double dropped = static_cast<double>(data->known.size());
    const double floor = kRounding * kRounding * static_cast<double>(data->pairs.size());
    const double f = (squares(hard_) / std::max(squares(free), floor) - 1) * left / dropped;
    if (f > t * t) {
      const FitPoint& known = data->known.front();
      contradiction_ = fmt::format(
          "the runs contradict a hard metric of {:g} at soft {:g} (F = {:.3g}, {:.3g} at the 5 % "
          "level): it is left out, and the curve goes to {:.3g} there",
          known.y, known.x[0], f, t * t, curve_->Value(free.theta.data(), known.x));
      data->known.clear();
      hard_ = std::move(free);
    }
  }
  if (hard_.theta.empty()) return;
  family_ = CurveFamily::Fit(*curve_, hard_, WithKnown(*data), options.chance);
  if (!data->known.empty() && !free.theta.empty())
    family_.Add(*curve_, free.theta, fmt::format("{} of the runs alone", curve_->name()));
}

void TwoStep::FindRangeOfAsymptote(const TwoStepData& data, const LossSpec& loss) {
  std::vector<Coordinate> box = law_->coordinates();
  const auto found =
      std::find_if(box.begin(), box.end(), [](const Coordinate& c) { return c.name == "E"; });
  if (found == box.end()) return;
  const auto e = static_cast<size_t>(found - box.begin());
  const std::vector<double> ones(data.soft.size(), 1);
  const double cutoff = ProfileCutoff(soft_.objective, soft_.residuals,
                                      static_cast<int>(box.size()), loss, bootstrap_.level);
  const ProfileRange profile =
      ProfileOf(*law_, data.soft, ones, loss, box, soft_.theta, soft_.objective, e, cutoff);
  std::vector<double> drawn;
  for (size_t i = 0; i < draws_.size(); ++i) drawn.push_back(draws_.row(i)[e]);
  Interval range = PercentileInterval(drawn, draws_.drawn, bootstrap_.level,
                                      IntervalKind::kParameter, "bootstrap of runs");
  const bool enough = std::isfinite(range.lo);
  range.method = enough ? "profile likelihood united with bootstrap of runs" : "profile likelihood";
  range.lo = enough ? std::min(range.lo, profile.lo) : profile.lo;
  range.hi = enough ? std::max(range.hi, profile.hi) : profile.hi;
  // As of surface_fit.cc: what the fit says was reached is no floor.
  double reached = HUGE_VAL;
  for (const FitPoint& p : data.soft)
    reached = std::min(reached, law_->Value(soft_.theta.data(), p.x));
  reached = std::max(reached, profile.hi);
  range.lo = std::min(range.lo, reached), range.hi = std::min(range.hi, reached);
  const auto held_at = [&](double value) {
    box[e].lower = box[e].upper = value;
    return FitEquation(*law_, data.soft, ones, loss, {soft_.theta}, &box).theta;
  };
  theta_E_lo_ = held_at(range.lo), theta_E_hi_ = held_at(range.hi);
  if (!theta_E_lo_.empty() && !theta_E_hi_.empty()) asymptote_ = range;
}

double TwoStep::scatter() const { return RootMeanSquare(hard_noise_); }

std::vector<std::pair<std::string, Interval>> TwoStep::Intervals(const Equation& equation,
                                                                 const EquationFit& step,
                                                                 size_t offset) const {
  std::vector<std::pair<std::string, Interval>> intervals;
  const NamedValues names = equation.Report(step.theta);
  for (size_t i = 0; i < names.size(); ++i) {
    std::vector<double> values;
    for (size_t d = 0; d < draws_.size(); ++d) {
      const double* theta = draws_.row(d) + offset;
      values.push_back(equation.Report({theta, theta + step.theta.size()})[i].second);
    }
    intervals.emplace_back(names[i].first,
                           PercentileInterval(values, draws_.drawn, bootstrap_.level,
                                              IntervalKind::kParameter, "bootstrap of runs"));
  }
  return intervals;
}
std::vector<std::pair<std::string, Interval>> TwoStep::SoftIntervals() const {
  std::vector<std::pair<std::string, Interval>> intervals = Intervals(*law_, soft_, 0);
  for (auto& [name, interval] : intervals)
    if (name == "E" && asymptote_.has_value()) interval = *asymptote_;
  return intervals;
}
std::vector<std::pair<std::string, Interval>> TwoStep::HardIntervals() const {
  return Intervals(*curve_, hard_, soft_.theta.size());
}

TwoStep::Drawn TwoStep::DrawSoft(const Inputs& x) const {
  Drawn drawn;
  for (size_t i = 0; i < draws_.size(); ++i) {
    core::Rng rng(bootstrap_.seed, kNoiseStream + i);
    drawn.means.push_back(law_->Value(draws_.row(i), x));
    drawn.values.push_back(drawn.means.back() *
                           std::exp(soft_noise_[rng.Below(soft_noise_.size())]));
  }
  return drawn;
}

TestPoint TwoStep::TestSoft(const Inputs& x, double flops, double actual) const {
  const Interval raw = PercentileInterval(DrawSoft(x).values, draws_.drawn, bootstrap_.level,
                                          IntervalKind::kPrediction, "");
  return {flops, actual, law_->Value(soft_.theta.data(), x), raw.lo, raw.hi};
}

HardForecast TwoStep::At(const Inputs& x, double reach, const Calibration* soft_widening,
                         const Calibration* hard_widening) const {
  HardForecast forecast;
  forecast.soft = law_->Value(soft_.theta.data(), x);
  forecast.hard = HardAt(forecast.soft);
  const Drawn drawn = DrawSoft(x);
  const auto interval_of = [&](const std::vector<double>& values, IntervalKind kind,
                               const char* method) {
    return PercentileInterval(values, draws_.drawn, bootstrap_.level, kind, method);
  };
  const Interval raw =
      interval_of(drawn.values, IntervalKind::kPrediction, "bootstrap of runs + residuals");
  const Interval mean = interval_of(drawn.means, IntervalKind::kMean, "bootstrap of runs");
  forecast.soft_interval = forecast.soft_unwidened = raw;
  // E's range is no lack of fit, so it is not widened.
  if (soft_widening != nullptr) soft_widening->Apply(forecast.soft, reach, &forecast.soft_interval);
  if (asymptote_.has_value()) {
    const double lo = law_->Value(theta_E_lo_.data(), x), hi = law_->Value(theta_E_hi_.data(), x);
    forecast.asymptote = AsymptoteSpan{*asymptote_, lo, hi};
    forecast.hard_at_E_lo = HardAt(lo), forecast.hard_at_E_hi = HardAt(hi);
    for (Interval* interval : {&forecast.soft_interval, &forecast.soft_unwidened}) {
      const std::string how = interval->method;
      Interval of_mean = mean;
      UniteWithAsymptote(forecast.soft, lo, hi, soft_noise_, &of_mean, interval);
      interval->method = how + ", united with the range of E";
    }
  }

  // Each side of the resamples reaches as far as the interval does.
  const auto stretch = [&](double end, double had) {
    const double far = std::log(end / forecast.soft), near = std::log(had / forecast.soft);
    return std::isfinite(far) && far * near > 0 ? std::max(far / near, 1.0) : 1.0;
  };
  const double below = stretch(forecast.soft_interval.lo, raw.lo),
               above = stretch(forecast.soft_interval.hi, raw.hi);
  std::vector<double> values;
  for (size_t i = 0; i < draws_.size(); ++i) {
    core::Rng rng(bootstrap_.seed, kNoiseStream + i);
    rng.Below(soft_noise_.size());  // DrawSoft's
    const double off = std::log(drawn.values[i] / forecast.soft);
    const double soft = forecast.soft * std::exp(off * (off < 0 ? below : above));
    const double hard = curve_->Value(draws_.row(i) + soft_.theta.size(), {soft}) +
                        hard_noise_[rng.Below(hard_noise_.size())];
    values.push_back(std::clamp(hard, 0.0, 1.0));
  }
  forecast.interval = interval_of(values, IntervalKind::kPrediction,
                                  "the soft interval through resampled curves + residuals");
  // Where the resamples lie to one side of the fit, they do not reach the soft interval's other
  // end; and other curves that the pairs allow make something else of both.
  if (std::isfinite(forecast.interval.lo)) {
    const auto cover = [&](double hard) {
      if (!std::isfinite(hard)) return;
      forecast.interval.lo = std::min(forecast.interval.lo, hard);
      forecast.interval.hi = std::max(forecast.interval.hi, hard);
    };
    for (const double end : {forecast.soft_interval.lo, forecast.soft_interval.hi}) {
      cover(HardAt(end));
      if (const auto others = family_.At(end)) cover(others->lo), cover(others->hi);
    }
    for (const std::string& name : family_.names())
      forecast.interval.method += (name == family_.names()[0] ? ", united with " : " and ") + name;
  }
  if (hard_widening != nullptr) {
    Interval grown = forecast.interval;
    grown.lo = std::exp(grown.lo), grown.hi = std::exp(grown.hi);
    hard_widening->Apply(std::exp(forecast.hard), reach, &grown);
    forecast.interval.lo = std::max(std::log(grown.lo), 0.0);
    forecast.interval.hi = std::min(std::log(grown.hi), 1.0);
    forecast.interval.method = grown.method;
  }
  Judge(forecast);
  return forecast;
}

double TwoStep::HardAt(double soft) const {
  return std::clamp(curve_->Value(hard_.theta.data(), {soft}), 0.0, 1.0);
}

std::optional<double> TwoStep::Middle(double floor) const {
  double near = std::min(0.0, lowest_), far = std::max(highest_, lowest_);
  const double half = 0.5 * (HardAt(near) + floor);
  const bool falls = HardAt(near) > floor;
  const auto beyond = [&](double soft) { return (HardAt(soft) < half) == falls; };
  constexpr int kDoublings = 10;
  for (int i = 0; i < kDoublings && !beyond(far); ++i) far += std::max(far - near, 1e-6);
  if (!beyond(far)) return std::nullopt;
  constexpr int kHalvings = 60;
  for (int i = 0; i < kHalvings; ++i) {
    const double soft = 0.5 * (near + far);
    (beyond(soft) ? far : near) = soft;
  }
  return far;
}

std::string TwoStep::NoRise(double floor) const {
  const double best = HardAt(lowest_);
  if (std::fabs(best - floor) >= kScattersAboveFloor * scatter()) return "";
  return fmt::format(
      "the best run's {:.4g} is less than {:g} times the scatter {:.2g} away from the floor "
      "{:.4g}: "
      "no run shows the curve's rise",
      best, kScattersAboveFloor, scatter(), floor);
}

std::string TwoStep::BeyondMiddle(double floor, double soft) const {
  // A forecast at the pool's edge lies within it or a little beyond by accident.
  constexpr double kScatters = 2;
  const double edge = lowest_ * std::exp(-kScatters * RootMeanSquare(soft_noise_));
  const std::optional<double> middle = Middle(floor);
  if (!middle.has_value() || *middle >= lowest_ || soft >= edge) return "";
  return fmt::format(
      "the curve's middle {:.4g} lies beyond the runs ({:.4g} .. {:.4g}), and so does the forecast "
      "{:.4g}: no run has seen how the rise ends",
      *middle, lowest_, highest_, soft);
}

std::string TwoStep::TooWide(double floor, const Interval& interval) const {
  const double far = HardAt(std::min(0.0, lowest_));
  if (!(interval.hi - interval.lo > kWidestShare * std::fabs(far - floor))) return "";
  return fmt::format(
      "the {:.10g} % interval {:.4g} .. {:.4g} is wider than half of the way from the floor {:.4g} "
      "to {:.4g}",
      100 * bootstrap_.level, interval.lo, interval.hi, floor, far);
}

void TwoStep::Judge(HardForecast& forecast) const {
  const std::optional<double> floor = Named(curve_->Report(hard_.theta), "floor");
  if (!floor.has_value()) return;
  std::string beyond = BeyondMiddle(*floor, forecast.soft);
  if (beyond_middle_)
    forecast.assumes = std::exchange(beyond, "");
  else if (!beyond.empty())
    beyond += " (--beyond-middle forecasts it all the same)";
  for (const std::string& why : {NoRise(*floor), beyond, TooWide(*floor, forecast.interval)})
    if (forecast.abstains.empty()) forecast.abstains = why;
  if (!forecast.abstains.empty()) forecast.assumes.clear();
}

}  // namespace fit
