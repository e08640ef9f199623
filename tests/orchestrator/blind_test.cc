// Forecasts of imports: what was imported before is not forgotten, and what is scored by what.
#include <gtest/gtest.h>

#include <cmath>

#include "orchestrator/store/schema.h"
#include "tests/orchestrator/import_fixtures.h"

namespace orchestrator {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class BlindTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    ASSERT_OK(store_->Import(KnownImport("theirs", 3), Now()));
  }
  static v1::ImportRequest Replacing(v1::ImportRequest request) {
    request.set_replace(true);
    return request;
  }
  // An import of one run, the outcome of ForecastElsewhere.
  static v1::ImportRequest Outcome(const std::string& name, double params = 1e9) {
    v1::ImportRequest request = KnownImport(name, 1);
    AddOutcome(&request, 10, params, 3.05);
    return request;
  }
  v1::ImportResponse Import(const v1::ImportRequest& request) {
    clock_.AdvanceMs(1000);
    auto response = store_->Import(request, Now());
    EXPECT_OK(response.status());
    return response.ok() ? *response : v1::ImportResponse();
  }
  std::string Register(const v1::RegisterForecastRequest& request = ForecastElsewhere("a")) {
    clock_.AdvanceMs(1000);
    const auto registered = store_->RegisterForecast(request, Now());
    return registered.ok() ? registered->status() : std::string(registered.status().message());
  }
  std::string Text(const std::string& sql) { return *store_->db().Text(sql); }
  ForecastAudit Audit() { return AuditForecasts(&store_->db()).value(); }
};

TEST_F(BlindTest, AnOutcomeThatWasImportedAndReplacedWasSeen) {
  Import(Outcome("peek"));
  Import(Replacing(KnownImport("peek", 1)));
  EXPECT_EQ(Count("SELECT count(*) FROM imported_runs WHERE flops=1e20"), 0);
  EXPECT_EQ(Register(), "void");
  EXPECT_THAT(Text("SELECT status_reason FROM forecasts"),
              AllOf(HasSubstr("run-0 of import peek (imported at "), HasSubstr("observed")));
}

TEST_F(BlindTest, AnOutcomeWithALabelThatNobodySaidMayBeOfTheCohort) {
  v1::ImportRequest peek = Outcome("peek");
  peek.mutable_runs(1)->set_tokenizer("unknown");
  Import(peek);
  EXPECT_EQ(Register(), "void");
}

// Else one import without labels would forbid every registration of its data for ever.
TEST_F(BlindTest, ARunThatIsImportedWithItsLabelsIsOfItsOwnCohortAlone) {
  v1::ImportRequest peek = Outcome("peek");
  peek.mutable_runs(1)->set_tokenizer("unknown");
  Import(peek);
  peek.mutable_runs(1)->set_tokenizer("u");
  Import(Replacing(peek));
  EXPECT_EQ(Register(), "open");
  // Said before or after, in whatever order.
  peek.mutable_runs(1)->set_tokenizer("unknown");
  Import(Replacing(peek));
  v1::RegisterForecastRequest nearby = ForecastElsewhere("c");
  nearby.set_budget_flops(1.03e20);
  EXPECT_EQ(Register(nearby), "open");
  // With the labels of the cohort it was seen.
  v1::ImportRequest own = Outcome("own");
  own.mutable_runs(1)->set_run("other-run"), own.mutable_runs(1)->set_flops(1e21);
  own.mutable_runs(1)->set_tokenizer("unknown");
  Import(own);
  own.mutable_runs(1)->set_tokenizer("t");
  Import(Replacing(own));
  v1::RegisterForecastRequest later = ForecastElsewhere("b");
  later.set_budget_flops(1e21);
  EXPECT_EQ(Register(later), "void");
}

// The grids of two data sets name the same runs: a label of one says nothing of the other.
TEST_F(BlindTest, ANamesakeInAnotherImportSaysNothingOfARun) {
  v1::ImportRequest peek = Outcome("peek");
  peek.mutable_runs(1)->set_tokenizer("unknown");
  Import(peek);
  v1::ImportRequest other = Outcome("other");
  other.mutable_runs(1)->set_tokenizer("u");
  Import(other);
  EXPECT_EQ(Register(), "void");
}

// A nominal budget that is a slip is not where the run was, also after it was put right.
TEST_F(BlindTest, ANominalBudgetThatTheFlopsBelieBlocksNothing) {
  v1::ImportRequest peek = KnownImport("peek", 3);
  peek.mutable_runs(2)->set_budget_flops(1e20);
  Import(peek);
  Import(Replacing(KnownImport("peek", 3)));
  EXPECT_EQ(Register(), "open");
}

