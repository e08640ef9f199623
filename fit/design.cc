#include "fit/design.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "Eigen/Dense"
#include "core/check.h"
#include "fit/calibration.h"
#include "fit/loss_spec.h"
#include "fit/stats.h"

namespace fit {
namespace {

constexpr int kMostCoordinates = 16;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Matrix =
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, 0, kMostCoordinates, kMostCoordinates>;
using Vector = Eigen::Matrix<double, Eigen::Dynamic, 1, 0, kMostCoordinates, 1>;

double NormalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// Variance of Huber's estimator over least squares for residuals of normal noise: between 1 and
// pi/2, the value of L1.
double HuberFactor(double delta, double sd) {
  const double c = delta / sd;
  if (c < 1e-6) return std::acos(-1.0) / 2;
  const double inside = 2 * NormalCdf(c) - 1;
  const double density = std::exp(-0.5 * c * c) / std::sqrt(2 * std::acos(-1.0));
  const double psi_squared = inside - 2 * c * density + c * c * (1 - inside);
  return psi_squared / (inside * inside);
}

double WeightOf(const RunNoise& noise, int repeats) {
  if (repeats <= 0) return 0;
  return 1 / (HuberFactor(LossSpec().delta, noise.Total()) *
              (noise.shape * noise.shape + noise.seed * noise.seed / repeats));
}

// d ln L / d theta. E is counted as lnE where it is above 0, as LawFit::condition does: the same
// span, better scaled.
Vector GradientAt(const SurfaceLaw& law, const std::vector<double>& theta, double params,
                  double tokens) {
  const auto k = static_cast<Eigen::Index>(theta.size());
  double g[kMostCoordinates], h[kMostCoordinates * kMostCoordinates];
  const double log_tokens = std::log(tokens);
  const double loss =
      law.Derivatives(theta.data(), {std::log(params), log_tokens, log_tokens}, g, h);
  Vector gradient(k);
  for (Eigen::Index i = 0; i < k; ++i) {
    const double unit = law.asymptote_coordinate() == i && theta[i] > 0 ? theta[i] : 1;
    gradient(i) = g[i] / loss * unit;
  }
  return gradient;
}

struct Place {
  double params = 0, tokens = 0;
};

Place PlaceOf(const Prior& prior, const std::vector<double>& theta, const PowerTarget& target) {
  if (target.params > 0) return {target.params, target.tokens};
  const Optimum best = prior.law->ComputeOptimal(theta, target.flops, 6);
  return {best.params, best.tokens};
}

// g' M^-1 g; infinity where M is singular to working precision.
double VarianceAt(const Matrix& m, const std::vector<Vector>& gradients, std::vector<double>* out) {
  const Eigen::Index k = m.rows();
  Vector scale(k);
  for (Eigen::Index i = 0; i < k; ++i) scale(i) = m(i, i) > 0 ? 1 / std::sqrt(m(i, i)) : 0;
  const Matrix scaled = scale.asDiagonal() * m * scale.asDiagonal();
  const Eigen::LDLT<Matrix> factor(scaled);
  const Vector d = factor.vectorD();
  constexpr double kSingular = 1e-13;
  const bool singular = scale.minCoeff() <= 0 || factor.info() != Eigen::Success ||
                        !(d.minCoeff() > kSingular * d.maxCoeff());
  double sum = 0;
  for (size_t t = 0; t < gradients.size(); ++t) {
    const Vector g = scale.asDiagonal() * gradients[t];
    const double variance = singular ? kInfinity : g.dot(factor.solve(g));
    if (out != nullptr) (*out)[t] = variance;
    sum += variance;
  }
  return sum;
}

double LogDeterminant(const Matrix& m) {
  const Eigen::LDLT<Matrix> factor(m);
  const Vector d = factor.vectorD();
  if (factor.info() != Eigen::Success || !(d.minCoeff() > 0)) return -kInfinity;
  return d.array().log().sum();
}

double NormalTwoSided(double level) { return StudentTwoSided(level, 1e7); }

// What a surface's interval is widened by that has no rolling forecasts of its own yet.
Calibration Widening(double level) { return Calibration("surface", {}, level); }

// The state of a search: which shapes are trained how often.
class Search {
 public:
  Search(const Prior& prior, const std::vector<PlannedRun>& known,
         const std::vector<PlannedRun>& candidates, const std::vector<PowerTarget>& targets,
         const ChooseOptions& options)
      : prior_(prior),
        candidates_(candidates),
        targets_(targets),
        options_(options),
        widening_(Widening(options.level)),
        quantile_(NormalTwoSided(options.level)) {
    std::map<std::pair<double, double>, size_t> shapes;
    const auto shape_of = [&](const PlannedRun& run) {
      const auto [at, fresh] =
          shapes.emplace(std::make_pair(run.params, run.tokens), places_.size());
      if (fresh) places_.push_back({run.params, run.tokens}), counts_.push_back(0);
      return at->second;
    };
    for (const PlannedRun& run : known) {
      counts_[shape_of(run)] += run.repeats;
      known_budget_ = std::max(known_budget_, std::max(run.budget_flops, run.flops * 0.999));
    }
    for (const PlannedRun& run : candidates) shape_.push_back(shape_of(run));
    UseDraws(known.empty());
  }

