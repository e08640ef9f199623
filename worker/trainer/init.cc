#include "worker/trainer/init.h"

#include <cmath>
#include <cstdlib>

#include "core/hash.h"
#include "core/rng.h"
#include "fmt/format.h"

namespace worker {

absl::Status InitialValues(const recipes::Plan& plan, const ParameterView& view,
                           std::vector<double>* out) {
  const recipes::InitRule* rule = nullptr;
  for (const recipes::InitRule& candidate : plan.init) {
    if (candidate.role == view.role) rule = &candidate;
  }
  if (rule == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("no init rule for role '{}' of parameter '{}'", view.role, view.name));
  }
  out->resize(view.elements());
  if (rule->distribution == "constant") {
    for (double& x : *out) x = rule->std;
    return absl::OkStatus();
  }
  if (rule->distribution != "truncated_normal") {
    return absl::InvalidArgumentError(
        fmt::format("unknown init distribution '{}'", rule->distribution));
  }
  const double scale = rule->std * std::pow(static_cast<double>(view.cols), rule->fan_in_power);
  core::Rng rng(plan.init_seed,
                std::strtoull(core::Sha256Hex(view.name).substr(0, 16).c_str(), nullptr, 16));
  for (double& x : *out) {
    double z = rng.Normal();
    while (std::fabs(z) > rule->truncation) z = rng.Normal();
    x = z * scale;
  }
  return absl::OkStatus();
}

}  // namespace worker
