#include "fit/frontier_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/clock.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fit/asymptote.h"
#include "fit/envelope.h"
#include "fit/frontier.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

constexpr uint64_t kNoiseStream = uint64_t{1} << 41;
// Budgets a resample of ready-made optima must keep apart, as in Delphi's bootstrap
// (reference/delphi.md section 9).
constexpr size_t kDistinctOptima = 4;

// Layout of a bootstrap row; the minima of the budgets, N*, D*, L* each, are kept apart, for so
// many resamples: their intervals need no more.
constexpr int kMinimaKept = 8192;
enum { kLogAN, kAlphaN, kLogAD, kAlphaD, kE, kA, kP, kConstants };

const double kNaN = std::numeric_limits<double>::quiet_NaN();

// isoflop: how the optimum moves; frontier: its loss too; envelope: both, from the lower envelope
// of all runs instead of the minima of budgets.
enum class Kind { kIsoflop, kFrontier, kEnvelope };
constexpr std::string_view Text(Kind kind) {
  return kind == Kind::kIsoflop ? "isoflop" : kind == Kind::kFrontier ? "frontier" : "envelope";
}

class FrontierModelFit final : public FittedLaw {
 public:
  FrontierModelFit(Kind kind, const LawOptions& options)
      : kind_(kind), with_loss_(kind != Kind::kIsoflop), options_(options) {
    asymptotic_.pinned_E = options.pinned_E;
    asymptotic_.residual = options.loss.residual;
  }

  const LawFit& fit() const override { return fit_; }

  absl::Status Run(const std::vector<Observation>& observations) {
    const int64_t started_ms = core::SystemClock().MonotonicMs();
    for (const Observation& o : observations)
      if (asymptotic_.lowest_loss <= 0 || o.loss < asymptotic_.lowest_loss)
        asymptotic_.lowest_loss = o.loss;
    if (kind_ == Kind::kEnvelope) {
      observations_ = observations;
      ASSIGN_OR_RETURN(runs_, GroupRuns(observations_, options_.checkpoints));
      envelope_ = LowerEnvelope(observations_, runs_);
      frontier_ = FitEnvelope(envelope_, asymptotic_);
    } else {
      groups_ = GroupByBudget(observations).groups;
      frontier_ = Refit(groups_, {});
    }
    const size_t good = std::set<double>(frontier_.flops.begin(), frontier_.flops.end()).size();
    const size_t wanted = !with_loss_ || options_.pinned_E.has_value() ? 2 : 3;
    fit_.law = Text(kind_);
    if (good < wanted && kind_ == Kind::kEnvelope)
      return absl::FailedPreconditionError(
          fmt::format("envelope: {} points of it lie between smaller and larger models, {} are "
                      "needed; add sizes",
                      good, wanted));
    if (good < wanted)
      return absl::FailedPreconditionError(
          fmt::format("{}: {} of {} budgets have a usable minimum, {} are needed{}", fit_.law, good,
                      groups_.size(), wanted, Refusals()));
    if (with_loss_ && !frontier_.loss_law.has_value())
      return absl::FailedPreconditionError(
          fmt::format("{}: pinned E = {:g} is not below every optimum loss (lowest {:g})", fit_.law,
                      options_.pinned_E.value_or(0),
                      *std::min_element(frontier_.losses.begin(), frontier_.losses.end())));
    CollectNoise();
    if (with_loss_) profile_ = options_.pinned_E.has_value() ? std::nullopt : Profile();
    if (options_.weigh_budgets && kind_ != Kind::kEnvelope && !options_.observations_are_optima) {
      WeighBudgets();
      if (!frontier_.params_law.has_value() || !frontier_.tokens_law.has_value())
        return absl::FailedPreconditionError(fmt::format(
            "{}: fewer than 2 budgets have a resampled spread to weigh them by; leave out "
            "--weigh-budgets",
            fit_.law));
    }
    Bootstrap();
    WidenProfile();
    Describe(good);
    AddWarnings(good);
    fit_.elapsed_s = static_cast<double>(core::SystemClock().MonotonicMs() - started_ms) / 1e3;
    return absl::OkStatus();
  }

