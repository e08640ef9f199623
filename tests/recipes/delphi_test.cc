// The published Delphi recipe, digit for digit: every comparison of doubles is ==.
// Source of all numbers: reference Delphi recipe, sections 4 to 12; tests/data/README.md.
#include "recipes/delphi.h"

#include <cstdlib>
#include <map>
#include <sstream>

#include "core/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "recipes/transformer_shape.h"

namespace recipes {
namespace {

using ::testing::HasSubstr;

const Recipe& Published() { return **FindRecipe("delphi"); }

std::vector<Candidate> CandidatesAt(double flops) {
  auto list = Published().Candidates({"training_flops", flops}, Setting());
  EXPECT_TRUE(list.ok()) << list.status();
  return list->candidates;
}

Plan PlanAt(double flops, int64_t hidden, std::optional<int64_t> batch = std::nullopt) {
  for (const Candidate& candidate : CandidatesAt(flops)) {
    if (candidate.hidden != hidden) continue;
    auto plan = Published().MakePlan(candidate, Setting(), batch);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *plan;
  }
  ADD_FAILURE() << "no candidate of width " << hidden << " at " << flops;
  return Plan();
}

std::vector<std::map<std::string, std::string>> GridRows() {
  auto text = core::ReadFile(SWEEP_SOURCE_DIR "/tests/data/delphi_v6_candidate_grid.csv");
  EXPECT_TRUE(text.ok()) << text.status();
  std::istringstream lines(*text);
  std::string line, cell;
  std::getline(lines, line);
  std::vector<std::string> header;
  for (std::istringstream cells(line); std::getline(cells, cell, ',');) header.push_back(cell);
  std::vector<std::map<std::string, std::string>> rows;
  while (std::getline(lines, line)) {
    std::map<std::string, std::string> row;
    size_t i = 0;
    for (std::istringstream cells(line); std::getline(cells, cell, ',');) row[header[i++]] = cell;
    rows.push_back(row);
  }
  return rows;
}

TEST(DelphiTest, AllSeventyEightPublishedRunsComeOutInEveryColumnAndInOrder) {
  const auto rows = GridRows();
  ASSERT_EQ(rows.size(), 78u);
  size_t next = 0;
  for (const double flops : {3e18, 9e18, 1.8e19, 3e19, 9e19, 1.8e20, 3e20}) {
    for (const Candidate& candidate : CandidatesAt(flops)) {
      ASSERT_LT(next, rows.size());
      const auto& row = rows[next++];
      SCOPED_TRACE(row.at("run_name"));
      auto number = [&row](const char* column) {
        return std::strtod(row.at(column).c_str(), nullptr);
      };
      const auto plan = Published().MakePlan(candidate, Setting());
      ASSERT_TRUE(plan.ok()) << plan.status();
      const auto shape = *ShapeOf(plan->model);
      EXPECT_EQ(plan->budget.amount, number("budget"));
      EXPECT_EQ(shape.hidden, number("hidden"));
      EXPECT_EQ(shape.layers, number("layers"));
      EXPECT_EQ(shape.heads, number("heads"));
      EXPECT_EQ(shape.ffn, number("ffn"));
      EXPECT_EQ(plan->params_no_qk_norm, number("params_noqk"));
      EXPECT_EQ(plan->params, number("params_total"));
      EXPECT_EQ(*Published().ForwardFlopsPerToken(plan->model, 4096),
                number("fwd_flops_per_token"));
      EXPECT_EQ(candidate.tokens_exact, number("tokens_exact"));
      EXPECT_EQ(plan->batch, number("batch"));
      EXPECT_EQ(plan->steps, number("steps"));
      EXPECT_EQ(plan->tokens, number("tokens_realised"));
      EXPECT_EQ(plan->recipe_flops, number("flops_realised"));
      EXPECT_EQ(plan->optimizer[0].peak_lr, number("lr_adamh"));
      EXPECT_EQ(plan->optimizer[1].peak_lr, number("lr_adam"));
      for (const OptimizerGroup& group : plan->optimizer) {
        EXPECT_EQ(group.beta2, number("beta2"));
        EXPECT_EQ(group.epsilon, number("epsilon"));
      }
      EXPECT_EQ(plan->schedule.warmup_steps, number("warmup_steps"));
      EXPECT_EQ(plan->schedule.stable_steps, number("stable_steps"));
      EXPECT_EQ(plan->schedule.decay_steps, number("decay_steps"));
    }
  }
  EXPECT_EQ(next, rows.size());
}

// One row of section 12. Zero where the table has no value. Row 9's epsilon ends in 2 as in the
// grid; the section prints ...21e-08, which is the form epsilon0 * sqrt(1/q) that section 5
// rejects.
struct Example {
  double flops;
  int64_t hidden, batch_override;
  int64_t layers, heads, ffn, params_rule, params;
  double forward, tokens_exact;
  int64_t batch, steps, tokens;
  double lr, adam_lr, beta2, epsilon;
  int64_t warmup, stable, decay;
};

// clang-format off
const Example kExamples[] = {
    {3e18, 512, 0, 6, 4, 2048, 156506624, 156508160, 232292352, 4304920034.560587, 32, 32844,
     4304928768, 0.0037845829424083, 0.0003534893237253991, .9999, 3.433201283733141e-08, 3284,
     22992, 6568},
    {3e18, 1024, 0, 11, 8, 4096, 447241216, 447244032, 817397760, 1223394593.1048307, 8, 37335,
     1223393280, 0.0027599905274620106, 0.00033154735825338737, .9999, 3.6604122149949323e-08,
     3733, 26135, 7467},
    {9e18, 1152, 0, 12, 9, 4608, 0, 550337664, 0, 0, 16, 44317, 2904358912, 0.003011461785505323,
     0.000304311605183897, .9999, 3.988017477238883e-08, 0, 0, 0},
    {1.8e19, 1280, 0, 13, 10, 5120, 669157120, 669160448, 1284136960, 4672398807.055596, 32,
     35648, 4672454656, 0.0036927132345973973, 0.00033930393295765574, .9999,
     3.576734255395307e-08, 3564, 24955, 7129},
    {1.8e19, 1408, 0, 15, 11, 5632, 0, 837007744, 0, 0, 16, 55125, 3612672000,
     0.002820610414485248, 0.0002728525996258053, .9999, 4.447822749954927e-08, 0, 0, 0},
    {3e19, 1536, 0, 16, 12, 6144, 998032896, 998036992, 2006974464, 4982624432.634535, 32, 38014,
     4982571008, 0.0036221806669679214, 0.0003285714083231954, .9999, 3.693565445007487e-08,
     3801, 26611, 7602},
    {9e19, 1792, 0, 18, 14, 7168, 0, 1384584448, 0, 0, 64, 40283, 10559946752,
     0.004089070809779834, 0.0003191861039276992, .9999, 3.802170536455748e-08, 0, 0, 0},
    {9e19, 2048, 0, 21, 16, 8192, 1934710784, 1934716160, 4052680704, 7402507671.129869, 32,
     56477, 7402553344, 0.003216576571708084, 0.0002695686680789442, .9999,
     4.502006886217922e-08, 5647, 39535, 11295},
    {1.8e20, 2048, 0, 21, 16, 8192, 1934710784, 1934716160, 0, 0, 64, 56477, 14805106688,
     0.003694876216643079, 0.0002695686680789442, .9999, 4.502006886217922e-08, 0, 0, 0},
    {3e20, 2304, 0, 23, 18, 9216, 2544609024, 2544614912, 5371305984, 18617446166.32885, 128,
     35510, 18617466880, 0.004878221521523273, 0.00033996075743610645, 0.9998000100000001,
     3.569823791288878e-08, 3551, 24857, 7102},
    {3e20, 2816, 0, 28, 22, 11264, 4275073792, 4275080960, 9126903808, 10956618159.199514, 64,
     41796, 10956570624, 0.004044078657637111, 0.00031335424351361065, .9999,
     3.8729330306557246e-08, 4179, 29258, 8359},
    {1e21, 2560, 512, 26, 20, 10240, 3383104000, 3383110656, 0, 46256626613.31272, 512, 22057,
     46256881664, 0.007425310857275634, 0.0004313508529462869, 0.9992002799440071,
     2.8134869601176405e-08, 2205, 15441, 4411},
    {1e22, 3840, 1024, 37, 30, 15360, 9714689280, 9714698752, 0, 160369942306.64383, 1024, 38235,
     160369213440, 0.007231797280729413, 0.0003276222099351447, 0.9984011994401821,
     3.70426657045089e-08, 3823, 26765, 7647},
    {1e23, 5376, 2048, 51, 42, 21504, 24963085056, 24963098112, 0, 628166651408.9509, 2048,
     74884, 628172521472, 0.0067900638904718254, 0.0002341042863058127, 0.9968049550435943,
     5.1840144371157e-08, 7488, 52420, 14976},
};
// clang-format on

TEST(DelphiTest, TheFourteenWorkedExamplesAgreeToTheLastDigit) {
  for (const Example& e : kExamples) {
    SCOPED_TRACE(testing::Message() << e.flops << ", width " << e.hidden);
    const Plan plan =
        PlanAt(e.flops, e.hidden,
               e.batch_override > 0 ? std::optional<int64_t>(e.batch_override) : std::nullopt);
    const auto shape = *ShapeOf(plan.model);
    EXPECT_EQ(shape.layers, e.layers);
    EXPECT_EQ(shape.heads, e.heads);
    EXPECT_EQ(shape.ffn, e.ffn);
    if (e.params_rule > 0) {
      EXPECT_EQ(plan.params_no_qk_norm, e.params_rule);
    }
    EXPECT_EQ(plan.params, e.params);
    if (e.forward > 0) {
      EXPECT_EQ(*Published().ForwardFlopsPerToken(plan.model, 4096), e.forward);
    }
    if (e.tokens_exact > 0) {
      for (const Candidate& candidate : CandidatesAt(e.flops))
        if (candidate.hidden == e.hidden) {
          EXPECT_EQ(candidate.tokens_exact, e.tokens_exact);
        }
    }
    EXPECT_EQ(plan.batch, e.batch);
    EXPECT_EQ(plan.steps, e.steps);
    EXPECT_EQ(plan.tokens, e.tokens);
    EXPECT_EQ(plan.optimizer[0].peak_lr, e.lr);
    EXPECT_EQ(plan.optimizer[1].peak_lr, e.adam_lr);
    EXPECT_EQ(plan.optimizer[0].beta2, e.beta2);
    EXPECT_EQ(plan.optimizer[0].epsilon, e.epsilon);
    if (e.decay > 0) {
      EXPECT_EQ(plan.schedule.warmup_steps, e.warmup);
      EXPECT_EQ(plan.schedule.stable_steps, e.stable);
      EXPECT_EQ(plan.schedule.decay_steps, e.decay);
    }
    EXPECT_EQ(plan.schedule.warmup_steps + plan.schedule.stable_steps + plan.schedule.decay_steps,
              plan.steps);
  }
}

TEST(DelphiTest, TheRecipesOwnSnapshotOfBatchAndStepsHolds) {
  std::vector<std::pair<int64_t, int64_t>> got;
  for (const Candidate& candidate : CandidatesAt(3e18))
    got.push_back({candidate.batch, candidate.steps});
  EXPECT_EQ(got, (std::vector<std::pair<int64_t, int64_t>>{
                     {32, 32844}, {16, 46274}, {16, 33965}, {8, 48105}, {8, 37335}}));
}

TEST(DelphiTest, HeldOutBudgetsHaveThePublishedCandidateRanges) {
  struct Range {
    double flops;
    size_t count;
    int64_t narrowest, widest;
  };
  for (const Range& r :
       {Range{1e21, 15, 1536, 5120}, {1e22, 21, 2304, 7424}, {1e23, 31, 3584, 11264}}) {
    const auto candidates = CandidatesAt(r.flops);
    EXPECT_EQ(candidates.size(), r.count);
    EXPECT_EQ(candidates.front().hidden, r.narrowest);
    EXPECT_EQ(candidates.back().hidden, r.widest);
  }
}

TEST(DelphiTest, HeldOutRunsAreChosenFromTheOfficialAllocation) {
  struct HeldOut {
    double flops, optimal_tokens;
    int64_t hidden, layers, batch, tokens;
    int64_t wider, wider_tokens;  // the neighbour that was not chosen
  };
  for (const HeldOut& h :
       {HeldOut{1e21, 4.0604336510e10, 2560, 26, 512, 46256881664, 2816, 36521902080},
        {1e22, 1.54402870961e11, 3840, 37, 1024, 160369213440, 4096, 132141547520},
        {1e23, 5.87135478865e11, 5376, 51, 2048, 628172521472, 5632, 544059949056}}) {
    SCOPED_TRACE(h.flops);
    const auto optimal = Published().PriorOptimalTokens(h.flops, Setting());
    ASSERT_TRUE(optimal.ok());
    EXPECT_NEAR(*optimal / h.optimal_tokens, 1, 1e-9);
    const auto candidates = CandidatesAt(h.flops);
    const Candidate& chosen = ChooseForTokens(candidates, *optimal);
    EXPECT_EQ(chosen.hidden, h.hidden);
    EXPECT_EQ(ShapeOf(chosen.model)->layers, h.layers);
    EXPECT_EQ(Published().MakePlan(chosen, Setting(), h.batch)->tokens, h.tokens);
    for (const Candidate& candidate : candidates)
      if (candidate.hidden == h.wider) {
        EXPECT_EQ(candidate.tokens, h.wider_tokens);
      }
  }
}

TEST(DelphiTest, MostTokensAreChosenWhereNoCandidateReachesTheOptimum) {
  const auto candidates = CandidatesAt(3e18);
  EXPECT_EQ(ChooseForTokens(candidates, 1e15).tokens, candidates.front().tokens);
}

TEST(DelphiTest, ParameterCapsGrowWithTheSquareRootAndSaturate) {
  EXPECT_EQ(DelphiParamCap(3e18), 12e9);
  EXPECT_EQ(DelphiParamCap(1e21), 2.1908902300206646e10);
  EXPECT_EQ(DelphiParamCap(1e22), 6.92820323027551e10);
  EXPECT_EQ(DelphiParamCap(1e23), 2.1908902300206644e11);
  EXPECT_EQ(DelphiParamCap(1e30), 1e12);
}

TEST(DelphiTest, TheScheduleOfTheModelCardRunHasThePublishedFactors) {
  const Plan plan = PlanAt(3e20, 2816);
  auto lr = [&plan](int64_t k) {
    return plan.optimizer[0].peak_lr * ScheduleFactor(plan.schedule, k);
  };
  EXPECT_EQ(lr(0), 0);
  EXPECT_DOUBLE_EQ(lr(1), 9.677144430813857e-07);
  EXPECT_DOUBLE_EQ(lr(4178), .00404311094319403);
  EXPECT_EQ(lr(4179), 0.004044078657637111);
  EXPECT_EQ(lr(33437), 0.004044078657637111);
  EXPECT_DOUBLE_EQ(lr(33438), .0040435948583001525);
  EXPECT_NEAR(lr(41795) / 4.837993369586498e-07, 1, 1e-11);  // 1 - 8358/8359 cancels
}

TEST(DelphiTest, EveryRoleHasOneGroupAndOneInitRule) {
  const Plan plan = PlanAt(3e18, 512);
  ASSERT_EQ(plan.optimizer.size(), 2u);
  EXPECT_EQ(plan.optimizer[0].algorithm, "adamh");
  EXPECT_THAT(plan.optimizer[0].roles, testing::ElementsAre("attention", "mlp", "head"));
  EXPECT_EQ(plan.optimizer[1].algorithm, "adamw");
  EXPECT_EQ(plan.optimizer[1].weight_decay, 0);
  EXPECT_THAT(plan.optimizer[1].roles,
              testing::ElementsAre("embedding", "norm", "final_norm", "qk_norm"));
  EXPECT_EQ(plan.init.size(), 7u);
  EXPECT_EQ(plan.numerics, "bf16-mixed");
}

TEST(DelphiTest, BudgetsItCannotSpendAreRefusedWithWhatToDo) {
  const auto tiny = Published().Candidates({"training_flops", 1e15}, Setting());
  ASSERT_FALSE(tiny.ok());
  EXPECT_EQ(tiny.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tiny.status().message()), HasSubstr("delphi-nano"));
  for (const double bad : {0.0, -1e18, std::nan(""), HUGE_VAL})
    EXPECT_FALSE(Published().Candidates({"training_flops", bad}, Setting()).ok()) << bad;
  const auto kind = Published().Candidates({"artifact_bytes", 16e6}, Setting());
  EXPECT_THAT(std::string(kind.status().message()), HasSubstr("artifact_bytes"));
}

TEST(DelphiTest, RejectionsNameTheReason) {
  const auto list = Published().Candidates({"training_flops", 3e20}, Setting());
  ASSERT_TRUE(list.ok());
  EXPECT_THAT(list->rejections.front().reason, HasSubstr("tokens a param, over 250"));
  EXPECT_THAT(list->rejections.back().reason, HasSubstr("over the cap of 12B"));
  EXPECT_EQ(list->rejections.back().hidden, 4352);
}

TEST(DelphiTest, ABatchOverrideThatLeavesNoStepIsRefused) {
  const Candidate candidate = CandidatesAt(3e18).front();
  EXPECT_FALSE(Published().MakePlan(candidate, Setting(), 0).ok());
  EXPECT_FALSE(Published().MakePlan(candidate, Setting(), int64_t{1} << 30).ok());
}

}  // namespace
}  // namespace recipes
