#include "fit/bootstrap.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "core/check.h"
#include "fit/stats.h"

namespace fit {

std::string_view Name(IntervalKind kind) {
  switch (kind) {
    case IntervalKind::kParameter:
      return "parameter";
    case IntervalKind::kMean:
      return "mean";
    case IntervalKind::kPrediction:
      break;
  }
  return "prediction";
}

double BootstrapDraws::FailedShare() const {
  const double all = static_cast<double>(size()) + failed;
  return all > 0 ? failed / all : 0;
}

std::vector<double> BootstrapDraws::Column(size_t index) const {
  std::vector<double> column;
  column.reserve(size());
  for (size_t i = 0; i < size(); ++i)
    if (std::isfinite(row(i)[index])) column.push_back(row(i)[index]);
  return column;
}

BootstrapDraws RunBootstrap(const BootstrapOptions& options, size_t width, const Resample& one) {
  SWEEP_CHECK(width > 0);
  const int n = std::max(options.resamples, 0);
  BootstrapDraws draws;
  draws.width = width;
  draws.values.resize(static_cast<size_t>(n) * width);
  std::vector<char> fitted(static_cast<size_t>(n), 0);
  std::atomic<int> next{0};
  const auto work = [&] {
    std::vector<double> row;
    for (int i = next.fetch_add(1); i < n; i = next.fetch_add(1)) {
      core::Rng rng(options.seed, static_cast<uint64_t>(i));
      row.clear();
      if (!one(rng, i, row)) continue;
      SWEEP_CHECK(row.size() == width);
      std::copy(row.begin(), row.end(),
                draws.values.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(i) * width));
      fitted[static_cast<size_t>(i)] = 1;
    }
  };
  std::vector<std::thread> helpers;
  for (int t = 1; t < std::min(options.threads, n); ++t) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  size_t kept = 0;
  for (size_t i = 0; i < fitted.size(); ++i) {
    if (fitted[i] == 0) continue;
    if (kept != i)
      std::copy_n(draws.values.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                  draws.values.begin() + static_cast<std::ptrdiff_t>(kept * width));
    ++kept;
  }
  draws.values.resize(kept * width);
  draws.failed = n - static_cast<int>(kept);
  return draws;
}

Interval PercentileInterval(const std::vector<double>& values, double level, IntervalKind kind,
                            std::string_view method) {
  constexpr size_t kFewest = 20;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Interval interval{nan, nan, level, kind, std::string(method)};
  if (values.size() < kFewest) return interval;
  interval.lo = Quantile(values, (1 - level) / 2);
  interval.hi = Quantile(values, (1 + level) / 2);
  return interval;
}

std::vector<double> CaseWeights(core::Rng& rng, size_t n) {
  std::vector<double> weights(n, 0);
  for (size_t i = 0; i < n; ++i) weights[rng.Below(n)] += 1;
  return weights;
}

std::vector<double> ClusterWeights(core::Rng& rng, const std::vector<size_t>& cluster,
                                   size_t clusters) {
  const std::vector<double> drawn = CaseWeights(rng, clusters);
  std::vector<double> weights;
  weights.reserve(cluster.size());
  for (const size_t c : cluster) weights.push_back(drawn[c]);
  return weights;
}

std::vector<double> PooledResiduals(const std::vector<IsoflopMinimum>& minima) {
  std::vector<double> pool;
  for (const IsoflopMinimum& m : minima) {
    if (!m.ok() || m.points <= m.coefficients) continue;
    const double widen = std::sqrt(m.points / static_cast<double>(m.points - m.coefficients));
    for (size_t i = 0; i < m.residuals.size(); ++i)
      if (m.in_window[i]) pool.push_back(m.residuals[i] / m.fitted[i] * widen);
  }
  return pool;
}

GroupResample ResampleGroup(core::Rng& rng, const IsoflopGroup& group,
                            const IsoflopMinimum& minimum, const std::vector<double>& pool,
                            WithinBudget method) {
  constexpr int kOwnResiduals = 8;
  const size_t n = group.points.size();
  GroupResample resample{group, std::vector<double>(n, 1)};
  if (method == WithinBudget::kCases) {
    resample.weights = CaseWeights(rng, n);
    return resample;
  }
  const std::vector<double> own =
      minimum.points >= kOwnResiduals ? PooledResiduals({minimum}) : std::vector<double>();
  const std::vector<double>& noise = own.empty() ? pool : own;
  if (noise.empty()) return resample;
  for (size_t i = 0; i < n; ++i)
    if (minimum.in_window[i])
      resample.group.points[i].loss = minimum.fitted[i] * (1 + noise[rng.Below(noise.size())]);
  return resample;
}

}  // namespace fit
