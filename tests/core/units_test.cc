#include "core/units.h"

#include "core/did_you_mean.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace core {
namespace {

using ::testing::HasSubstr;

TEST(UnitsTest, NumbersAreDecimalAndFinite) {
  EXPECT_EQ(*ParseNumber("1e14"), 1e14);
  EXPECT_EQ(*ParseNumber("3e+18"), 3e18);
  EXPECT_EQ(*ParseNumber("+0.5"), 0.5);
  EXPECT_EQ(*ParseNumber("-2"), -2);
  EXPECT_EQ(*ParseNumber("0.004044078657637111"), 0.004044078657637111);
  for (const char* text : {"", "+", "abc", "1e14x", " 1", "1 ", "0x10", "inf", "nan", "-inf",
                           "1e400", "1_000", "1,000", "++1", "+-1", "1e", "."})
    EXPECT_FALSE(ParseNumber(text).ok()) << "'" << text << "'";
  EXPECT_THAT(std::string(ParseNumber("twelve").status().message()), HasSubstr("'twelve'"));
}

TEST(UnitsTest, FractionsTakeAPercentSign) {
  EXPECT_EQ(*ParseFraction("0.5%"), 0.005);
  EXPECT_EQ(*ParseFraction("0.005"), 0.005);
  EXPECT_FALSE(ParseFraction("%").ok());
  EXPECT_FALSE(ParseFraction("5%%").ok());
}

TEST(UnitsTest, DurationsHaveOneUnit) {
  EXPECT_EQ(*ParseDurationMs("90s"), 90000);
  EXPECT_EQ(*ParseDurationMs("15m"), 900000);
  EXPECT_EQ(*ParseDurationMs("2h"), 7200000);
  EXPECT_EQ(*ParseDurationMs("1.5d"), 129600000);
  EXPECT_EQ(*ParseDurationMs("30"), 30000);
  for (const char* text : {"", "h", "-1s", "2:30", "1h30m", "5 m", "1w"})
    EXPECT_FALSE(ParseDurationMs(text).ok()) << "'" << text << "'";
}

TEST(UnitsTest, PeopleReadThreeOrFourDigits) {
  EXPECT_EQ(FormatFlops(3e18), "3e+18");
  EXPECT_EQ(FormatFlops(1e4), "1e+04");
  EXPECT_EQ(FormatCount(512), "512");
  EXPECT_EQ(FormatCount(1240000), "1.24M");
  EXPECT_EQ(FormatCount(10956570624.0), "10.96B");
  EXPECT_EQ(FormatBytes(1536.0 * 1024 * 1024), "1.5 GiB");
  EXPECT_EQ(FormatBytes(1010.0 * 1024 * 1024), "1010 MiB");
  EXPECT_EQ(FormatDuration(0.85), "850 ms");
  EXPECT_EQ(FormatDuration(185), "3 min 05 s");
  EXPECT_EQ(FormatDuration(7800), "2 h 10 min");
  EXPECT_EQ(FormatUnixMs(1769860800000), "2026-01-31T12:00:00Z");
}

TEST(DidYouMeanTest, NearWordsAreSuggestedAndFarOnesAreNot) {
  const std::vector<std::string> keys = {"budgets", "points", "recipe"};
  EXPECT_EQ(DidYouMean("budgts", keys), "; did you mean 'budgets'?");
  EXPECT_EQ(DidYouMean("bugdets", keys), "; did you mean 'budgets'?");  // a swap counts one
  EXPECT_EQ(DidYouMean("point", keys), "; did you mean 'points'?");
  EXPECT_EQ(DidYouMean("temperature", keys), "");
  EXPECT_EQ(DidYouMean("x", {}), "");
}

}  // namespace
}  // namespace core