// A run is remembered once, however often the file it stands in grows.
TEST_F(BlindTest, ImportingAgainAddsNoRuns) {
  v1::ImportRequest growing = KnownImport("growing", 3);
  Import(growing);
  const int64_t before = Count("SELECT count(*) FROM seen_runs");
  growing.set_source_hash(std::string(64, 'f'));
  AddOutcome(&growing, 10, 1e9, 3.05);
  Import(Replacing(growing));
  EXPECT_EQ(Count("SELECT count(*) FROM seen_runs"), before + 1);
  EXPECT_EQ(Count("SELECT count(*) FROM import_files"), Count("SELECT count(*) FROM imports") + 1);
}

TEST_F(BlindTest, AnOutcomeOfAnotherCohortWasNotSeen) {
  v1::ImportRequest peek = Outcome("peek");
  peek.mutable_runs(1)->set_tokenizer("u");
  Import(peek);
  EXPECT_EQ(Register(), "open");
}

TEST_F(BlindTest, AFileThatWasImportedBeforeScoresNothing) {
  v1::ImportRequest whole = Outcome("whole");
  v1::ImportRequest part = KnownImport("part", 1);  // of the same file, without its outcome
  part.set_source_hash(whole.source_hash());
  Import(part);
  ASSERT_EQ(Register(), "open");
  const v1::ImportResponse response = Import(whole);
  EXPECT_EQ(response.forecasts_scored(), 0);
  EXPECT_THAT(response.notes(),
              ElementsAre(AllOf(HasSubstr("forecast a: void: row 10 of import whole"),
                                HasSubstr("3.05, is on record"))));
  EXPECT_EQ(Text("SELECT status FROM forecasts"), "void");
  EXPECT_THAT(Text("SELECT status_reason FROM forecasts"),
              AllOf(HasSubstr("the file it comes from was imported at "),
                    HasSubstr("before the registration")));
  EXPECT_EQ(Count("SELECT outcome_loss IS NOT NULL FROM forecasts"), 1) << "on record all the same";
  EXPECT_OK(Audit().agreement);
}

TEST_F(BlindTest, AFileThatWasFirstImportedAfterTheRegistrationScores) {
  ASSERT_EQ(Register(), "open");
  v1::ImportRequest whole = Outcome("whole");
  v1::ImportRequest part = KnownImport("part", 1);
  part.set_source_hash(whole.source_hash());
  Import(part);
  EXPECT_EQ(Import(whole).forecasts_scored(), 1);
  EXPECT_EQ(Text("SELECT status FROM forecasts"), "scored");
}

TEST_F(BlindTest, LargerRunsThatWereLeftOutOfTheFitMakeTheTargetNoForecast) {
  v1::ImportRequest larger = Outcome("larger");
  larger.mutable_runs(1)->set_flops(1e21);
  larger.mutable_runs(1)->set_tokens(1.6e11);
  Import(larger);
  Import(Replacing(KnownImport("larger", 1)));
  EXPECT_THAT(Register(), AllOf(HasSubstr("does not reach beyond run run-0 of import larger"),
                                HasSubstr("which has 1e+21")));
  v1::RegisterForecastRequest request = ForecastElsewhere("b");
  request.set_cohort_json(R"({"recipe":"x","tokenizer":"u"})");
  EXPECT_EQ(Register(request), "open") << "another cohort";
}

TEST_F(BlindTest, ANominalBudgetHidesNoFlops) {
  v1::ImportRequest renamed = Outcome("renamed");
  renamed.mutable_runs(1)->set_budget_flops(5e19);
  Import(renamed);
  EXPECT_EQ(Register(), "void");
}

TEST_F(BlindTest, AnImportWithFlopsInAnotherUnitBlocksNothingForEver) {
  v1::ImportRequest wrong = KnownImport("wrong", 1);
  wrong.mutable_runs(0)->set_flops(1e27);
  Import(wrong);
  Import(Replacing(KnownImport("wrong", 1)));
  EXPECT_EQ(Register(), "open");
}

TEST_F(BlindTest, ARunThatNamesItsBudgetIsAtThatBudgetForSeeingAndForScoring) {
  v1::ImportRequest nominal = Outcome("nominal");
  nominal.mutable_runs(1)->set_flops(1.04e20);
  nominal.mutable_runs(1)->set_budget_flops(1e20);
  {
    Transaction undo(&store_->db());
    Import(nominal);
    EXPECT_EQ(Register(), "void");
  }
  ASSERT_EQ(Register(), "open");
  EXPECT_EQ(Import(nominal).forecasts_scored(), 1);
}

