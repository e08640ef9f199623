#include "fit/equation.h"

namespace fit {

void Equation::DerivativesMany(const double* theta, const InputColumns& points,
                               DerivativeColumns* out) const {
  const size_t k = coordinates().size(), n = points.size;
  out->value.resize(n);
  out->gradient.resize(k);
  out->hessian.resize(k * (k + 1) / 2);
  for (std::vector<double>& column : out->gradient) column.resize(n);
  for (std::vector<double>& column : out->hessian) column.resize(n);
  std::vector<double> g(k), h(k * k);
  for (size_t p = 0; p < n; ++p) {
    const Inputs x = {points.x[0][p], points.x[1][p], points.x[2][p]};
    out->value[p] = Derivatives(theta, x, g.data(), h.data());
    size_t t = 0;
    for (size_t i = 0; i < k; ++i) {
      out->gradient[i][p] = g[i];
      for (size_t j = 0; j <= i; ++j, ++t) out->hessian[t][p] = h[i * k + j];
    }
  }
}

}  // namespace fit
