#include "orchestrator/store/shared_runs.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <vector>

namespace orchestrator {
namespace {

constexpr double kSameSize = 1e-3;
// Of ln of the ratio: the most that one run may be off, and the standard deviation. Losses of four
// digits are off by as much.
constexpr double kOff = 2e-4, kMostDeviation = 1e-4;
// The same numbers, written by two programs.
constexpr double kEqual = 1e-6;

// How near losses must be, and of how many runs.
struct Tolerance {
  double off = kOff, deviation = kMostDeviation, share = 0.5;
  int counts = 1;  // of params, tokens and flops
};

struct Run {
  double params = 0, tokens = 0, flops = 0, ln_loss = 0;  // flops 0: not said
};

bool IsNear(double a, double b) { return std::fabs(a - b) <= kSameSize * std::max(a, b); }

// A count may be another one's (with or without embeddings, by another rule for FLOPs), and C that
// follows from N and D changes with them.
int EqualCounts(const Run& a, const Run& b) {
  return IsNear(a.params, b.params) + IsNear(a.tokens, b.tokens) +
         (a.flops > 0 && b.flops > 0 && IsNear(a.flops, b.flops));
}

std::vector<Run> ReadRuns(const core::Json& rows) {
  std::vector<Run> runs;
  if (!rows.is_array()) return runs;
  for (const core::Json& row : rows) {
    const auto number = [&](const char* key) {
      const bool given = row.is_object() && row.contains(key) && row[key].is_number();
      const double value = given ? row[key].get<double>() : 0.0;
      return std::isfinite(value) && value > 0 ? value : 0.0;
    };
    const double loss = number("loss");
    const Run run{number("params"), number("tokens"), number("flops"), std::log(loss)};
    if (run.params > 0 && run.tokens > 0 && loss > 0) runs.push_back(run);
  }
  return runs;
}

// For each run of `a`, by place, those of `b` that agree with it in `counts` counts.
std::vector<std::vector<size_t>> Partners(const std::vector<Run>& a, const std::vector<Run>& b,
                                          int counts) {
  std::vector<std::vector<size_t>> partners(a.size());
  for (double Run::*const count : {&Run::params, &Run::tokens, &Run::flops}) {
    std::vector<size_t> order(b.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t x, size_t y) { return b[x].*count < b[y].*count; });
    for (size_t i = 0; i < a.size(); ++i) {
      if (!(a[i].*count > 0)) continue;
      const double least = a[i].*count * (1 - 2 * kSameSize),
                   most = a[i].*count * (1 + 2 * kSameSize);
      for (auto at = std::lower_bound(order.begin(), order.end(), least,
                                      [&](size_t j, double value) { return b[j].*count < value; });
           at != order.end() && b[*at].*count <= most; ++at)
        if (IsNear(a[i].*count, b[*at].*count) && EqualCounts(a[i], b[*at]) >= counts)
          partners[i].push_back(*at);
    }
  }
  for (std::vector<size_t>& found : partners) {
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
  }
  return partners;
}

// Of losses that are rounded to 3 decimals or fewer, half a unit of the last one relative to the
// smallest; 0 of others.
double RoundingOf(const std::vector<Run>& runs) {
  double smallest = HUGE_VAL;
  for (const Run& run : runs) smallest = std::min(smallest, std::exp(run.ln_loss));
  for (const double unit : {1., 0.1, 0.01, 0.001}) {
    const auto rounded = [&](const Run& run) {
      const double steps = std::exp(run.ln_loss) / unit;
      return std::fabs(steps - std::round(steps)) < 1e-6 * std::max(1.0, steps);
    };
    if (std::all_of(runs.begin(), runs.end(), rounded)) return 0.5 * unit / smallest;
  }
  return 0;
}

// Median of the most ratios that lie within 2 * `off` of each other. REQUIRES: sorted, not empty.
double CommonRatio(const std::vector<double>& ratios, double off) {
  size_t begin = 0, best = 0, most = 0;
  for (size_t end = 0; end < ratios.size(); ++end) {
    while (ratios[end] - ratios[begin] > 2 * off) ++begin;
    if (end + 1 - begin > most) best = begin, most = end + 1 - begin;
  }
  return ratios[best + most / 2];
}

double Deviation(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size()));
}

