#include "fit/drift.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "fit/stats.h"

namespace fit {
namespace {

constexpr double kRhos[] = {0, 0.1, 0.3, 0.6, 0.95};
// Exponents: a factor of two either way around everything published, and more.
constexpr double kLowestG = 0.02, kHighestG = 2;
constexpr int kCoarse[] = {49, 19}, kFine[] = {49, 23};  // grid points for one term and for two
constexpr int kZooms = 2;
constexpr int kNodesE = 13;
constexpr double kSpanE = 4;    // standard deviations of E to each side
constexpr double kKeptLog = 9;  // members with less than e^-9 of the largest weight go
constexpr int kNodes = 49;      // of a member's own distribution
constexpr int kBins = 8192;

// ln of the prior's density of one exponent, up to a constant.
double LogPrior(const DriftOptions& options, double log_g) {
  if (!(options.prior_spread > 0)) return 0;
  const double z = (log_g - std::log(options.usual_g)) / options.prior_spread;
  return -0.5 * z * z;
}

double Log2(double log) { return log / std::log(2.0); }

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// Quantiles of weighted values that were thrown into bins between their smallest and largest.
class Histogram {
 public:
  Histogram(double lo, double hi) : lo_(lo), width_((hi - lo) / kBins), bins_(kBins, 0) {}
  void Add(double value, double weight) {
    const int bin =
        width_ > 0 ? std::clamp(static_cast<int>((value - lo_) / width_), 0, kBins - 1) : 0;
    bins_[static_cast<size_t>(bin)] += weight;
    total_ += weight;
  }
  double Quantile(double q) const {
    double below = 0;
    for (int i = 0; i < kBins; ++i) {
      const double here = bins_[static_cast<size_t>(i)];
      if (below + here >= q * total_ && here > 0)
        return lo_ + width_ * (i + (q * total_ - below) / here);
      below += here;
    }
    return lo_ + width_ * kBins;
  }

