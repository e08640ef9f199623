// What intervals have held by reach: counted here, or borrowed from the public benchmark's page.
#include "fit/reach_coverage.h"

#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "fit/fit.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "tests/fit/planted.h"
#include "tests/fit/quick_fit.h"

namespace fit {
namespace {

using ::testing::HasSubstr;

constexpr double kCut = 1e20;

// One cut, from which `law` forecast `inside` runs that its interval held and `outside` that it did
// not, all at `reach`.
BacktestRow Forecasts(const std::string& law, double reach, int inside, int outside) {
  BacktestRow row;
  row.law = law;
  row.cut_flops = kCut;
  for (int i = 0; i < inside + outside; ++i)
    row.judged.push_back({kCut * reach, i < inside ? 2.0 : 3.0, 2.0, 1.99, 2.01, reach});
  return row;
}

const ReachCoverage* Entry(const std::vector<ReachCoverage>& list, const std::string& law,
                           double reach, bool own) {
  for (const ReachCoverage& c : list)
    if (c.law == law && c.reach == reach && c.own == own) return &c;
  return nullptr;
}

// (share, forecasts) by (law, reach), as the benchmark's page prints them.
using Page = std::map<std::pair<std::string, double>, std::pair<double, size_t>>;
Page ReadPage() {
  const auto text = core::ReadFile(std::string(SWEEP_SOURCE_DIR) + "/bench/forecasts/PROTOCOL.md");
  EXPECT_TRUE(text.ok()) << text.status();
  Page page;
  if (!text.ok()) return page;
  std::istringstream lines(text->substr(text->find("Coverage of determined forecasts")));
  bool table = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("|")) {
      if (table) break;
      continue;
    }
    table = true;
    std::istringstream cells(line.substr(1));
    std::string law, cell;
    std::getline(cells, law, '|');
    law = law.substr(1, law.size() - 2);
    for (const double reach : {10, 30, 100, 300}) {
      std::getline(cells, cell, '|');
      double percent = 0;
      size_t forecasts = 0;
      if (std::sscanf(cell.c_str(), " %lf %% of %zu", &percent, &forecasts) == 2)
        page[{law, reach}] = {percent / 100, forecasts};
    }
  }
  return page;
}

TEST(ReachCoverageTest, EnoughOwnForecastsAreCountedByReach) {
  const std::vector<BacktestRow> rows = {
      Forecasts("average", 10, 6, 2),    // the end of the first reach belongs to it
      Forecasts("average", 10.1, 5, 0),  // and beyond it the second begins
      Forecasts("average", 400, 9, 0),   // beyond the last: nowhere
      Forecasts("frontier", 25, 0, 7),
  };
  const auto list = CoverageByReach(rows, {"frontier", "average"}, 0.9, false);
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].law, "frontier");  // in the order asked for
  const ReachCoverage* ten = Entry(list, "average", 10, true);
  ASSERT_NE(ten, nullptr);
  EXPECT_DOUBLE_EQ(ten->coverage, 0.75);
  EXPECT_EQ(ten->forecasts, 8u);
  const ReachCoverage* thirty = Entry(list, "average", 30, true);
  ASSERT_NE(thirty, nullptr);
  EXPECT_EQ(thirty->coverage, 1);
  EXPECT_EQ(thirty->forecasts, 5u);
  ASSERT_NE(Entry(list, "frontier", 30, true), nullptr);
  EXPECT_EQ(Entry(list, "frontier", 30, true)->coverage, 0);
}

TEST(ReachCoverageTest, ForecastsWithoutAnIntervalAndOtherLawsDoNotCount) {
  BacktestRow row = Forecasts("average", 5, 6, 0);
  row.judged.push_back({kCut * 5, 2, 2, std::nan(""), std::nan(""), 5});
  const auto list =
      CoverageByReach({row, Forecasts("chinchilla", 5, 0, 9)}, {"average"}, 0.9, false);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].forecasts, 6u);
  EXPECT_EQ(list[0].coverage, 1);
}

