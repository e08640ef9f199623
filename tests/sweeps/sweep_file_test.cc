// Every mistake a person makes is answered with file, line, column and what to do.
#include "sweeps/sweep_file.h"

#include <filesystem>

#include "core/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sweeps {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kHead[] = "name: s\nrecipe: delphi-nano\n";

std::string ErrorOf(const std::string& text) {
  const auto file = ParseSweepFile(text, "s.yaml");
  if (file.ok()) return "accepted";
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(file.status().message());
}

SweepFile Parsed(const std::string& text) {
  auto file = ParseSweepFile(text, "s.yaml");
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : SweepFile();
}

TEST(SweepFileTest, TheExampleOfTheDesignIsRead) {
  const SweepFile f = Parsed(R"(
name: linux-nano
recipe: delphi-nano
method: isoflop
budgets: [1e13, 3e13, 1e14, 3e14]
points: 8
data:
  mix:
    code: {paths: [linux/**/*.c], weight: 0.8, max_epochs: 4}
    docs: {paths: [a, b], weight: 0.2}
  tokenizer: {sentencepiece: 1024}
  holdout: {fraction: 0.5%, by: directory}
seeds: 2
trainer: {command: [python, train.py]}
resources: {gpus: 1, time: 2h}
retry: {failure: 3, preemption: 50, oom: 0}
limits: {flops: 1e17, gpu_hours: 10}
forecast: {at: [1e16, 1e17], register: false}
)");
  EXPECT_EQ(f.name, "linux-nano");
  EXPECT_THAT(f.budgets, ElementsAre(1e13, 3e13, 1e14, 3e14));
  EXPECT_EQ(f.points, 8);
  ASSERT_TRUE(f.data.has_value());
  ASSERT_EQ(f.data->mix.size(), 2u);
  EXPECT_EQ(f.data->mix[0].name, "code");
  EXPECT_EQ(f.data->mix[0].max_epochs, 4);
  EXPECT_THAT(f.data->mix[1].paths, ElementsAre("a", "b"));
  EXPECT_EQ(f.vocab, 1024);
  EXPECT_EQ(f.data->holdout_fraction, 0.005);
  EXPECT_TRUE(f.data->holdout_by_directory);
  EXPECT_EQ(f.seeds, 2);
  EXPECT_THAT(f.trainer_command, ElementsAre("python", "train.py"));
  EXPECT_EQ(f.gpus, 1);
  EXPECT_EQ(f.time_limit_ms, 7200000);
  EXPECT_EQ(f.retry_failure, 3);
  EXPECT_EQ(f.retry_oom, 0);
  EXPECT_EQ(f.limit_gpu_hours, 10);
  EXPECT_THAT(f.forecast_at, ElementsAre(1e16, 1e17));
  EXPECT_FALSE(f.forecast_register);
}

TEST(SweepFileTest, UnknownKeysNameTheirPlaceAndTheNearestKey) {
  EXPECT_EQ(ErrorOf(std::string(kHead) + "budgts: [1e13]\n"),
            "s.yaml:3:1: unknown key 'budgts'; did you mean 'budgets'?");
  EXPECT_EQ(ErrorOf(std::string(kHead) + "budgets: [1e13]\nretry: {failure: 1, preemptoin: 2}\n"),
            "s.yaml:4:21: unknown key 'preemptoin'; did you mean 'preemption'?");
  EXPECT_THAT(ErrorOf(std::string(kHead) + "zzzzzzzz: 1\n"),
              HasSubstr("s.yaml:3:1: unknown key 'zzzzzzzz'; the file takes name, recipe"));
}

TEST(SweepFileTest, ScientificNumbersAreNumbersHoweverYamlResolvesThem) {
  EXPECT_THAT(Parsed(std::string(kHead) + "budgets: [1e14, 3E+13, \"1e13\", +2e12, 100000000000]\n")
                  .budgets,
              ElementsAre(1e14, 3e13, 1e13, 2e12, 1e11));
}

