#include "fit/curve.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "fit/jet.h"
#include "fit/linear_starts.h"
#include "fit/vector_math.h"

namespace fit {
namespace {

std::pair<double, double> InputRange(const std::vector<FitPoint>& points,
                                     const std::vector<double>& weights) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (size_t i = 0; i < points.size(); ++i)
    if (weights[i] > 0) low = std::min(low, points[i].x[0]), high = std::max(high, points[i].x[0]);
  return {low, high};
}

std::vector<double> Measured(const std::vector<FitPoint>& points) {
  std::vector<double> y;
  for (const FitPoint& p : points) y.push_back(p.y);
  return y;
}

// A curve between two levels: places of the middle from a little before the data to well beyond
// them, steepnesses from one rise over the data to many.
std::vector<StartCell> LevelCells(const std::vector<FitPoint>& points,
                                  const std::vector<double>& weights,
                                  const std::function<StartCell(double x0, double k)>& cell) {
  const auto [low, high] = InputRange(points, weights);
  const double width = std::max(high - low, 1e-6);
  std::vector<StartCell> cells;
  for (int place = -16; place <= 20; ++place)
    for (const double k : GeometricGrid(0.5 / width, 60 / width, 12))
      cells.push_back(cell(low + width * place / 12, k));
  return cells;
}

// Shares of the way from the level at small x to the one at large x: rising from 0 to 1 with z.
struct Logistic {
  static constexpr std::string_view kName = "sigmoid";
  static constexpr std::string_view kEquation = "y = a / (1 + exp(-k (x - x0))) + b";
  // 1 / (1 + e^-z) = e^-softplus(-z): no overflow on either side.
  template <typename T>
  static T At(const T& z) {
    return Exp(-Softplus(-z));
  }
};
struct EarlyGompertz {
  static constexpr std::string_view kName = "gompertz";
  static constexpr std::string_view kEquation = "y = a exp(-exp(-k (x - x0))) + b";
  template <typename T>
  static T At(const T& z) {
    constexpr double kNothing = -6;  // e^-e^6 < 1e-175
    return ValueOf(z) < kNothing ? T(0.0) : Exp(-Exp(-z));
  }
};
struct LateGompertz {
  static constexpr std::string_view kName = "reversed gompertz";
  static constexpr std::string_view kEquation = "y = a (1 - exp(-exp(k (x - x0)))) + b";
  template <typename T>
  static T At(const T& z) {
    constexpr double kAll = 6;
    return ValueOf(z) > kAll ? T(1.0) : 1.0 - Exp(-Exp(z));
  }
};

// Between the levels b (small x) and floor (large x).
template <typename Share>
class LevelCurve final : public FromTemplate<LevelCurve<Share>, 4, Equation> {
 public:
  enum { kFloor, kX0, kLnK, kB };
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    const T z = Exp(theta[kLnK]) * (x[0] - theta[kX0]);
    return theta[kB] + (theta[kFloor] - theta[kB]) * Share::At(z);
  }

  std::string_view name() const override { return Share::kName; }
  std::string_view equation() const override { return Share::kEquation; }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"floor", 0, 1, ""},
                                    {"x0", -1e3, 1e3, "parameter-at-bound"},
                                    {"lnk", std::log(1e-3), std::log(1e3), "parameter-at-bound"},
                                    {"b", 0, 1, ""}};
    return *list;
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    const std::vector<double> y = Measured(points);
    std::vector<std::vector<double>> columns(2, std::vector<double>(points.size()));
    auto cells = LevelCells(points, weights, [&](double x0, double k) {
      for (size_t i = 0; i < points.size(); ++i) {
        columns[0][i] = Share::At(k * (points[i].x[0] - x0));
        columns[1][i] = 1 - columns[0][i];
      }
      const NonNegativeFit fit = NonNegativeLeastSquares(columns, y, weights);
      return StartCell{fit.rss, {fit.coefficients[0], x0, std::log(k), fit.coefficients[1]}};
    });
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"a", theta[kFloor] - theta[kB]},
            {"x0", theta[kX0]},
            {"k", std::exp(theta[kLnK])},
            {"b", theta[kB]},
            {"floor", theta[kFloor]}};
  }
};

