// RFC 8785's own vectors: identity rests on these bytes.
#include "core/canonical_json.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace core {
namespace {

using ::testing::HasSubstr;

double FromBits(uint64_t bits) {
  double value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

TEST(EcmaNumberTest, AppendixBOfTheRfc) {
  const std::pair<uint64_t, const char*> vectors[] = {
      {0x0000000000000000, "0"},
      {0x8000000000000000, "0"},
      {0x0000000000000001, "5e-324"},
      {0x8000000000000001, "-5e-324"},
      {0x7fefffffffffffff, "1.7976931348623157e+308"},
      {0xffefffffffffffff, "-1.7976931348623157e+308"},
      {0x4340000000000000, "9007199254740992"},
      {0xc340000000000000, "-9007199254740992"},
      {0x4430000000000000, "295147905179352830000"},
      {0x44b52d02c7e14af5, "9.999999999999997e+22"},
      {0x44b52d02c7e14af6, "1e+23"},
      {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
      {0x444b1ae4d6e2ef4e, "999999999999999700000"},
      {0x444b1ae4d6e2ef4f, "999999999999999900000"},
      {0x444b1ae4d6e2ef50, "1e+21"},
      {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
      {0x3eb0c6f7a0b5ed8d, "0.000001"},
      {0x41b3de4355555553, "333333333.3333332"},
      {0x41b3de4355555554, "333333333.33333325"},
      {0x41b3de4355555555, "333333333.3333333"},
      {0x41b3de4355555556, "333333333.3333334"},
      {0x41b3de4355555557, "333333333.33333343"},
      {0xbecbf647612f3696, "-0.0000033333333333333333"},
      {0x43143ff3c1cb0959, "1424953923781206.2"},
  };
  for (const auto& [bits, text] : vectors) EXPECT_EQ(EcmaNumber(FromBits(bits)), text);
}

TEST(CanonicalJsonTest, TheSampleOfSection3) {
  const auto value = ParseJson(R"({
    "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
    "literals": [null, true, false]
  })",
                               "sample");
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*CanonicalJson(*value),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
            "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
}

TEST(CanonicalJsonTest, KeysAreSortedAtEveryDepthAndBytesReadBack) {
  const std::string canonical = R"({"a":{"B":1,"b":[{"x":1,"y":2}]},"aa":"","b":-1.5})";
  const auto value = ParseJson(R"({"b":-1.5,"aa":"","a":{"b":[{"y":2,"x":1}],"B":1}})", "v");
  EXPECT_EQ(*CanonicalJson(*value), canonical);
  EXPECT_EQ(*CanonicalJson(*ParseJson(canonical, "v")), canonical);
}

TEST(CanonicalJsonTest, WhatTheRfcCannotHoldIsRefusedByPath) {
  auto error = [](const Json& value) {
    const auto bytes = CanonicalJson(value);
    return bytes.ok() ? *bytes : std::string(bytes.status().message());
  };
  EXPECT_THAT(error({{"a", {1.0, std::nan("")}}}), HasSubstr("$.a[1] is not finite"));
  EXPECT_THAT(error({{"a", HUGE_VAL}}), HasSubstr("$.a is not finite"));
  EXPECT_THAT(error({{"n", (int64_t{1} << 53) + 1}}), HasSubstr("at $.n is beyond 2^53"));
  EXPECT_THAT(error({{"n", -(int64_t{1} << 53) - 1}}), HasSubstr("beyond 2^53"));
  EXPECT_THAT(error({{"n", std::numeric_limits<int64_t>::min()}}), HasSubstr("beyond 2^53"));
  EXPECT_THAT(error({{"n", std::numeric_limits<uint64_t>::max()}}), HasSubstr("beyond 2^53"));
  EXPECT_THAT(error({{"\xc3\xa9", 1}}), HasSubstr("non-ASCII key"));
  EXPECT_THAT(error({{"s", "\xff"}}), HasSubstr("$.s is not UTF-8"));
  EXPECT_EQ(error(int64_t{1} << 53), "9007199254740992");
}

TEST(ParseJsonTest, BrokenTextIsAnErrorAndNeverAnException) {
  for (const char* text : {"", "{", "[1,]", "nul", "\"\xff\"", "1e400", "[1e999]", "{\"a\":1}x"}) {
    const auto value = ParseJson(text, "the reply");
    ASSERT_FALSE(value.ok()) << text;
    EXPECT_THAT(std::string(value.status().message()), HasSubstr("the reply is not valid JSON"));
  }
}

}  // namespace
}  // namespace core
