#include "fit/frontier.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/check.h"
#include "fit/stats.h"

namespace fit {
namespace {

constexpr double kMinExponent = 1e-4, kMaxExponent = 3;

// E lies below every loss that was reached.
double CeilingOf(const AsymptoticOptions& options) {
  return options.lowest_loss > 0 ? options.lowest_loss : std::numeric_limits<double>::infinity();
}

// The loss law at fixed p: least squares in (E, A) >= 0 with weights, in units x = C / C0.
class Projection {
 public:
  Projection(const std::vector<double>& flops, const std::vector<double>& losses,
             const AsymptoticOptions& options, const std::vector<double>& excess)
      : losses_(losses), pinned_(options.pinned_E), ceiling_(CeilingOf(options)) {
    double mean = 0;
    for (const double c : flops) mean += std::log(c);
    log_origin_ = mean / static_cast<double>(flops.size());
    excess_ = excess.empty() ? std::vector<double>(flops.size(), 1) : excess;
    for (size_t i = 0; i < flops.size(); ++i) {
      log_x_.push_back(std::log(flops[i]) - log_origin_);
      weight_.push_back(options.residual == ResidualKind::kLog ? 1 / (losses[i] * losses[i]) : 1);
    }
  }

  AsymptoticLaw At(double p) const {
    double s0 = 0, s1 = 0, s2 = 0, y0 = 0, y1 = 0;
    for (size_t i = 0; i < losses_.size(); ++i) {
      const double w = weight_[i], x = Term(i, p);
      s0 += w, s1 += w * x, s2 += w * x * x, y0 += w * losses_[i], y1 += w * losses_[i] * x;
    }
    AsymptoticLaw law;
    law.p = p;
    law.pinned = pinned_.has_value();
    double a = 0;
    if (pinned_.has_value()) {
      law.E = *pinned_;
      a = std::max(0.0, (y1 - law.E * s1) / s2);
    } else {
      // Centred slope: the plain determinant loses all digits for small p.
      const double mean_x = s1 / s0, mean_y = y0 / s0;
      double xx = 0, xy = 0;
      for (size_t i = 0; i < losses_.size(); ++i) {
        const double x = Term(i, p) - mean_x;
        xx += weight_[i] * x * x;
        xy += weight_[i] * x * (losses_[i] - mean_y);
      }
      a = xx > 0 ? xy / xx : 0;
      law.E = mean_y - a * mean_x;
      if (a < 0) a = 0, law.E = mean_y;
      if (law.E < 0) {
        law.E = 0;
        a = std::max(0.0, y1 / s2);
        law.E_at_bound = true;
      }
      if (law.E > ceiling_) {
        law.E = ceiling_;
        a = std::max(0.0, (y1 - law.E * s1) / s2);
      }
    }
    for (size_t i = 0; i < losses_.size(); ++i) {
      const double r = law.E + a * Term(i, p) - losses_[i];
      law.objective += 0.5 * weight_[i] * r * r;
    }
    law.A = a * std::exp(p * log_origin_);
    law.p_at_bound = p <= kMinExponent * 1.001 || p >= kMaxExponent * 0.999 || a == 0;
    return law;
  }

  AsymptoticLaw Best() const {
    constexpr int kGrid = 160;
    const double step = std::log(kMaxExponent / kMinExponent) / kGrid;
    const auto exponent = [&](double i) { return kMinExponent * std::exp(step * i); };
    int best = 0;
    AsymptoticLaw law;
    law.objective = std::numeric_limits<double>::infinity();
    for (int i = 0; i <= kGrid; ++i) {
      const AsymptoticLaw here = At(exponent(i));
      if (here.objective < law.objective) law = here, best = i;
    }
    double low = std::max(best - 1, 0), high = std::min(best + 1, kGrid);
    constexpr double kGolden = 0.6180339887498949;
    double i1 = high - kGolden * (high - low), i2 = low + kGolden * (high - low);
    AsymptoticLaw law1 = At(exponent(i1)), law2 = At(exponent(i2));
    for (int k = 0; k < 75; ++k) {
      if (law1.objective < law2.objective) {
        high = i2, i2 = i1, law2 = law1;
        i1 = high - kGolden * (high - low), law1 = At(exponent(i1));
      } else {
        low = i1, i1 = i2, law1 = law2;
        i2 = low + kGolden * (high - low), law2 = At(exponent(i2));
      }
    }
    for (const AsymptoticLaw& candidate : {law1, law2})
      if (candidate.objective <= law.objective) law = candidate;
    return law;
  }

