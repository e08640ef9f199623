// Runs the real sweepctl and keeps what it printed.
#pragma once

#include <string>

#include "core/canonical_json.h"
#include "core/file.h"
#include "core/subprocess.h"
#include "gtest/gtest.h"

struct Result {
  int code = -1;
  std::string out, err;
  core::Json json() const { return core::Json::parse(out); }
};

// Runs `sweepctl ARGS` in the source folder; ARGS as for a shell.
inline Result Sweepctl(const std::string& args, const std::string& redirect = "") {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string base =
      testing::TempDir() + "/" + test->test_suite_name() + "_" + test->name() + "_sweepctl";
  core::SpawnOptions options;
  options.working_dir = SWEEP_SOURCE_DIR;
  options.argv = {"/bin/sh", "-c",
                  std::string(SWEEPCTL_PROGRAM) + " " + args + " >" +
                      (redirect.empty() ? base + ".out" : redirect) + " 2>" + base + ".err"};
  Result result;
  const auto child = core::Spawn(options);
  if (!child.ok()) return result;
  result.code = core::WaitExit(*child, 60000).value_or(-1);
  if (redirect.empty()) result.out = *core::ReadFile(base + ".out");
  result.err = *core::ReadFile(base + ".err");
  return result;
}
