#include "fit/information.h"

#include <cmath>
#include <limits>

namespace fit {

double AiccPenalty(size_t runs, int constants) {
  const double n = static_cast<double>(runs), k = constants + 1;
  return n > k + 1 ? 2 * k + 2 * k * (k + 1) / (n - k - 1)
                   : std::numeric_limits<double>::quiet_NaN();
}

double Aicc(const std::vector<double>& residuals, int constants, LossKind loss) {
  const auto n = static_cast<double>(residuals.size());
  const double penalty = AiccPenalty(residuals.size(), constants);
  if (std::isnan(penalty)) return penalty;
  double absolute = 0, square = 0;
  for (const double r : residuals) absolute += std::fabs(r) / n, square += r * r / n;
  const double pi = std::acos(-1.0);
  const double deviance = loss == LossKind::kL2 ? n * (std::log(2 * pi * square) + 1)
                                                : 2 * n * (std::log(2 * absolute) + 1);
  return deviance + penalty;
}

}  // namespace fit
