#include "fit/joint_region.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "Eigen/Dense"

namespace fit {

std::optional<JointRegion> JointRegionOf(const std::vector<double>& params,
                                         const std::vector<double>& tokens,
                                         const std::vector<double>& loss, size_t tried,
                                         double level, std::string_view method) {
  constexpr double kFlat = 1e-5;  // an eigenvalue of the correlations below this is no direction
  const size_t n = params.size();
  if (!EnoughResamples(n, tried)) return std::nullopt;
  const std::array<const std::vector<double>*, 3> columns = {&params, &tokens, &loss};
  Eigen::Vector3d mean = Eigen::Vector3d::Zero();
  for (size_t i = 0; i < n; ++i)
    for (int k = 0; k < 3; ++k)
      mean(k) += std::log((*columns[static_cast<size_t>(k)])[i]) / static_cast<double>(n);
  const auto centred = [&](size_t i) {
    Eigen::Vector3d x;
    for (int k = 0; k < 3; ++k) x(k) = std::log((*columns[static_cast<size_t>(k)])[i]) - mean(k);
    return x;
  };
  Eigen::Matrix3d covariance = Eigen::Matrix3d::Zero();
  for (size_t i = 0; i < n; ++i) {
    const Eigen::Vector3d x = centred(i);
    covariance += x * x.transpose() / static_cast<double>(n - 1);
  }
  Eigen::Vector3d scale;
  for (int k = 0; k < 3; ++k) {
    const double sd = std::sqrt(covariance(k, k));
    scale(k) = sd > 1e-12 ? 1 / sd : 0;
  }
  const Eigen::Matrix3d correlation = scale.asDiagonal() * covariance * scale.asDiagonal();
  const Eigen::SelfAdjointEigenSolver<Eigen::Matrix3d> eigen(correlation);
  std::vector<std::pair<double, size_t>> depth;
  for (size_t i = 0; i < n; ++i) {
    const Eigen::Vector3d z = eigen.eigenvectors().transpose() * scale.cwiseProduct(centred(i));
    double distance = 0;
    for (int k = 0; k < 3; ++k)
      if (eigen.eigenvalues()(k) > kFlat) distance += z(k) * z(k) / eigen.eigenvalues()(k);
    depth.emplace_back(distance, i);
  }
  const auto kept = static_cast<size_t>(std::ceil(level * static_cast<double>(n)));
  std::nth_element(depth.begin(), depth.begin() + static_cast<std::ptrdiff_t>(kept - 1),
                   depth.end());
  JointRegion region;
  region.level = level;
  region.method = "deepest draws of the " + std::string(method);
  region.draws = n;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto of = [&](int a, int b) {
    return scale(a) > 0 && scale(b) > 0 ? correlation(a, b) : nan;
  };
  region.correlation_nd = of(0, 1), region.correlation_nl = of(0, 2);
  region.correlation_dl = of(1, 2);
  const size_t first = depth[0].second;
  region.params_lo = region.params_hi = params[first];
  region.tokens_lo = region.tokens_hi = tokens[first];
  region.loss_lo = region.loss_hi = loss[first];
  for (size_t k = 0; k < kept; ++k) {
    const size_t i = depth[k].second;
    region.params_lo = std::min(region.params_lo, params[i]);
    region.params_hi = std::max(region.params_hi, params[i]);
    region.tokens_lo = std::min(region.tokens_lo, tokens[i]);
    region.tokens_hi = std::max(region.tokens_hi, tokens[i]);
    region.loss_lo = std::min(region.loss_lo, loss[i]);
    region.loss_hi = std::max(region.loss_hi, loss[i]);
  }
  return region;
}

}  // namespace fit
