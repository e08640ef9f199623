#include "fit/information.h"

#include <cmath>
#include <limits>

namespace fit {

double Aicc(const std::vector<double>& residuals, int constants, LossKind loss) {
  const double n = static_cast<double>(residuals.size()), k = constants + 1;
  if (!(n > k + 1)) return std::numeric_limits<double>::quiet_NaN();
  double absolute = 0, square = 0;
  for (const double r : residuals) absolute += std::fabs(r) / n, square += r * r / n;
  const double pi = std::acos(-1.0);
  const double deviance = loss == LossKind::kL2 ? n * (std::log(2 * pi * square) + 1)
                                                : 2 * n * (std::log(2 * absolute) + 1);
  return deviance + 2 * k + 2 * k * (k + 1) / (n - k - 1);
}

}  // namespace fit
