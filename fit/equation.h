// An equation y = f(x; theta) that can be fitted: the seam between laws and the solver. A law is
// one file with its equation, derivatives, box, starting points and the meaning of each parameter;
// the solver, its referee and the bootstrap know only this interface.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fit {

// Inputs of an equation. A surface's are ln N, ln D and ln U (surface_law.h), a curve's is x[0].
using Inputs = std::array<double, 3>;

// What was measured. log_y is ln y, and NaN where y <= 0, which only linear residuals allow.
struct FitPoint {
  Inputs x{};
  double y = 0, log_y = 0;
};

// The coordinates an equation is solved in (lnA rather than A) with their box. A bound with a
// `bound_warning` is one a user must hear about when the optimum sits on it.
struct Coordinate {
  std::string name;
  double lower = 0, upper = 0;
  std::string bound_warning;
};

// Published parameters in the paper's letters, in a fixed order.
using NamedValues = std::vector<std::pair<std::string, double>>;

// Inputs of many points, one array an input.
struct InputColumns {
  std::array<std::vector<double>, 3> x;
  size_t size = 0;
};

// Values and derivatives at many points: gradient[i] and hessian[t] hold one number a point, t the
// place of (i, j <= i) in the lower triangle, row by row. An empty hessian[t] is zero everywhere.
struct DerivativeColumns {
  std::vector<double> value;
  std::vector<std::vector<double>> gradient, hessian;
};

class Equation {
 public:
  virtual ~Equation() = default;

  virtual std::string_view name() const = 0;
  virtual std::string_view equation() const = 0;
  virtual const std::vector<Coordinate>& coordinates() const = 0;

  // f(x; theta). `theta` has coordinates().size() entries inside the box.
  virtual double Value(const double* theta, const Inputs& x) const = 0;
  // The same with df/dtheta (k) and d2f/dtheta2 (k*k, row-major), both overwritten.
  virtual double Derivatives(const double* theta, const Inputs& x, double* gradient,
                             double* hessian) const = 0;

  // Derivatives at every point. `out` is overwritten and may be reused; an equation may do this
  // faster than one point at a time, to the same last few bits.
  virtual void DerivativesMany(const double* theta, const InputColumns& points,
                               DerivativeColumns* out) const;

  // About `count` starting points spread over the plausible region, best guess first. A pure
  // function of the data. `weights`: multiplicity of each point, 0 leaves it out.
  virtual std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                                  const std::vector<double>& weights,
                                                  int count) const = 0;

  virtual NamedValues Report(const std::vector<double>& theta) const = 0;
};

}  // namespace fit
