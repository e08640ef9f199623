#include "fit/labels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

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

// Of each group, its piece of the runs' range: groups share one where no size (nor any of the sizes
// within the piece, once it is split) tells them apart. Spans within 1 % of each other overlap.
std::vector<int> PiecesOf(const std::vector<int>& group, int groups,
                          const std::vector<std::vector<double>>& sizes) {
  constexpr double kEqual = 0.01;
  struct Span {
    int piece = 0;
    double lo = HUGE_VAL, hi = -HUGE_VAL;
    size_t group = 0;
  };
  std::vector<int> pieces(static_cast<size_t>(groups), 0);
  for (size_t at = 0, unchanged = 0; unchanged < sizes.size(); at = (at + 1) % sizes.size()) {
    std::vector<Span> spans(pieces.size());
    for (size_t g = 0; g < spans.size(); ++g) spans[g].piece = pieces[g], spans[g].group = g;
    for (size_t i = 0; i < group.size(); ++i) {
      Span& span = spans[static_cast<size_t>(group[i])];
      span.lo = std::min(span.lo, sizes[at][i]), span.hi = std::max(span.hi, sizes[at][i]);
    }
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
      return std::tie(a.piece, a.lo) < std::tie(b.piece, b.lo);
    });
    std::vector<int> split(pieces.size());
    int piece = 0;
    double end = spans[0].hi;
    for (size_t s = 0; s < spans.size(); ++s) {
      const bool other = s > 0 && spans[s].piece != spans[s - 1].piece;
      if (other || spans[s].lo > end + kEqual) ++piece, end = spans[s].hi;
      end = std::max(end, spans[s].hi);
      split[spans[s].group] = piece;
    }
    const auto count = [](const std::vector<int>& of) {
      return *std::max_element(of.begin(), of.end());
    };
    unchanged = count(split) == count(pieces) ? unchanged + 1 : 0;
    pieces = std::move(split);
  }
  return pieces;
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

// The surface's terms: 1, n, d, n^2, n d, d^2, their cubic ones, and u where data are repeated.
Eigen::MatrixXd Terms(const std::vector<std::vector<double>>& sizes) {
  const auto n = static_cast<Eigen::Index>(sizes[0].size());
  const auto column = [&](const std::vector<double>& values) {
    Eigen::VectorXd x = Eigen::Map<const Eigen::VectorXd>(values.data(), n);
    x.array() -= x.mean();
    const double scale = x.norm() / std::sqrt(static_cast<double>(n));
    return scale > 1e-9 ? Eigen::VectorXd(x / scale) : Eigen::VectorXd::Zero(n).eval();
  };
  const Eigen::VectorXd a = column(sizes[0]), b = column(sizes[1]), u = column(sizes[4]);
  const Eigen::VectorXd aa = a.cwiseProduct(a), ab = a.cwiseProduct(b), bb = b.cwiseProduct(b);
  Eigen::MatrixXd terms(n, 11);
  terms << Eigen::VectorXd::Ones(n), a, b, aa, ab, bb, a.cwiseProduct(aa), a.cwiseProduct(ab),
      a.cwiseProduct(bb), b.cwiseProduct(bb), u;
  return terms;
}

struct Regression {
  double rss = 0;
  Eigen::Index rank = 0;
};

Regression Regress(const Eigen::MatrixXd& x, const Eigen::VectorXd& y) {
  const Eigen::ColPivHouseholderQR<Eigen::MatrixXd> qr(x);
  Regression fit;
  fit.rss = (y - x * qr.solve(y)).squaredNorm();
  fit.rank = qr.rank();
  return fit;
}

double AiccOf(const Regression& fit, Eigen::Index rows) {
  const auto n = static_cast<double>(rows);
  const double k = static_cast<double>(fit.rank) + 1;  // and the variance
  return n * std::log(std::max(fit.rss, 1e-20) / n) + 2 * k * n / (n - k - 1);
}

// A column of 0 and 1 for every value of `of` but the first.
Eigen::MatrixXd Dummies(const std::vector<int>& of, int values) {
  Eigen::MatrixXd columns =
      Eigen::MatrixXd::Zero(static_cast<Eigen::Index>(of.size()), std::max(0, values - 1));
  for (size_t i = 0; i < of.size(); ++i)
    if (of[i] > 0) columns(static_cast<Eigen::Index>(i), of[i] - 1) = 1;
  return columns;
}

// Root mean square of what the groups move the runs by, beyond what sizes could explain as well, if
// it is real; 0 if not, NaN where nobody can tell. `pieces` of the groups: what one piece has over
// another may be the size's doing, so that only groups of one piece are compared.
double OffsetOf(const std::vector<Observation>& observations,
                const std::vector<std::vector<double>>& sizes, const std::vector<int>& group,
                int groups, const std::vector<int>& pieces) {
  constexpr double kVisible = 0.003, kNoSupport = 10;
  const auto n = static_cast<Eigen::Index>(observations.size());
  std::vector<int> piece;
  for (const int g : group) piece.push_back(pieces[static_cast<size_t>(g)]);
  const Eigen::MatrixXd terms = Terms(sizes),
                        of_pieces =
                            Dummies(piece, *std::max_element(piece.begin(), piece.end()) + 1),
                        of_groups = Dummies(group, groups);
  Eigen::MatrixXd surface(n, terms.cols() + of_pieces.cols());
  surface << terms, of_pieces;
  if (n < terms.cols() + groups + 4) return std::numeric_limits<double>::quiet_NaN();
  Eigen::VectorXd y(n);
  for (Eigen::Index i = 0; i < n; ++i) y(i) = std::log(observations[static_cast<size_t>(i)].loss);
  Eigen::MatrixXd both(n, surface.cols() + of_groups.cols());
  both << surface, of_groups;
  const Regression without = Regress(surface, y), with = Regress(both, y);
  const double rms = std::sqrt(std::max(0., without.rss - with.rss) / static_cast<double>(n));
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
    if (number && std::any_of(sizes.begin(), sizes.end(), [&](const std::vector<double>& size) {
          return std::fabs(RankCorrelation(values, size)) > kFollows;
        }))
      continue;
    const auto groups = static_cast<int>(counts.size());
    const std::vector<int> pieces = PiecesOf(group, groups, sizes);
    if (*std::max_element(pieces.begin(), pieces.end()) + 1 == groups)
      continue;  // the column follows from sizes
    const double offset = OffsetOf(observations, sizes, group, groups, pieces);
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
