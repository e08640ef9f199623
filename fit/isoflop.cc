#include "fit/isoflop.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "core/check.h"
#include "core/units.h"
#include "fmt/format.h"

namespace fit {
namespace {

double X(const IsoflopPoint& point, IsoflopAxis axis) {
  return axis == IsoflopAxis::kParams ? point.log_params : point.log_tokens;
}
double Other(const IsoflopPoint& point, IsoflopAxis axis) {
  return axis == IsoflopAxis::kParams ? point.log_tokens : point.log_params;
}

// The other coordinate at x, piecewise linear through the runs of the budget.
double OtherAt(const IsoflopGroup& group, IsoflopAxis axis, double x) {
  std::vector<std::pair<double, double>> curve;
  for (const IsoflopPoint& p : group.points) curve.emplace_back(X(p, axis), Other(p, axis));
  std::sort(curve.begin(), curve.end());
  size_t right = 1;
  while (right + 1 < curve.size() && curve[right].first < x) ++right;
  // Points of equal size would divide by zero.
  size_t left = right - 1;
  while (left > 0 && curve[left].first == curve[right].first) --left;
  while (right + 1 < curve.size() && curve[left].first == curve[right].first) ++right;
  const double width = curve[right].first - curve[left].first;
  if (width == 0) return curve[left].second;
  return curve[left].second +
         (curve[right].second - curve[left].second) * (x - curve[left].first) / width;
}

std::vector<bool> Window(const IsoflopGroup& group, const IsoflopOptions& options,
                         const std::vector<double>& weights) {
  const size_t n = group.points.size();
  std::vector<bool> in(n, false);
  std::vector<double> sizes;
  for (size_t i = 0; i < n; ++i)
    if (weights[i] > 0) sizes.push_back(X(group.points[i], options.axis));
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  double low = sizes.empty() ? 0 : sizes.front(), high = sizes.empty() ? 0 : sizes.back();
  if (options.window > 0 && !sizes.empty()) {
    // Several runs of one size count by their mean loss.
    std::map<double, std::pair<double, double>> mean;
    for (size_t i = 0; i < n; ++i) {
      auto& [sum, weight] = mean[X(group.points[i], options.axis)];
      sum += weights[i] * group.points[i].loss;
      weight += weights[i];
    }
    size_t lowest = 0;
    for (size_t i = 1; i < sizes.size(); ++i)
      if (mean[sizes[i]].first / mean[sizes[i]].second <
          mean[sizes[lowest]].first / mean[sizes[lowest]].second)
        lowest = i;
    const auto reach = static_cast<size_t>(options.window);
    low = sizes[lowest - std::min(lowest, reach)];
    high = sizes[std::min(lowest + reach, sizes.size() - 1)];
  }
  for (size_t i = 0; i < n; ++i) {
    const double x = X(group.points[i], options.axis);
    in[i] = weights[i] > 0 && x >= low && x <= high;
  }
  return in;
}

}  // namespace

std::string_view Text(BudgetGrouping grouping) {
  switch (grouping) {
    case BudgetGrouping::kNominal:
      return "nominal budgets";
    case BudgetGrouping::kEqualFlops:
      return "equal flops";
    case BudgetGrouping::kBuckets:
      break;
  }
  return "buckets 1.1^k of realised flops";
}

std::string_view Text(MinimumStatus status) {
  switch (status) {
    case MinimumStatus::kInterior:
      return "interior";
    case MinimumStatus::kEdge:
      return "edge";
    case MinimumStatus::kWrongCurvature:
      return "wrong-curvature";
    case MinimumStatus::kTooFewPoints:
      break;
  }
  return "too-few-points";
}

double LowestLoss(const std::vector<Observation>& observations) {
  double lowest = HUGE_VAL;
  const auto reached = [](std::vector<double> losses) {
    std::sort(losses.begin(), losses.end());
    return losses[losses.size() < 3 ? 0 : 1];
  };
  std::vector<double> all;
  for (const Observation& o : observations) all.push_back(o.loss);
  for (const IsoflopGroup& group : GroupByBudget(observations).groups) {
    std::vector<double> losses;
    for (const size_t member : group.members) losses.push_back(observations[member].loss);
    lowest = std::min(lowest, reached(std::move(losses)));
  }
  return std::max(lowest, reached(std::move(all)));
}

IsoflopGroups GroupByBudget(const std::vector<Observation>& observations) {
  IsoflopGroups result;
  std::map<double, std::vector<size_t>> by_key;
  const bool nominal = std::all_of(observations.begin(), observations.end(),
                                   [](const Observation& o) { return o.budget_flops > 0; });
  if (nominal) {
    for (size_t i = 0; i < observations.size(); ++i)
      by_key[observations[i].budget_flops].push_back(i);
  } else {
    result.grouping = BudgetGrouping::kEqualFlops;
    for (size_t i = 0; i < observations.size(); ++i) by_key[observations[i].flops].push_back(i);
    // Nominal values repeat at nearly every model; realised ones nearly never do but for the seeds
    // of one.
    std::set<std::tuple<double, double, double>> models;
    for (const Observation& o : observations) models.emplace(o.flops, o.params, o.tokens);
    if (2 * by_key.size() > models.size()) {
      result.grouping = BudgetGrouping::kBuckets;
      by_key.clear();
      for (size_t i = 0; i < observations.size(); ++i)
        by_key[std::round(std::log(observations[i].flops) / std::log(1.1))].push_back(i);
    }
  }
  for (const auto& [key, members] : by_key) {
    IsoflopGroup group;
    double log_flops = 0;
    for (const size_t i : members) {
      const Observation& o = observations[i];
      group.points.push_back({std::log(o.params), std::log(o.tokens), o.loss, o.params_log_se});
      log_flops += std::log(o.flops);
    }
    group.members = members;
    group.budget_flops = result.grouping == BudgetGrouping::kBuckets
                             ? std::exp(log_flops / static_cast<double>(members.size()))
                             : key;
    result.groups.push_back(std::move(group));
  }
  return result;
}

IsoflopMinimum FitMinimum(const IsoflopGroup& group, const IsoflopOptions& options,
                          const std::vector<double>& given_weights) {
  const size_t n = group.points.size();
  const std::vector<double> ones(given_weights.empty() ? n : 0, 1.0);
  const std::vector<double>& weights = given_weights.empty() ? ones : given_weights;
  SWEEP_CHECK(weights.size() == n);

  IsoflopMinimum minimum;
  minimum.budget_flops = group.budget_flops;
  minimum.in_window = Window(group, options, weights);
  minimum.fitted.assign(n, 0);
  minimum.residuals.assign(n, 0);
  std::vector<double> x, y, w;
  for (size_t i = 0; i < n; ++i) {
    if (!minimum.in_window[i]) continue;
    x.push_back(X(group.points[i], options.axis));
    y.push_back(group.points[i].loss);
    w.push_back(weights[i]);
  }
  minimum.points = static_cast<int>(x.size());
  // Sizes within a tenth of a percent are one size: a curve through them would follow noise.
  constexpr double kSameSize = 1e-3;
  std::vector<double> distinct;
  std::vector<double> sorted = x;
  std::sort(sorted.begin(), sorted.end());
  for (const double size : sorted)
    if (distinct.empty() || size - distinct.back() > kSameSize) distinct.push_back(size);
  const std::string budget = core::FormatFlops(group.budget_flops);
  if (distinct.size() < FewestSizes(options.curve)) {
    minimum.reason = fmt::format("budget {}: {} different sizes, {} needs {}", budget,
                                 distinct.size(), Text(options.curve), FewestSizes(options.curve));
    return minimum;
  }
  const SizeCurve curve = FitSizeCurve(options.curve, x, y, w);
  minimum.coefficients = curve.coefficients;
  for (size_t i = 0, k = 0; i < n; ++i) {
    if (!minimum.in_window[i]) continue;
    minimum.fitted[i] = curve.fitted[k];
    minimum.residuals[i] = curve.residuals[k++];
  }
  minimum.curvature = curve.curvature;
  if (curve.shape == CurveShape::kHill) {
    minimum.status = MinimumStatus::kWrongCurvature;
    minimum.reason = fmt::format("budget {}: curvature {:.3g} is not positive, {} has no minimum",
                                 budget, minimum.curvature, Text(options.curve));
    return minimum;
  }
  double low = X(group.points[0], options.axis), high = low;
  for (const IsoflopPoint& p : group.points) {
    low = std::min(low, X(p, options.axis));
    high = std::max(high, X(p, options.axis));
  }
  const bool by_params = options.axis == IsoflopAxis::kParams;
  const double vertex = curve.x;
  if (curve.shape != CurveShape::kValley || !(vertex >= low && vertex <= high)) {
    minimum.status = MinimumStatus::kEdge;
    const bool below =
        curve.shape == CurveShape::kValley ? vertex < low : curve.shape == CurveShape::kRising;
    minimum.reason = fmt::format(
        "budget {}: {}, outside the sampled {:.3g} .. {:.3g}; add {} models", budget,
        curve.shape == CurveShape::kValley
            ? fmt::format("vertex at {} = {:.3g}", by_params ? "N" : "D", std::exp(vertex))
            : fmt::format("{} is lowest at its {} end", Text(options.curve),
                          below ? "lower" : "upper"),
        std::exp(low), std::exp(high), below == by_params ? "smaller" : "larger");
    return minimum;
  }
  minimum.status = MinimumStatus::kInterior;
  minimum.loss = curve.y;
  const double half_width =
      std::sqrt(options.flat_tolerance * std::fabs(minimum.loss) / minimum.curvature);
  const double other = OtherAt(group, options.axis, vertex);
  const double from = std::max(low, vertex - half_width), to = std::min(high, vertex + half_width);
  const double other_from = OtherAt(group, options.axis, from);
  const double other_to = OtherAt(group, options.axis, to);
  minimum.params = std::exp(by_params ? vertex : other);
  minimum.tokens = std::exp(by_params ? other : vertex);
  minimum.flat_params_lo = std::exp(by_params ? from : std::min(other_from, other_to));
  minimum.flat_params_hi = std::exp(by_params ? to : std::max(other_from, other_to));
  minimum.flat_tokens_lo = std::exp(by_params ? std::min(other_from, other_to) : from);
  minimum.flat_tokens_hi = std::exp(by_params ? std::max(other_from, other_to) : to);
  return minimum;
}

}  // namespace fit
