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

struct Run {
  double params = 0, tokens = 0, flops = 0, ln_loss = 0;  // flops 0: not said
};

bool IsNear(double a, double b) { return std::fabs(a - b) <= kSameSize * std::max(a, b); }

// One count may be another one's: with or without embeddings, by another rule for FLOPs.
bool IsOneSize(const Run& a, const Run& b) {
  return IsNear(a.params, b.params) + IsNear(a.tokens, b.tokens) +
             (a.flops > 0 && b.flops > 0 && IsNear(a.flops, b.flops)) >=
         2;
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

// For each run of `a`, by place, those of `b` that have its size.
std::vector<std::vector<size_t>> Partners(const std::vector<Run>& a, const std::vector<Run>& b) {
  std::vector<std::vector<size_t>> partners(a.size());
  // Of two counts that agree one is params or tokens.
  for (double Run::*const count : {&Run::params, &Run::tokens}) {
    std::vector<size_t> order(b.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t x, size_t y) { return b[x].*count < b[y].*count; });
    for (size_t i = 0; i < a.size(); ++i) {
      const double least = a[i].*count * (1 - 2 * kSameSize),
                   most = a[i].*count * (1 + 2 * kSameSize);
      for (auto at = std::lower_bound(order.begin(), order.end(), least,
                                      [&](size_t j, double value) { return b[j].*count < value; });
           at != order.end() && b[*at].*count <= most; ++at)
        // Near in both, it is found by params.
        if (IsOneSize(a[i], b[*at]) && IsNear(a[i].*count, b[*at].*count) &&
            (count == &Run::params || !IsNear(a[i].params, b[*at].params)))
          partners[i].push_back(*at);
    }
  }
  return partners;
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

// Whether enough of the runs agree at this ratio, each with one of the other list.
bool IsShared(const std::vector<Run>& a, const std::vector<Run>& b,
              const std::vector<std::vector<size_t>>& partners, double ratio) {
  std::vector<std::tuple<double, size_t, size_t>> near;
  for (size_t i = 0; i < a.size(); ++i) {
    // Among many seeds one lies near any loss.
    const double reach = kOff / static_cast<double>(std::max<size_t>(1, partners[i].size()));
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
  if (ratios.empty() || 2 * ratios.size() < std::min(a.size(), b.size())) return false;
  constexpr size_t kFew = 3;
  constexpr double kLeastSpread = 10 * kMostDeviation;
  if (std::fabs(ratio) > kEqual && (ratios.size() < kFew || Deviation(losses) < kLeastSpread))
    return false;
  return Deviation(ratios) < kMostDeviation;
}

}  // namespace

std::optional<double> SharedRuns(const core::Json& a, const core::Json& b) {
  const std::vector<Run> of_a = ReadRuns(a), of_b = ReadRuns(b);
  const std::vector<std::vector<size_t>> partners = Partners(of_a, of_b);
  if (IsShared(of_a, of_b, partners, 0)) return 1;
  // A thousand seeds of a size make a million pairs; some say the ratio as well as all.
  constexpr size_t kMostPairs = 1'000'000;
  std::vector<size_t> fewest(of_a.size());
  std::iota(fewest.begin(), fewest.end(), size_t{0});
  std::stable_sort(fewest.begin(), fewest.end(),
                   [&](size_t x, size_t y) { return partners[x].size() < partners[y].size(); });
  std::vector<double> ratios;
  for (const size_t i : fewest) {
    if (ratios.size() > kMostPairs) break;
    for (const size_t j : partners[i]) ratios.push_back(of_a[i].ln_loss - of_b[j].ln_loss);
  }
  if (ratios.empty()) return std::nullopt;
  std::sort(ratios.begin(), ratios.end());
  for (const double off : {kEqual, kOff})
    if (const double ratio = CommonRatio(ratios, off); IsShared(of_a, of_b, partners, ratio))
      return std::exp(ratio);
  return std::nullopt;
}

}  // namespace orchestrator
