#include "fit/equation_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "Eigen/Dense"
#include "core/check.h"
#include "core/rng.h"
#include "fit/vector_math.h"

namespace fit {
namespace {

constexpr int kMaxCoordinates = 16;

// No heap: a bootstrap solves thousands of small problems.
using Matrix =
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, 0, kMaxCoordinates, kMaxCoordinates>;
using Vector = Eigen::Matrix<double, Eigen::Dynamic, 1, 0, kMaxCoordinates, 1>;

// Objective with its gradient, the Gauss-Newton matrix of reweighted least squares (always positive
// semidefinite) and the exact Hessian.
struct Model {
  double value = std::numeric_limits<double>::infinity();
  Vector gradient;
  Matrix reweighted, hessian;
};

class Problem {
 public:
  Problem(const Equation& law, const std::vector<Coordinate>& box,
          const std::vector<FitPoint>& points, const std::vector<double>& weights,
          const LossSpec& loss)
      : law_(law), box_(box), loss_(loss) {
    SWEEP_CHECK(size() <= kMaxCoordinates);
    for (size_t p = 0; p < points.size(); ++p) {
      if (weights[p] == 0) continue;
      for (size_t i = 0; i < 3; ++i) inputs_.x[i].push_back(points[p].x[i]);
      y_.push_back(points[p].y);
      weights_.push_back(weights[p]);
    }
    inputs_.size = y_.size();
    for (std::vector<double>* column : {&residual_, &slope_, &reweight_, &second_, &sided_})
      column->resize(y_.size());
  }

  int size() const { return static_cast<int>(box_.size()); }
  const Coordinate& coordinate(int i) const { return box_[i]; }
  void set_delta(double delta) { loss_.delta = delta; }

  // The Hessian only where `newton`; of the reweighted matrix then only the diagonal.
  void Evaluate(const Vector& theta, bool newton, Model& model) {
    const int k = size();
    const size_t n = inputs_.size;
    law_.DerivativesMany(theta.data(), inputs_, &columns_);
    const double* value = columns_.value.data();
    const bool log = loss_.residual == ResidualKind::kLog;
    if (log) {
      for (size_t p = 0; p < n; ++p) residual_[p] = value[p] / y_[p];
      LogMany(residual_.data(), residual_.data(), n);
    } else {
      for (size_t p = 0; p < n; ++p) residual_[p] = value[p] - y_[p];
    }
    const double delta =
        loss_.kind == LossKind::kL2 ? std::numeric_limits<double>::infinity() : loss_.delta;
    if (loss_.over != 1)
      for (size_t p = 0; p < n; ++p) sided_[p] = weights_[p] * (residual_[p] > 0 ? loss_.over : 1);
    const std::vector<double>& weights = loss_.over != 1 ? sided_ : weights_;
    model.value = RobustFactors(residual_.data(), weights.data(), log ? value : nullptr, delta, n,
                                slope_.data(), reweight_.data(), second_.data());
    model.gradient.resize(k);
    model.reweighted.setZero(k, k);
    if (newton) model.hessian.resize(k, k);
    size_t t = 0;
    for (int i = 0; i < k; ++i) {
      const double* gi = columns_.gradient[i].data();
      model.gradient(i) = Dot(slope_.data(), gi, n);
      for (int j = 0; j <= i; ++j, ++t) {
        const double* gj = columns_.gradient[j].data();
        if (!newton || i == j)
          model.reweighted(i, j) = model.reweighted(j, i) = Dot(reweight_.data(), gi, gj, n);
        if (!newton) continue;
        const std::vector<double>& h = columns_.hessian[t];
        const double curved = h.empty() ? 0 : Dot(slope_.data(), h.data(), n);
        model.hessian(i, j) = model.hessian(j, i) = Dot(second_.data(), gi, gj, n) + curved;
      }
    }
    if (!std::isfinite(model.value) || !model.gradient.allFinite() ||
        !model.reweighted.allFinite() || (newton && !model.hessian.allFinite()))
      model.value = std::numeric_limits<double>::infinity();
  }