TEST(SweepFileTest, NumbersThatAreNotAreRefusedInPlace) {
  auto budget = [](const std::string& text) {
    return ErrorOf(std::string(kHead) + "budgets: [1e13, " + text + "]\n");
  };
  EXPECT_EQ(budget("-1e12"), "s.yaml:3:17: budgets[1] is -1e12, not a number above 0");
  EXPECT_EQ(budget("0"), "s.yaml:3:17: budgets[1] is 0, not a number above 0");
  for (const char* text :
       {"1e400", ".inf", ".nan", "0x10", "1_000", "1e14FLOPs", "yes", "'1 e14'", "2:30"})
    EXPECT_THAT(budget(text), StartsWith("s.yaml:3:17: budgets[1] is")) << text;
  EXPECT_THAT(budget("~"), HasSubstr("s.yaml:3:17: budgets[1] has no value"));
  EXPECT_THAT(budget("[1e14]"), HasSubstr("s.yaml:3:17: budgets[1] is a list"));
  EXPECT_EQ(budget("1e13"), "s.yaml:3:17: budgets[1] repeats 1e+13");
}

TEST(SweepFileTest, YamlTrapsDoNotReachTheExperiment) {
  // A word that YAML 1.1 reads as false stays a word.
  EXPECT_EQ(Parsed("name: no\nrecipe: delphi-nano\nbudgets: [1e13]\n").name, "no");
  EXPECT_EQ(Parsed("name: 3e5\nrecipe: delphi-nano\nbudgets: [1e13]\n").name, "3e5");
  EXPECT_EQ(ErrorOf(std::string(kHead) + "budgets: [1e13]\nseeds: 2\nbudgets: [1e14]\n"),
            "s.yaml:5:1: key 'budgets' is given twice (its first value is at line 3)");
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\nseeds:\n"),
              HasSubstr("seeds has no value"));
  EXPECT_THAT(
      ErrorOf(std::string(kHead) + "budgets: [1e13]\nforecast: {at: [1e15], register: yes}\n"),
      HasSubstr("forecast.register is 'yes', not true or false"));
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\nseeds: 1.5\n"),
              HasSubstr("s.yaml:4:8: seeds is 1.5, not a whole number from 1"));
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets:\n\t- 1e13\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("the file is empty"));
  EXPECT_THAT(ErrorOf("# nothing\n"), HasSubstr("the file is empty"));
  EXPECT_THAT(ErrorOf("[1, 2]\n"), HasSubstr("the file is a list"));
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\n---\nname: t\n"),
              HasSubstr("s.yaml:5:1: a second document"));
  EXPECT_THAT(ErrorOf(std::string(kHead) + "<<: {seeds: 2}\nbudgets: [1e13]\n"),
              HasSubstr("unknown key '<<'"));
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: &a [1e13, *a]\n"), HasSubstr("s.yaml:"));
}

TEST(SweepFileTest, MissingKeysAreNamed) {
  EXPECT_THAT(ErrorOf("name: s\n"), HasSubstr("the file needs the key 'recipe'"));
  EXPECT_THAT(ErrorOf(kHead), HasSubstr("method isoflop needs the key 'budgets'"));
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\ndata: {mix: {a: {weight: 1}}, "
                                           "tokenizer: bytes}\n"),
              HasSubstr("s.yaml:4:17: data.mix.a needs the key 'paths'"));
}

TEST(SweepFileTest, TasksAreRefusedClearly) {
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\neval: {tasks: [x]}\n"),
              HasSubstr("s.yaml:4:1: key 'eval': downstream tasks are not supported yet"));
}

TEST(SweepFileTest, WordsAreCheckedWithSuggestions) {
  EXPECT_EQ(ErrorOf(std::string(kHead) + "method: isoflops\nbudgets: [1e13]\n"),
            "s.yaml:3:9: method is 'isoflops', not isoflop or search; did you mean 'isoflop'?");
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\npoints: some\n"),
              HasSubstr("s.yaml:4:9: points is 'some'; it takes all or a whole number from 1"));
  EXPECT_THAT(ErrorOf("name: a b\nrecipe: delphi-nano\nbudgets: [1e13]\n"),
              HasSubstr("s.yaml:1:7: the name 'a b'"));
}

TEST(SweepFileTest, KeysOfTheOtherMethodAreRefused) {
  EXPECT_EQ(ErrorOf(std::string(kHead) + "budgets: [1e13]\nsamples: 3\n"),
            "s.yaml:4:10: key 'samples' belongs to method search");
  EXPECT_THAT(ErrorOf(std::string(kHead) + "method: search\nbudgets: [1e13]\n"),
              HasSubstr("belongs to method isoflop"));
}