TEST_F(BlindTest, ARunThatIsNearlyTheOutcomeSaysWhichForecastWaitsAndInWhatItDiffers) {
  ASSERT_EQ(Register(), "open");
  const auto notes = [&](const v1::ImportRequest& request) {
    Transaction undo(&store_->db());
    const v1::ImportResponse response = Import(request);
    EXPECT_EQ(response.forecasts_scored(), 0);
    const ForecastAudit audit = Audit();
    EXPECT_EQ(audit.remarks.size(), 1u);
    EXPECT_EQ(response.notes_size(), 1);
    if (response.notes_size() != 1 || audit.remarks.size() != 1) return std::string();
    EXPECT_THAT(response.notes(0), HasSubstr(audit.remarks[0].text));
    return response.notes(0);
  };
  EXPECT_THAT(notes(Outcome("size", 2e9)),
              AllOf(HasSubstr("forecast a: row 10 of import size"), HasSubstr("2B params"),
                    HasSubstr("not scored, and waits")));
  v1::ImportRequest name = Outcome("name");
  name.mutable_metrics(0)->set_name("val");
  for (auto& run : *name.mutable_runs()) {
    (*run.mutable_values())["val"] = run.values().at("c4");
    run.mutable_values()->erase("c4");
  }
  EXPECT_THAT(notes(name), HasSubstr("it is metric val/nats_per_token, not c4/nats_per_token"));
  v1::ImportRequest label = Outcome("label");
  label.mutable_runs(1)->set_tokenizer("unknown");
  EXPECT_THAT(notes(label), HasSubstr("tokenizer is unknown, not t"));
  v1::ImportRequest budget = Outcome("budget");
  budget.mutable_runs(1)->set_budget_flops(9e19);
  EXPECT_THAT(notes(budget), HasSubstr("its nominal budget is 9e+19 FLOPs"));
  // A run that missed its budget, one whose FLOPs are counted otherwise, one with a label's slip.
  v1::ImportRequest over = Outcome("over");
  over.mutable_runs(1)->set_flops(1.03e20);
  EXPECT_THAT(notes(over), HasSubstr("it has 1.03e+20 FLOPs, and 1e+20 within 1 % were promised"));
  v1::ImportRequest counted = Outcome("counted");
  counted.mutable_runs(1)->set_flops(3e20);
  EXPECT_THAT(notes(counted), HasSubstr("it has 3e+20 FLOPs"));
  v1::ImportRequest slip = Outcome("slip");
  slip.mutable_runs(1)->set_tokenizer("T");
  EXPECT_THAT(notes(slip), HasSubstr("tokenizer is T, not t"));
}

TEST_F(BlindTest, OtherCohortsAndTheRunsThemselvesAreNoNearMisses) {
  ASSERT_EQ(Register(), "open");
  v1::ImportRequest other = Outcome("other");
  other.mutable_runs(1)->set_tokenizer("T"), other.mutable_runs(1)->set_recipe("y");
  EXPECT_THAT(Import(other).notes(), testing::IsEmpty());
  v1::ImportRequest far = Outcome("far");
  far.mutable_runs(1)->set_flops(1.5e20), far.mutable_runs(1)->set_params(1.3e9);
  EXPECT_THAT(Import(far).notes(), testing::IsEmpty());
}

// Whose label is right is said before the outcome, or the outcome would choose.
TEST_F(BlindTest, OneSetOfRunsMakesOnePrimaryForecastWhateverItsLabels) {
  v1::RegisterForecastRequest first = ForecastElsewhere("a"), second = ForecastElsewhere("b");
  const std::string runs =
      R"([{"flops":1e18,"params":1e8,"tokens":2e9,"loss":3.5},{"flops":2e18,"params":1e8,"tokens":4e9,"loss":3.3}])";
  first.set_observations_json(runs), second.set_observations_json(runs);
  first.set_cohort_json(R"({"data":"fw1"})"), second.set_cohort_json(R"({"data":"fw2"})");
  ASSERT_EQ(Register(first), "open");
  EXPECT_THAT(Register(second),
              AllOf(HasSubstr("those of the primary forecast a"), HasSubstr("under other labels")));
  second.set_observations_json(
      R"([{"flops":1e18,"params":1e8,"tokens":2e9,"loss":3.6},{"flops":2e18,"params":1e8,"tokens":4e9,"loss":3.4}])");
  EXPECT_EQ(Register(second), "open") << "another data set's runs of the same sizes";
}