class LogSigmoid final : public FromTemplate<LogSigmoid, 4, Equation> {
 public:
  enum { kFloor, kX0, kLnK, kA };
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    const T y = 1.0 + theta[kA] * Softplus(Exp(theta[kLnK]) * (x[0] - theta[kX0]));
    return ValueOf(y) < ValueOf(theta[kFloor]) ? theta[kFloor] : y;
  }

  // z = k (x - x0), y = 1 + a softplus(z), s = softplus'(z).
  void DerivativesMany(const double* theta, const InputColumns& points,
                       DerivativeColumns* out) const override {
    const size_t n = points.size;
    const double floor = theta[kFloor], x0 = theta[kX0], k = std::exp(theta[kLnK]), a = theta[kA];
    out->value.resize(n);
    out->gradient.resize(4);
    out->hessian.resize(10);
    for (std::vector<double>& column : out->gradient) column.resize(n);
    // Rows of the triangle: floor; x0; ln k; a. Nothing bends in the floor, nor in a alone.
    for (const size_t t : {0, 1, 3, 6, 9}) out->hessian[t].clear();
    for (const size_t t : {2, 4, 5, 7, 8}) out->hessian[t].resize(n);
    std::vector<double> small(n), log(n);
    for (size_t p = 0; p < n; ++p) small[p] = -std::fabs(k * (points.x[0][p] - x0));
    ExpMany(small.data(), small.data(), n);
    for (size_t p = 0; p < n; ++p) log[p] = 1 + small[p];
    LogMany(log.data(), log.data(), n);
    for (size_t p = 0; p < n; ++p) {
      const double z = k * (points.x[0][p] - x0);
      const double plus = std::max(z, 0.0) + log[p], y = 1 + a * plus;
      const double on = y < floor ? 0 : 1;
      const double s = (z > 0 ? 1 : small[p]) / (1 + small[p]) * on, bend = s * (1 - s);
      out->value[p] = on > 0 ? y : floor;
      out->gradient[kFloor][p] = 1 - on;
      out->gradient[kX0][p] = -a * s * k;
      out->gradient[kLnK][p] = a * s * z;
      out->gradient[kA][p] = plus * on;
      out->hessian[2][p] = a * bend * k * k;
      out->hessian[4][p] = -a * k * (bend * z + s);
      out->hessian[5][p] = a * z * (bend * z + s);
      out->hessian[7][p] = -s * k;
      out->hessian[8][p] = s * z;
    }
  }

  std::string_view name() const override { return "log-sigmoid"; }
  std::string_view equation() const override {
    return "y = max(floor, 1 - a ln(1 - 1/(1 + exp(-k (x - x0)))))";
  }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"floor", 0, 0, ""},
                                    {"x0", -1e3, 1e3, "parameter-at-bound"},
                                    {"lnk", std::log(1e-3), std::log(1e3), "parameter-at-bound"},
                                    {"a", -100, 0, "parameter-at-bound"}};
    return *list;
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    std::vector<double> lost;
    for (const FitPoint& p : points) lost.push_back(1 - p.y);
    std::vector<std::vector<double>> columns(1, std::vector<double>(points.size()));
    auto cells = LevelCells(points, weights, [&](double x0, double k) {
      for (size_t i = 0; i < points.size(); ++i)
        columns[0][i] = Softplus(k * (points[i].x[0] - x0));
      const NonNegativeFit fit = NonNegativeLeastSquares(columns, lost, weights);
      return StartCell{fit.rss, {0, x0, std::log(k), -fit.coefficients[0]}};
    });
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"a", theta[kA]},
            {"x0", theta[kX0]},
            {"k", std::exp(theta[kLnK])},
            {"floor", theta[kFloor]}};
  }
};

