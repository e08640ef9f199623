#include "recipes/complete_p.h"

#include <cmath>
#include <map>

#include "gtest/gtest.h"
#include "recipes/transformer_shape.h"

namespace recipes {
namespace {

const Recipe& Recipe_() { return **FindRecipe("complete-p"); }

std::map<std::string, OptimizerGroup> Groups(const Plan& plan) {
  std::map<std::string, OptimizerGroup> groups;
  for (const OptimizerGroup& group : plan.optimizer) groups[group.name] = group;
  return groups;
}
std::map<std::string, InitRule> Inits(const Plan& plan) {
  std::map<std::string, InitRule> inits;
  for (const InitRule& rule : plan.init) inits[rule.role] = rule;
  return inits;
}

Candidate CandidateOf(int64_t hidden, int64_t layers, int64_t batch, int64_t tokens) {
  TransformerShape s;
  s.hidden = hidden;
  s.layers = layers;
  s.head_dim = 64;
  s.heads = s.kv_heads = hidden / 64;
  s.ffn = 4 * hidden;
  s.vocab = 1024;
  s.seq_len = 512;
  Candidate c;
  c.budget.amount = 1;
  c.hidden = hidden;
  c.model = MakeTransformerSpec(s, TransformerOptions());
  c.params = CountParams(s).Total();
  c.batch = batch;
  c.steps = tokens / (batch * 512);
  c.tokens = tokens;
  c.tokens_exact = static_cast<double>(tokens);
  return c;
}

TEST(CompletePTest, TheReferencePointHasTheReferenceConstants) {
  const Plan plan = *Recipe_().MakePlan(CandidateOf(256, 2, 32, 32000000), Setting());
  for (const auto& [name, group] : Groups(plan)) {
    EXPECT_EQ(group.peak_lr, 0.00390625) << name;
    EXPECT_EQ(group.epsilon, 1e-12) << name;
    EXPECT_DOUBLE_EQ(group.beta1, 0.9) << name;
    EXPECT_DOUBLE_EQ(group.beta2, 0.95) << name;
  }
  EXPECT_EQ(plan.schedule.kind, "cosine");
}

// Each multiplier alone doubled (quadrupled), against the table written out by hand.
TEST(CompletePTest, EachMultiplierMovesEachGroupAsTheTableSays) {
  const Plan base = *Recipe_().MakePlan(CandidateOf(256, 2, 32, 32768000), Setting());
  const auto groups = Groups(base);
  const auto inits = Inits(base);
  struct Row {
    const char* name;
    double lr, epsilon, decay, init_variance;
  };
  auto check = [&](const Plan& plan, const std::vector<Row>& rows) {
    const auto got = Groups(plan);
    const auto got_init = Inits(plan);
    for (const Row& row : rows) {
      SCOPED_TRACE(row.name);
      EXPECT_NEAR(got.at(row.name).peak_lr / groups.at(row.name).peak_lr, row.lr, 1e-12);
      EXPECT_NEAR(got.at(row.name).epsilon / groups.at(row.name).epsilon, row.epsilon, 1e-12);
      if (groups.at(row.name).weight_decay > 0) {
        EXPECT_NEAR(got.at(row.name).weight_decay / groups.at(row.name).weight_decay, row.decay,
                    1e-12);
      }
      const double std = got_init.at(row.name).std / inits.at(row.name).std;
      EXPECT_NEAR(std * std, row.init_variance, 1e-12);
    }
  };
  // Width x4.
  check(*Recipe_().MakePlan(CandidateOf(1024, 2, 32, 32768000), Setting()),
        {{"embedding", 1, .25, 1, 1},
         {"attention", .25, .25, 4, .25},
         {"mlp", .25, .25, 4, .25},
         {"norm", 1, .25, 1, 1},
         {"qk_norm", 1, 1, 1, 1},
         {"final_norm", 1, 1, 1, 1},
         {"head", .25, 1, 4, 1.0 / 16}});
  // Depth x2 (alpha = 1: learning rates stand).
  check(*Recipe_().MakePlan(CandidateOf(256, 4, 32, 32768000), Setting()),
        {{"embedding", 1, 1, 1, 1},
         {"attention", 1, .5, 1, 1},
         {"mlp", 1, .5, 1, 1},
         {"norm", 1, .5, 1, 1},
         {"qk_norm", 1, .5, 1, 1},
         {"final_norm", 1, 1, 1, 1},
         {"head", 1, 1, 1, 1}});
  // Tokens x4 at the same batch: q halves.
  const Plan longer = *Recipe_().MakePlan(CandidateOf(256, 2, 32, 4 * 32768000), Setting());
  for (const auto& [name, group] : groups) {
    check(longer, {{name.c_str(), .5, 2, .5, 1}});
    EXPECT_NEAR((1 - Groups(longer).at(name).beta2) / (1 - group.beta2), .25, 1e-9);
    EXPECT_NEAR((1 - Groups(longer).at(name).beta1) / (1 - group.beta1), .25, 1e-9);
  }
}

TEST(CompletePTest, ResidualBranchesShrinkWithDepth) {
  const auto list = Recipe_().Candidates({"training_flops", 1e15}, Setting());
  ASSERT_TRUE(list.ok()) << list.status();
  for (const Candidate& c : list->candidates) {
    const double layers = static_cast<double>(ShapeOf(c.model)->layers);
    EXPECT_DOUBLE_EQ(c.model.config["residual_multiplier"].get<double>(), 2 / layers);
    EXPECT_TRUE(Recipe_().MakePlan(c, Setting()).ok());
  }
}

TEST(CompletePTest, RunsFarShorterThanTheReferenceKeepTheirBetas) {
  const Plan plan = *Recipe_().MakePlan(CandidateOf(256, 2, 512, 512 * 512 * 100), Setting());
  EXPECT_EQ(plan.clamps, std::vector<std::string>{"beta_floor"});
  EXPECT_GE(plan.optimizer[0].beta1, 0.5);
}

}  // namespace
}  // namespace recipes
