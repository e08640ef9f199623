// A loss surface L(N, D; theta): an equation that forecasts the compute-optimal model. Inputs are
// x = (ln N, ln D, ln U): parameters, training tokens, and unique tokens where data are repeated
// (U = D otherwise; only laws about repetition look at it).
#pragma once

#include <vector>

#include "fit/equation.h"
#include "fit/flops_relation.h"
#include "fit/observation.h"

namespace fit {

// One point a run. REQUIRES: valid observations (fit::Validate).
std::vector<FitPoint> SurfacePoints(const std::vector<Observation>& observations);

// The compute-optimal model at a budget.
struct Optimum {
  double params = 0, tokens = 0, loss = 0;
  bool found = false;  // false: the searched range of N holds no valley
};

class SurfaceLaw : public Equation {
 public:
  // L(N, D) with every token seen once.
  double Loss(const double* theta, double log_params, double log_tokens) const {
    return Value(theta, {log_params, log_tokens, log_tokens});
  }

  // The limit of L for N and D to infinity, E. 0 for a law that has none.
  virtual double Asymptote(const std::vector<double>& theta) const = 0;
  // Index of the coordinate that is the asymptote itself, -1 where there is none to pin or profile.
  virtual int asymptote_coordinate() const { return -1; }

  // Whether it is a curve in C instead: its input is x[0] = ln C, its points are the lower envelope
  // of the runs (envelope.h), and it says nothing about N and D.
  virtual bool in_compute() const { return false; }

  // Whether L depends on U. Other laws must not be fitted to repeated data.
  virtual bool knows_repetition() const { return false; }

  // The deepest valley over (N, D) with k N D = flops; by search (golden section over ln N in
  // [0, 41.5], 1 to 1e18 parameters) unless a law has a closed form.
  virtual Optimum ComputeOptimal(const std::vector<double>& theta, double flops,
                                 double flops_per_param_token) const;
  // For any relation of N, D and C: closed form where there is one, else the same search.
  Optimum ComputeOptimalUnder(const std::vector<double>& theta, double flops,
                              const FlopsRelation& relation) const;
  // The same with at most `unique_tokens` different tokens: beyond them, data are repeated.
  Optimum ComputeOptimalLimited(const std::vector<double>& theta, double flops,
                                const FlopsRelation& relation, double unique_tokens) const;
};

}  // namespace fit