 private:
  double Term(size_t i, double p) const { return excess_[i] * std::exp(-p * log_x_[i]); }

  const std::vector<double>& losses_;
  std::optional<double> pinned_;
  const double ceiling_;
  std::vector<double> log_x_, weight_, excess_;
  double log_origin_ = 0;
};

size_t Distinct(const std::vector<double>& values) {
  return std::set<double>(values.begin(), values.end()).size();
}

}  // namespace

double PowerLaw::At(double flops) const {
  return std::exp(log_coefficient + exponent * std::log(flops));
}

double AsymptoticLaw::At(double flops) const { return E + A * std::pow(flops, -p); }

double AsymptoticLaw::At(const EffectiveCompute& compute) const {
  return E + A * std::pow(compute.flops, -p) * compute.excess;
}

std::optional<PowerLaw> FitPowerLaw(const std::vector<double>& flops,
                                    const std::vector<double>& values,
                                    const std::vector<double>& weights) {
  SWEEP_CHECK(flops.size() == values.size());
  SWEEP_CHECK(weights.empty() || weights.size() == values.size());
  if (Distinct(flops) < 2) return std::nullopt;
  const auto weight = [&](size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  double sum = 0, mean_x = 0, mean_y = 0;
  for (size_t i = 0; i < flops.size(); ++i) {
    sum += weight(i);
    mean_x += weight(i) * std::log(flops[i]);
    mean_y += weight(i) * std::log(values[i]);
  }
  mean_x /= sum, mean_y /= sum;
  double xx = 0, xy = 0;
  for (size_t i = 0; i < flops.size(); ++i) {
    const double x = std::log(flops[i]) - mean_x;
    xx += weight(i) * x * x;
    xy += weight(i) * x * (std::log(values[i]) - mean_y);
  }
  return PowerLaw{mean_y - xy / xx * mean_x, xy / xx};
}

std::optional<AsymptoticLaw> FitAsymptotic(const std::vector<double>& flops,
                                           const std::vector<double>& losses,
                                           const AsymptoticOptions& options,
                                           const std::vector<double>& excess) {
  SWEEP_CHECK(flops.size() == losses.size());
  SWEEP_CHECK(excess.empty() || excess.size() == flops.size());
  if (Distinct(flops) < (options.pinned_E.has_value() ? 2u : 3u)) return std::nullopt;
  if (options.pinned_E.has_value() &&
      *options.pinned_E >= *std::min_element(losses.begin(), losses.end()))
    return std::nullopt;
  return Projection(flops, losses, options, excess).Best();
}

std::optional<AsymptoteProfile> ProfileAsymptote(const std::vector<double>& flops,
                                                 const std::vector<double>& losses,
                                                 const AsymptoticOptions& options, double level,
                                                 const std::vector<double>& excess) {
  AsymptoticOptions free = options;
  free.pinned_E.reset();
  const std::optional<AsymptoticLaw> best = FitAsymptotic(flops, losses, free, excess);
  if (!best.has_value()) return std::nullopt;
  const auto at = [&](double e) {
    AsymptoticOptions pinned = options;
    pinned.pinned_E = e;
    return Projection(flops, losses, pinned, excess).Best();
  };
  const int dof = static_cast<int>(flops.size()) - 3;
  double limit = std::numeric_limits<double>::infinity();
  if (dof >= 1) {
    const double worth = dof + options.known_dof;
    const double variance =
        (2 * best->objective + options.known_dof * options.known_variance) / worth;
    const double t = StudentTwoSided(level, worth);
    limit = best->objective + 0.5 * t * t * variance;
  }
  const double ceiling =
      std::min(CeilingOf(options), *std::min_element(losses.begin(), losses.end())) * (1 - 1e-6);
  // The end where the profile leaves the set; RSS(E) rises away from its minimum.
  const auto edge = [&](double inside, double outside) {
    if (at(outside).objective <= limit) return outside;
    for (int i = 0; i < 40; ++i) {
      const double middle = 0.5 * (inside + outside);
      (at(middle).objective <= limit ? inside : outside) = middle;
    }
    return inside;
  };
  const double start = std::min(best->E, ceiling);
  AsymptoteProfile profile;
  profile.lo = at(edge(start, 0));
  profile.hi = at(edge(start, ceiling));
  profile.level = level;
  return profile;
}

double FrontierFit::ParamsAt(double at_flops) const {
  return sizes.has_value() ? sizes->At(relation, at_flops) : params_law->At(at_flops);
}

double FrontierFit::TokensAt(double at_flops) const {
  if (!sizes.has_value()) return tokens_law->At(at_flops);
  return std::exp(relation.LogTokens(std::log(ParamsAt(at_flops)), at_flops));
}

EffectiveCompute FrontierFit::Effective(double at_flops) const {
  if (!sizes.has_value()) return {at_flops, 1};
  return EffectiveComputeAt(relation, at_flops, ParamsAt(at_flops), sizes->alpha);
}

void FitLossLaw(const AsymptoticOptions& options, FrontierFit* fit) {
  fit->relation = options.flops;
  fit->sizes.reset(), fit->loss_law.reset();
  if (fit->flops.empty()) return;
  const auto fit_loss = [&] {
    fit->effective.clear(), fit->excess.clear();
    for (const double flops : fit->flops) {
      const EffectiveCompute compute = fit->Effective(flops);
      fit->effective.push_back(compute.flops), fit->excess.push_back(compute.excess);
    }
    fit->loss_law = FitAsymptotic(fit->effective, fit->losses, options, fit->excess);
  };
  fit_loss();
  if (fit->relation.proportional()) return;
  // Sizes want the loss law's p, and the loss law the sizes; p hardly changes.
  constexpr int kRounds = 3;
  double h = 0;
  for (int round = 0; round < kRounds; ++round) {
    fit->sizes = FitOptimalSizes(fit->relation, fit->flops, fit->params, h, fit->size_weights);
    if (!fit->sizes.has_value()) return;
    fit_loss();
    if (!fit->loss_law.has_value()) return;
    h = PricePower(fit->sizes->alpha, fit->loss_law->p);
  }
}

FrontierFit FitFrontier(const std::vector<IsoflopGroup>& groups, const IsoflopOptions& isoflop,
                        const AsymptoticOptions& asymptotic, bool points_are_optima,
                        const std::vector<std::vector<double>>& weights) {
  FrontierFit fit;
  std::vector<double> tokens;
  const auto add = [&](double flops, double n, double d, double loss) {
    fit.flops.push_back(flops), fit.losses.push_back(loss);
    fit.params.push_back(n), tokens.push_back(d);
  };
  for (size_t g = 0; g < groups.size(); ++g) {
    if (points_are_optima) {
      for (size_t i = 0; i < groups[g].points.size(); ++i) {
        const IsoflopPoint& p = groups[g].points[i];
        const int copies = weights.empty() ? 1 : static_cast<int>(weights[g][i]);
        for (int k = 0; k < copies; ++k) {
          add(groups[g].budget_flops, std::exp(p.log_params), std::exp(p.log_tokens), p.loss);
          if (p.log_params_se > 0)
            fit.size_weights.push_back(1 / (p.log_params_se * p.log_params_se));
        }
      }
      continue;
    }
    fit.minima.push_back(
        FitMinimum(groups[g], isoflop, weights.empty() ? std::vector<double>() : weights[g]));
    const IsoflopMinimum& m = fit.minima.back();
    if (m.ok() && m.loss > 0) add(m.budget_flops, m.params, m.tokens, m.loss);
  }
  fit.params_law = FitPowerLaw(fit.flops, fit.params, fit.size_weights);
  fit.tokens_law = FitPowerLaw(fit.flops, tokens, fit.size_weights);
  FitLossLaw(asymptotic, &fit);
  return fit;
}

}  // namespace fit