  std::optional<Forecast> Predict(const RunTarget& target) const override {
    if (!with_loss_) return std::nullopt;
    const double flops = target.flops;
    Forecast forecast;
    forecast.law = fit_.law;
    forecast.flops = flops;
    forecast.params = frontier_.params_law->At(flops);
    forecast.tokens = frontier_.tokens_law->At(flops);
    forecast.run_params = target.params, forecast.run_tokens = target.tokens;
    // What a run loses by its shape: the parabolas know how steep a budget's curve is.
    const double curvature = target.params > 0 ? RelativeCurvature() : 0;
    const auto shape = [&](double params, double tokens) {
      if (curvature == 0) return 1.0;
      const double off = options_.isoflop.axis == IsoflopAxis::kParams
                             ? std::log(target.params / params)
                             : std::log(target.tokens / tokens);
      return 1 + curvature * off * off;
    };
    const double penalty = shape(forecast.params, forecast.tokens);
    forecast.off_optimum = penalty - 1;
    forecast.loss = frontier_.loss_law->At(flops) * penalty;
    std::vector<double> mean, best, params, tokens, draws;
    for (size_t i = 0; i < draws_.size(); ++i) {
      const double* c = draws_.row(i);
      params.push_back(std::exp(c[kLogAN] + c[kAlphaN] * std::log(flops)));
      tokens.push_back(std::exp(c[kLogAD] + c[kAlphaD] * std::log(flops)));
      best.push_back(c[kE] + c[kA] * std::pow(flops, -c[kP]));
      const double loss = best.back() * shape(params.back(), tokens.back());
      mean.push_back(loss);
      core::Rng rng(options_.bootstrap.seed, kNoiseStream + i);
      draws.push_back(loss * (noise_.empty() ? 1 : std::exp(noise_[rng.Below(noise_.size())])));
    }
    // Without a known scatter of single runs nothing can be said about one.
    if (noise_.empty()) draws.clear();
    const double level = options_.bootstrap.level;
    forecast.mean_interval = PercentileInterval(mean, level, IntervalKind::kMean, Method());
    forecast.interval =
        PercentileInterval(draws, level, IntervalKind::kPrediction, Method() + " + residuals");
    forecast.params_interval = PercentileInterval(params, level, IntervalKind::kMean, Method());
    forecast.tokens_interval = PercentileInterval(tokens, level, IntervalKind::kMean, Method());
    forecast.joint = JointRegionOf(params, tokens, best, level, Method());
    if (profile_.has_value()) {
      const double at_lo = profile_->lo.At(flops) * penalty;
      const double at_hi = profile_->hi.At(flops) * penalty;
      forecast.asymptote = AsymptoteSpan{AsymptoteInterval(), at_lo, at_hi};
      // Few ready-made optima leave hardly a resample that determines the law; their profile does.
      if (std::isfinite(forecast.mean_interval.lo) ||
          (options_.observations_are_optima && options_.bootstrap.resamples > 0))
        UniteWithAsymptote(forecast.loss, at_lo, at_hi, noise_, &forecast.mean_interval,
                           &forecast.interval);
      if (auto warning = UnidentifiedAsymptote(forecast))
        forecast.warnings.push_back(*std::move(warning));
    }
    return forecast;
  }

  size_t resamples() const override { return with_loss_ ? draws_.size() : 0; }

  double FrontierLoss(double flops, std::optional<size_t> resample) const override {
    if (!with_loss_) return kNaN;
    if (!resample) return frontier_.loss_law->At(flops);
    const double* c = draws_.row(*resample);
    return c[kE] + c[kA] * std::pow(flops, -c[kP]);
  }

  std::vector<TestPoint> Test(const std::vector<Observation>& later) const override {
    std::vector<TestPoint> tests;
    FrontierFit truth;
    if (kind_ == Kind::kEnvelope) {
      const auto runs = GroupRuns(later, options_.checkpoints);
      if (!runs.ok()) return tests;
      truth = FitEnvelope(LowerEnvelope(later, *runs), {});
    } else {
      truth = FitFrontier(GroupByBudget(later).groups, options_.isoflop, {},
                          options_.observations_are_optima);
    }
    for (size_t i = 0; i < truth.flops.size(); ++i)
      if (auto test = TestAt(truth.flops[i], truth.losses[i])) tests.push_back(*test);
    return tests;
  }