// How many runs agree at this ratio, each with one of the other list; 0 where those are too few.
size_t SharedAt(const std::vector<Run>& a, const std::vector<Run>& b,
                const std::vector<std::vector<size_t>>& partners, double ratio,
                const Tolerance& tolerance) {
  std::vector<std::tuple<double, size_t, size_t>> near;
  for (size_t i = 0; i < a.size(); ++i) {
    // Among many seeds one lies near any loss.
    const double reach =
        tolerance.off / static_cast<double>(std::max<size_t>(1, partners[i].size()));
    for (const size_t j : partners[i])
      if (const double off = std::fabs(a[i].ln_loss - b[j].ln_loss - ratio); off <= reach)
        near.emplace_back(off, i, j);
  }
  std::sort(near.begin(), near.end());
  std::vector<bool> used_a(a.size()), used_b(b.size());
  std::vector<double> ratios, losses;
  for (const auto& [off, i, j] : near) {
    if (used_a[i] || used_b[j]) continue;
    used_a[i] = used_b[j] = true;
    ratios.push_back(a[i].ln_loss - b[j].ln_loss);
    losses.push_back(a[i].ln_loss);
  }
  const auto fewer = static_cast<double>(std::min(a.size(), b.size()));
  if (ratios.empty() || static_cast<double>(ratios.size()) < tolerance.share * fewer) return 0;
  constexpr size_t kFew = 3;
  const double least_spread = 10 * tolerance.deviation;
  const bool equal = std::fabs(ratio) <= kEqual && tolerance.off <= kOff;
  if (!equal && (ratios.size() < kFew || Deviation(losses) < least_spread)) return 0;
  return Deviation(ratios) < tolerance.deviation ? ratios.size() : 0;
}

std::optional<Sharing> SharedWithin(const std::vector<Run>& a, const std::vector<Run>& b,
                                    const Tolerance& tolerance) {
  const std::vector<std::vector<size_t>> partners = Partners(a, b, tolerance.counts);
  if (const size_t shared = SharedAt(a, b, partners, 0, tolerance); shared > 0)
    return Sharing{1, shared};
  // A thousand seeds of a size make a million pairs; some say the ratio as well as all.
  constexpr size_t kMostPairs = 1'000'000;
  std::vector<size_t> fewest(a.size());
  std::iota(fewest.begin(), fewest.end(), size_t{0});
  std::stable_sort(fewest.begin(), fewest.end(),
                   [&](size_t x, size_t y) { return partners[x].size() < partners[y].size(); });
  std::vector<double> ratios;
  for (const size_t i : fewest) {
    if (ratios.size() > kMostPairs) break;
    for (const size_t j : partners[i]) ratios.push_back(a[i].ln_loss - b[j].ln_loss);
  }
  if (ratios.empty()) return std::nullopt;
  std::sort(ratios.begin(), ratios.end());
  for (const double off : {kEqual, tolerance.off}) {
    const double ratio = CommonRatio(ratios, off);
    if (const size_t shared = SharedAt(a, b, partners, ratio, tolerance); shared > 0)
      return Sharing{std::exp(ratio), shared};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Sharing> SharedRuns(const core::Json& a, const core::Json& b) {
  const std::vector<Run> of_a = ReadRuns(a), of_b = ReadRuns(b);
  if (of_a.empty() || of_b.empty()) return std::nullopt;
  for (const int counts : {1, 2})
    if (auto found = SharedWithin(of_a, of_b, {.counts = counts})) return found;
  const double rounding = std::max(RoundingOf(of_a), RoundingOf(of_b));
  if (rounding == 0) return std::nullopt;
  // Rounding errors are uniform: their deviation is 1 / sqrt(3) of the largest.
  return SharedWithin(of_a, of_b, {kOff + rounding, kMostDeviation + 0.7 * rounding, 0.9, 2});
}

std::vector<bool> EqualRuns(const core::Json& a, const core::Json& b) {
  const std::vector<Run> of_a = ReadRuns(a), of_b = ReadRuns(b);
  // Losses of few decimals are equal by chance among the sizes of a budget.
  const bool rounded = RoundingOf(of_a) > 0 || RoundingOf(of_b) > 0;
  const std::vector<std::vector<size_t>> partners = Partners(of_a, of_b, rounded ? 2 : 1);
  std::vector<bool> equal;
  for (size_t i = 0; i < of_a.size(); ++i)
    equal.push_back(std::any_of(partners[i].begin(), partners[i].end(), [&](size_t j) {
      return std::fabs(of_a[i].ln_loss - of_b[j].ln_loss) <= kEqual;
    }));
  return equal;
}

}  // namespace orchestrator