TEST_F(BlindTest, OneSetOfRunsMakesOnePrimaryForecastInWhateverUnitOrScale) {
  const auto of = [](const std::string& name, double loss, double flops) {
    v1::RegisterForecastRequest request = ForecastElsewhere(name);
    core::Json runs = core::Json::array();
    for (const double c : {1e18, 2e18, 4e18, 8e18})
      runs.push_back({{"flops", c * flops},
                      {"params", 1e8},
                      {"tokens", c / 6e8},
                      {"loss", loss * (1.7 + 3 * std::pow(c / 1e18, -0.1))}});
    request.set_observations_json(runs.dump());
    request.set_cohort_json(core::Json({{"recipe", name}}).dump());
    return request;
  };
  ASSERT_EQ(Register(of("a", 1, 1)), "open");
  EXPECT_THAT(Register(of("b", 1, 1.0001)), HasSubstr("those of the primary forecast a"));
  EXPECT_THAT(Register(of("c", 1.0000001, 1)), HasSubstr("those of the primary forecast a"));
  v1::RegisterForecastRequest bits = of("d", 1.4426950408889634, 1);
  bits.set_metric("c4/bits_per_token");
  EXPECT_THAT(Register(bits), AllOf(HasSubstr("those of the primary forecast a"),
                                    HasSubstr("1.442695 times its own")));
  EXPECT_THAT(Register(of("e", 1, 1.3)), HasSubstr("those of the primary forecast a"));
}

// Any number of subsets, each half new against every single one before.
TEST_F(BlindTest, RunsThatOtherPrimariesHaveTogetherMakeNone) {
  const auto of = [](const std::string& name, std::vector<int> which) {
    v1::RegisterForecastRequest request = ForecastElsewhere(name);
    core::Json runs = core::Json::array();
    for (const int i : which) {
      const double c = 1e18 * std::pow(1.2, i);
      runs.push_back({{"flops", c},
                      {"params", 1e8 + 1e6 * i},
                      {"tokens", c / 6e8},
                      {"loss", 1.7 + 3 * std::pow(c / 1e18, -0.1)}});
    }
    request.set_observations_json(runs.dump());
    request.set_cohort_json(core::Json({{"recipe", name}}).dump());
    return request;
  };
  ASSERT_EQ(Register(of("a", {0, 1, 2, 3, 4, 5})), "open");
  ASSERT_EQ(Register(of("b", {4, 5, 6, 7, 8, 9})), "open");
  EXPECT_THAT(Register(of("c", {0, 1, 8, 9, 10, 11})),
              AllOf(HasSubstr("4 of its 6 runs"), HasSubstr("a and b")));
  EXPECT_EQ(Register(of("d", {0, 9, 10, 11, 12, 13})), "open");
}

// Two units of one cohort: nothing is wrong with the import.
TEST_F(BlindTest, AnotherUnitOfOneCohortIsSaidToBeThat) {
  v1::RegisterForecastRequest first = ForecastElsewhere("a"), second = ForecastElsewhere("b");
  core::Json runs = core::Json::array();
  for (const double c : {1e18, 2e18, 4e18, 8e18})
    runs.push_back({{"flops", c},
                    {"params", 1e8},
                    {"tokens", c / 6e8},
                    {"loss", 1.7 + 3 * std::pow(c / 1e18, -0.1)}});
  first.set_observations_json(runs.dump());
  for (core::Json& run : runs) run["loss"] = run["loss"].get<double>() / std::log(2.);
  second.set_observations_json(runs.dump());
  second.set_metric("c4/bits_per_token");
  ASSERT_EQ(Register(first), "open");
  EXPECT_THAT(Register(second), AllOf(HasSubstr("4 of its 4 runs"), HasSubstr("whatever the unit"),
                                      testing::Not(HasSubstr("labels"))));
}

TEST_F(BlindTest, AnotherEvaluationSetIsNearlyTheOutcome) {
  v1::RegisterForecastRequest request = ForecastElsewhere("a");
  request.set_cohort_json(R"({"recipe":"x","tokenizer":"t","eval":"pile"})");
  ASSERT_EQ(Register(request), "open");
  EXPECT_THAT(Import(Outcome("later")).notes(),
              ElementsAre(HasSubstr("eval is c4-validation, not pile")));
}