  std::optional<TestPoint> TestRun(const Observation& run) const override {
    return TestAt(run.budget_flops > 0 ? run.budget_flops : run.flops, run.loss);
  }

 private:
  std::optional<TestPoint> TestAt(double flops, double actual) const {
    const std::optional<Forecast> forecast = Predict({flops});
    if (!forecast.has_value()) return std::nullopt;
    TestPoint test{flops, actual, forecast->loss, forecast->interval.lo, forecast->interval.hi};
    test.mean_lo = forecast->mean_interval.lo, test.mean_hi = forecast->mean_interval.hi;
    if (forecast->asymptote.has_value()) {
      test.at_E_lo = forecast->asymptote->loss_at_E_lo;
      test.at_E_hi = forecast->asymptote->loss_at_E_hi;
    }
    return test;
  }

  // Of L / L* per (ln x)^2, the median of the last budgets that have a minimum; 0 where none is
  // known. It falls slowly with C, hence not all.
  double RelativeCurvature() const {
    constexpr size_t kLast = 3;
    std::vector<double> last;
    for (auto m = frontier_.minima.rbegin(); m != frontier_.minima.rend(); ++m)
      if (m->ok() && m->curvature > 0 && last.size() < kLast)
        last.push_back(m->curvature / m->loss);
    return last.empty() ? 0 : Quantile(last, 0.5);
  }

  std::string Method() const {
    if (kind_ == Kind::kEnvelope) return "bootstrap of runs";
    if (options_.observations_are_optima) return "bootstrap of optima";
    return options_.within_budget == WithinBudget::kResiduals ? "residual bootstrap within budgets"
                                                              : "case bootstrap within budgets";
  }

  FrontierFit Refit(const std::vector<IsoflopGroup>& groups,
                    const std::vector<std::vector<double>>& weights) const {
    FrontierFit fit = FitFrontier(groups, options_.isoflop, asymptotic_,
                                  options_.observations_are_optima, weights);
    if (budget_weights_[0].empty()) return fit;
    std::vector<double> flops, params, tokens, of_params, of_tokens;
    for (const IsoflopMinimum& m : fit.minima) {
      if (!m.ok()) continue;
      const double n = budget_weights_[0].at(m.budget_flops);
      const double d = budget_weights_[1].at(m.budget_flops);
      if (!(n > 0 && d > 0)) continue;
      flops.push_back(m.budget_flops), params.push_back(m.params), tokens.push_back(m.tokens);
      of_params.push_back(n), of_tokens.push_back(d);
    }
    fit.params_law = FitPowerLaw(flops, params, of_params);
    fit.tokens_law = FitPowerLaw(flops, tokens, of_tokens);
    return fit;
  }

  Interval AsymptoteInterval() const {
    return {profile_->lo.E, profile_->hi.E, options_.bootstrap.level, IntervalKind::kParameter,
            draws_.empty() ? "profile likelihood" : "profile likelihood united with " + Method()};
  }

  // The first few reasons; a data set that is no IsoFLOP design has one for every run.
  std::string Refusals() const {
    constexpr int kShown = 3;
    std::string text;
    int refused = 0;
    for (const IsoflopMinimum& m : frontier_.minima)
      if (!m.ok() && ++refused <= kShown) text += fmt::format("; {}", m.reason);
    if (refused > kShown) text += fmt::format("; and {} more", refused - kShown);
    return text;
  }

