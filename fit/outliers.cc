#include "fit/outliers.h"

#include <algorithm>
#include <cmath>

#include "fit/chinchilla.h"
#include "fit/data_constrained.h"
#include "fit/equation_fit.h"
#include "fit/stats.h"
#include "fmt/format.h"

namespace fit {

std::vector<Outlier> FindOutliers(const std::vector<Observation>& observations) {
  constexpr size_t kFewest = 12;
  constexpr int kStarts = 4;
  constexpr double kNormal = 1.4826, kSigmas = 8, kVisible = 0.02, kMostShare = 0.1;
  if (observations.size() < kFewest) return {};
  const bool repeats =
      std::any_of(observations.begin(), observations.end(), [](const Observation& o) {
        return o.unique_tokens > 0 && o.unique_tokens < o.tokens * (1 - 1e-9);
      });
  const SurfaceLaw& law =
      repeats ? static_cast<const SurfaceLaw&>(DataConstrainedLaw()) : ChinchillaLaw();
  const std::vector<FitPoint> points = SurfacePoints(observations);
  const std::vector<double> ones(points.size(), 1);
  const EquationFit fit =
      FitGlobally(law, points, ones, LossSpec{}, law.Starts(points, ones, kStarts));
  if (fit.theta.empty()) return {};
  std::vector<double> off, sizes;
  for (const FitPoint& point : points) {
    off.push_back(std::log(point.y / law.Value(fit.theta.data(), point.x)));
    sizes.push_back(std::fabs(off.back()));
  }
  const double scatter = kNormal * Quantile(sizes, 0.5);
  std::vector<Outlier> outliers;
  for (size_t i = 0; i < off.size(); ++i)
    if (sizes[i] > kVisible && sizes[i] > kSigmas * scatter)
      outliers.push_back({i, off[i], sizes[i] / std::max(scatter, 1e-9)});
  if (static_cast<double>(outliers.size()) > kMostShare * static_cast<double>(points.size()))
    return {};
  std::sort(outliers.begin(), outliers.end(), [](const Outlier& a, const Outlier& b) {
    return std::fabs(a.residual) > std::fabs(b.residual);
  });
  return outliers;
}

std::string OutlierText(const std::vector<Observation>& observations,
                        const std::vector<Outlier>& outliers) {
  constexpr size_t kShown = 5;
  std::string text;
  for (size_t i = 0; i < outliers.size() && i < kShown; ++i) {
    const Observation& o = observations[outliers[i].index];
    const std::string row = o.row > 0 ? fmt::format("row {}", o.row) : "";
    text += fmt::format("{}{}{}: loss {:+.3g} %", i == 0 ? "" : ", ", row,
                        o.id.empty()  ? ""
                        : row.empty() ? o.id
                                      : " (" + o.id + ")",
                        100 * std::expm1(outliers[i].residual));
  }
  if (outliers.size() > kShown) text += fmt::format(" and {} more", outliers.size() - kShown);
  return text;
}

}  // namespace fit
