// Published data for the tests of fit/: in tests/data where their licence allows it, else outside
// the project (shared/data beside it, or the folder that SWEEP_SHARED_DATA names). A test that
// needs what is outside says SKIP_WITHOUT; sweep_test() makes those of a program a test of ctest's
// of their own, which says Skipped where they are absent.
#pragma once

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fit/csv.h"
#include "gtest/gtest.h"

namespace fit {

inline std::string SharedData(const std::string& name) {
  const std::string own = std::string(SWEEP_SOURCE_DIR) + "/tests/data/" + name;
  if (std::ifstream(own).good()) return own;
  if (const char* folder = std::getenv("SWEEP_SHARED_DATA"); folder != nullptr)
    return std::string(folder) + "/" + name;
  return std::string(SWEEP_SOURCE_DIR) + "/../shared/data/" + name;
}
inline bool Present(const std::string& path) { return std::ifstream(path).good(); }

#define SKIP_WITHOUT(name)                                                       \
  if (!::fit::Present(::fit::SharedData(name))) {                                \
    GTEST_SKIP() << name << " is not here (shared/data is outside the project)"; \
  }

inline std::vector<Observation> Load(const std::string& name, std::vector<Where> where = {},
                                     std::map<std::string, std::string> columns = {}) {
  CsvOptions options;
  options.where = std::move(where);
  options.columns = std::move(columns);
  const auto csv = ReadObservationsCsv(SharedData(name), options);
  EXPECT_TRUE(csv.ok()) << csv.status();
  return csv.ok() ? csv->observations : std::vector<Observation>();
}

inline std::map<std::string, double> ByName(
    const std::vector<std::pair<std::string, double>>& values) {
  return {values.begin(), values.end()};
}

}  // namespace fit
