// The identity of a plan: one serializer, an exact inverse, and an id that every field moves.
#include "recipes/plan.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "recipes/recipe.h"

namespace recipes {
namespace {

using core::Json;
using ::testing::HasSubstr;

Plan PreparedPlan(const std::string& recipe = "delphi-nano", double flops = 1e12) {
  Setting setting;
  setting.vocab = 512;
  setting.seq_len = 256;
  setting.init_seed = 3;
  setting.data_seed = 4;
  setting.data.sources = {{"code", 0.8, 4, "m1", 1000}, {"docs", 0.2, 0, "m2", 2000}};
  setting.data.tokenizer_hash = "t";
  setting.data.eval_hash = "e";
  const Recipe& r = **FindRecipe(recipe);
  if (recipe == "delphi") setting.vocab = setting.seq_len = 0;
  return *r.MakePlan(r.Candidates({"training_flops", flops}, setting)->candidates[2], setting);
}

TEST(PlanTest, BytesReadBackToTheSameBytesForEveryRecipe) {
  for (const auto& [recipe, flops] : std::vector<std::pair<std::string, double>>{
           {"delphi", 3e18}, {"delphi", 3e20}, {"delphi-nano", 1e12}, {"complete-p", 1e13}}) {
    const Plan plan = PreparedPlan(recipe, flops);
    const auto bytes = PlanBytes(plan);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const auto parsed = ParsePlan(*bytes);
    ASSERT_TRUE(parsed.ok()) << recipe << ": " << parsed.status();
    EXPECT_EQ(*PlanBytes(*parsed), *bytes);
    EXPECT_EQ(*TrialId(*parsed), *TrialId(plan));
    EXPECT_EQ(parsed->optimizer[0].peak_lr, plan.optimizer[0].peak_lr);
    EXPECT_EQ(parsed->budget.amount, flops);
  }
}

// A different value of the same type.
Json Mutated(const Json& value) {
  if (value.is_string()) return value.get<std::string>() + "x";
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>() + 1;
  return value.get<double>() * (1 + 1e-15) + (value.get<double>() == 0 ? 1e-15 : 0);
}

// Every leaf of a JSON value.
void Leaves(const Json& value, const Json::json_pointer& path,
            std::vector<Json::json_pointer>* out) {
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) Leaves(child, path / key, out);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) Leaves(value[i], path / i, out);
  } else {
    out->push_back(path);
  }
}

TEST(PlanTest, ChangingAnySingleFieldChangesTheId) {
  const Plan plan = PreparedPlan();
  const Json original = Json::parse(*PlanBytes(plan));
  std::vector<Json::json_pointer> leaves;
  Leaves(original, Json::json_pointer(), &leaves);
  EXPECT_GT(leaves.size(), 100u);
  std::set<std::string> ids = {*TrialId(plan)};
  for (const auto& leaf : leaves) {
    if (leaf.to_string() == "/plan_format") continue;
    Json changed = original;
    changed[leaf] = Mutated(original[leaf]);
    const auto bytes = core::CanonicalJson(changed);
    ASSERT_TRUE(bytes.ok());
    const auto parsed = ParsePlan(*bytes);
    ASSERT_TRUE(parsed.ok()) << leaf.to_string() << ": " << parsed.status();
    EXPECT_TRUE(ids.insert(*TrialId(*parsed)).second)
        << leaf.to_string() << " does not move the id";
  }
  EXPECT_EQ(ids.size(), leaves.size());
}

TEST(PlanTest, ChangingAnyListChangesTheId) {
  const Plan plan = PreparedPlan();
  Plan shorter = plan;
  shorter.data.sources.pop_back();
  Plan clamped = plan;
  clamped.clamps.push_back("lr_cap");
  Plan roles = plan;
  roles.optimizer[0].roles.pop_back();
  const std::set<std::string> ids = {*TrialId(plan), *TrialId(shorter), *TrialId(clamped),
                                     *TrialId(roles)};
  EXPECT_EQ(ids.size(), 4u);
}

TEST(PlanTest, EveryMissingFieldIsNamed) {
  const Json original = Json::parse(*PlanBytes(PreparedPlan()));
  for (const auto& [key, unused] : original.items()) {
    Json broken = original;
    broken.erase(key);
    const auto parsed = ParsePlan(*core::CanonicalJson(broken));
    ASSERT_FALSE(parsed.ok()) << key;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("$." + key + " is missing"));
  }
  Json broken = original;
  broken["optimizer"][1].erase("beta2");
  EXPECT_THAT(std::string(ParsePlan(*core::CanonicalJson(broken)).status().message()),
              HasSubstr("$.optimizer[1].beta2 is missing"));
}

