// The benchmark of retrospective forecasts: what its page claims of the default forecast, from what
// the program prints.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/rng.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/fit/planted.h"
#include "tests/fit/test_data.h"

namespace bench {
namespace {

struct Method {
  int forecasts = 0;
  double median_error = 0, coverage = 0;  // in percent; coverage -1: no intervals
};
struct Pair {
  int both = 0;
  double ours = 0, theirs = 0;  // median errors
};
struct Group {
  std::map<std::string, Method> methods;
  std::map<std::string, Pair> against;  // by baseline
};
struct Printed {
  int sets = 0, targets = 0, forecasts = 0;
  std::map<std::string, Group> groups;  // by title: "test half, runs"
};

std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

Printed Parse(const std::string& text) {
  Printed printed;
  std::sscanf(text.c_str(), "%d sets, %d targets (set x cut x later budget), %d forecasts",
              &printed.sets, &printed.targets, &printed.forecasts);
  constexpr size_t kName = 24;  // the column's width
  std::istringstream lines(text);
  std::string title;
  enum { kNothing, kMethods, kPairs } table = kNothing;
  for (std::string line, before; std::getline(lines, line); before = line) {
    if (line.starts_with("method ")) {
      title = before, table = kMethods;
    } else if (line.starts_with("average against")) {
      table = kPairs;
    } else if (line.size() <= kName) {
      table = kNothing;
    } else if (table != kNothing) {
      const std::string name = Trimmed(line.substr(0, kName));
      std::istringstream cells(line.substr(kName));
      Group& group = printed.groups[title];
      if (table == kMethods) {
        Method& method = group.methods[name];
        std::string score, width, cover;
        cells >> method.forecasts >> method.median_error >> score >> width >> cover;
        method.coverage = cover == "-" ? -1 : std::atof(cover.c_str());
      } else {
        Pair& pair = group.against[name];
        cells >> pair.both >> pair.ours >> pair.theirs;
      }
    }
  }
  return printed;
}

// With the default laws alone, which the average and all baselines are made of.
Printed RunBench(const std::string& arguments) {
  const std::string command = fmt::format("'{}/bench/forecast_bench' {} --law frontier,chinchilla",
                                          SWEEP_BINARY_DIR, arguments);
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  if (pipe == nullptr) return {};
  std::array<char, 4096> buffer;
  while (fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  EXPECT_EQ(pclose(pipe), 0) << command;
  return Parse(text);
}

TEST(ForecastBenchTest, TheAverageIsAheadOfEveryBaselineAndCovers) {
  SKIP_WITHOUT("isoflop_sets.csv");
  SKIP_WITHOUT("chinchilla_epoch.csv");
  SKIP_WITHOUT("olmo_ladder.csv");
  const std::string file = fit::SharedData("isoflop_sets.csv");
  const Printed printed = RunBench("'" + file.substr(0, file.rfind('/')) + "'");
  EXPECT_GE(printed.sets, 20);
  int forecasts = 0;
  for (const auto& [title, group] : printed.groups) {
    ASSERT_TRUE(group.methods.count("average")) << title;
    const Method& average = group.methods.at("average");
    forecasts += average.forecasts;
    EXPECT_GE(average.coverage, 85) << title;
  }
  EXPECT_GE(forecasts, 100);  // of the average alone
  for (const char* title : {"tuning half, runs", "tuning half, ready-made optima",
                            "test half, runs", "test half, ready-made optima"}) {
    ASSERT_TRUE(printed.groups.count(title)) << title;
    const Group& group = printed.groups.at(title);
    // On the targets that both could forecast; a pure power law, a pinned E, the last two budgets
    // and free approach 2 at the least, approach 3 where there are runs.
    EXPECT_GE(group.against.size(), 4u) << title;
    for (const auto& [baseline, pair] : group.against) {
      EXPECT_GT(pair.both, 0) << title << ": " << baseline;
      // The one exception, which PROTOCOL.md states.
      if (std::string(title) == "tuning half, runs" && baseline == "- approach 3, over x 10")
        continue;
      EXPECT_LT(pair.ours, pair.theirs) << title << ": " << baseline;
    }
  }
  EXPECT_TRUE(printed.groups.count("added since, runs"));
}

TEST(ForecastBenchTest, AUsersCsvLandsInTheGroupAddedSince) {
  fit::Planted planted;
  planted.noise = 0.003;
  std::string csv = "flops,params,tokens,loss,budget_flops\n";
  for (const fit::Observation& o : planted.Draw())
    csv += fmt::format("{},{},{},{},{}\n", o.flops, o.params, o.tokens, o.loss, o.budget_flops);
  const std::string path = testing::TempDir() + "/forecast_bench_test.csv";
  ASSERT_TRUE(core::WriteFileAtomically(path, csv).ok());
  const Printed printed = RunBench("--csv '" + path + "'");
  std::remove(path.c_str());
  EXPECT_EQ(printed.sets, 1);
  EXPECT_EQ(printed.targets, 3);  // six budgets: one and two beyond cuts at the fifth and fourth
  ASSERT_EQ(printed.groups.size(), 1u);
  ASSERT_TRUE(printed.groups.count("added since, runs"));
  const Group& added = printed.groups.at("added since, runs");
  for (const char* method : {"average", "frontier", "chinchilla", "- approach 3, bootstrap",
                             "- approach 3, L1", "- last two budgets"}) {
    ASSERT_TRUE(added.methods.count(method)) << method;
    EXPECT_EQ(added.methods.at(method).forecasts, 3) << method;
    EXPECT_LT(added.methods.at(method).median_error, 2) << method;
  }
}

}  // namespace
}  // namespace bench