  struct Change {
    int remove = -1, add = -1;  // candidates
  };

  // What the criterion is after a change; lower is better.
  double Value(const Change& change) const { return Criterion(change, options_.criterion); }
  double LogHalfWidth(const Change& change) const { return Criterion(change, Criterion::kV); }
  double LogDet(const Change& change) const { return -Criterion(change, Criterion::kD); }

  void Apply(const Change& change) {
    if (change.remove >= 0) Move(change.remove, -1);
    if (change.add >= 0) Move(change.add, +1);
  }
  const std::vector<int>& chosen() const { return chosen_; }
  double spent() const { return spent_; }

 private:
  using Kind = fit::Criterion;

  void UseDraws(bool nothing_known) {
    constexpr double kTrace = 1e-6;
    const auto prepare = [&](const std::vector<double>& theta, bool regularise) {
      Draw draw;
      for (const Place& place : places_)
        draw.gradients.push_back(GradientAt(*prior_.law, theta, place.params, place.tokens));
      for (const PowerTarget& target : targets_) {
        const Place place = PlaceOf(prior_, theta, target);
        draw.targets.push_back(GradientAt(*prior_.law, theta, place.params, place.tokens));
      }
      const auto k = static_cast<Eigen::Index>(theta.size());
      draw.information = Matrix::Zero(k, k);
      if (regularise) draw.information.diagonal().setConstant(kTrace * WeightOf(prior_.noise, 1));
      for (size_t s = 0; s < places_.size(); ++s)
        AddTo(draw.information, draw.gradients[s], WeightOf(prior_.noise, counts_[s]));
      return draw;
    };
    for (const std::vector<double>& theta : prior_.draws) {
      if (nothing_known) break;
      Draw draw = prepare(theta, false);
      if (std::isfinite(VarianceAt(draw.information, draw.targets, nullptr)))
        draws_.push_back(std::move(draw));
    }
    if (draws_.empty()) draws_.push_back(prepare(prior_.draws.front(), true));
  }

  static void AddTo(Matrix& m, const Vector& g, double weight) {
    if (weight != 0) m.noalias() += weight * g * g.transpose();
  }

  double DeltaWeight(size_t shape, int by) const {
    return WeightOf(prior_.noise, counts_[shape] + by) - WeightOf(prior_.noise, counts_[shape]);
  }

  double LargestBudget(const Change& change) const {
    double largest = known_budget_;
    for (const int c : chosen_)
      if (c != change.remove) largest = std::max(largest, candidates_[c].budget_flops);
    // The same candidate may be chosen twice; one of them stays.
    if (change.remove >= 0 && std::count(chosen_.begin(), chosen_.end(), change.remove) > 1)
      largest = std::max(largest, candidates_[change.remove].budget_flops);
    if (change.add >= 0) largest = std::max(largest, candidates_[change.add].budget_flops);
    return largest;
  }