  std::optional<AsymptoteProfile> Profile() const {
    if (kind_ != Kind::kEnvelope)
      return ProfileAsymptote(frontier_.flops, frontier_.losses, asymptotic_,
                              options_.bootstrap.level);
    // Neighbours on one run's curve are one fact: its middle stands for them.
    std::vector<double> flops, losses;
    for (size_t i = 0; i < envelope_.size();) {
      size_t end = i;
      while (end < envelope_.size() && envelope_[end].params == envelope_[i].params) ++end;
      const EnvelopePoint& middle = envelope_[(i + end) / 2];
      flops.push_back(middle.flops), losses.push_back(middle.loss);
      i = end;
    }
    return ProfileAsymptote(flops, losses, asymptotic_, options_.bootstrap.level);
  }

  // Scatter of single runs around the law: the residuals of the parabolas, or those of the loss
  // law where they are larger (lack of fit). Relative, widened for the fitted constants.
  void CollectNoise() {
    noise_ = pool_ = PooledResiduals(frontier_.minima);
    KnowScatterOfMinima();
    if (!with_loss_) return;
    std::vector<double> lack;
    const auto n = static_cast<double>(frontier_.flops.size());
    const double k = options_.pinned_E.has_value() ? 2 : 3;
    if (n <= k) return;
    for (size_t i = 0; i < frontier_.flops.size(); ++i)
      lack.push_back(std::log(frontier_.losses[i] / frontier_.loss_law->At(frontier_.flops[i])) *
                     std::sqrt(n / (n - k)));
    // As uncertain as its few degrees of freedom, so what is known of the minima joins it.
    const double own = RootMeanSquare(lack), known = asymptotic_.known_dof;
    if (own > 0 && known > 0 && asymptotic_.residual == ResidualKind::kLog) {
      const double variance =
          ((n - k) * own * own + known * asymptotic_.known_variance) / (n - k + known);
      for (double& r : lack) r *= std::sqrt(variance) / own;
    }
    if (RootMeanSquare(lack) > RootMeanSquare(noise_)) noise_ = lack;
  }

  // How well single minima are known, from the scatter about their curves: a curve of three
  // coefficients through n centred points has 9/(4n) of a point's variance at its vertex. Worth few
  // degrees of freedom, whatever the number of runs: it knows nothing of lack of fit.
  void KnowScatterOfMinima() {
    constexpr double kMostWorth = 4;
    double share = 0, dof = 0, budgets = 0;
    for (const IsoflopMinimum& m : frontier_.minima) {
      if (!m.ok()) continue;
      share += 2.25 / m.points, dof += m.points - m.coefficients, ++budgets;
    }
    if (pool_.empty() || !(dof > 0)) return;
    const double rms = RootMeanSquare(pool_);
    double scale = 1;
    if (asymptotic_.residual == ResidualKind::kLinear) scale = Mean(frontier_.losses);
    asymptotic_.known_variance = rms * rms * scale * scale * share / budgets;
    asymptotic_.known_dof = std::min(dof, kMostWorth);
  }

  FrontierFit OneResample(core::Rng& rng) const {
    if (kind_ == Kind::kEnvelope)
      return FitEnvelope(LowerEnvelope(observations_, runs_, CaseWeights(rng, runs_.size())),
                         asymptotic_);
    std::vector<IsoflopGroup> groups = groups_;
    std::vector<std::vector<double>> weights(groups.size());
    if (options_.observations_are_optima) {
      const std::vector<double> drawn = CaseWeights(rng, groups.size());
      for (size_t g = 0; g < groups.size(); ++g)
        weights[g].assign(groups[g].points.size(), drawn[g]);
    } else {
      for (size_t g = 0; g < groups.size(); ++g) {
        GroupResample resample =
            ResampleGroup(rng, groups_[g], frontier_.minima[g], pool_, options_.within_budget);
        groups[g] = std::move(resample.group);
        weights[g] = std::move(resample.weights);
      }
    }
    return Refit(groups, weights);
  }

