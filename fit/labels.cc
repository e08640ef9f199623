#include "fit/labels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "Eigen/Dense"
#include "core/units.h"
#include "fit/csv.h"
#include "fmt/format.h"

namespace fit {
namespace {

constexpr size_t kFewestInGroup = 3;

// What a label may follow from: ln of N, D, C, D / N, D / U.
std::vector<std::vector<double>> Sizes(const std::vector<Observation>& observations) {
  std::vector<std::vector<double>> sizes(5);
  for (const Observation& o : observations) {
    const double unique = o.unique_tokens > 0 ? o.unique_tokens : o.tokens;
    sizes[0].push_back(std::log(o.params));
    sizes[1].push_back(std::log(o.tokens));
    sizes[2].push_back(std::log(o.budget_flops > 0 ? o.budget_flops : o.flops));
    sizes[3].push_back(std::log(o.tokens / o.params));
    sizes[4].push_back(std::log(o.tokens / unique));
  }
  return sizes;
}

// Whether runs sorted by `size` show every group as one piece; sizes within 1 % count as equal, and
// equal ones of different groups are no pieces.
bool AreIntervals(const std::vector<int>& group, const std::vector<double>& size) {
  constexpr double kEqual = 0.01;
  std::map<int, std::pair<double, double>> spans;
  for (size_t i = 0; i < group.size(); ++i) {
    const auto [at, fresh] = spans.emplace(group[i], std::make_pair(size[i], size[i]));
    at->second.first = std::min(at->second.first, size[i]);
    at->second.second = std::max(at->second.second, size[i]);
  }
  std::vector<std::pair<double, double>> sorted;
  for (const auto& [key, span] : spans) sorted.push_back(span);
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i].first <= sorted[i - 1].second + kEqual) return false;
  return true;
}

std::vector<double> Ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    while (end < order.size() && values[order[end]] == values[order[i]]) ++end;
    for (size_t k = i; k < end; ++k) ranks[order[k]] = 0.5 * static_cast<double>(i + end - 1);
    i = end;
  }
  return ranks;
}

double RankCorrelation(const std::vector<double>& a, const std::vector<double>& b) {
  const std::vector<double> x = Ranks(a), y = Ranks(b);
  const double middle = 0.5 * static_cast<double>(x.size() - 1);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - middle) * (y[i] - middle);
    xx += (x[i] - middle) * (x[i] - middle);
    yy += (y[i] - middle) * (y[i] - middle);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

// The surface's terms: 1, n, d, n^2, n d, d^2, and u where data are repeated.
Eigen::MatrixXd Terms(const std::vector<std::vector<double>>& sizes) {
  const auto n = static_cast<Eigen::Index>(sizes[0].size());
  const auto column = [&](const std::vector<double>& values) {
    Eigen::VectorXd x = Eigen::Map<const Eigen::VectorXd>(values.data(), n);
    x.array() -= x.mean();
    const double scale = x.norm() / std::sqrt(static_cast<double>(n));
    return scale > 1e-9 ? Eigen::VectorXd(x / scale) : Eigen::VectorXd::Zero(n).eval();
  };
  const Eigen::VectorXd a = column(sizes[0]), b = column(sizes[1]), u = column(sizes[4]);
  Eigen::MatrixXd terms(n, 7);
  terms << Eigen::VectorXd::Ones(n), a, b, a.cwiseProduct(a), a.cwiseProduct(b), b.cwiseProduct(b),
      u;
  return terms;
}

struct Regression {
  double rss = 0;
  Eigen::Index rank = 0;
  Eigen::VectorXd coefficients;
};

Regression Regress(const Eigen::MatrixXd& x, const Eigen::VectorXd& y) {
  const Eigen::ColPivHouseholderQR<Eigen::MatrixXd> qr(x);
  Regression fit;
  fit.coefficients = qr.solve(y);
  fit.rss = (y - x * fit.coefficients).squaredNorm();
  fit.rank = qr.rank();
  return fit;
}

double AiccOf(const Regression& fit, Eigen::Index rows) {
  const auto n = static_cast<double>(rows);
  const double k = static_cast<double>(fit.rank) + 1;  // and the variance
  return n * std::log(std::max(fit.rss, 1e-20) / n) + 2 * k * n / (n - k - 1);
}