  double Criterion(const Change& change, Kind kind) const {
    const bool same =
        change.remove >= 0 && change.add >= 0 && shape_[change.remove] == shape_[change.add];
    double sum = 0;
    std::vector<double> variances(targets_.size());
    for (const Draw& draw : draws_) {
      Matrix m = draw.information;
      if (!same && change.remove >= 0)
        AddTo(m, draw.gradients[shape_[change.remove]], DeltaWeight(shape_[change.remove], -1));
      if (!same && change.add >= 0)
        AddTo(m, draw.gradients[shape_[change.add]], DeltaWeight(shape_[change.add], +1));
      if (kind == Kind::kD) {
        sum -= LogDeterminant(m);
        continue;
      }
      VarianceAt(m, draw.targets, &variances);
      const double own = std::pow(prior_.noise.Total(), 2);
      for (const double variance : variances)
        sum += 0.5 * std::log(variance + own) / static_cast<double>(targets_.size());
    }
    sum /= static_cast<double>(draws_.size());
    if (kind == Kind::kD) return sum;
    const double largest = LargestBudget(change);
    double widen = 0;
    for (const PowerTarget& target : targets_)
      widen += std::log(widening_.Factor(target.flops / largest));
    return sum + widen / static_cast<double>(targets_.size()) + std::log(quantile_);
  }

  void Move(int candidate, int by) {
    const size_t shape = shape_[candidate];
    const double delta = DeltaWeight(shape, by);
    for (Draw& draw : draws_) AddTo(draw.information, draw.gradients[shape], delta);
    counts_[shape] += by;
    spent_ += by * candidates_[candidate].flops;
    if (by > 0)
      chosen_.push_back(candidate);
    else
      chosen_.erase(std::find(chosen_.begin(), chosen_.end(), candidate));
  }

  struct Draw {
    std::vector<Vector> gradients, targets;  // by shape; by target
    Matrix information;
  };