  // Inverse squares of the bootstrap's standard deviation of ln N* and of ln D*, by budget, from a
  // few resamples; then everything is fitted again.
  void WeighBudgets() {
    constexpr int kEnough = 200;
    LawOptions options = options_;
    options_.bootstrap.resamples = std::min(options_.bootstrap.resamples, kEnough);
    Bootstrap();
    options_ = options;
    for (size_t g = 0; g < groups_.size(); ++g)
      for (const size_t axis : {0u, 1u}) {
        std::vector<double> logs = Minima(3 * g + axis);
        for (double& value : logs) value = std::log(value);
        double variance = 0;
        for (const double value : logs) variance += std::pow(value - Mean(logs), 2);
        if (logs.size() > 1) variance /= static_cast<double>(logs.size()) - 1;
        // A budget that the resamples hardly ever resolve weighs nothing.
        const double weight = logs.size() > 20 && variance > 0 ? 1 / variance : 0;
        budget_weights_[axis][groups_[g].budget_flops] = weight;
      }
    frontier_ = Refit(groups_, {});
  }

  // Resamples with any minimum among those kept.
  size_t KeptMinima() const {
    size_t kept = 0;
    const size_t width = 3 * groups_.size();
    for (size_t i = 0; i * width < minima_.size(); ++i)
      for (size_t k = 0; k < width; ++k)
        if (std::isfinite(minima_[i * width + k])) {
          ++kept;
          break;
        }
    return kept;
  }

  // Finite values of a statistic of the budgets' minima.
  std::vector<double> Minima(size_t index) const {
    std::vector<double> values;
    const size_t width = 3 * groups_.size();
    for (size_t i = 0; i * width < minima_.size(); ++i)
      if (std::isfinite(minima_[i * width + index])) values.push_back(minima_[i * width + index]);
    return values;
  }

  void Bootstrap() {
    // Without a single residual every resample would equal the data: no interval is the truth.
    if (kind_ != Kind::kEnvelope && !options_.observations_are_optima && pool_.empty() &&
        options_.within_budget == WithinBudget::kResiduals)
      return;
    const size_t minima_width = 3 * groups_.size();
    minima_.assign(
        minima_width * static_cast<size_t>(std::min(options_.bootstrap.resamples, kMinimaKept)),
        kNaN);
    draws_ = RunBootstrap(
        options_.bootstrap, kConstants, [&](core::Rng& rng, int number, std::vector<double>& row) {
          const FrontierFit refit = OneResample(rng);
          const size_t distinct = std::set<double>(refit.flops.begin(), refit.flops.end()).size();
          if (options_.observations_are_optima && !options_.pinned_E.has_value() &&
              distinct < kDistinctOptima)
            return false;
          if (!refit.params_law.has_value() || !refit.tokens_law.has_value() ||
              (with_loss_ && !refit.loss_law.has_value()))
            return false;
          row.assign(kConstants, kNaN);
          double* minima = minima_.data() + static_cast<size_t>(number) * minima_width;
          for (size_t g = 0; g < refit.minima.size() && number < kMinimaKept; ++g) {
            if (!refit.minima[g].ok()) continue;
            minima[3 * g] = refit.minima[g].params;
            minima[3 * g + 1] = refit.minima[g].tokens;
            minima[3 * g + 2] = refit.minima[g].loss;
          }
          double* c = row.data();
          c[kLogAN] = refit.params_law->log_coefficient, c[kAlphaN] = refit.params_law->exponent;
          c[kLogAD] = refit.tokens_law->log_coefficient, c[kAlphaD] = refit.tokens_law->exponent;
          if (with_loss_)
            c[kE] = refit.loss_law->E, c[kA] = refit.loss_law->A, c[kP] = refit.loss_law->p;
          return true;
        });
  }

  // With one or two degrees of freedom the optima can lie on a curve by luck and the profile is far
  // too narrow; the bootstrap knows the noise of the runs. The wider end of both is taken.
  void WidenProfile() {
    if (!profile_.has_value() || draws_.empty()) return;
    const Interval interval = PercentileInterval(draws_.Column(kE), options_.bootstrap.level,
                                                 IntervalKind::kParameter, Method());
    const auto widen = [&](AsymptoticLaw& end, double e) {
      AsymptoticOptions held = asymptotic_;
      held.pinned_E = e;
      const auto law = FitAsymptotic(frontier_.flops, frontier_.losses, held);
      if (law.has_value()) end = *law;
    };
    if (interval.lo < profile_->lo.E) widen(profile_->lo, interval.lo);
    if (interval.hi > profile_->hi.E) widen(profile_->hi, interval.hi);
  }