 private:
  const Equation& law_;
  const std::vector<Coordinate>& box_;
  LossSpec loss_;
  // Points of non-zero weight, by column; and per point the factors of the sums.
  InputColumns inputs_;
  std::vector<double> y_, weights_, residual_, slope_, reweight_, second_;
  std::vector<double> sided_;  // weights, those of over-estimates times `over`
  DerivativeColumns columns_;
};

// Damped descent with one of the two matrices until its steps stop paying. True when the model
// predicts no further gain at the resolution of a double.
bool Descend(Problem& problem, bool newton, int max_steps, double stop_gain, Vector& theta,
             Model& model) {
  const int k = problem.size();
  double damping = newton ? 1e-6 : 1e-3;
  int slow = 0;
  Model trial;
  for (int step = 0; step < max_steps; ++step) {
    std::vector<int> free;
    for (int i = 0; i < k; ++i) {
      const bool low = theta(i) <= problem.coordinate(i).lower && model.gradient(i) >= 0;
      const bool high = theta(i) >= problem.coordinate(i).upper && model.gradient(i) <= 0;
      if (!low && !high) free.push_back(i);
    }
    const int m = static_cast<int>(free.size());
    if (m == 0) return true;
    const Matrix& full = newton ? model.hessian : model.reweighted;
    Matrix matrix(m, m);
    Vector gradient(m), scale(m);
    for (int i = 0; i < m; ++i) {
      gradient(i) = model.gradient(free[i]);
      scale(i) = std::max(model.reweighted(free[i], free[i]), 1e-300);
      for (int j = 0; j < m; ++j) matrix(i, j) = full(free[i], free[j]);
    }
    bool accepted = false;
    for (int attempt = 0; attempt < 60; ++attempt) {
      Matrix damped = matrix;
      if (damping > 1e-12) damped.diagonal() += damping * scale;
      const Eigen::LLT<Matrix> factor(damped);
      if (factor.info() != Eigen::Success) {
        damping = std::max(10 * damping, 1e-8);
        continue;
      }
      const Vector p = -factor.solve(gradient);
      const double predicted = -(gradient.dot(p) + 0.5 * p.dot(matrix * p));
      if (!p.allFinite()) {
        damping = std::max(10 * damping, 1e-8);
        continue;
      }
      Vector moved = theta;
      for (int i = 0; i < m; ++i)
        moved(free[i]) = std::clamp(theta(free[i]) + p(i), problem.coordinate(free[i]).lower,
                                    problem.coordinate(free[i]).upper);
      if (moved == theta) return true;
      problem.Evaluate(moved, newton, trial);
      const double gain = model.value - trial.value;
      const double noise = 4e-16 * std::fabs(model.value);
      if (gain > 0 || (gain >= -noise && predicted <= 4 * noise && damping <= 1e-10)) {
        const double ratio = predicted > 0 ? gain / predicted : 1;
        if (ratio > 0.5) damping *= 0.1;
        if (ratio < 0.1) damping = std::max(4 * damping, 1e-8);
        slow = gain <= stop_gain * std::fabs(model.value) ? slow + 1 : 0;
        theta = moved;
        std::swap(model, trial);
        accepted = true;
        break;
      }
      if (damping > 1e14) break;
      damping = std::max(10 * damping, 1e-8);
    }
    if (!accepted) return false;  // no step goes down: stationary up to rounding, or a kink
    // Tiny gains of nearly undamped Newton steps are convergence, those of damped steps need not
    // be.
    if (slow >= (newton ? 2 : 3)) return !newton || damping <= 1e-6;
  }
  return false;
}

// From one start to a stationary point; true when converged.
bool SolveSmooth(Problem& problem, Vector& theta, Model& model) {
  problem.Evaluate(theta, false, model);
  if (!std::isfinite(model.value)) return false;
  bool converged = false;
  for (int round = 0; round < 4; ++round) {
    const double before = model.value;
    Descend(problem, false, 60, 1e-3, theta, model);
    problem.Evaluate(theta, true, model);
    converged = Descend(problem, true, 80, 1e-15, theta, model) ||
                !(before - model.value > 1e-12 * std::fabs(before));
    if (converged) break;
    problem.Evaluate(theta, false, model);
  }
  return converged;
}

// L1 as the limit of Huber's loss: delta falls until every kink is resolved, each stage warm.
bool Solve(const Equation& law, const std::vector<Coordinate>& box,
           const std::vector<FitPoint>& points, const std::vector<double>& weights,
           const LossSpec& loss, Vector& theta, double& objective) {
  Model model;
  bool converged = false;
  if (loss.kind != LossKind::kL1) {
    Problem problem(law, box, points, weights, loss);
    converged = SolveSmooth(problem, theta, model);
    objective = model.value;
    return converged;
  }
  double best = std::numeric_limits<double>::infinity();
  Vector best_theta = theta;
  Problem problem(law, box, points, weights, {LossKind::kHuber, 1e-2, loss.residual, loss.over});
  for (double delta = 1e-2; delta > 5e-12; delta *= 0.1) {
    problem.set_delta(delta);
    converged = SolveSmooth(problem, theta, model);
    const double value = FitObjective(
        law, points, weights, loss, std::vector<double>(theta.data(), theta.data() + theta.size()));
    if (value < best) best = value, best_theta = theta;
  }
  theta = best_theta;
  objective = best;
  return converged && std::isfinite(best);
}

bool SameObjective(double value, double best) { return value - best <= 1e-9 * best + 1e-25; }

// The ends that are neither at `theta` nor at one another's place, lowest first.
std::vector<LocalOptimum> Elsewhere(std::vector<LocalOptimum> ends,
                                    const std::vector<double>& theta) {
  constexpr double kSamePlace = 1e-3;
  const auto same = [&](const std::vector<double>& a, const std::vector<double>& b) {
    for (size_t i = 0; i < a.size(); ++i)
      if (std::fabs(a[i] - b[i]) > kSamePlace * (1 + std::fabs(b[i]))) return false;
    return true;
  };
  std::stable_sort(ends.begin(), ends.end(), [](const LocalOptimum& a, const LocalOptimum& b) {
    return a.objective < b.objective;
  });
  std::vector<LocalOptimum> places;
  for (const LocalOptimum& end : ends) {
    if (same(end.theta, theta)) continue;
    const auto known = std::find_if(places.begin(), places.end(), [&](const LocalOptimum& other) {
      return same(end.theta, other.theta);
    });
    if (known == places.end()) {
      places.push_back(end);
    } else {
      ++known->starts;
    }
  }
  return places;
}

std::vector<LocalOptimum> OtherOptima(std::vector<LocalOptimum> ends, const EquationFit& best) {
  constexpr double kNearlyAsGood = 0.01;
  std::erase_if(ends, [&](const LocalOptimum& end) {
    return end.starts == 0 || SameObjective(end.objective, best.objective) ||
           end.objective > (1 + kNearlyAsGood) * best.objective;
  });
  return Elsewhere(std::move(ends), best.theta);
}

std::vector<LocalOptimum> EqualOptima(std::vector<LocalOptimum> ends, const EquationFit& best) {
  std::erase_if(
      ends, [&](const LocalOptimum& end) { return !SameObjective(end.objective, best.objective); });
  return Elsewhere(std::move(ends), best.theta);
}

// Condition number of J'J with J = d(ln Lhat)/d(coordinate); a positive "E" counts as lnE so that
// the number compares with the published one.
double Condition(const Equation& law, const std::vector<FitPoint>& points,
                 const std::vector<double>& weights, const std::vector<double>& theta) {
  const auto k = static_cast<Eigen::Index>(theta.size());
  Eigen::MatrixXd jacobian = Eigen::MatrixXd::Zero(static_cast<Eigen::Index>(points.size()), k);
  double g[kMaxCoordinates], h[kMaxCoordinates * kMaxCoordinates];
  for (size_t p = 0; p < points.size(); ++p) {
    if (weights[p] == 0) continue;
    const double loss = law.Derivatives(theta.data(), points[p].x, g, h);
    for (Eigen::Index j = 0; j < k; ++j) {
      const double unit = law.coordinates()[j].name == "E" ? theta[j] : 1;
      jacobian(static_cast<Eigen::Index>(p), j) = std::sqrt(weights[p]) * g[j] / loss * unit;
    }
  }
  if (!jacobian.allFinite()) return std::numeric_limits<double>::infinity();
  const Eigen::VectorXd s = Eigen::JacobiSVD<Eigen::MatrixXd>(jacobian).singularValues();
  if (s(s.size() - 1) <= 0) return std::numeric_limits<double>::infinity();
  return std::pow(s(0) / s(s.size() - 1), 2);
}

}  // namespace

double FitObjective(const Equation& law, const std::vector<FitPoint>& points,
                    const std::vector<double>& weights, const LossSpec& loss,
                    const std::vector<double>& theta) {
  double sum = 0;
  for (size_t p = 0; p < points.size(); ++p) {
    if (weights[p] == 0) continue;
    const double predicted = law.Value(theta.data(), points[p].x);
    sum += weights[p] * Rho(loss, loss.residual == ResidualKind::kLog
                                      ? std::log(predicted) - points[p].log_y
                                      : predicted - points[p].y);
  }
  return sum;
}

EquationFit FitEquation(const Equation& law, const std::vector<FitPoint>& points,
                        const std::vector<double>& weights, const LossSpec& loss,
                        const std::vector<std::vector<double>>& starts,
                        const std::vector<Coordinate>* given_box) {
  const std::vector<Coordinate>& box = given_box == nullptr ? law.coordinates() : *given_box;
  SWEEP_CHECK(!points.empty() && points.size() == weights.size());
  EquationFit fit;
  fit.starts = static_cast<int>(starts.size());
  fit.objective = std::numeric_limits<double>::infinity();
  std::vector<LocalOptimum> ends;
  for (const std::vector<double>& start : starts) {
    Vector theta = Eigen::Map<const Vector>(start.data(), static_cast<Eigen::Index>(start.size()));
    for (size_t i = 0; i < box.size(); ++i)
      theta[static_cast<Eigen::Index>(i)] = std::clamp(start[i], box[i].lower, box[i].upper);
    double objective = std::numeric_limits<double>::infinity();
    const bool converged = Solve(law, box, points, weights, loss, theta, objective);
    if (!std::isfinite(objective)) continue;
    ends.push_back({{theta.data(), theta.data() + theta.size()}, objective, converged ? 1 : 0});
    if (fit.theta.empty() || objective < fit.objective) {
      fit.objective = objective;
      fit.theta.assign(theta.data(), theta.data() + theta.size());
      fit.converged = converged;
    }
  }
  if (fit.theta.empty()) return fit;
  for (const LocalOptimum& end : ends)
    if (SameObjective(end.objective, fit.objective)) ++fit.starts_at_best;
  fit.others = OtherOptima(ends, fit);
  fit.equals = EqualOptima(ends, fit);
  for (size_t i = 0; i < fit.theta.size(); ++i) {
    const Coordinate& c = box[i];
    if (c.lower == c.upper) continue;  // pinned, not found on a bound
    if (fit.theta[i] <= c.lower || fit.theta[i] >= c.upper) fit.at_bound.push_back(i);
  }
  fit.condition = Condition(law, points, weights, fit.theta);
  fit.residuals.reserve(points.size());
  for (const FitPoint& p : points) {
    const double value = law.Value(fit.theta.data(), p.x);
    fit.residuals.push_back(loss.residual == ResidualKind::kLog ? std::log(value) - p.log_y
                                                                : value - p.y);
  }
  return fit;
}

std::vector<double> Refit(const Equation& law, const std::vector<FitPoint>& points,
                          const std::vector<double>& weights, const LossSpec& loss,
                          const std::vector<std::vector<double>>& starts,
                          const std::vector<Coordinate>* given_box) {
  const std::vector<Coordinate>& box = given_box == nullptr ? law.coordinates() : *given_box;
  std::vector<double> best;
  double lowest = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& start : starts) {
    Vector theta(static_cast<Eigen::Index>(start.size()));
    for (size_t i = 0; i < box.size(); ++i)
      theta[static_cast<Eigen::Index>(i)] = std::clamp(start[i], box[i].lower, box[i].upper);
    double objective = std::numeric_limits<double>::infinity();
    Solve(law, box, points, weights, loss, theta, objective);
    if (!(objective < lowest)) continue;
    lowest = objective;
    best.assign(theta.data(), theta.data() + theta.size());
  }
  return best;
}

