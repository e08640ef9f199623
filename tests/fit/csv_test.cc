#include "fit/csv.h"

#include <string>

#include "core/rng.h"
#include "fit/cohort.h"
#include "fit/read_table.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<CsvObservations> Read(std::string_view text, const CsvOptions& options = {}) {
  return ObservationsFromCsv(text, "runs.csv", options);
}
std::string ErrorOf(std::string_view text, const CsvOptions& options = {}) {
  const auto result = Read(text, options);
  return result.ok() ? "no error" : std::string(result.status().message());
}

TEST(WhereTest, OperatorsSelectRowsAndRefusalsSayWhichRow) {
  const std::string text =
      "flops,params,tokens,loss,set,lr\n1e18,1e8,2e9,3.1,a,0.1\n2e18,2e8,2e9,3.0,b,0.2\n"
      "4e18,4e8,2e9,2.9,c,\n8e18,8e8,2e9,2.8,a,x\n";
  const auto rows = [&](std::vector<std::string> wheres) {
    CsvOptions options;
    for (const std::string& where : wheres) options.where.push_back(*ParseWhere(where));
    return ObservationsFromCsv(text, "f.csv", options);
  };
  EXPECT_EQ(rows({"set=a"})->observations.size(), 2u);
  EXPECT_EQ(rows({"set=a", "set=b"})->observations.size(), 3u);
  EXPECT_EQ(rows({"set!=a"})->observations.size(), 2u);
  EXPECT_EQ(rows({"set!=a", "set!=b"})->observations.size(), 1u);
  EXPECT_EQ(rows({"params<2e8"})->observations.size(), 1u);
  EXPECT_EQ(rows({"params<=2e8"})->observations.size(), 2u);
  EXPECT_EQ(rows({"params>2e8", "params<8e8"})->observations.size(), 1u);
  EXPECT_EQ(rows({"params>=2e8", "set=a"})->observations.size(), 1u);
  EXPECT_EQ(rows({"lr>0", "params<8e8"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(rows({"lr>0"}).status().ToString().find("f.csv:5"), std::string::npos);
  EXPECT_NE(rows({"params>2e8"})->excluded[0].reason.find("--where params>2e8"), std::string::npos);
  for (const char* bad : {"", "=a", "set", "params<", "params<x", "set!a", "<3"})
    EXPECT_FALSE(ParseWhere(bad).ok()) << bad;
  EXPECT_EQ(ParseWhere("a=b<c")->text, "b<c");
}

TEST(CsvTest, UnmappedColumnsThatRepeatAreKeptAndAnExperimentIsACohortKey) {
  std::string text = "flops,params,tokens,loss,set,name\n";
  for (int i = 0; i < 9; ++i)
    text += std::to_string(i + 1) + "e18,1e8,2e9,3," + (i % 2 == 0 ? "a" : "b") + ",run" +
            std::to_string(i) + "\n";
  CsvOptions options;
  auto read = ObservationsFromCsv(text, "f.csv", options);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->observations[1].labels, (std::map<std::string, std::string>{{"set", "b"}}));
  options.experiment = "set";
  read = ObservationsFromCsv(text, "f.csv", options);
  EXPECT_TRUE(read->observations[1].labels.empty());
  EXPECT_EQ(read->observations[1].cohort.at("set"), "b");
  EXPECT_FALSE(CheckCohort(read->observations, {}).ok());
  options.where = {{"set", "a"}};
  EXPECT_TRUE(CheckCohort(ObservationsFromCsv(text, "f.csv", options)->observations, {}).ok());
  options.experiment = "sett";
  EXPECT_FALSE(ObservationsFromCsv(text, "f.csv", options).ok());
}

TEST(CsvTest, ReadsLargeFlopsQuotesMappingsFiltersAndLabels) {
  CsvOptions options;
  options.columns = {{"loss", "loss_c4_val"}, {"budget_flops", "budget"}, {"data", "corpus"}};
  options.where = {{"experiment", "a,b"}};
  const auto result = Read(
      "\xEF\xBB\xBF"
      "flops,params,tokens,loss_c4_val,budget,experiment,corpus,clamps,seed\r\n"
      "1.5e20,1e9,2.5e10,2.75,1e20,\"a,b\",rpj,lr; batch,7\r\n"
      "1e20,1e9,1e10,x,1e20,other,rpj,,0\r\n",
      options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->observations.size(), 1u);
  const Observation& o = result->observations[0];
  EXPECT_EQ(o.flops, 1.5e20);
  EXPECT_EQ(o.budget_flops, 1e20);
  EXPECT_EQ(o.loss, 2.75);
  EXPECT_EQ(o.seed, 7);
  EXPECT_EQ(o.row, 2);
  EXPECT_EQ(o.cohort.at("data"), "rpj");
  EXPECT_THAT(o.clamps, ::testing::ElementsAre("lr", "batch"));
  ASSERT_EQ(result->excluded.size(), 1u);  // the filtered row is counted, its bad cell is not read
  EXPECT_EQ(result->excluded[0].count, 1);
}

TEST(CsvTest, ErrorsNameFileLineColumnAndValue) {
  const std::string head = "flops,params,tokens,loss\n1e18,1e8,1e9,3.5\n";
  EXPECT_THAT(ErrorOf(head + "1e18,1e8,1e9,abc\n"),
              AllOf(HasSubstr("runs.csv:3"), HasSubstr("'loss'"), HasSubstr("'abc'")));
  EXPECT_THAT(ErrorOf(head + "1e18,1e8,-4,3\n"),
              AllOf(HasSubstr("runs.csv:3"), HasSubstr("'tokens'"), HasSubstr("'-4'")));
  for (const char* bad : {"nan", "inf", "-inf", "0", "1e999", "0x10", "", "1e18 1e18", "1,5"})
    EXPECT_THAT(ErrorOf(head + bad + ",1e8,1e9,3\n"), HasSubstr("runs.csv:3")) << bad;
  EXPECT_THAT(ErrorOf(head + "1e18,1e8,1e9\n"), HasSubstr("runs.csv:3: 3 cells"));
  EXPECT_THAT(ErrorOf(head + "\"1e18,1e8\n"), HasSubstr("never ends"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf("flops,params,tokens,loss\n"), HasSubstr("a header and no row below it"));
  EXPECT_THAT(ErrorOf("flops,params,params,loss\n"), HasSubstr("twice"));
}

TEST(CsvTest, NumbersWrittenForPeopleAreRefusedWithWhatToWrite) {
  const std::string head = "flops,params,tokens,loss\n";
  for (const char* cell : {"28,490,034", "3,6368", "1 000", "1'000", "1_000", "1.234.567"})
    EXPECT_THAT(ErrorOf(fmt::format("{}1e18,\"{}\",1e9,3\n", head, cell)),
                AllOf(HasSubstr(cell), HasSubstr("thousands separators or a decimal comma"),
                      HasSubstr("plain numbers"), Not(HasSubstr("--where"))))
        << cell;
  for (const char* cell : {"28M", "1.5B", "28 k", "2e3G"})
    EXPECT_THAT(ErrorOf(fmt::format("{}1e18,{},1e9,3\n", head, cell)),
                AllOf(HasSubstr("a suffix"), HasSubstr("28e6"), Not(HasSubstr("--where"))))
        << cell;
  for (const char* cell : {"NaN", "abc", "M", "12 apples", "-5", "1e999"})
    EXPECT_THAT(ErrorOf(fmt::format("{}1e18,{},1e9,3\n", head, cell)), HasSubstr("--where"))
        << cell;
}

TEST(CsvTest, AHeaderOfOtherSeparatorsIsRecognised) {
  EXPECT_THAT(ErrorOf("flops;params;tokens;loss\n1;2;3;4\n"),
              AllOf(HasSubstr("separated by ';'"), HasSubstr("commas are wanted")));
  EXPECT_THAT(ErrorOf("flops\tparams\ttokens\tloss\n1\t2\t3\t4\n"), HasSubstr("separated by tabs"));
  EXPECT_THAT(ErrorOf("flops;params;tokens;loss\n1,5;2;3;4\n"),
              AllOf(HasSubstr("2 cells where the header has 1"), HasSubstr("separated by ';'")));
  EXPECT_THAT(ErrorOf("flops,params,tokens,lost;x\n1,1,1,1\n"), Not(HasSubstr("separated")));
}

TEST(CsvTest, Utf16IsNamed) {
  for (const std::string& bytes :
       {std::string("\xFF\xFE"
                    "f\0l\0",
                    6),
        std::string("\xFE\xFF\0f\0l", 6), std::string("f\0l\0o\0", 6), std::string("\0f\0l\0o", 6)})
    for (const char* name : {"runs.csv", "runs.jsonl"}) {
      const absl::Status status = ParseTable(bytes, name).status();
      EXPECT_TRUE(absl::IsInvalidArgument(status));
      EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("UTF-16"), HasSubstr("UTF-8")));
    }
}

TEST(CsvTest, MissingFlopsAreComputedOnlyWhenAsked) {
  const std::string text = "params,tokens,loss\n1e8,2e9,3.5\n";
  EXPECT_THAT(ErrorOf(text), AllOf(HasSubstr("no column 'flops'"), HasSubstr("--assume-6nd")));
  CsvOptions options;
  options.assume_6nd = true;
  const auto result = Read(text, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->observations[0].flops, 6 * 1e8 * 2e9);
  EXPECT_THAT(ErrorOf("params,tokens,loss\n1e300,1e300,3.5\n", options), HasSubstr("runs.csv:2"));
}

TEST(CsvTest, WrongMappingsSuggestTheRightName) {
  CsvOptions options;
  options.columns = {{"los", "x"}};
  EXPECT_THAT(ErrorOf("flops,params,tokens,loss\n", options), HasSubstr("did you mean 'loss'"));
  options.columns = {{"loss", "loss_c4_vla"}};
  EXPECT_THAT(ErrorOf("flops,params,tokens,loss_c4_val\n1,1,1,1\n", options),
              HasSubstr("did you mean 'loss_c4_val'"));
}

TEST(CsvTest, HugeIntegersAreRefusedNotWrapped) {
  EXPECT_THAT(ErrorOf("flops,params,tokens,loss,seed\n1,1,1,1,99999999999999999999\n"),
              AllOf(HasSubstr("runs.csv:2"), HasSubstr("'seed'")));
}

TEST(CsvTest, ADivergedRunIsRefusedWithTheConditionThatLeavesItOutAndCounted) {
  const std::string text = "flops,params,tokens,loss\n1e18,1e8,1e9,3\n1e18,2e8,1e9,NaN\n";
  EXPECT_THAT(ErrorOf(text), AllOf(HasSubstr("runs.csv:3"), HasSubstr("--where 'loss!=NaN'")));
  CsvOptions options;
  options.where = {*ParseWhere("loss!=NaN")};
  const auto kept = ObservationsFromCsv(text, "runs.csv", options);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->observations.size(), 1u);
  ASSERT_EQ(kept->excluded.size(), 1u);
  EXPECT_EQ(kept->excluded[0].count, 1);
}