TEST_F(BlindTest, ARowThatCannotMeanWhatItIsCalledScoresNothingAndIsNamed) {
  ASSERT_EQ(Register(), "open");
  const auto refused = [&](const std::string& why, v1::ImportRequest request) {
    Transaction undo(&store_->db());
    const v1::ImportResponse response = Import(request);
    EXPECT_EQ(response.forecasts_scored(), 0) << why;
    EXPECT_THAT(response.notes(), ElementsAre(AllOf(HasSubstr("row 10 of import"), HasSubstr(why),
                                                    HasSubstr("not scored"))));
    EXPECT_EQ(Text("SELECT status FROM forecasts"), "open");
    const ForecastAudit audit = Audit();
    EXPECT_OK(audit.agreement);
    ASSERT_EQ(audit.remarks.size(), 1u) << why;
    EXPECT_THAT(audit.remarks[0].text, HasSubstr(why));
  };
  v1::ImportRequest declared = Outcome("declared");
  declared.mutable_runs(1)->set_flop_convention("6nd");
  refused("declared as C = 6 N D", declared);
  v1::ImportRequest tokens = Outcome("tokens");
  tokens.mutable_runs(1)->set_tokens(16);
  refused("another unit", tokens);
  v1::ImportRequest value = Outcome("value");
  (*value.mutable_runs(1)->mutable_values())["c4"] = 1e300;
  refused("the loss of no model", value);
  v1::ImportRequest perplexity = Outcome("perplexity");
  (*perplexity.mutable_runs(1)->mutable_values())["c4"] = 21.1;
  refused("probably a perplexity", perplexity);
  v1::ImportRequest nominal = Outcome("nominal");
  nominal.mutable_runs(1)->set_flops(3e20);
  nominal.mutable_runs(1)->set_budget_flops(1e20);
  refused("are not its nominal budget", nominal);
}

// By the command line of the import.
v1::ImportRequest Rescaled(v1::ImportRequest request) {
  request.set_map_json(
      R"({"metrics":[{"name":"c4","rescaled":true}],"taken":[{"field":"c4","columns":["l"],"scale":0.97,"rescaled":true}]})");
  return request;
}

TEST_F(BlindTest, ARescaledLossScoresNothingAndStandsInNoOthersWay) {
  ASSERT_EQ(Register(), "open");
  const v1::ImportResponse response = Import(Rescaled(Outcome("scaled")));
  EXPECT_EQ(response.forecasts_scored(), 0);
  const auto said = AllOf(HasSubstr("row 10 of import scaled (run-0): c4 is l x 0.97"),
                          HasSubstr("goes through --value unit="));
  EXPECT_THAT(response.notes(), ElementsAre(AllOf(said, HasSubstr("not scored"))));
  ASSERT_EQ(Audit().remarks.size(), 1u);
  EXPECT_THAT(Audit().remarks[0].text, AllOf(HasSubstr("not scored: "), said));
  EXPECT_EQ(Import(Outcome("later")).forecasts_scored(), 1);
  EXPECT_THAT(Audit().remarks, testing::IsEmpty());
}

TEST_F(BlindTest, NothingIsRegisteredFromRescaledLosses) {
  Import(Replacing(Rescaled(KnownImport("theirs", 3))));
  EXPECT_THAT(Register(), AllOf(HasSubstr("c4 is l x 0.97"), HasSubstr("--replace")));
  Import(Replacing(KnownImport("theirs", 3)));
  EXPECT_EQ(Register(), "open");
}

TEST_F(BlindTest, APreviewNamesTheForecastsAndNoNumberOfTheirScores) {
  ASSERT_EQ(Register(), "open");
  {
    Transaction undo(&store_->db());
    const v1::ImportResponse response = *store_->TryImport(Outcome("later"), Now());
    EXPECT_EQ(response.forecasts_scored(), 1);
    EXPECT_THAT(response.notes(), ElementsAre("would score forecast a"));
  }
  {
    Transaction undo(&store_->db());
    v1::ImportRequest seen = Outcome("later");
    seen.set_source_hash(KnownImport("theirs", 3).source_hash());
    EXPECT_THAT(store_->TryImport(seen, Now())->notes(),
                ElementsAre(AllOf(HasSubstr("would make forecast a void: row 10"),
                                  testing::Not(HasSubstr("3.05")))));
  }
  EXPECT_EQ(Text("SELECT status FROM forecasts"), "open");
}

