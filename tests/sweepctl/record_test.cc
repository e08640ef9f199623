// The record of forecasts as the program prints it: by what it was made, and whatever was done to
// it.
#include <sys/stat.h>

#include <cmath>
#include <filesystem>

#include "fmt/format.h"
#include "tests/orchestrator/fixtures.h"
#include "tests/sweepctl/program.h"

namespace sweepctl {
namespace {

using core::Json;
using orchestrator::StatusOf;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class RecordTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string rows = "run,n,d,c,loss\n";
    for (const double flops : {1e18, 3e18, 1e19, 3e19, 1e20})
      for (const double size : {0.4, 0.65, 1.0, 1.5, 2.4})
        rows += Row(flops, size * 0.0857 * std::sqrt(flops));
    runs_ = Write("runs.csv", rows);
    map_ = Write("m.yaml",
                 "name: m\ncolumns: {run: run, params: n, tokens: d, flops: c}\n"
                 "values: {recipe: r, data: d, tokenizer: t, eval: e, seq_len: s, numerics: f, "
                 "n_convention: with-embedding, flop_convention: 6nd}\n"
                 "metrics: [{name: loss, column: loss, unit: nats_per_token}]\nschedule: cooled\n");
  }
  static std::string Row(double flops, double params) {
    const double tokens = flops / 6 / params;
    return fmt::format("r{:g}_{:.0f},{},{},{},{}\n", flops, params, params, tokens, flops,
                       1.7 + 400 / std::pow(params, 0.34) + 410 / std::pow(tokens, 0.28));
  }
  std::string Write(const std::string& name, const std::string& text) {
    EXPECT_TRUE(core::WriteFileAtomically(dir_.File(name), text).ok());
    return dir_.File(name);
  }
  std::string Db() const { return dir_.File("test.db"); }
  Result Run(const std::string& args) const { return Sweepctl(args + " --db " + Db()); }
  Result Import(const std::string& file, const std::string& more = "") const {
    return Run(fmt::format("import {} --map {} {}", file, map_, more));
  }
  void Register(const std::string& more = "") const {
    const Result result = Run("fit --sweep m --predict 1e21 --register " + more);
    ASSERT_EQ(result.code, 0) << result.err;
  }
  void Damage(const std::string& sql) const {
    const auto db =
        orchestrator::Database::Open(Db(), orchestrator::Database::Mode::kReadWrite).value();
    ASSERT_OK(db->Execute("PRAGMA foreign_keys=0; " + sql));
  }

  orchestrator::TempDir dir_;
  std::string runs_, map_;
};

TEST_F(RecordTest, TheWholeRecordIsPrintedWhateverIsDamagedAndTheRowIsNamed) {
  ASSERT_EQ(Import(runs_).code, 0);
  Register();
  const std::string whole = *core::ReadFile(Db());
  for (const char* sql :
       {"UPDATE forecasts SET record_json='no JSON'",
        "UPDATE forecasts SET observations_json='no JSON'",
        "UPDATE forecasts SET budget_flops=9e999, loss=9e999, interval_level=9e999",
        "UPDATE forecasts SET status='scored'", "DROP TABLE forecast_verdicts",
        R"(UPDATE fits SET fit_json='{"warnings":[5,{"code":3}],"predictions":[4],"fits":[1]}')"}) {
    Write("test.db", whole);
    Damage(sql);
    const Result text = Run("forecasts");
    EXPECT_EQ(text.code, 65) << sql;
    EXPECT_THAT(text.out, AllOf(StartsWith("1 registered: "), HasSubstr("m/loss/nats_per_token"),
                                Not(HasSubstr("chain intact"))))
        << sql;
    EXPECT_THAT(text.err, AllOf(HasSubstr("chain broken: "), HasSubstr("backup"))) << sql;
    const Result json = Run("forecasts --json");
    EXPECT_EQ(json.code, 65) << sql;
    ASSERT_EQ(json.json()["forecasts"].size(), 1u) << sql;
    EXPECT_EQ(json.json()["chain"]["intact"], false) << sql;
  }
  Write("test.db", whole);
  Damage("DELETE FROM forecasts");
  EXPECT_THAT(Run("forecasts").err, AllOf(HasSubstr("chain broken"), Not(HasSubstr("launch"))));
}

