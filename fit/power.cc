#include "fit/power.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <thread>
#include <tuple>
#include <utility>

#include "core/rng.h"
#include "core/status_macros.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

// One simulated sweep's forecast of one target.
struct Outcome {
  double truth = 0;  // the prior's loss at the target
  double forecast = 0, lo = 0, hi = 0;
  double E_half_range = 0;
  bool E_warned = false;
  std::string law;
};

double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// Chance that ln(outcome / truth), normal with `sd`, lies between the two.
double ChanceBetween(double low, double high, double sd) {
  return NormalCdf(high / sd) - NormalCdf(low / sd);
}

double ChanceOfErrorBelow(const Outcome& outcome, double error, double sd) {
  const double off = std::log(outcome.forecast / outcome.truth);
  return ChanceBetween(off - std::log1p(error), off - std::log1p(-std::min(error, 0.999)), sd);
}

// The forecasts of one simulated sweep, by target; empty when nothing could be fitted.
std::vector<Outcome> OutcomesOf(const Prior& prior, const std::vector<double>& theta,
                                const std::vector<Observation>& observations,
                                const std::vector<PowerTarget>& targets, const FitOptions& options,
                                std::string* failure) {
  const auto summary = RunFit(observations, options);
  if (!summary.ok()) {
    *failure = std::string(summary.status().message());
    return {};
  }
  std::vector<Outcome> outcomes;
  for (const PowerTarget& target : targets) {
    const auto primary = std::find_if(
        summary->predictions.begin(), summary->predictions.end(), [&](const Forecast& f) {
          return f.primary && f.flops == target.flops && f.run_params == target.params;
        });
    if (primary == summary->predictions.end()) {
      *failure = "no law forecasts a loss";
      return {};
    }
    Outcome outcome;
    outcome.forecast = primary->loss;
    outcome.lo = primary->interval.lo, outcome.hi = primary->interval.hi;
    outcome.E_half_range = AsymptoteHalfRange(*primary);
    outcome.E_warned = Has(primary->warnings, kAsymptoteUnidentified);
    outcome.law = primary->law;
    outcome.truth = target.params > 0 ? prior.law->Loss(theta.data(), std::log(target.params),
                                                        std::log(target.tokens))
                                      : prior.law->ComputeOptimal(theta, target.flops, 6).loss;
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

// The ends between which a further value falls with chance `share`, from a sample: the quantiles
// p(n + 1) among the order statistics (Hyndman and Fan's type 6), without their bias inwards.
std::pair<double, double> RangeOfNext(const std::vector<double>& values, double share) {
  const auto n = static_cast<double>(values.size());
  if (n < 2) return {kNaN, kNaN};
  const double low = std::max(0.0, ((n + 1) * (1 - share) / 2 - 1) / (n - 1));
  return {Quantile(values, low), Quantile(values, 1 - low)};
}

TargetPower Count(const std::vector<std::vector<Outcome>>& simulations, size_t target,
                  const Prior& prior, const PowerOptions& options) {
  const double sd = prior.noise.Total();
  const auto n = static_cast<double>(simulations.size());
  TargetPower power;
  std::vector<double> truths, widths, close, asymptotes;
  std::map<std::string, int> laws;
  for (const std::vector<Outcome>& simulation : simulations) {
    const Outcome& outcome = simulation[target];
    truths.push_back(outcome.truth);
    close.push_back(ChanceOfErrorBelow(outcome, options.close, sd));
    asymptotes.push_back(outcome.E_half_range);
    power.identified += outcome.E_half_range <= options.E_within ? 1 / n : 0;
    power.E_warned += outcome.E_warned ? 1 / n : 0;
    ++laws[outcome.law];
    if (!std::isfinite(outcome.lo) || !std::isfinite(outcome.hi)) {
      power.no_interval += 1 / n;
      continue;
    }
    widths.push_back(0.5 * (outcome.hi - outcome.lo) / outcome.forecast);
    power.covered += ChanceBetween(std::log(outcome.lo / outcome.truth),
                                   std::log(outcome.hi / outcome.truth), sd) /
                     n;
  }
  power.loss = Quantile(truths, 0.5);
  power.E_half_range = Quantile(asymptotes, 0.5);
  power.law = std::max_element(laws.begin(), laws.end(), [](const auto& a, const auto& b) {
                return a.second < b.second;
              })->first;
  const bool most = 2 * widths.size() > simulations.size();
  power.half_width = most ? Quantile(widths, 0.5) : kNaN;
  std::tie(power.half_width_lo, power.half_width_hi) =
      most ? RangeOfNext(widths, 0.8) : std::make_pair(kNaN, kNaN);
  power.close = Mean(close);
  double spread = 0;
  for (const double c : close) spread += (c - power.close) * (c - power.close);
  power.close_se = n > 1 ? std::sqrt(spread / (n - 1) / n) : kNaN;
  double low = 0, high = 1;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    double within = 0;
    for (const std::vector<Outcome>& simulation : simulations)
      within += ChanceOfErrorBelow(simulation[target], middle, sd) / n;
    (within < options.level ? low : high) = middle;
  }
  power.error = high;
  return power;
}

}  // namespace

double AsymptoteHalfRange(const Forecast& forecast) {
  if (!forecast.asymptote.has_value()) return std::numeric_limits<double>::infinity();
  const Interval& E = forecast.asymptote->E;
  return E.hi > 0 ? std::min(1.0, (E.hi - E.lo) / (E.hi + E.lo)) : 1;
}

