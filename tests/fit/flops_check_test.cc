// Columns that cannot mean what they are called.
#include "fit/flops_check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<Observation> Runs(double flops_per_param_token) {
  std::vector<Observation> runs;
  for (const double params : {1e7, 3e7, 1e8}) {
    Observation o;
    o.params = params, o.tokens = 20 * params;
    o.flops = flops_per_param_token * o.params * o.tokens;
    o.loss = 3;
    runs.push_back(o);
  }
  return runs;
}

TEST(FlopsCheckTest, WhatRecipesCountIsNotDoubted) {
  for (const double k : {1.01, 4.0, 6.0, 9.0, 99.0}) EXPECT_EQ(FlopsDoubt(Runs(k)), "") << k;
}

TEST(FlopsCheckTest, AFactorThatSlippedInIsRemarked) {
  for (const double k : {4.6, 6., 14.}) EXPECT_EQ(FlopsRemark(Runs(k)), "") << k;
  for (const double k : {2., 60.})
    EXPECT_THAT(FlopsRemark(Runs(k)), HasSubstr("where 6 is usual")) << k;
}

TEST(FlopsCheckTest, APerplexityIsNoLoss) {
  std::vector<Observation> runs = Runs(6);
  for (Observation& o : runs) o.cohort["metric"] = "loss/nats_per_token";
  EXPECT_EQ(LossDoubt(runs), "");
  runs[1].loss = 38, runs[1].row = 7;
  EXPECT_THAT(LossDoubt(runs), HasSubstr("row 7: "));
}

TEST(FlopsCheckTest, UniformBytesAreTheWorstLossPerByte) {
  std::vector<Observation> runs = Runs(6);
  for (Observation& o : runs) o.cohort["metric"] = "loss/bits_per_byte";
  runs[1].loss = 8;
  EXPECT_EQ(LossDoubt(runs), "");
  runs[1].loss = 9.2, runs[1].id = "a";
  EXPECT_THAT(LossDoubt(runs), AllOf(HasSubstr("a: 9.2 bits_per_byte"), HasSubstr("256 bytes")));
}

TEST(FlopsCheckTest, APerplexityWithoutAUnitIsRemarkedAlone) {
  std::vector<Observation> runs = Runs(6);
  runs[1].loss = 12.9;
  EXPECT_EQ(LossRemark(runs), "");
  runs[1].loss = 38, runs[1].row = 7, runs[2].loss = 35;
  EXPECT_THAT(LossRemark(runs), AllOf(HasSubstr("row 7: 38 (the first of 2 such runs)"),
                                      HasSubstr("nobody has said the unit")));
  EXPECT_EQ(LossDoubt(runs), "") << "it blocks nothing";
  for (Observation& o : runs) o.cohort["metric"] = "loss/nats_per_token";
  EXPECT_EQ(LossRemark(runs), "") << "LossDoubt says it";
}

TEST(FlopsCheckTest, AColumnInAnotherUnitIsDoubtedWithTheRange) {
  EXPECT_THAT(FlopsDoubt(Runs(6e-9)), AllOf(HasSubstr("6e-09 .. 6e-09"), HasSubstr("GFLOPs")));
  EXPECT_THAT(FlopsDoubt(Runs(6e6)), HasSubstr("6e+06 .. 6e+06"));
  // One row is enough.
  std::vector<Observation> runs = Runs(6);
  runs[1].flops *= 1e3;
  EXPECT_THAT(FlopsDoubt(runs), HasSubstr("6 .. 6e+03"));
}

TEST(FlopsCheckTest, WhatIsDeclaredAs6ndMustBeThat) {
  std::vector<Observation> runs = Runs(6);
  for (Observation& o : runs) o.cohort["flop_convention"] = "6nd";
  EXPECT_EQ(FlopsDoubt(runs), "");
  runs[2].flops *= 1.009;
  EXPECT_EQ(FlopsDoubt(runs), "");
  runs[2].flops *= 1.02;
  for (size_t i = 0; i < runs.size(); ++i) runs[i].row = static_cast<int64_t>(i) + 2;
  EXPECT_THAT(FlopsDoubt(runs), AllOf(HasSubstr("1 of 3 runs"), HasSubstr("+2.92 %, at row 4"),
                                      HasSubstr("C / (N D) is 6.175 there")));
  // The same runs under a convention of their own are fine.
  for (Observation& o : runs) o.cohort["flop_convention"] = "given";
  EXPECT_EQ(FlopsDoubt(runs), "");
}

}  // namespace
}  // namespace fit