TEST_F(RecordTest, AnEmptyAnchorIsAUsageErrorAndAMissedOneStandsInTheJson) {
  ASSERT_EQ(Import(runs_).code, 0);
  EXPECT_EQ(Run("forecasts --expect ''").code, 2);
  const Result missed = Run("forecasts --json --expect " + std::string(64, '0'));
  EXPECT_EQ(missed.code, 65);
  EXPECT_THAT(missed.json()["chain"]["expect_error"].get<std::string>(),
              HasSubstr("does not hold the anchored head"));
}

TEST_F(RecordTest, TheRunsThatAFitWasMadeFromAreOnRecord) {
  ASSERT_EQ(Import(runs_).code, 0);
  const std::string first = "r1e+18_" + fmt::format("{:.0f}", 0.4 * 0.0857 * 1e9);
  Register("--where 'id!=" + first + "'");
  const Json selection = Run("forecasts --json").json()["forecasts"][0]["selection"];
  EXPECT_EQ(selection["where"], Json::array({"id!=" + first}));
  EXPECT_EQ(selection["runs"], 24);
  EXPECT_EQ(selection["left_out"][0]["count"], 1);
  EXPECT_THAT(Run("forecasts").out, HasSubstr("is made from the runs where id!=" + first));
  const Result other = Run("fit --sweep m --predict 1e21 --register");
  EXPECT_EQ(other.code, 65);
  EXPECT_THAT(other.err, AllOf(HasSubstr("stands as it was made"), Not(HasSubstr("another name"))));
}

TEST_F(RecordTest, AnOutcomeThatWasSeenIsVoidAndOneThatNearlyMatchesIsSaid) {
  const std::string whole = Write("whole.csv", *core::ReadFile(runs_) + Row(1e21, 1.8e9));
  ASSERT_EQ(Import(whole, "--where 'c<=2e20'").code, 0);
  Register();
  const Result seen = Import(whole, "--name out");
  EXPECT_EQ(seen.code, 0);
  EXPECT_THAT(seen.err, AllOf(HasSubstr("! forecast m/loss/nats_per_token/1e+21: void: row 27"),
                              HasSubstr("before the registration")));
  EXPECT_EQ(Run("forecasts --json").json()["summary"]["void"], 1);
  const Result again = Run("fit --sweep m --predict 1e22 --register");
  EXPECT_THAT(again.err, HasSubstr("its outcome is a run within 1 %"));
  const std::string small = Write("small.csv", "run,n,d,c,loss\n" + Row(1e22, 1e9));
  const Result near = Import(small, "--name near --json");
  EXPECT_THAT(near.json()["notes"][0].get<std::string>(),
              AllOf(HasSubstr("forecast m/loss/nats_per_token/1e+22"), HasSubstr("1B params")));
  EXPECT_THAT(Run("forecasts").out, HasSubstr("row 2 of import near (r1e+22_1000000000)"));
}

TEST_F(RecordTest, ALossThatTheCommandLineScalesScoresNothingAndIsNotRegisteredFrom) {
  const std::string scale = "--column loss=loss*0.97 ";
  const Result scaled = Import(runs_, scale);
  EXPECT_THAT(scaled.err, HasSubstr("rescaled-loss: loss is column 'loss' x 0.97: "));
  EXPECT_THAT(Run("fit --sweep m --predict 1e21").out,
              HasSubstr("! rescaled-loss: loss is that of the file x 0.97"));
  const Result refused = Run("fit --sweep m --predict 1e21 --register");
  EXPECT_EQ(refused.code, 65);
  EXPECT_THAT(refused.err, HasSubstr("loss is that of the file x 0.97; import it again"));
  ASSERT_EQ(Import(runs_, "--replace").code, 0);
  Register();
  const double params = Run("forecasts --json").json()["forecasts"][0]["target_params"];
  const std::string outcome = Write("out.csv", "run,n,d,c,loss\n" + Row(1e21, params));
  EXPECT_THAT(Import(outcome, "--name out --dry-run").err,
              AllOf(HasSubstr("! dry run: would score forecast m/loss/nats_per_token/1e+21"),
                    Not(HasSubstr("error")), Not(HasSubstr("inside"))));
  EXPECT_THAT(Import(outcome, "--name out " + scale).err,
              AllOf(HasSubstr("loss is loss x 0.97"), HasSubstr("it is not scored, and waits")));
  EXPECT_THAT(Run("forecasts").out, AllOf(HasSubstr("not scored: row 2 of import out"),
                                          HasSubstr("loss is loss x 0.97")));
  EXPECT_EQ(Run("forecasts --json").json()["forecasts"][0]["status"], "open");
  EXPECT_THAT(Import(outcome, "--name out --replace").err, HasSubstr("scored: outcome"));
}