std::vector<Observation> SimulateSweep(const Prior& prior, const std::vector<double>& theta,
                                       const std::vector<PlannedRun>& runs, uint64_t seed,
                                       uint64_t number, const std::vector<Observation>& known) {
  core::Rng rng(seed, number);
  const auto law_at = [&](double params, double tokens) {
    return std::log(prior.law->Loss(theta.data(), std::log(params), std::log(tokens)));
  };
  std::vector<Observation> observations = known;
  for (const PlannedRun& run : runs) {
    // The shape's deviation: normal, and given what its known runs show of it.
    double sum = 0, count = 0;
    for (const Observation& o : known)
      if (o.params == run.params && o.tokens == run.tokens)
        sum += std::log(o.loss) - law_at(o.params, o.tokens), ++count;
    const double shape2 = prior.noise.shape * prior.noise.shape;
    const double seed2 = prior.noise.seed * prior.noise.seed;
    const double trust = count > 0 ? shape2 / (shape2 + seed2 / count) : 0;
    const double shape =
        (count > 0 ? trust * sum / count : 0) + std::sqrt(shape2 * (1 - trust)) * rng.Normal();
    for (int repeat = 0; repeat < run.repeats; ++repeat) {
      Observation o;
      o.flops = run.flops;
      o.budget_flops = run.budget_flops;
      o.params = run.params;
      o.tokens = run.tokens;
      o.seed = static_cast<int64_t>(count) + repeat;
      o.loss = std::exp(law_at(run.params, run.tokens) + shape + prior.noise.seed * rng.Normal());
      // What a sweep's own runs say (v_observations).
      o.cohort["n_convention"] = "params";
      if (!known.empty()) o.cohort = known.front().cohort;
      observations.push_back(std::move(o));
    }
  }
  return observations;
}

absl::StatusOr<Power> SimulatePower(const Prior& prior, const std::vector<PlannedRun>& runs,
                                    const std::vector<PowerTarget>& targets,
                                    const PowerOptions& options,
                                    const std::vector<Observation>& known) {
  if (runs.empty() && known.empty()) return absl::InvalidArgumentError("the design has no runs");
  if (targets.empty())
    return absl::InvalidArgumentError("no target to forecast; name one (forecast.at, --predict)");
  if (!(prior.noise.Total() > 0) || !std::isfinite(prior.noise.Total()))
    return absl::InvalidArgumentError(fmt::format(
        "the noise of ln L is {}, must be above 0; name one with --noise", prior.noise.Total()));
  if (!(options.level > 0 && options.level < 1) || options.simulations < 1)
    return absl::InvalidArgumentError(
        fmt::format("level {} and {} simulations: the level lies between 0 and 1, and there is at "
                    "least one simulation",
                    options.level, options.simulations));
  FitOptions fit;
  fit.law.bootstrap.resamples = options.resamples;
  fit.law.bootstrap.level = options.level;
  fit.law.bootstrap.threads = 1;
  fit.law.profile = false;  // of constants other than E
  fit.law.starts = 16;
  fit.backtest_options.resamples = options.backtest_resamples;
  fit.sensitivity = false;
  for (const PowerTarget& target : targets) {
    if (target.params > 0) {
      fit.predict_runs.push_back({target.flops, target.params, target.tokens});
    } else {
      fit.predict.push_back(target.flops);
    }
  }

  const auto n = static_cast<size_t>(options.simulations);
  std::vector<std::vector<Outcome>> all(n);
  std::vector<std::string> failures(n);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) {
      const size_t draw =
          n < prior.draws.size() ? i * prior.draws.size() / n : i % prior.draws.size();
      const std::vector<double>& theta = prior.draws[draw];
      FitOptions own = fit;
      own.law.bootstrap.seed = options.seed + i;
      all[i] = OutcomesOf(prior, theta, SimulateSweep(prior, theta, runs, options.seed, i, known),
                          targets, own, &failures[i]);
    }
  };
  std::vector<std::thread> helpers;
  for (int t = 1; t < std::min(options.threads, options.simulations); ++t)
    helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();

  std::vector<std::vector<Outcome>> simulations;
  std::string failure;
  for (size_t i = 0; i < n; ++i) {
    if (all[i].empty()) {
      failure = failures[i];
    } else {
      simulations.push_back(std::move(all[i]));
    }
  }
  if (simulations.empty())
    return absl::FailedPreconditionError("no simulated sweep of this design can be fitted: " +
                                         failure);
  Power power;
  power.simulations = options.simulations;
  power.failed = options.simulations - static_cast<int>(simulations.size());
  power.level = options.level;
  power.method = fmt::format("{} simulated sweeps, each fitted as `fit` does", options.simulations);
  double largest = 0;
  std::vector<PlannedRun> design = runs;
  for (const Observation& o : known)
    design.push_back(
        {o.flops, o.budget_flops > 0 ? o.budget_flops : o.flops, o.params, o.tokens, 1});
  for (const PlannedRun& run : design) largest = std::max(largest, run.budget_flops);
  power.condition = DesignCondition(prior, design);
  for (size_t t = 0; t < targets.size(); ++t) {
    power.targets.push_back(Count(simulations, t, prior, options));
    power.targets.back().flops = targets[t].flops;
    power.targets.back().reach = targets[t].flops / largest;
  }
  return power;
}

}  // namespace fit