  void Describe(size_t good) {
    fit_.equation = with_loss_ ? "L* = E + A C^-p; N* = a_N C^alpha_N; D* = a_D C^alpha_D"
                               : "N* = a_N C^alpha_N; D* = a_D C^alpha_D";
    fit_.loss = "l2";
    fit_.residual = with_loss_ ? Name(asymptotic_.residual) : "log";
    fit_.n = good;
    fit_.starts = fit_.starts_at_best = 1;  // one-dimensional global search
    fit_.resamples = options_.bootstrap.resamples;
    fit_.resamples_failed = draws_.failed;
    for (const IsoflopMinimum& m : frontier_.minima)
      if (m.ok())
        fit_.objective +=
            0.5 * std::pow(std::log(m.params / frontier_.params_law->At(m.budget_flops)), 2);
    if (with_loss_) {
      const AsymptoticLaw& law = *frontier_.loss_law;
      fit_.objective = law.objective;
      fit_.params = {{"E", law.E}, {"A", law.A}, {"p", law.p}};
    }
    fit_.params.emplace_back("a_N", std::exp(frontier_.params_law->log_coefficient));
    fit_.params.emplace_back("alpha_N", frontier_.params_law->exponent);
    fit_.params.emplace_back("a_D", std::exp(frontier_.tokens_law->log_coefficient));
    fit_.params.emplace_back("alpha_D", frontier_.tokens_law->exponent);
    const double level = options_.bootstrap.level;
    const auto add = [&](const char* name, int column, bool exponential) {
      Interval interval = draws_.Percentiles(static_cast<size_t>(column), level,
                                             IntervalKind::kParameter, Method());
      if (exponential) interval.lo = std::exp(interval.lo), interval.hi = std::exp(interval.hi);
      fit_.intervals.emplace_back(name, interval);
    };
    if (options_.bootstrap.resamples > 0) {
      if (with_loss_) {
        if (profile_.has_value()) fit_.intervals.emplace_back("E", AsymptoteInterval());
        add("A", kA, false), add("p", kP, false);
      }
      add("a_N", kLogAN, true), add("alpha_N", kAlphaN, false);
      add("a_D", kLogAD, true), add("alpha_D", kAlphaD, false);
    }
    for (size_t g = 0; g < frontier_.minima.size(); ++g) {
      BudgetOptimum budget;
      budget.minimum = frontier_.minima[g];
      const std::vector<double> params = Minima(3 * g);
      budget.params = PercentileInterval(params, level, IntervalKind::kMean, Method());
      budget.tokens = PercentileInterval(Minima(3 * g + 1), level, IntervalKind::kMean, Method());
      budget.loss = PercentileInterval(Minima(3 * g + 2), level, IntervalKind::kMean, Method());
      if (const size_t kept = KeptMinima(); kept > 0)
        budget.share_without_minimum =
            1 - static_cast<double>(params.size()) / static_cast<double>(kept);
      fit_.budgets.push_back(std::move(budget));
    }
  }

