#include "fit/bootstrap.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "core/check.h"
#include "fit/stats.h"
#include "fmt/format.h"

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
  const double all = static_cast<double>(size()) + counted + failed;
  return all > 0 ? failed / all : 0;
}

std::vector<double> BootstrapDraws::Column(size_t index) const {
  std::vector<double> column;
  column.reserve(size());
  for (size_t i = 0; i < size(); ++i)
    if (std::isfinite(row(i)[index])) column.push_back(row(i)[index]);
  return column;
}

namespace {

constexpr int kKept = 16384;

// Runs work(i) for i in [from, to) on the threads asked for.
template <typename Work>
void Share(int from, int to, int threads, const Work& work) {
  std::atomic<int> next{from};
  const auto loop = [&] {
    for (int i = next.fetch_add(1); i < to; i = next.fetch_add(1)) work(i);
  };
  std::vector<std::thread> helpers;
  for (int t = 1; t < std::min(threads, to - from); ++t) helpers.emplace_back(loop);
  loop();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace

BootstrapDraws RunBootstrap(const BootstrapOptions& options, size_t width, const Resample& one) {
  SWEEP_CHECK(width > 0);
  const int n = std::max(options.resamples, 0), kept_most = std::min(n, kKept);
  BootstrapDraws draws;
  draws.width = width;
  draws.drawn = static_cast<size_t>(kept_most);
  draws.values.resize(static_cast<size_t>(kept_most) * width);
  std::vector<char> fitted(static_cast<size_t>(kept_most), 0);
  const auto draw = [&](int i, std::vector<double>& row) {
    core::Rng rng(options.seed, static_cast<uint64_t>(i));
    if (!one(rng, i, row)) return false;
    SWEEP_CHECK(row.size() == width);
    return true;
  };
  Share(0, kept_most, options.threads, [&](int i) {
    std::vector<double> row;
    if (!draw(i, row)) return;
    const auto at = static_cast<size_t>(i);
    std::copy(row.begin(), row.end(),
              draws.values.begin() + static_cast<std::ptrdiff_t>(at * width));
    fitted[at] = 1;
  });
  size_t kept = 0;
  for (size_t i = 0; i < fitted.size(); ++i) {
    if (fitted[i] == 0) continue;
    if (kept != i)
      std::copy_n(draws.values.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                  draws.values.begin() + static_cast<std::ptrdiff_t>(kept * width));
    ++kept;
  }
  draws.values.resize(kept * width);
  draws.failed = kept_most - static_cast<int>(kept);
  if (n == kept_most || kept == 0) {
    draws.failed = n - static_cast<int>(kept);
    return draws;
  }
  // Counts are sums: they do not depend on the order in which threads add to them.
  std::vector<std::vector<std::atomic<uint32_t>>> counts;
  for (size_t c = 0; c < width; ++c) {
    draws.knots.push_back(draws.Column(c));
    std::sort(draws.knots.back().begin(), draws.knots.back().end());
    counts.emplace_back(draws.knots.back().size() + 1);
  }
  std::atomic<int> counted{0}, failed{0};
  Share(kept_most, n, options.threads, [&](int i) {
    std::vector<double> row;
    if (!draw(i, row)) {
      ++failed;
      return;
    }
    ++counted;
    for (size_t c = 0; c < width; ++c) {
      if (!std::isfinite(row[c])) continue;
      const std::vector<double>& knots = draws.knots[c];
      const auto place = std::lower_bound(knots.begin(), knots.end(), row[c]) - knots.begin();
      ++counts[c][static_cast<size_t>(place)];
    }
  });
  draws.counted = counted;
  draws.failed += failed;
  for (const auto& column : counts) draws.between.emplace_back(column.begin(), column.end());
  return draws;
}

Interval BootstrapDraws::Percentiles(size_t index, double level, IntervalKind kind,
                                     std::string_view method) const {
  Interval interval = PercentileInterval(Column(index), drawn, level, kind, method);
  if (between.empty() || !std::isfinite(interval.lo)) return interval;
  const std::vector<double>& at = knots[index];
  double all = static_cast<double>(at.size());
  for (const uint32_t count : between[index]) all += count;
  // Values at or below a knot; linear between knots.
  const auto quantile = [&](double q) {
    const double wanted = q * (all - 1) + 1;
    double below = 0;
    for (size_t k = 0; k < at.size(); ++k) {
      const double here = below + between[index][k] + 1;
      if (here >= wanted) {
        if (k == 0) return at[0];
        return at[k - 1] + (at[k] - at[k - 1]) * (wanted - below) / (here - below);
      }
      below = here;
    }
    return at.back();
  };
  interval.lo = quantile((1 - level) / 2);
  interval.hi = quantile((1 + level) / 2);
  return interval;
}

bool EnoughResamples(size_t given, size_t tried) {
  constexpr size_t kFewest = 20;
  return given >= kFewest && 2 * given >= tried;
}

Interval PercentileInterval(const std::vector<double>& values, size_t tried, double level,
                            IntervalKind kind, std::string_view method, size_t each) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Interval interval{nan, nan, level, kind, std::string(method)};
  if (!EnoughResamples(values.size() / each, tried)) return interval;
  interval.lo = Quantile(values, (1 - level) / 2);
  interval.hi = Quantile(values, (1 + level) / 2);
  return interval;
}

std::vector<Warning> WarningsOfResamples(const BootstrapDraws& draws) {
  std::vector<Warning> warnings;
  const size_t fitted = draws.size() + static_cast<size_t>(draws.counted);
  const size_t tried = fitted + static_cast<size_t>(draws.failed);
  if (draws.failed > 0)
    warnings.push_back(
        Warn(kBootstrapFailures, fmt::format("{:.1f} % of {} resamples could not be fitted and are "
                                             "missing from the intervals",
                                             100 * draws.FailedShare(), tried)));
  if (tried > 0 && !EnoughResamples(fitted, tried))
    warnings.push_back(
        Warn(kNoInterval, fmt::format("{} of {} resamples could be fitted, an interval needs half "
                                      "of them and 20: there is none from resamples",
                                      fitted, tried)));
  return warnings;
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
