#include "recipes/transformer_shape.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace recipes {
namespace {

// Two layers, three heads of 4 beside a width of 8: heads * head_dim (12) is not the width.
TransformerShape Small() {
  TransformerShape s;
  s.hidden = 8;
  s.layers = 2;
  s.heads = s.kv_heads = 3;
  s.head_dim = 4;
  s.ffn = 32;
  s.vocab = 10;
  s.seq_len = 16;
  return s;
}

TEST(TransformerShapeTest, ParamsAreTheSumOfTheMatricesThatAreBuilt) {
  const ParamCounts n = CountParams(Small());
  EXPECT_EQ(n.embedding, 10 * 8);
  EXPECT_EQ(n.attention, 2 * (3 * 12 * 8 + 8 * 12));
  EXPECT_EQ(n.mlp, 2 * 3 * 32 * 8);
  EXPECT_EQ(n.norm, 2 * 2 * 8);
  EXPECT_EQ(n.final_norm, 8);
  EXPECT_EQ(n.qk_norm, 2 * 2 * 4);
  EXPECT_EQ(n.head, 10 * 8);
  EXPECT_EQ(n.Total() - n.WithoutQkNorm(), 16);
  EXPECT_EQ(n.Total() - n.WithoutEmbedding(), 160);
}

TEST(TransformerShapeTest, GroupedKeysAndTiedHeadsAreCountedOnce) {
  TransformerShape s = Small();
  s.kv_heads = 1;
  s.tied = true;
  s.qk_norm = false;
  const ParamCounts n = CountParams(s);
  EXPECT_EQ(n.attention, 2 * (12 * 8 + 2 * 4 * 8 + 8 * 12));
  EXPECT_EQ(n.head, 0);
  EXPECT_EQ(n.qk_norm, 0);
}

TEST(TransformerShapeTest, ModelFlopsHalveAttentionAndLeaveOutTheEmbedding) {
  const TransformerShape s = Small();
  const ParamCounts n = CountParams(s);
  EXPECT_EQ(ModelFlopsPerToken(s), 6.0 * (n.attention + n.mlp + n.head) + 6.0 * 2 * 12 * 16);
  TransformerShape tied = s;
  tied.tied = true;  // the head is still multiplied
  EXPECT_EQ(ModelFlopsPerToken(tied), ModelFlopsPerToken(s));
}

TEST(TransformerShapeTest, DelphiForwardFlopsReduceToThePublishedFormulaWhenHeadsFillTheWidth) {
  TransformerShape s = Small();
  s.head_dim = 4;
  s.heads = s.kv_heads = 2;
  const int64_t h = 8, t = 16;
  EXPECT_EQ(DelphiForwardFlops(s), 2 * (32 * h * h + 4 * t * h + 3 * t * 2) + 2 * h * 10);
}

TEST(TransformerShapeTest, ShapesSurviveTheWayThroughASpec) {
  const ModelSpec spec = MakeTransformerSpec(Small(), TransformerOptions());
  const auto back = ShapeOf(spec);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(MakeTransformerSpec(*back, TransformerOptions()).config, spec.config);
  EXPECT_EQ(back->heads, 3);
}

TEST(TransformerShapeTest, BrokenSpecsAreRefusedByKey) {
  for (const char* key : {"hidden_size", "head_dim", "vocab_size", "qk_norm"}) {
    ModelSpec spec = MakeTransformerSpec(Small(), TransformerOptions());
    spec.config[key] = "many";
    EXPECT_THAT(std::string(ShapeOf(spec).status().message()), testing::HasSubstr(key));
    spec.config.erase(key);
    EXPECT_FALSE(ShapeOf(spec).ok());
  }
  ModelSpec other = MakeTransformerSpec(Small(), TransformerOptions());
  other.family = "mamba";
  EXPECT_FALSE(ShapeOf(other).ok());
}

}  // namespace
}  // namespace recipes
