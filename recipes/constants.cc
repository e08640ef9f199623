#include "recipes/constants.h"

#include <cmath>

#include "core/check.h"
#include "core/did_you_mean.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace recipes {

absl::StatusOr<ConstantSet> ConstantSet::Make(const std::vector<Constant>& table,
                                              const std::map<std::string, double>& overrides) {
  ConstantSet set;
  std::vector<std::string> names;
  for (const Constant& constant : table) {
    set.values_[constant.name] = constant.value;
    names.push_back(constant.name);
  }
  core::Json changed = core::Json::object();
  for (const auto& [name, value] : overrides) {
    const auto found = set.values_.find(name);
    if (found == set.values_.end()) {
      return absl::InvalidArgumentError(
          fmt::format("the recipe has no constant '{}'{}", name, core::DidYouMean(name, names)));
    }
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(fmt::format("constant '{}' must be finite", name));
    }
    if (value == found->second) continue;
    found->second = value;
    changed[name] = value;
  }
  if (!changed.empty()) {
    ASSIGN_OR_RETURN(const std::string bytes, core::CanonicalJson(changed));
    set.suffix_ = "+" + core::Sha256Hex(bytes).substr(0, 12);
  }
  return set;
}

double ConstantSet::operator[](std::string_view name) const {
  const auto found = values_.find(name);
  SWEEP_CHECK(found != values_.end());
  return found->second;
}

int64_t ConstantSet::Int(std::string_view name) const {
  return static_cast<int64_t>(std::llround((*this)[name]));
}

}  // namespace recipes