// Root mean square of the groups' offsets if they are real, 0 if not, NaN where nobody can tell.
double OffsetOf(const std::vector<Observation>& observations,
                const std::vector<std::vector<double>>& sizes, const std::vector<int>& group,
                int groups) {
  constexpr double kVisible = 0.003, kNoSupport = 10;
  const auto n = static_cast<Eigen::Index>(observations.size());
  const Eigen::MatrixXd surface = Terms(sizes);
  if (n < surface.cols() + groups + 4) return std::numeric_limits<double>::quiet_NaN();
  Eigen::VectorXd y(n);
  for (Eigen::Index i = 0; i < n; ++i) y(i) = std::log(observations[static_cast<size_t>(i)].loss);
  Eigen::MatrixXd both = Eigen::MatrixXd::Zero(n, surface.cols() + groups - 1);
  both.leftCols(surface.cols()) = surface;
  for (Eigen::Index i = 0; i < n; ++i)
    if (const int g = group[static_cast<size_t>(i)]; g > 0) both(i, surface.cols() + g - 1) = 1;
  const Regression without = Regress(surface, y), with = Regress(both, y);
  Eigen::VectorXd offsets(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const int g = group[static_cast<size_t>(i)];
    offsets(i) = g > 0 ? with.coefficients(surface.cols() + g - 1) : 0;
  }
  offsets.array() -= offsets.mean();
  const double rms = offsets.norm() / std::sqrt(static_cast<double>(n));
  return rms > kVisible && AiccOf(without, n) - AiccOf(with, n) > kNoSupport ? rms : 0;
}

}  // namespace

std::vector<LabelFinding> FindLabels(const std::vector<Observation>& observations) {
  std::vector<LabelFinding> findings;
  if (observations.empty()) return findings;
  const std::vector<std::vector<double>> sizes = Sizes(observations);
  std::map<std::vector<int>, size_t> seen;  // groups -> finding, or npos where they are none
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  for (const auto& [column, unused] : observations.front().labels) {
    std::map<std::string, int> numbers;  // of the groups, in the order of the rows
    std::vector<int> group;
    std::vector<size_t> counts;
    std::vector<double> values;
    for (const Observation& o : observations) {
      const auto at = o.labels.find(column);
      const std::string text = at == o.labels.end() ? "" : at->second;
      const auto [entry, fresh] = numbers.emplace(text, static_cast<int>(numbers.size()));
      if (fresh) counts.push_back(0);
      group.push_back(entry->second);
      ++counts[static_cast<size_t>(entry->second)];
      if (const auto value = core::ParseNumber(text); value.ok()) values.push_back(*value);
    }
    const auto filled = std::count_if(counts.begin(), counts.end(),
                                      [](size_t count) { return count >= kFewestInGroup; });
    if (counts.size() < 2 || filled < 2 || 3 * counts.size() > observations.size()) continue;
    if (const auto at = seen.find(group); at != seen.end()) {
      if (at->second != kNone) findings[at->second].columns.push_back(column);
      continue;
    }
    seen[group] = kNone;
    const bool number = values.size() == observations.size();
    constexpr double kFollows = 0.8;
    if (std::any_of(sizes.begin(), sizes.end(), [&](const std::vector<double>& size) {
          return AreIntervals(group, size) ||
                 (number && std::fabs(RankCorrelation(values, size)) > kFollows);
        }))
      continue;
    const double offset = OffsetOf(observations, sizes, group, static_cast<int>(counts.size()));
    if (offset == 0 || (number && std::isnan(offset))) continue;
    LabelFinding finding;
    finding.columns = {column};
    finding.groups = counts.size();
    finding.offset = offset;
    constexpr size_t kShown = 4;
    for (const auto& [text, g] : numbers) {
      if (static_cast<size_t>(g) >= kShown) continue;
      finding.counts +=
          fmt::format("{}{} x{}", finding.counts.empty() ? "" : ", ",
                      text.empty() ? "(empty)" : ShownCell(text), counts[static_cast<size_t>(g)]);
    }
    if (counts.size() > kShown) finding.counts += ", ...";
    seen[group] = findings.size();
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace fit