// Ten runs with noise determine nothing: the forecast may stand on record, and counts nowhere.
TEST_F(RecordTest, AForecastThatIsNotDeterminedIsMarkedAndCountsInNoCoverage) {
  std::string rows = "run,n,d,c,loss\n";
  int i = 0;
  for (const double flops : {1e18, 3e18})
    for (const double size : {0.4, 0.65, 1.0, 1.5, 2.4}) {
      const double params = size * 0.0857 * std::sqrt(flops), tokens = flops / 6 / params;
      const double noise = 0.15 * std::sin(12.9898 * ++i);
      rows += fmt::format(
          "r{},{},{},{},{}\n", i, params, tokens, flops,
          (1.7 + 400 / std::pow(params, 0.34) + 410 / std::pow(tokens, 0.28)) * (1 + noise));
    }
  ASSERT_EQ(Import(Write("few.csv", rows)).code, 0);
  const Result result = Run("fit --sweep m --predict 1e21 --register");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("NOT DETERMINED: it counts in no coverage"));
  const double params = Run("forecasts --json").json()["forecasts"][0]["target_params"];
  const std::string outcome = Write("out.csv", "run,n,d,c,loss\n" + Row(1e21, params));
  ASSERT_EQ(Import(outcome, "--name out").code, 0);
  const Json record = Run("forecasts --json").json();
  EXPECT_EQ(record["forecasts"][0]["determined"], false);
  EXPECT_EQ(record["scored_undetermined"], 1) << record["forecasts"][0].dump();
  EXPECT_EQ(record["coverage"]["scored"], 0);
  EXPECT_THAT(Run("forecasts").out, AllOf(HasSubstr("(not determined)"), HasSubstr("not counted")));
}

TEST_F(RecordTest, AVoidRegistrationPromisesNoOutcome) {
  ASSERT_EQ(Import(runs_).code, 0);
  const Result result = Run("fit --sweep m --predict 1.005e20 --register");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("; void: "), Not(HasSubstr("its outcome is a run"))));
}

TEST_F(RecordTest, PlacesThatHoldNoDatabaseAreNamed) {
  const std::string folder = dir_.File("folder");
  ASSERT_EQ(mkdir(folder.c_str(), 0755), 0);
  const std::string import = fmt::format("import {} --map {} --db ", runs_, map_);
  for (const std::string& verb : {import, std::string("forecasts --db ")}) {
    EXPECT_THAT(Sweepctl(verb + folder).err,
                AllOf(HasSubstr("this is a folder"), Not(HasSubstr("coordinator"))));
    EXPECT_THAT(Sweepctl(verb + folder + "/no/x.db").err,
                HasSubstr("there is no folder " + folder + "/no/; create it"));
  }
  {
    const auto db = orchestrator::Database::Open(dir_.File("theirs.db"),
                                                 orchestrator::Database::Mode::kReadWrite);
    ASSERT_OK((*db)->Execute("CREATE TABLE t(x)"));
  }
  for (const std::string& verb :
       {import, std::string("forecasts --db "), std::string("serve --migrate-only --db ")}) {
    const Result refused = Sweepctl(verb + dir_.File("theirs.db"));
    EXPECT_EQ(refused.code, 65) << verb;
    EXPECT_THAT(refused.err, HasSubstr("is not a sweepctl database")) << verb;
  }
  const Result piped = Run("import /dev/stdin --map " + map_ + " </dev/null");
  EXPECT_EQ(piped.code, 65);
  EXPECT_THAT(piped.err, HasSubstr("is no regular file"));
}

}  // namespace
}  // namespace sweepctl