class Compute final : public FromTemplate<Compute, 3, Equation> {
 public:
  enum { kE, kLnA, kP };
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    return theta[kE] + Exp(theta[kLnA] - theta[kP] * x[0]);
  }

  std::string_view name() const override { return "compute"; }
  std::string_view equation() const override { return "y = E + A C^-p"; }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list = new std::vector<Coordinate>{{"E", 0, 1e9, "asymptote-at-bound"},
                                                                {"lnA", -50, 300, ""},
                                                                {"p", 0, 3, "parameter-at-bound"}};
    return *list;
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    const double x0 = InputMean(points, weights, 0);
    const std::vector<double> y = Measured(points);
    std::vector<double> relative;
    for (size_t i = 0; i < points.size(); ++i) relative.push_back(weights[i] / (y[i] * y[i]));
    std::vector<std::vector<double>> columns(2, std::vector<double>(points.size(), 1));
    std::vector<StartCell> cells;
    for (const double p : GeometricGrid(0.003, 1.5, 64)) {
      for (size_t i = 0; i < points.size(); ++i)
        columns[1][i] = std::exp(-p * (points[i].x[0] - x0));
      const NonNegativeFit fit = NonNegativeLeastSquares(columns, y, relative);
      const double log_a = std::log(std::max(fit.coefficients[1], 1e-9)) + p * x0;
      cells.push_back({fit.rss, {fit.coefficients[0], log_a, p}});
    }
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"E", theta[kE]}, {"A", std::exp(theta[kLnA])}, {"p", theta[kP]}};
  }
};

class ExponentialError final : public FromTemplate<ExponentialError, 3, Equation> {
 public:
  enum { kFloor, kLnK, kGamma };
  template <typename T>
  static T At(const T* theta, const Inputs& x) {
    return theta[kFloor] - Exp(theta[kLnK] - theta[kGamma] * x[0]);
  }

  std::string_view name() const override { return "exponential-error"; }
  std::string_view equation() const override { return "y = floor - k exp(-gamma x)"; }
  const std::vector<Coordinate>& coordinates() const override {
    static const auto* const list =
        new std::vector<Coordinate>{{"floor", 0, 1, "parameter-at-bound"},
                                    {"lnk", -100, 100, ""},
                                    {"gamma", 1e-6, 20, "parameter-at-bound"}};
    return *list;
  }

  std::vector<std::vector<double>> Starts(const std::vector<FitPoint>& points,
                                          const std::vector<double>& weights,
                                          int count) const override {
    const double x0 = InputMean(points, weights, 0);
    const std::vector<double> y = Measured(points);
    const double ceiling = 1;
    std::vector<double> below;  // 1 - y: positive coefficients again
    for (const double v : y) below.push_back(ceiling - v);
    std::vector<StartCell> cells;
    for (const double gamma : GeometricGrid(0.02, 15, 60)) {
      std::vector<std::vector<double>> columns(2, std::vector<double>(points.size(), 1));
      for (size_t i = 0; i < points.size(); ++i)
        columns[1][i] = std::exp(-gamma * (points[i].x[0] - x0));
      const NonNegativeFit fit = NonNegativeLeastSquares(columns, below, weights);
      cells.push_back({fit.rss,
                       {ceiling - fit.coefficients[0],
                        std::log(std::max(fit.coefficients[1], 1e-9)) + gamma * x0, gamma}});
    }
    return ChooseStarts(std::move(cells), count, coordinates());
  }

  NamedValues Report(const std::vector<double>& theta) const override {
    return {{"floor", theta[kFloor]}, {"k", std::exp(theta[kLnK])}, {"gamma", theta[kGamma]}};
  }
};

}  // namespace

const Equation& SigmoidCurve() {
  static const auto* const curve = new LevelCurve<Logistic>;
  return *curve;
}
const Equation& GompertzCurve() {
  static const auto* const curve = new LevelCurve<EarlyGompertz>;
  return *curve;
}
const Equation& ReversedGompertzCurve() {
  static const auto* const curve = new LevelCurve<LateGompertz>;
  return *curve;
}
const Equation& LogSigmoidCurve() {
  static const auto* const curve = new LogSigmoid;
  return *curve;
}
const Equation& ComputeCurve() {
  static const auto* const curve = new Compute;
  return *curve;
}
const Equation& ExponentialErrorCurve() {
  static const auto* const curve = new ExponentialError;
  return *curve;
}

}  // namespace fit
