#include "worker/data/tokenizer.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace worker {
namespace {

std::string TrainSmall() {
  int i = 0;
  const auto model = TrainSentencePiece(320, [&](std::string* line) {
    static const char* const kWords[] = {"static int", "return -EINVAL;", "struct file *",
                                         "\tif (x == 12)", "for  (;;)"};
    *line = std::string(kWords[i % 5]) + " foo_bar" + std::to_string(i % 37) + " = baz";
    return ++i < 2000;
  });
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *model : "";
}

const Tokenizer& Small() {
  static const std::unique_ptr<Tokenizer> tokenizer =
      std::move(*SentencePieceTokenizer(TrainSmall()));
  return *tokenizer;
}

void ExpectRoundTrip(const Tokenizer& t, const std::string& text) {
  const auto ids = t.Encode(text);
  for (int32_t id : ids) {
    ASSERT_GE(id, 0);
    ASSERT_LT(id, t.vocab_size());
    ASSERT_NE(id, t.separator());
  }
  ASSERT_EQ(t.Decode(ids), text);
}

TEST(TokenizerTest, KnownTrapsRoundTrip) {
  for (const std::string& text :
       {std::string("a\0b", 3), std::string("  two  spaces "), std::string("\r\n\t\t\n\n x"),
        std::string("\xE2\x96\x81"), std::string("a\xE2\x96\x81 b"), std::string("\xFF\xFE"),
        std::string("\xC0\x80"), std::string("\xED\xA0\x80"), std::string("\xF4\x90\x80\x80"),
        std::string("<s></s><unk><0x41>"),
        std::string("\xEF\xBB\xBF"
                    "bom"),
        std::string("e\xCC\x81 \xC3\xA9 \xEF\xAC\x81"), std::string("1234567890"),
        std::string("\xE2\x96"), std::string("")}) {
    ExpectRoundTrip(Small(), text);
    ExpectRoundTrip(*ByteTokenizer(), text);
  }
}

TEST(TokenizerTest, RandomBytesRoundTrip) {
  core::Rng rng(11);
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text(rng.Below(200), '\0');
    const uint64_t mode = rng.Below(3);
    for (char& c : text) {
      c = mode == 0   ? static_cast<char>(rng.Below(256))
          : mode == 1 ? static_cast<char>(32 + rng.Below(95))
                      : "\xE2\x96\x81 \n\tab\xC3\xA9"[rng.Below(10)];
    }
    ExpectRoundTrip(Small(), text);
  }
}

TEST(TokenizerTest, TrainingIsDeterministicAndCompresses) {
  EXPECT_EQ(TrainSmall(), TrainSmall());
  const std::string text = "static int foo_bar12 = baz; return -EINVAL;";
  EXPECT_LT(Small().Encode(text).size(), 2 * text.size() / 3);
}

TEST(TokenizerTest, RefusesAVocabularyWithoutRoomForBytes) {
  const auto model = TrainSentencePiece(128, [](std::string*) { return false; });
  EXPECT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find("264"), std::string::npos);
}

TEST(TokenizerTest, RefusesAModelThatIsNone) {
  EXPECT_FALSE(SentencePieceTokenizer("garbage").ok());
}

}  // namespace
}  // namespace worker
