// A loss surface L(N, D; theta): the seam every such law plugs into. A law is one file with its
// equation, derivatives, bounds, starting points and the meaning of each parameter; the solver,
// bootstrap, backtest and forecast know only this interface.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fit {

// A run as the solver sees it, with the logarithms taken once.
struct SurfacePoint {
  double log_params = 0, log_tokens = 0, loss = 0, log_loss = 0;
};

// The coordinates a law is solved in (lnA rather than A) with their box. A bound with a
// `bound_warning` is one a user must hear about when the optimum sits on it.
struct Coordinate {
  std::string name;
  double lower = 0, upper = 0;
  std::string bound_warning;
};

// Published parameters in the paper's letters, in a fixed order.
using NamedValues = std::vector<std::pair<std::string, double>>;

// Training FLOPs as a function of params and tokens; increasing in both.
using FlopsRelation = std::function<double(double params, double tokens)>;

// C = k N D, k = 6 by default.
FlopsRelation ProportionalFlops(double flops_per_param_token);

// The compute-optimal model at a budget.
struct Optimum {
  double params = 0, tokens = 0, loss = 0;
  bool found = false;  // false: the loss falls to the edge of the searched range of N
};

class SurfaceLaw {
 public:
  virtual ~SurfaceLaw() = default;

  virtual std::string_view name() const = 0;
  virtual std::string_view equation() const = 0;
  virtual const std::vector<Coordinate>& coordinates() const = 0;

  // L(N, D). `theta` has coordinates().size() entries inside the box.
  virtual double Loss(const double* theta, double log_params, double log_tokens) const = 0;
  // The same with dL/dtheta (k) and d2L/dtheta2 (k*k, row-major), both overwritten.
  virtual double LossDerivatives(const double* theta, double log_params, double log_tokens,
                                 double* gradient, double* hessian) const = 0;

  // About `count` starting points spread over the plausible region, best guess first. A pure
  // function of the data. `weights` as in FitSurface.
  virtual std::vector<std::vector<double>> Starts(const std::vector<SurfacePoint>& points,
                                                  const std::vector<double>& weights,
                                                  int count) const = 0;

  virtual NamedValues Report(const std::vector<double>& theta) const = 0;
  // The limit of L for N and D to infinity; the asymptote E.
  virtual double Asymptote(const std::vector<double>& theta) const = 0;

  // argmin over (N, D) with flops(N, D) = flops. Closed form when C = k N D.
  virtual Optimum ComputeOptimal(const std::vector<double>& theta, double flops,
                                 double flops_per_param_token) const = 0;
  // For any relation: golden section over ln N in [1, 1e18], D by bisection.
  Optimum ComputeOptimalUnder(const std::vector<double>& theta, double flops,
                              const FlopsRelation& relation) const;
};

}  // namespace fit