TEST(CsvTest, RandomBytesAndMutationsNeverCrash) {
  const std::string good =
      "flops,params,tokens,loss\n1e18,1e8,1e9,3.5\n\"2e18\",2e8,1e9,3.25\n3e18,1e8,3e9,3.125\n";
  int accepted = 0;
  for (uint64_t round = 0; round < 4000; ++round) {
    core::Rng rng(5, round);
    std::string text = good;
    if (round % 4 == 0) {
      text.assign(rng.Below(200), ' ');
      for (char& c : text) c = static_cast<char>(rng.Next32());
    } else {
      for (uint64_t k = rng.Below(4) + 1; k > 0; --k)
        text[rng.Below(text.size())] = "\",\n\r-e\0\xff.0123456789"[rng.Below(19)];
    }
    const auto result = Read(text);
    if (!result.ok()) continue;
    ++accepted;
    for (const Observation& o : result->observations) EXPECT_TRUE(Validate(o, "fuzz").ok());
  }
  EXPECT_GT(accepted, 100);  // some mutations are harmless; the test reaches past the parser
}

std::vector<Observation> Labelled() {
  std::vector<Observation> list(5);
  for (Observation& o : list) o.cohort = {{"metric", "macro"}, {"recipe", "delphi"}};
  return list;
}