 private:
  double lo_, width_, total_ = 0;
  std::vector<double> bins_;
};

struct Located {
  double value, scale, weight;
};

// Quantiles of a mixture of Student's t.
std::vector<double> MixtureQuantiles(const std::vector<Located>& parts,
                                     const std::vector<double>& nodes,
                                     const std::vector<double>& wanted) {
  double lo = HUGE_VAL, hi = -HUGE_VAL;
  for (const Located& p : parts) {
    lo = std::min(lo, p.value + p.scale * nodes.front());
    hi = std::max(hi, p.value + p.scale * nodes.back());
  }
  Histogram histogram(lo, hi);
  for (const Located& p : parts)
    for (const double node : nodes) histogram.Add(p.value + p.scale * node, p.weight);
  std::vector<double> quantiles;
  for (const double q : wanted) quantiles.push_back(histogram.Quantile(q));
  return quantiles;
}

}  // namespace

DriftFit::DriftFit(std::vector<DriftPoint> points, const DriftOptions& options)
    : points_(std::move(points)), options_(options), run_weight_(points_.size(), 1) {
  std::stable_sort(points_.begin(), points_.end(), [](const DriftPoint& a, const DriftPoint& b) {
    return a.log_flops < b.log_flops;
  });
  first_ = points_[0].log_flops;
  ceiling_ = options_.lowest_loss > 0 ? options_.lowest_loss : HUGE_VAL;
  shift_ = points_[0].u;
  for (const DriftPoint& p : points_) {
    if (!(options_.lowest_loss > 0)) ceiling_ = std::min(ceiling_, p.loss);
    for (size_t j = 0; j < 2; ++j) shift_[j] = std::max(shift_[j], p.u[j]);
  }
  ceiling_ *= 1 - 1e-6;
  for (DriftPoint& p : points_) {
    if (!(p.judged > 0)) p.judged = p.loss;
    for (size_t j = 0; j < 2; ++j) p.u[j] -= shift_[j];
  }
  floor_ = options_.worth * options_.scale * options_.scale;
  freedom_ = std::max(static_cast<double>(points_.size()) - options_.terms + options_.worth, 1.0);
}

std::optional<DriftFit> DriftFit::Fit(std::vector<DriftPoint> points, const DriftOptions& options) {
  if (points.size() < static_cast<size_t>(options.terms) + 2) return std::nullopt;
  DriftFit fit(std::move(points), options);
  const auto term = static_cast<size_t>(options.terms - 1);
  Grid coarse;
  for (int j = 0; j < options.terms; ++j)
    for (int i = 0; i < kCoarse[term]; ++i)
      coarse.log_g[j].push_back(std::log(kLowestG) +
                                std::log(kHighestG / kLowestG) * i / (kCoarse[term] - 1));
  double best = 0;
  fit.WeighRuns();
  fit.MakeFilters({0});
  fit.members_ = fit.Weigh(coarse, kKeptLog, &best);
  // First without drift, for the scatter about the best law; then with.
  for (const bool drifts : {false, true}) {
    if (drifts) fit.MakeFilters({std::begin(kRhos), std::end(kRhos)});
    Grid grid = coarse;
    fit.members_ = fit.Weigh(grid, kKeptLog, &best);
    for (int zoom = 0; zoom < kZooms && !fit.members_.empty(); ++zoom) {
      if (!drifts) fit.LowerFloor();
      grid = fit.Zoomed(grid, fit.members_, kFine[term]);
      fit.members_ = fit.Weigh(grid, kKeptLog, &best);
    }
    if (!drifts) fit.LowerFloor();
  }
  if (fit.members_.empty()) return std::nullopt;
  fit.Summarise();
  return fit;
}

// The random walk and the independent part as a Kalman filter: what is new in each run, given those
// at less compute.
void DriftFit::MakeFilters(const std::vector<double>& rhos) {
  filters_.clear();
  for (const double rho : rhos) {
    Filter filter;
    filter.rho = rho;
    double variance = rho, last = first_;
    for (size_t i = 0; i < points_.size(); ++i) {
      variance += rho * Log2(points_[i].log_flops - last);
      last = points_[i].log_flops;
      const double total = variance + (1 - rho) / run_weight_[i];
      filter.gain.push_back(variance / total);
      filter.root.push_back(std::sqrt(total));
      filter.log_det += std::log(total);
      variance *= 1 - filter.gain.back();
    }
    filters_.push_back(std::move(filter));
  }
}

std::vector<double> DriftFit::Whiten(const Filter& filter, std::vector<double> column) const {
  double state = 0;
  for (size_t i = 0; i < column.size(); ++i) {
    const double fresh = column[i] - state;
    state += filter.gain[i] * fresh;
    column[i] = fresh / filter.root[i];
  }
  return column;
}

std::vector<DriftFit::Member> DriftFit::Weigh(const Grid& grid, double keep, double* best) {
  const size_t n = points_.size();
  const bool two = options_.terms == 2;
  for (auto& column : columns_) column.assign(filters_.size(), {});
  inverse_.clear(), measured_.clear();
  for (size_t f = 0; f < filters_.size(); ++f) {
    std::vector<double> column(n);
    for (size_t i = 0; i < n; ++i) column[i] = 1 / points_[i].judged;
    inverse_.push_back(Whiten(filters_[f], column));
    for (size_t i = 0; i < n; ++i) column[i] = points_[i].loss / points_[i].judged;
    measured_.push_back(Whiten(filters_[f], column));
    for (int j = 0; j < options_.terms; ++j)
      for (const double log_g : grid.log_g[j]) {
        for (size_t i = 0; i < n; ++i)
          column[i] = points_[i].factor *
                      std::exp(-std::exp(log_g) * points_[i].u[static_cast<size_t>(j)]) /
                      points_[i].judged;
        columns_[j][f].push_back(Whiten(filters_[f], column));
      }
  }
  std::vector<Member> members;
  std::vector<double> independent;  // determinants of the first filter
  *best = -HUGE_VAL;
  for (size_t f = 0; f < filters_.size(); ++f) {
    const std::vector<double>&e = inverse_[f], &y = measured_[f];
    const double ee = Dot(e, e), ey = Dot(e, y), yy = Dot(y, y);
    std::array<std::vector<double>, 2> tt, te, ty;
    for (size_t j = 0; j < (two ? 2u : 1u); ++j)
      for (const std::vector<double>& t : columns_[j][f])
        tt[j].push_back(Dot(t, t)), te[j].push_back(Dot(t, e)), ty[j].push_back(Dot(t, y));
    for (size_t p = 0; p < tt[0].size(); ++p)
      for (size_t q = 0; q < (two ? tt[1].size() : 1); ++q) {
        const double m11 = tt[0][p], m22 = two ? tt[1][q] : 1;
        const double m12 = two ? Dot(columns_[0][f][p], columns_[1][f][q]) : 0;
        const double det = m11 * m22 - m12 * m12;
        const size_t cell = p * (two ? tt[1].size() : 1) + q;
        if (f == 0) independent.push_back(det);
        if (!(det > 1e-9 * m11 * m22)) continue;
        Member member;
        member.filter = static_cast<int>(f);
        member.shape = {static_cast<int>(p), static_cast<int>(q)};
        member.g = {std::exp(grid.log_g[0][p]), two ? std::exp(grid.log_g[1][q]) : 0};
        member.inverse = {m22 / det, -m12 / det, two ? m11 / det : 0};
        const auto& inv = member.inverse;
        const double prior =
            LogPrior(options_, grid.log_g[0][p]) + (two ? LogPrior(options_, grid.log_g[1][q]) : 0);
        const double e2 = two ? te[1][q] : 0, y2 = two ? ty[1][q] : 0;
        // a = a0 - E a1, and RSS is a parabola in E.
        const double a0[] = {inv[0] * ty[0][p] + inv[1] * y2, inv[1] * ty[0][p] + inv[2] * y2};
        const double a1[] = {inv[0] * te[0][p] + inv[1] * e2, inv[1] * te[0][p] + inv[2] * e2};
        const double q0 = yy - a0[0] * ty[0][p] - a0[1] * y2;
        const double q1 = ey - a0[0] * te[0][p] - a0[1] * e2;
        const double q2 = ee - a1[0] * te[0][p] - a1[1] * e2;
        if (!(q2 > 0) || !(independent[cell] > 0)) continue;
        // What the terms took of the drift (restricted likelihood), shapes alike.
        const double taken = -0.5 * std::log(det / independent[cell]);
        const double centre = q1 / q2, least = std::max(q0 - q1 * q1 / q2, 0.0);
        const double spread = std::sqrt((least + floor_) / freedom_ / q2);
        double lo = std::clamp(centre - kSpanE * spread, 0.0, ceiling_);
        double hi = std::clamp(centre + kSpanE * spread, 0.0, ceiling_);
        if (!(hi > lo)) hi = std::min(lo + spread, ceiling_), lo = std::max(0.0, hi - spread);
        member.least = least, member.curvature = q2, member.centre = centre;
        member.falls = {a1[0], a1[1]};
        member.log_rest = -0.5 * filters_[f].log_det + taken;
        for (int k = 0; k < kNodesE; ++k) {
          member.E = lo + (hi - lo) * (k + 0.5) / kNodesE;
          member.a = {a0[0] - member.E * a1[0], a0[1] - member.E * a1[1]};
          if (!(member.a[0] > 0) || (two && !(member.a[1] > 0))) continue;
          const double off = member.E - centre;
          const double sum = least + q2 * off * off + floor_;
          member.scale = std::sqrt(sum / freedom_);
          member.weight = -0.5 * freedom_ * std::log(sum) - 0.5 * filters_[f].log_det + prior +
                          taken + std::log(hi - lo);
          if (member.weight < *best - keep) continue;
          *best = std::max(*best, member.weight);
          members.push_back(member);
        }
      }
  }
  std::erase_if(members, [&](const Member& m) { return m.weight < *best - keep; });
  double total = 0;
  for (Member& m : members) total += m.weight = std::exp(m.weight - *best);
  for (Member& m : members) m.weight /= total;
  return members;
}

// The part of the grid that carries weight, with one more step to each side.
DriftFit::Grid DriftFit::Zoomed(const Grid& grid, const std::vector<Member>& members,
                                int points) const {
  Grid zoomed;
  for (size_t j = 0; j < static_cast<size_t>(options_.terms); ++j) {
    const int last = static_cast<int>(grid.log_g[j].size()) - 1;
    int lo = last, hi = 0;
    for (const Member& m : members) lo = std::min(lo, m.shape[j]), hi = std::max(hi, m.shape[j]);
    const double from = grid.log_g[j][static_cast<size_t>(std::max(lo - 1, 0))];
    const double to = grid.log_g[j][static_cast<size_t>(std::min(hi + 1, last))];
    for (int i = 0; i < points; ++i)
      zoomed.log_g[j].push_back(from + (to - from) * i / (points - 1));
  }
  return zoomed;
}

double DriftFit::Fitted(const Member& m, const DriftPoint& at) const {
  double terms = m.a[0] * std::exp(-m.g[0] * at.u[0]);
  if (options_.terms == 2) terms += m.a[1] * std::exp(-m.g[1] * at.u[1]);
  return m.E + at.factor * terms;
}

void DriftFit::LowerFloor() {
  constexpr double kWorth = 4;
  const double constants = 2 * options_.terms + 1;
  const double freedom = static_cast<double>(points_.size()) - constants;
  if (!(freedom >= 1) || members_.empty()) return;
  double least = HUGE_VAL;
  for (const Member& m : members_) least = std::min(least, m.scale * m.scale * freedom_ - floor_);
  constexpr double kRounding = 1e-9;
  const double own = std::sqrt(std::max(least, kRounding * kRounding) / freedom);
  if (own >= options_.scale) return;
  const double log_scale =
      (kWorth * std::log(options_.scale) + freedom * std::log(own)) / (kWorth + freedom);
  floor_ = options_.worth * std::exp(2 * log_scale);
}

void DriftFit::WeighRuns() {
  constexpr double kDegrees = 4, kNormal = 1.4826;
  std::vector<double> residuals, sizes;
  if (!options_.weigh_runs) return;
  for (const DriftPoint& p : points_) {
    residuals.push_back(p.loss / p.judged - 1);
    sizes.push_back(std::fabs(residuals.back()));
  }
  const double scale = std::max(kNormal * Quantile(sizes, 0.5), 1e-6);
  // The mean of w z^2 under a normal law is this, so weighted squares would underrate s.
  constexpr double kShrinks = 0.786;
  for (size_t i = 0; i < points_.size(); ++i)
    run_weight_[i] =
        (kDegrees + 1) / (kDegrees + residuals[i] * residuals[i] / (scale * scale)) / kShrinks;
}

void DriftFit::Summarise() {
  std::sort(members_.begin(), members_.end(),
            [](const Member& a, const Member& b) { return a.E < b.E; });
  double below = 0;
  E_lo_ = E_ = E_hi_ = members_.back().E;
  bool lo = false, middle = false, hi = false;
  for (const Member& m : members_) {
    below += m.weight;
    drift_share_ += m.weight * filters_[static_cast<size_t>(m.filter)].rho;
    if (!lo && below >= (1 - options_.level) / 2) E_lo_ = m.E, lo = true;
    if (!middle && below >= 0.5) E_ = m.E, middle = true;
    if (!hi && below >= (1 + options_.level) / 2) E_hi_ = m.E, hi = true;
  }
  ProfileAsymptote();
}

// The likelihood alone, without the prior: what the data allow, however unusual its exponents.
void DriftFit::ProfileAsymptote() {
  // Of a shape at E, up to what all have in common.
  const auto log_likelihood = [&](const Member& m, double E) {
    const double off = E - m.centre;
    return m.log_rest - 0.5 * freedom_ * std::log(m.least + m.curvature * off * off + floor_);
  };
  // `wanted` where E may be that and every term stays positive.
  const auto allowed = [&](const Member& m, double wanted) {
    const double E = std::clamp(wanted, 0.0, ceiling_);
    for (size_t j = 0; j < static_cast<size_t>(options_.terms); ++j)
      if (!(m.a[j] - (E - m.E) * m.falls[j] > 0)) return m.E;
    return E;
  };
  double best = -HUGE_VAL;
  for (const Member& m : members_) best = std::max(best, log_likelihood(m, allowed(m, m.centre)));
  const double t = StudentTwoSided(options_.level, freedom_);
  const double least = best - 0.5 * freedom_ * std::log1p(t * t / freedom_);
  for (const Member& m : members_) {
    const double square =
        (std::exp(2 * (m.log_rest - least) / freedom_) - m.least - floor_) / m.curvature;
    if (!(square >= 0)) continue;
    for (const double side : {-1.0, 1.0}) {
      Member end = m;
      end.E = allowed(m, m.centre + side * std::sqrt(square));
      constexpr double kRounding = 1e-6;
      if (log_likelihood(end, end.E) < least - kRounding) continue;
      for (size_t j = 0; j < 2; ++j) end.a[j] -= (end.E - m.E) * m.falls[j];
      if (end.E < E_lo_) E_lo_ = end.E, beyond_lo_ = end;
      if (end.E > E_hi_) E_hi_ = end.E, beyond_hi_ = end;
    }
  }
}

DriftForecast DriftFit::At(const DriftPoint& where) const {
  DriftPoint at = where;
  for (size_t j = 0; j < 2; ++j) at.u[j] -= shift_[j];
  // What the drift at this C shares with every run, and its own variance given them.
  struct Kriged {
    std::vector<double> weights, on_term[2];
    double variance = 0, on_inverse = 0, on_measured = 0;
  };
  const double here = std::max(Log2(at.log_flops - first_) + 1, 0.0);
  std::vector<Kriged> kriged;
  for (size_t f = 0; f < filters_.size(); ++f) {
    const double rho = filters_[f].rho;
    std::vector<double> shared;
    for (const DriftPoint& p : points_)
      shared.push_back(rho * std::min(Log2(p.log_flops - first_) + 1, here));
    Kriged k;
    k.weights = Whiten(filters_[f], std::move(shared));
    k.variance = std::max(rho * here - Dot(k.weights, k.weights), 0.0);
    k.on_inverse = Dot(k.weights, inverse_[f]);
    k.on_measured = Dot(k.weights, measured_[f]);
    for (int j = 0; j < options_.terms; ++j)
      for (const std::vector<double>& t : columns_[j][f]) k.on_term[j].push_back(Dot(k.weights, t));
    kriged.push_back(std::move(k));
  }
  std::vector<Located> means, runs;
  double low_weight = 0, low = 0, high_weight = 0, high = 0, before = 0, scatter = 0;
  const double tail = 1 - options_.level;
  const double side = (1 - options_.level) / 2,
               quantile = StudentTwoSided(options_.level, freedom_);
  // Known from more runs than the law's few points, so normal.
  const double run_scatter = options_.run_scatter * StudentTwoSided(options_.level, 1e7) / quantile;
  // ln of a member's own forecast.
  const auto value_of = [&](const Member& m) {
    const Kriged& k = kriged[static_cast<size_t>(m.filter)];
    double drift = k.on_measured - m.E * k.on_inverse;
    for (size_t j = 0; j < static_cast<size_t>(options_.terms); ++j)
      drift -= m.a[j] * k.on_term[j][static_cast<size_t>(m.shape[j])];
    return std::log(Fitted(m, at)) + drift;
  };
  for (const Member& m : members_) {
    const Kriged& k = kriged[static_cast<size_t>(m.filter)];
    const double loss = Fitted(m, at);
    double slope[2] = {0, 0};
    for (size_t j = 0; j < static_cast<size_t>(options_.terms); ++j)
      slope[j] = at.factor * std::exp(-m.g[j] * at.u[j]) / loss -
                 k.on_term[j][static_cast<size_t>(m.shape[j])];
    const double of_terms = m.inverse[0] * slope[0] * slope[0] +
                            2 * m.inverse[1] * slope[0] * slope[1] +
                            m.inverse[2] * slope[1] * slope[1];
    const double rho = filters_[static_cast<size_t>(m.filter)].rho;
    const double value = value_of(m);
    constexpr double kWidest = 3;
    means.push_back(
        {value, std::min(m.scale * std::sqrt(k.variance + of_terms), kWidest), m.weight});
    const double alone = std::max(m.scale * std::sqrt(1 - rho), run_scatter);
    runs.push_back(
        {value, std::min(std::hypot(m.scale * std::sqrt(k.variance + of_terms), alone), kWidest),
         m.weight});
    scatter += m.weight * alone;
    // By rising E (Summarise).
    if (before < tail) low += m.weight * value, low_weight += m.weight;
    before += m.weight;
    if (before > 1 - tail) high += m.weight * value, high_weight += m.weight;
  }
  std::vector<double> nodes;
  for (int i = 0; i < kNodes; ++i) {
    const double q = (i + 0.5) / kNodes;
    nodes.push_back(
        q == 0.5 ? 0 : std::copysign(StudentTwoSided(std::fabs(2 * q - 1), freedom_), q - 0.5));
  }
  const std::vector<double> run = MixtureQuantiles(runs, nodes, {side, 0.5, 1 - side});
  const std::vector<double> mean = MixtureQuantiles(means, nodes, {side, 1 - side});
  DriftForecast forecast;
  forecast.loss = std::exp(run[1]);
  forecast.lo = std::exp(run[0]), forecast.hi = std::exp(run[2]);
  forecast.mean_lo = std::exp(mean[0]), forecast.mean_hi = std::exp(mean[1]);
  // A run scatters beyond its mean; bins must not hide that where the mean is hardly known.
  const double beyond = scatter * quantile;
  const auto both = [&](double end) { return std::hypot(std::log(end / forecast.loss), beyond); };
  forecast.lo = std::min(forecast.lo, forecast.loss * std::exp(-both(forecast.mean_lo)));
  forecast.hi = std::max(forecast.hi, forecast.loss * std::exp(both(forecast.mean_hi)));
  const auto at_end = [&](const std::optional<Member>& beyond, double sum, double weight) {
    return beyond.has_value() ? std::exp(value_of(*beyond))
           : weight > 0       ? std::exp(sum / weight)
                              : forecast.loss;
  };
  forecast.at_E_lo = at_end(beyond_lo_, low, low_weight);
  forecast.at_E_hi = at_end(beyond_hi_, high, high_weight);
  return forecast;
}

}  // namespace fit