TEST_F(BlindTest, TwoNamesOfOneMetricAreOnePrimaryForecast) {
  const auto named = [](const std::string& name, const std::string& eval) {
    v1::RegisterForecastRequest request = ForecastElsewhere(name + eval);
    request.set_metric(name + "/nats_per_token");
    request.set_cohort_json(
        core::Json({{"recipe", "x"}, {"metric", request.metric()}, {"eval", eval}}).dump());
    return request;
  };
  ASSERT_EQ(Register(named("c4", "e")), "open");
  EXPECT_THAT(Register(named("other", "e")), HasSubstr("has a primary forecast"));
  EXPECT_EQ(Register(named("other", "f")), "open") << "another evaluation set";
  v1::RegisterForecastRequest unit = named("c4", "e");
  unit.set_metric("c4/bits_per_byte");
  unit.set_name("unit");
  EXPECT_EQ(Register(unit), "open");
}

TEST_F(BlindTest, OntoABrokenChainNothingIsRegisteredOrScored) {
  ASSERT_EQ(Register(), "open");
  ASSERT_OK(store_->db().Execute("UPDATE forecasts SET loss=2.5"));
  v1::RegisterForecastRequest second = ForecastElsewhere("b");
  second.set_budget_flops(1e22);
  EXPECT_THAT(Register(second), AllOf(HasSubstr("onto a broken chain"),
                                      HasSubstr("'a' was changed"), HasSubstr("backup")));
  const v1::ImportResponse broken = Import(Outcome("later"));
  EXPECT_EQ(broken.forecasts_scored(), 0);
  EXPECT_THAT(broken.notes(), ElementsAre(AllOf(HasSubstr("the chain of the record is broken"),
                                                HasSubstr("'a' was changed"))));
  EXPECT_EQ(Count("SELECT count(*) FROM imports WHERE name='later'"), 1) << "its rows are stored";
  // Mended, the same import scores.
  ASSERT_OK(store_->db().Execute("UPDATE forecasts SET loss=3"));
  const v1::ImportResponse again = Import(Outcome("later"));
  EXPECT_TRUE(again.already_present());
  EXPECT_EQ(again.forecasts_scored(), 1);
  EXPECT_OK(Audit().agreement);
}

TEST_F(BlindTest, AFileOfVersion4RemembersTheImportsThatItHolds) {
  Import(Outcome("peek"));
  ASSERT_OK(
      store_->db().Execute("DROP TABLE import_files; DROP TABLE seen_runs; PRAGMA user_version=4"));
  store_.reset();
  Migration done;
  store_ = Store::Open(Path(), &done).value();
  EXPECT_EQ(done.from, 4);
  EXPECT_EQ(Count("SELECT count(*) FROM import_files"), 2);
  EXPECT_EQ(Count("SELECT count(*) FROM seen_runs"), 5) << "3 runs and 2";
  Import(Replacing(KnownImport("peek", 1)));
  EXPECT_EQ(Register(), "void");
}

TEST_F(BlindTest, TheFitOfARegistrationIsUnderItsHash) {
  v1::RegisterForecastsRequest request;
  request.mutable_fit()->set_sweep("theirs");
  request.mutable_fit()->set_fit_json(R"({"warnings":[]})");
  request.mutable_fit()->set_observations_hash(core::Sha256Hex("[]"));
  *request.add_forecasts() = ForecastElsewhere("a");
  request.mutable_forecasts(0)->set_fit_hash(std::string(64, '0'));
  EXPECT_TRUE(absl::IsNotFound(store_->RegisterForecasts(request, Now()).status()));
  request.mutable_forecasts(0)->set_fit_hash(core::Sha256Hex(request.fit().fit_json()));
  ASSERT_OK(store_->RegisterForecasts(request, Now()));
  ASSERT_OK(Audit().agreement);
  for (const char* edit :
       {"UPDATE fits SET fit_json='{}'", "DELETE FROM fits",
        "UPDATE fits SET fit_json='{}', "
        "fit_hash='44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'"}) {
    Transaction undo(&store_->db());
    ASSERT_OK(store_->db().Execute(edit));
    EXPECT_TRUE(absl::IsDataLoss(Audit().agreement)) << edit;
  }
  // The same promise by a fit that was asked for more.
  request.mutable_fit()->set_fit_json(R"({"warnings":[],"more":1})");
  request.mutable_forecasts(0)->set_fit_hash(core::Sha256Hex(request.fit().fit_json()));
  EXPECT_TRUE(store_->RegisterForecasts(request, Now())->forecasts(0).already_registered());
}

}  // namespace
}  // namespace orchestrator