EquationFit FitGlobally(const Equation& law, const std::vector<FitPoint>& points,
                        const std::vector<double>& weights, const LossSpec& loss,
                        const std::vector<std::vector<double>>& starts,
                        const std::vector<Coordinate>* given_box) {
  constexpr int kMostRounds = 12, kRestarts = 24;
  const std::vector<Coordinate>& box = given_box == nullptr ? law.coordinates() : *given_box;
  EquationFit best = FitEquation(law, points, weights, loss, starts, given_box);
  if (best.theta.empty()) return best;
  for (int round = 0; round < kMostRounds; ++round) {
    core::Rng rng(0, static_cast<uint64_t>(round));
    std::vector<std::vector<double>> near;
    for (int i = 0; i < kRestarts; ++i) {
      // From a fiftieth of a natural unit up to all of it.
      const double scale = 0.02 * std::pow(50, i / (kRestarts - 1.0));
      std::vector<double> theta = best.theta;
      for (size_t k = 0; k < theta.size(); ++k) {
        // Exponents live on a scale of their own size; logarithms and E on that of 1.
        const bool exponent = box[k].lower == 0 && box[k].upper <= 10;
        theta[k] += scale * rng.Normal() * (exponent ? std::max(std::fabs(theta[k]), 0.05) : 1);
      }
      near.push_back(std::move(theta));
    }
    EquationFit found = FitEquation(law, points, weights, loss, near, given_box);
    const bool better = !found.theta.empty() && found.objective < best.objective &&
                        !SameObjective(best.objective, found.objective);
    const int all = best.starts + found.starts;
    if (better) {
      // The old optimum becomes one of the others where it is nearly as good.
      std::vector<LocalOptimum> ends = best.others;
      ends.push_back({best.theta, best.objective, std::max(best.starts_at_best, 1)});
      ends.insert(ends.end(), found.others.begin(), found.others.end());
      found.others = OtherOptima(ends, found);
      best = std::move(found);
    } else if (SameObjective(found.objective, best.objective)) {
      best.starts_at_best += found.starts_at_best;
      std::vector<LocalOptimum> ends = best.equals;
      ends.push_back({found.theta, found.objective, 1});
      ends.insert(ends.end(), found.equals.begin(), found.equals.end());
      best.equals = EqualOptima(std::move(ends), best);
    }
    best.starts = all;
    if (!better) break;
  }
  return best;
}

}  // namespace fit
