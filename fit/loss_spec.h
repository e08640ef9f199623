// What a surface fit minimises: sum over runs of w rho(r), with r the residual.
//   residual log:    r = ln Lhat - ln L          residual linear:  r = Lhat - L
//   huber:  rho = r^2/2 for |r| <= delta, delta (|r| - delta/2) outside
//   l1:     rho = |r|                             l2:  rho = r^2/2
// times `over` where r > 0, the law above the run: with over > 1 the law leans to the lower
// envelope of runs that may be badly trained, but not better than possible.
// **Source:** Hoffmann et al. 2022 (arXiv:2203.15556), eq. 3 (Huber on log residuals, delta 1e-3);
// Besiroglu et al. 2024 (arXiv:2404.10102), whose headline estimate is in fact the L1 one
// (reference/fitting.md, finding A). Asymmetry: the weight of 10 on over-estimates in
// kyo-takano/chinchilla and OLMo-core (overestimate_penalty).
#pragma once

#include <cmath>
#include <string_view>

namespace fit {

enum class LossKind { kHuber, kL1, kL2 };
enum class ResidualKind { kLog, kLinear };

struct LossSpec {
  LossKind kind = LossKind::kHuber;
  double delta = 1e-3;  // huber only; in the residual's unit; > 0
  ResidualKind residual = ResidualKind::kLog;
  double over = 1;  // > 0
};

constexpr std::string_view Name(LossKind kind) {
  return kind == LossKind::kHuber ? "huber" : kind == LossKind::kL1 ? "l1" : "l2";
}
constexpr std::string_view Name(ResidualKind kind) {
  return kind == ResidualKind::kLog ? "log" : "linear";
}

inline double Rho(const LossSpec& spec, double r) {
  const double size = std::fabs(r), side = r > 0 ? spec.over : 1;
  switch (spec.kind) {
    case LossKind::kHuber:
      return side * (size <= spec.delta ? 0.5 * r * r : spec.delta * (size - 0.5 * spec.delta));
    case LossKind::kL1:
      return side * size;
    case LossKind::kL2:
      break;
  }
  return side * 0.5 * r * r;
}

}  // namespace fit
