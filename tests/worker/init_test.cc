#include "worker/trainer/init.h"

#include <cmath>
#include <cstdlib>
#include <vector>

#include "core/hash.h"
#include "core/rng.h"
#include "gtest/gtest.h"
#include "tests/worker/test_plan.h"

namespace worker {
namespace {

// The definition, one draw after the other.
std::vector<float> OneByOne(const recipes::Plan& plan, const ParameterView& view,
                            const recipes::InitRule& rule) {
  core::Rng rng(plan.init_seed,
                std::strtoull(core::Sha256Hex(view.name).substr(0, 16).c_str(), nullptr, 16));
  const double scale = rule.std * std::pow(static_cast<double>(view.cols), rule.fan_in_power);
  std::vector<float> out(view.elements());
  for (float& x : out) {
    double z = rng.Normal();
    while (std::fabs(z) > rule.truncation) z = rng.Normal();
    x = static_cast<float>(z * scale);
  }
  return out;
}

TEST(InitTest, ThreadsChangeNothing) {
  const recipes::Plan plan = SmallPlan(24, 1, 4, 2, 8, 40, 61, 70);
  for (const int64_t rows : {1, 61, 20'000}) {
    ParameterView view;
    view.name = "model.embed_tokens.weight";
    view.role = "embedding";
    view.rows = rows;
    view.cols = 24;
    const recipes::InitRule* rule = nullptr;
    for (const recipes::InitRule& r : plan.init)
      if (r.role == view.role) rule = &r;
    ASSERT_NE(rule, nullptr);
    const std::vector<float> want = OneByOne(plan, view, *rule);
    for (int threads : {1, 2, 7}) {
      std::vector<float> got(view.elements());
      ASSERT_TRUE(InitialValues(plan, view, threads, got.data()).ok());
      EXPECT_EQ(got, want) << rows << " rows, " << threads << " threads";
    }
  }
}

TEST(InitTest, ARoleWithoutRuleIsNamed) {
  const recipes::Plan plan = SmallPlan(24, 1, 4, 2, 8, 40, 61, 70);
  ParameterView view;
  view.name = "x";
  view.role = "conv";
  view.rows = view.cols = 1;
  float out;
  const absl::Status status = InitialValues(plan, view, 1, &out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("'conv'"), std::string::npos) << status;
}

}  // namespace
}  // namespace worker