TEST(PlanTest, UnknownFieldsAreRefusedWithASuggestion) {
  Json broken = Json::parse(*PlanBytes(PreparedPlan()));
  broken["schedule"]["warmup_stepz"] = 1;
  EXPECT_THAT(std::string(ParsePlan(*core::CanonicalJson(broken)).status().message()),
              HasSubstr("$.schedule.warmup_stepz is unknown; did you mean 'warmup_steps'?"));
}

TEST(PlanTest, IllTypedFieldsAreRefused) {
  const Json original = Json::parse(*PlanBytes(PreparedPlan()));
  auto error = [&original](const char* pointer, const Json& value) {
    Json broken = original;
    broken[Json::json_pointer(pointer)] = value;
    return std::string(ParsePlan(*core::CanonicalJson(broken)).status().message());
  };
  EXPECT_THAT(error("/steps", 1.5), HasSubstr("$.steps is not an integer"));
  EXPECT_THAT(error("/steps", "7"), HasSubstr("$.steps is not an integer"));
  EXPECT_THAT(error("/init_seed", -1), HasSubstr("$.init_seed is not a natural number"));
  EXPECT_THAT(error("/recipe", 3), HasSubstr("$.recipe is not a string"));
  EXPECT_THAT(error("/optimizer", Json::object()), HasSubstr("$.optimizer is not an array"));
  EXPECT_THAT(error("/data/loss_definition", int64_t{1} << 40), HasSubstr("beyond 32 bits"));
  EXPECT_THAT(error("/plan_format", 2), HasSubstr("format is 2"));
  EXPECT_FALSE(ParsePlan("[]").ok());
  EXPECT_FALSE(ParsePlan("").ok());
}

TEST(PlanTest, BytesThatAreNotCanonicalAreRefused) {
  const std::string bytes = *PlanBytes(PreparedPlan());
  EXPECT_THAT(std::string(ParsePlan(" " + bytes).status().message()), HasSubstr("not canonical"));
  EXPECT_FALSE(ParsePlan(Json::parse(bytes).dump(2)).ok());
  std::string twice = bytes;
  twice.insert(1, "\"batch\":1,");
  EXPECT_FALSE(ParsePlan(twice).ok());
}

TEST(PlanTest, ValuesThatJsonCannotHoldAreRefusedByPath) {
  Plan plan = PreparedPlan();
  plan.optimizer[0].epsilon = std::nan("");
  EXPECT_THAT(std::string(PlanBytes(plan).status().message()), HasSubstr("$.optimizer[0].epsilon"));
  plan = PreparedPlan();
  plan.init_seed = (uint64_t{1} << 53) + 1;
  EXPECT_THAT(std::string(PlanBytes(plan).status().message()), HasSubstr("$.init_seed"));
}

TEST(PlanTest, UnpreparedDataHaveNoId) {
  const Plan prepared = PreparedPlan();
  EXPECT_TRUE(TrialId(prepared).ok());
  Plan plan = prepared;
  plan.data.sources[1].manifest_hash = "";
  EXPECT_EQ(TrialId(plan).status().code(), absl::StatusCode::kFailedPrecondition);
  plan = prepared;
  plan.data.eval_hash = "";
  EXPECT_FALSE(TrialId(plan).ok());
  plan = prepared;
  plan.data.sources.clear();
  EXPECT_FALSE(TrialId(plan).ok());
}

TEST(ScheduleTest, CosineStartsAtOneAfterWarmupAndEndsAtTheFloor) {
  Schedule schedule{"cosine", 10, 0, 90, 0.1};
  EXPECT_EQ(ScheduleFactor(schedule, 0), 0);
  EXPECT_EQ(ScheduleFactor(schedule, 5), 0.5);
  EXPECT_EQ(ScheduleFactor(schedule, 10), 1);
  EXPECT_NEAR(ScheduleFactor(schedule, 55), 0.55, 1e-12);
  EXPECT_NEAR(ScheduleFactor(schedule, 99), 0.1, 1e-3);
}

TEST(ScheduleTest, WsdDecaysLinearlyToItsFloor) {
  Schedule schedule{"wsd", 2, 4, 4, 0.5};
  const double want[] = {0, 0.5, 1, 1, 1, 1, 1, 0.875, 0.75, 0.625};
  for (int k = 0; k < 10; ++k) EXPECT_EQ(ScheduleFactor(schedule, k), want[k]) << k;
}

TEST(RegistryTest, AMisspeltRecipeGetsASuggestionAndTheList) {
  const auto missing = FindRecipe("delphi_nano");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("did you mean 'delphi-nano'?"));
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("complete-p"));
}

}  // namespace
}  // namespace recipes