// A law's misses at one cut widen what it would have printed at the next.
TEST(ReachCoverageTest, TheIntervalIsTheOneThatWouldHaveBeenPrintedAtTheCut) {
  BacktestRow before = Forecasts("frontier", 5, 0, 8), after = Forecasts("frontier", 5, 0, 8);
  for (TestPoint& t : before.judged) t.actual = 2.2;
  after.cut_flops = kCut * 5;
  for (TestPoint& t : after.judged) t.flops = after.cut_flops * 5, t.actual = 2.02;
  const auto list = CoverageByReach({before, after}, {"frontier"}, 0.9, false);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].forecasts, 16u);
  EXPECT_DOUBLE_EQ(list[0].coverage, 0.5);
}

TEST(ReachCoverageTest, WhatIsBorrowedIsWhatThePageOfTheBenchmarkSays) {
  const Page page = ReadPage();
  ASSERT_GT(page.size(), 30u);
  std::vector<std::string> laws = LawNames();
  laws.emplace_back("average");
  const auto list = CoverageByReach({}, laws, 0.9, true);
  EXPECT_GT(list.size(), 30u);
  for (const ReachCoverage& c : list) {
    EXPECT_FALSE(c.own);
    const auto at = page.find({c.law, c.reach});
    ASSERT_NE(at, page.end()) << c.law << " to " << c.reach;
    EXPECT_NEAR(c.coverage, at->second.first, 6e-4) << c.law << " to " << c.reach;
    EXPECT_EQ(c.forecasts, at->second.second) << c.law << " to " << c.reach;
  }
  // What rests on fewer than nine forecasts says nothing; everything else is there.
  for (const auto& [key, record] : page)
    EXPECT_EQ(Entry(list, key.first, key.second, false) != nullptr, record.second >= 9)
        << key.first << " to " << key.second;
  EXPECT_THAT(std::string(kBenchmarkSource), HasSubstr("bench/forecasts/PROTOCOL.md"));
}

TEST(ReachCoverageTest, WhereOwnForecastsAreFewTheBenchmarkStands) {
  const Page page = ReadPage();
  const std::vector<BacktestRow> rows = {Forecasts("average", 5, 3, 1),
                                         Forecasts("average", 20, 5, 0)};
  const auto list = CoverageByReach(rows, {"average"}, 0.9, true);
  ASSERT_NE(Entry(list, "average", 10, false), nullptr);
  EXPECT_EQ(Entry(list, "average", 10, false)->forecasts, page.at({"average", 10}).second);
  EXPECT_NE(Entry(list, "average", 30, true), nullptr);  // five are enough
  EXPECT_EQ(Entry(list, "average", 30, false), nullptr);
  EXPECT_NE(Entry(list, "average", 100, false), nullptr);
}

TEST(ReachCoverageTest, WithoutAnyRecordThereIsNoEntry) {
  EXPECT_TRUE(CoverageByReach({}, {"average", "frontier"}, 0.9, false).empty());
  EXPECT_TRUE(CoverageByReach({}, {"isoflop", "no such law"}, 0.9, true).empty());
}

// Without a backtest nothing is known of these data: the report quotes the benchmark and says so.
TEST(ReachCoverageTest, TheReportQuotesTheBenchmarkAndNamesIt) {
  const Page page = ReadPage();
  Planted planted;
  planted.noise = 0.003;
  FitOptions options = Quick();
  const auto summary = RunFit(planted.Draw(), options);
  ASSERT_TRUE(summary.ok()) << summary.status();
  const std::string text = FitText(*summary);
  EXPECT_THAT(text, HasSubstr(kBenchmarkSource));
  for (const auto& [key, record] : page)
    if (key.first == "average" && record.second >= 9) {
      EXPECT_THAT(text,
                  HasSubstr(fmt::format("{:.0f} % of {}", 100 * record.first, record.second)));
    }
  // With another estimator the benchmark's record is not this one's.
  options.law.loss.kind = LossKind::kL1;
  const auto other = RunFit(planted.Draw(), options);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(FitText(*other).find(kBenchmarkSource), std::string::npos);
}

}  // namespace
}  // namespace fit