  const Prior& prior_;
  const std::vector<PlannedRun>& candidates_;
  const std::vector<PowerTarget>& targets_;
  const ChooseOptions& options_;
  Calibration widening_;
  double quantile_;
  std::vector<Place> places_;  // different shapes
  std::vector<int> counts_;    // runs of each
  std::vector<size_t> shape_;  // of each candidate
  std::vector<Draw> draws_;
  std::vector<int> chosen_;
  double known_budget_ = 0, spent_ = 0;
};

// One more run: the best gain, or the best gain a FLOP; -1 when none fits or helps.
int BestAddition(const Search& search, const std::vector<PlannedRun>& candidates,
                 const ChooseOptions& options, bool per_flop) {
  const double now = search.Value({});
  double best = 0;
  int choice = -1;
  for (size_t c = 0; c < candidates.size(); ++c) {
    if (search.spent() + candidates[c].flops > options.max_flops * (1 + 1e-9)) continue;
    const double gain = now - search.Value({-1, static_cast<int>(c)});
    const double score = per_flop ? gain / candidates[c].flops : gain;
    if (score > best) best = score, choice = static_cast<int>(c);
  }
  return choice;
}

void Greedy(Search& search, const std::vector<PlannedRun>& candidates, const ChooseOptions& options,
            bool per_flop) {
  while (static_cast<int>(search.chosen().size()) < options.max_runs) {
    const int choice = BestAddition(search, candidates, options, per_flop);
    if (choice < 0) return;
    search.Apply({-1, choice});
  }
}

// Swaps a chosen run for another while that helps; each pass makes the best swap.
int Exchange(Search& search, const std::vector<PlannedRun>& candidates,
             const ChooseOptions& options) {
  constexpr int kMostSwaps = 100;
  constexpr double kWorthIt = 1e-6;
  int swaps = 0;
  for (; swaps < kMostSwaps; ++swaps) {
    const double now = search.Value({});
    double best = now - kWorthIt;
    Search::Change swap;
    std::vector<int> out = search.chosen();
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    for (const int remove : out)
      for (size_t c = 0; c < candidates.size(); ++c) {
        const double spent = search.spent() - candidates[remove].flops + candidates[c].flops;
        if (static_cast<int>(c) == remove || spent > options.max_flops * (1 + 1e-9)) continue;
        const double value = search.Value({remove, static_cast<int>(c)});
        if (value < best) best = value, swap = {remove, static_cast<int>(c)};
      }
    if (swap.add < 0) break;
    search.Apply(swap);
    Greedy(search, candidates, options, true);  // a cheaper run may have made room
  }
  return swaps;
}

}  // namespace

double LinearHalfWidth(const Prior& prior, const std::vector<PlannedRun>& runs,
                       const PowerTarget& target, double level) {
  SWEEP_CHECK(prior.noise.Total() > 0);
  double largest = 0, sum = 0;
  for (const PlannedRun& run : runs) largest = std::max(largest, run.budget_flops);
  for (const std::vector<double>& theta : prior.draws) {
    const auto k = static_cast<Eigen::Index>(theta.size());
    Matrix m = Matrix::Zero(k, k);
    for (const PlannedRun& run : runs) {
      const Vector g = GradientAt(*prior.law, theta, run.params, run.tokens);
      m.noalias() += WeightOf(prior.noise, run.repeats) * g * g.transpose();
    }
    const Place place = PlaceOf(prior, theta, target);
    const double variance =
        VarianceAt(m, {GradientAt(*prior.law, theta, place.params, place.tokens)}, nullptr);
    sum += std::sqrt(variance + std::pow(prior.noise.Total(), 2));
  }
  return NormalTwoSided(level) * Widening(level).Factor(target.flops / largest) * sum /
         static_cast<double>(prior.draws.size());
}

double DesignCondition(const Prior& prior, const std::vector<PlannedRun>& runs) {
  const std::vector<double>& theta = prior.draws.front();
  const auto k = static_cast<Eigen::Index>(theta.size());
  if (runs.empty()) return kInfinity;
  Eigen::MatrixXd jacobian(static_cast<Eigen::Index>(runs.size()), k);
  for (size_t i = 0; i < runs.size(); ++i)
    jacobian.row(static_cast<Eigen::Index>(i)) =
        std::sqrt(runs[i].repeats) *
        GradientAt(*prior.law, theta, runs[i].params, runs[i].tokens).transpose();
  if (jacobian.rows() < k) return kInfinity;
  const Eigen::VectorXd s = Eigen::JacobiSVD<Eigen::MatrixXd>(jacobian).singularValues();
  return s(k - 1) > 0 ? std::pow(s(0) / s(k - 1), 2) : kInfinity;
}

RunChoice ChooseRuns(const Prior& prior, const std::vector<PlannedRun>& known,
                     const std::vector<PlannedRun>& candidates,
                     const std::vector<PowerTarget>& targets, const ChooseOptions& options) {
  SWEEP_CHECK(!targets.empty() && prior.noise.Total() > 0);
  const Search start(prior, known, candidates, targets, options);
  std::vector<int> best;
  RunChoice choice;
  double best_value = kInfinity;
  for (const bool per_flop : {true, false}) {
    Search search = start;
    Greedy(search, candidates, options, per_flop);
    const int swaps = Exchange(search, candidates, options);
    const double value = search.Value({});
    if (!(value < best_value)) continue;
    best_value = value, best = search.chosen(), choice.exchanges = swaps;
  }
  // Told in the order in which they pay.
  Search told = start;
  choice.half_width_before = choice.half_width_after = std::exp(told.LogHalfWidth({}));
  while (!best.empty()) {
    const double now = told.LogHalfWidth({});
    size_t next = 0;
    double most = -kInfinity;
    for (size_t i = 0; i < best.size(); ++i) {
      const double pays = (now - told.LogHalfWidth({-1, best[i]})) / candidates[best[i]].flops;
      if (pays > most) most = pays, next = i;
    }
    const Search::Change add{-1, best[next]};
    ChosenRun run;
    run.candidate = static_cast<size_t>(best[next]);
    run.half_width = std::exp(told.LogHalfWidth(add));
    run.log_det_gain = told.LogDet(add) - told.LogDet({});
    run.shrink_per_flop = most;
    choice.runs.push_back(run);
    choice.half_width_after = run.half_width;
    told.Apply(add);
    best.erase(best.begin() + static_cast<std::ptrdiff_t>(next));
  }
  choice.flops = told.spent();
  return choice;
}

}  // namespace fit