TEST(SweepFileTest, TokenizerAndVocabularyMustAgree) {
  const std::string data = "data: {mix: {a: {paths: [x]}}, tokenizer: ";
  EXPECT_EQ(Parsed(std::string(kHead) + "budgets: [1e13]\n" + data + "bytes}\n").vocab, 257);
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\nvocab: 300\n" + data + "bytes}\n"),
              HasSubstr("s.yaml:4:8: vocab 300 contradicts the tokenizer, which has 257"));
  EXPECT_EQ(
      Parsed(std::string(kHead) + "budgets: [1e13]\nvocab: 300\n" + data + "{model: t.model}}\n")
          .vocab,
      300);
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13]\n" + data +
                      "{model: t.model, sentencepiece: 300}}\n"),
              HasSubstr("either {sentencepiece: N} or {model: path}"));
}

TEST(SweepFileTest, ATokenizerModelSaysItsVocabulary) {
  // Two pieces, trainer options between them.
  const std::string model = {'\x0a', 1, 'a', '\x12', 2, 'b', 'c', '\x0a', 0};
  const std::string folder = ::testing::TempDir() + "model_vocab/", path = folder + "s.yaml";
  ASSERT_TRUE(core::MakeDirs(folder).ok());
  const auto load = [&](const std::string& vocab) {
    EXPECT_TRUE(core::WriteFileAtomically(path, kHead + ("budgets: [1e13]\n" + vocab) +
                                                    "data: {mix: {a: {paths: [x]}}, tokenizer: "
                                                    "{model: t.model}}\n")
                    .ok());
    return LoadSweepFile(path);
  };
  std::filesystem::remove(folder + "t.model");
  EXPECT_THAT(load("").status().message(), HasSubstr("t.model"));
  EXPECT_EQ(load("vocab: 300\n")->vocab, 300);
  ASSERT_TRUE(core::WriteFileAtomically(folder + "t.model", model).ok());
  EXPECT_EQ(load("")->vocab, 2);
  EXPECT_THAT(load("vocab: 300\n").status().message(),
              HasSubstr("s.yaml:4:8: vocab 300 contradicts the tokenizer 't.model', which has 2"));
  ASSERT_TRUE(core::WriteFileAtomically(folder + "t.model", "no model at all").ok());
  EXPECT_THAT(load("").status().message(), HasSubstr("not a SentencePiece model"));
}

TEST(SweepFileTest, AForecastOfAMeasuredBudgetIsRefused) {
  EXPECT_THAT(ErrorOf(std::string(kHead) + "budgets: [1e13, 3e13]\nforecast: {at: [1e15, 3e13]}\n"),
              HasSubstr("s.yaml:4:23: 3e+13 is one of the budgets"));
}

TEST(SweepFileTest, AForecastWithinTheBudgetsIsNotRegistered) {
  const std::string file = std::string(kHead) + "budgets: [1e13, 3e13]\n";
  EXPECT_THAT(ErrorOf(file + "forecast: {at: [1e15, 2e13], register: true}\n"),
              AllOf(HasSubstr("s.yaml:4:23: 2e+13 lies below the largest budget, 3e+13"),
                    HasSubstr("register: false")));
  EXPECT_EQ(Parsed(file + "forecast: {at: [2e13], register: false}\n").forecast_at.size(), 1u);
}

TEST(SweepFileTest, TheResolvedSpecIgnoresLayoutAndSeesMeaning) {
  const SweepFile a = Parsed(std::string(kHead) + "budgets: [1e13, 3e13]  # two\nseeds: 1\n");
  const SweepFile b = Parsed("recipe: delphi-nano\nbudgets:\n- 10000000000000\n- 3e13\nname: s\n");
  const SweepFile c = Parsed(std::string(kHead) + "budgets: [1e13, 3e13]\nseeds: 2\n");
  EXPECT_EQ(*core::CanonicalJson(ResolvedSpec(a)), *core::CanonicalJson(ResolvedSpec(b)));
  EXPECT_NE(*core::CanonicalJson(ResolvedSpec(a)), *core::CanonicalJson(ResolvedSpec(c)));
}

TEST(SweepFileTest, TheShippedFilesAreValid) {
  for (const char* name : {"quickstart", "isoflop", "delphi"}) {
    const auto file = LoadSweepFile(std::string(SWEEP_SOURCE_DIR "/sweeps/") + name + ".yaml");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->name, name);
  }
  EXPECT_EQ(LoadSweepFile("/no/such.yaml").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace sweeps
