// The constants of a recipe as data: the frozen table, a sweep's overrides, and the version that
// tells them apart.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/recipe.h"

namespace recipes {

class ConstantSet {
 public:
  // INVALID_ARGUMENT naming an override that the table does not have (with "did you mean") or that
  // is not finite.
  static absl::StatusOr<ConstantSet> Make(const std::vector<Constant>& table,
                                          const std::map<std::string, double>& overrides);

  // REQUIRES: the table has `name`.
  double operator[](std::string_view name) const;
  int64_t Int(std::string_view name) const;

  // `frozen` as it is, or "frozen+<12 hex digits of the overrides' hash>".
  std::string VersionOf(const std::string& frozen) const { return frozen + suffix_; }

 private:
  std::map<std::string, double, std::less<>> values_;
  std::string suffix_;
};

}  // namespace recipes