  void AddWarnings(size_t good) {
    const auto warn = [&](std::string_view code, std::string text) {
      fit_.warnings.push_back(Warn(code, std::move(text)));
    };
    std::string few;
    int few_count = 0;
    for (const IsoflopMinimum& m : frontier_.minima) {
      if (m.status == MinimumStatus::kEdge) warn(kEdgeMinimum, m.reason + "; left out");
      if (m.status == MinimumStatus::kWrongCurvature)
        warn(kWrongCurvature, m.reason + "; left out");
      if (m.status != MinimumStatus::kTooFewPoints) continue;
      if (++few_count <= 5) few += (few.empty() ? "" : ", ") + core::FormatFlops(m.budget_flops);
      if (few_count == 6) few += ", ...";
    }
    if (few_count > 0)
      warn(kTooFewPoints,
           fmt::format("{} of {} budgets have fewer than 3 different sizes and are left "
                       "out: {}",
                       few_count, frontier_.minima.size(), few));
    std::set<double> models;
    for (const EnvelopePoint& point : envelope_) models.insert(point.params);
    if (kind_ == Kind::kEnvelope && models.size() < 6)
      warn(kFewDegreesOfFreedom,
           fmt::format("the envelope consists of {} models: its laws step from one to the next",
                       models.size()));
    const int constants = !with_loss_ || options_.pinned_E.has_value() ? 2 : 3;
    if (static_cast<int>(good) - constants < 3)
      warn(kFewDegreesOfFreedom, fmt::format("{} budgets for {} constants", good, constants));
    if (with_loss_) {
      const AsymptoticLaw& law = *frontier_.loss_law;
      if (law.pinned)
        warn(kAsymptotePinned,
             fmt::format("E = {:g} was given, every interval is conditional on it", law.E));
      if (law.E_at_bound) warn(kAsymptoteAtBound, "the best E is 0: no levelling off is visible");
      if (law.p_at_bound)
        warn(kParameterAtBound,
             fmt::format("p = {:.4g}, A = {:.4g}: the optimum losses do not fall "
                         "like a power law",
                         law.p, law.A));
    }
    if (draws_.failed > 0)
      warn(kBootstrapFailures, fmt::format("{:.1f} % of {} resamples could not be fitted and are "
                                           "missing from the intervals",
                                           100 * draws_.FailedShare(), fit_.resamples));
    double worst = 0, worst_budget = 0;
    for (const BudgetOptimum& b : fit_.budgets)
      if (b.minimum.ok() && b.share_without_minimum > worst)
        worst = b.share_without_minimum, worst_budget = b.minimum.budget_flops;
    if (worst > 0.05)
      warn(kBootstrapFailures, fmt::format("at {} {:.0f} % of the resamples have no minimum: its "
                                           "optimum is barely determined",
                                           core::FormatFlops(worst_budget), 100 * worst));
  }

  Kind kind_;
  bool with_loss_;
  LawOptions options_;
  AsymptoticOptions asymptotic_;
  std::vector<Observation> observations_;  // envelope
  std::vector<RunRows> runs_;
  std::vector<EnvelopePoint> envelope_;
  std::vector<IsoflopGroup> groups_;
  FrontierFit frontier_;
  std::optional<AsymptoteProfile> profile_;
  std::vector<double> pool_;   // relative residuals of the parabolas
  std::vector<double> noise_;  // of single runs around the forecast, as ln L - ln Lhat
  BootstrapDraws draws_;
  std::vector<double> minima_;                              // of the first resamples, row by row
  std::array<std::map<double, double>, 2> budget_weights_;  // of N* and of D*; empty: all alike
  LawFit fit_;
};

class FrontierModel final : public Law {
 public:
  explicit FrontierModel(Kind kind) : kind_(kind) {}
  std::string_view name() const override { return Text(kind_); }
  bool uses_checkpoints() const override { return kind_ == Kind::kEnvelope; }
  // One budget more than constants: an exact interpolation has no error to learn from.
  size_t backtest_budgets(const LawOptions& options) const override {
    return options.pinned_E.has_value() ? 3 : 4;
  }
  absl::StatusOr<std::unique_ptr<FittedLaw>> Fit(const std::vector<Observation>& observations,
                                                 const LawOptions& options) const override {
    auto fitted = std::make_unique<FrontierModelFit>(kind_, options);
    if (absl::Status status = fitted->Run(observations); !status.ok()) return status;
    return std::unique_ptr<FittedLaw>(std::move(fitted));
  }

 private:
  Kind kind_;
};

}  // namespace

std::unique_ptr<Law> MakeIsoflopModel() { return std::make_unique<FrontierModel>(Kind::kIsoflop); }
std::unique_ptr<Law> MakeFrontierModel() {
  return std::make_unique<FrontierModel>(Kind::kFrontier);
}
std::unique_ptr<Law> MakeEnvelopeModel() {
  return std::make_unique<FrontierModel>(Kind::kEnvelope);
}

}  // namespace fit