TEST(CohortTest, OneCohortIsAcceptedWithItsValues) {
  const auto cohort = CheckCohort(Labelled(), {});
  ASSERT_TRUE(cohort.ok());
  EXPECT_EQ(cohort->Text(), "metric=macro recipe=delphi");
}

TEST(CohortTest, MixedCohortIsRefusedWithTheDifference) {
  auto list = Labelled();
  list[3].cohort["metric"] = "c4";
  list[4].cohort.erase("recipe");
  const auto cohort = CheckCohort(list, {});
  ASSERT_EQ(cohort.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(cohort.status().message()),
              AllOf(HasSubstr("c4 x1"), HasSubstr("macro x4"), HasSubstr("delphi x4"),
                    HasSubstr("(none) x1"), HasSubstr("--allow-mixed metric")));
  EXPECT_FALSE(CheckCohort(list, {"metric"}).ok());  // recipe still differs
}

TEST(CohortTest, AllowedMixtureIsMarked) {
  auto list = Labelled();
  list[3].cohort["metric"] = "c4";
  const auto cohort = CheckCohort(list, {"metric"});
  ASSERT_TRUE(cohort.ok());
  EXPECT_THAT(cohort->mixed,
              ::testing::ElementsAre(testing::Pair("metric", testing::HasSubstr("%"))));
  EXPECT_EQ(cohort->Text(), "recipe=delphi metric=MIXED");
  EXPECT_THAT(std::string(CheckCohort(list, {"metrics"}).status().message()),
              HasSubstr("did you mean 'metric'"));
}

TEST(ObservationTest, ExactDuplicatesGoButSeedsStay) {
  Observation a;
  a.flops = a.params = a.tokens = a.loss = 1;
  Observation other_seed = a;
  other_seed.seed = 1;
  std::vector<Observation> list = {a, a, other_seed};
  EXPECT_EQ(RemoveExactDuplicates(list), 1);
  EXPECT_EQ(list.size(), 2u);
}

}  // namespace
}  // namespace fit
