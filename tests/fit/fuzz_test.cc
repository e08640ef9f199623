// Ten thousand random and hostile files through every law and option of the fitter: a refusal says
// where and what to do, and an accepted file gives no number that is silently not one.
#include <algorithm>
#include <atomic>
#include <cctype>
#include <cmath>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/rng.h"
#include "fit/compare.h"
#include "fit/compare_report.h"
#include "fit/csv.h"
#include "fit/fit.h"
#include "fit/prior.h"
#include "fit/report.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/fit/hostile.h"
#include "tests/full.h"

namespace fit {
namespace {

// Whether the word stands in the text, in any case; "dominant" holds no "nan".
bool HasWord(std::string text, const std::string& word) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  const auto letter = [&](size_t i) {
    return i < text.size() && std::isalpha(static_cast<unsigned char>(text[i])) != 0;
  };
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
    if ((at == 0 || !letter(at - 1)) && !letter(at + word.size())) return true;
  return false;
}

void ExpectNumbers(const std::string& text, const std::string& about) {
  EXPECT_FALSE(HasWord(text, "nan")) << about << "\n" << text;
  EXPECT_FALSE(HasWord(text, "inf")) << about << "\n" << text;
}

// Keys that may be null: the number does not exist, and the report says why.
const std::set<std::string>& MayBeNull() {
  static const auto* const keys = new std::set<std::string>{
      "lo",
      // Of a loss that A never reaches.
      "by_law", "reach_a", "hi", "noise", "compute", "run", "params", "joint", "aicc",
      "flops_per_param_token", "flat_params", "referee_objective", "condition", "asymptote",
      "tokens", "chance", "hard", "hard_at_E_lo", "hard_at_E_hi", "known_bias.loss",

      "flops_relation", "abstains", "coverage", "coverage_raw", "correlation_tokens_loss",
      "correlation_params_loss", "correlation_params_tokens", "rms", "max", "bias", "rms_rel",
      "max_rel", "bias_rel", "interval", "flops", "curvature", "factor_per_decade", "multiplier",
      "equivalent_flops", "by_law",

      "weights",  // none

      // Of a table of optima, and only there (ExpectSound).
      "leverage", "spent_flops"};
  return *keys;
}

void ExpectJson(const core::Json& json, const std::string& key, const std::string& about) {
  if (json.is_number_float()) {
    EXPECT_TRUE(std::isfinite(json.get<double>())) << about << " " << key;
  }
  if (json.is_null()) {
    EXPECT_EQ(MayBeNull().count(key), 1u) << about << " null: " << key;
  }
  if (!json.is_structured()) return;
  // An element of a list or of a map of constants goes by the key of the whole.
  const bool constants =
      key == "params" || key == "exponents" || key == "exponents_before" || key == "by_law";
  for (const auto& [name, value] : json.items())
    ExpectJson(value,
               !json.is_object() || constants ? key
               : name == "loss"               ? key + ".loss"
                                              : name,
               about);
}

// A refusal names what to do: one of these words stands in it.
void ExpectAdvice(const absl::Status& status, const std::string& about) {
  const std::string message(status.message());
  const std::vector<std::string> advice = {"add ", "check ",  "correct ", "leave ",
                                           "--",   "finish ", "need",     "there are: "};
  EXPECT_TRUE(
      std::any_of(advice.begin(), advice.end(),
                  [&](const std::string& word) { return message.find(word) != std::string::npos; }))
      << about << ": " << message;
}

template <typename T>
const T& OneOf(core::Rng& rng, const std::vector<T>& values) {
  return values[rng.Below(values.size())];
}

std::vector<std::string> DrawLaws(core::Rng& rng, const Hostile& file) {
  if (file.curve) return {"bnsl"};
  if (file.hard && rng.Below(2) == 0) return {"two-step"};
  const uint64_t kind = rng.Below(40);
  if (kind < 20) return {"default"};
  if (kind == 20) return {"all"};
  // Farseer costs as much as all the others.
  std::vector<std::string> laws = {OneOf(rng, LawNames())};
  if (laws[0] == "farseer" && rng.Below(3) > 0) laws[0] = "isoflop";
  if (rng.Below(3) == 0) laws.push_back(OneOf(rng, std::vector<std::string>{"isoflop", "default"}));
  return laws;
}

FitOptions DrawOptions(core::Rng& rng, const Hostile& file) {
  FitOptions options;
  options.laws = DrawLaws(rng, file);
  options.predict = {1e22};
  if (file.curve) options.input = "x", options.predict = {1e4};
  options.sensitivity = rng.Below(4) == 0;
  options.backtest = rng.Below(10) == 0;
  options.backtest_options.resamples = 20;
  options.backtest_options.max_cuts = 3;
  LawOptions& law = options.law;
  law.bootstrap.resamples = OneOf(rng, std::vector<int>{25, 25, 25, 0, 1});
  law.bootstrap.threads = 1;
  law.starts = 4;
  law.profile = false;
  const auto seldom = [&] { return rng.Below(12) == 0; };
  if (seldom()) law.profile = true;
  if (seldom()) law.loss.kind = OneOf(rng, std::vector<LossKind>{LossKind::kL1, LossKind::kL2});
  if (seldom()) law.loss.residual = ResidualKind::kLinear;
  if (seldom()) law.loss.delta = std::pow(10, 6 * rng.Uniform() - 5);
  if (seldom()) law.loss.over = 10;
  if (seldom()) law.pinned_E = OneOf(rng, std::vector<double>{0, 1, 1e-300});
  if (seldom()) law.hold["alpha"] = .34;
  if (seldom()) law.noise_by_flops = true;
  if (seldom()) law.weigh_budgets = true;
  if (seldom()) law.cluster_by_budget = true;
  if (seldom()) law.exponent_prior = false;
  if (seldom()) law.bootstrap.level = OneOf(rng, std::vector<double>{.5, .999999});
  if (seldom()) law.isoflop.window = 1 + static_cast<int>(rng.Below(2));
  if (seldom())
    law.isoflop.curve =
        OneOf(rng, std::vector<IsoflopCurve>{IsoflopCurve::kCubic, IsoflopCurve::kAkima});
  if (seldom()) law.unique_tokens = 1e10;
  if (seldom() && !file.curve) law.observations_are_optima = true;
  if (seldom()) options.checkpoints = true;
  if (seldom()) options.predict_runs = {{1e22, 1e9, 1e12}};
  if (file.hard && seldom()) options.two_step.by_flops = true;
  if (file.hard && seldom())
    options.two_step.curve =
        OneOf(rng, std::vector<std::string>{"log-sigmoid", "exponential-error"});
  if (file.hard && seldom()) options.two_step.chance = .25;
  return options;
}

void ExpectSound(const FitSummary& summary, const FitOptions& options, const std::string& about) {
  const bool spent_unknown = options.law.observations_are_optima;
  EXPECT_EQ(summary.spent_flops == 0, spent_unknown) << about;
  for (const LawFit& fit : summary.fits) {
    EXPECT_TRUE(std::isfinite(fit.objective)) << about << " " << fit.law;
    for (const auto& [name, value] : fit.params)
      EXPECT_TRUE(std::isfinite(value) || Has(fit.warnings, kOverflow))
          << about << " " << fit.law << " " << name << " " << value;
  }
  for (const Forecast& f : summary.predictions) {
    EXPECT_TRUE(std::isfinite(f.loss) && f.loss >= 0) << about << " " << f.law << " " << f.loss;
    EXPECT_FALSE(std::isnan(f.params) || std::isnan(f.tokens)) << about << " " << f.law;
    EXPECT_EQ(std::isfinite(f.leverage), !spent_unknown) << about << " " << f.law;
    const bool bounded = std::isfinite(f.interval.lo) && std::isfinite(f.interval.hi);
    EXPECT_TRUE(bounded || Has(f.warnings, kNoInterval)) << about << " " << f.law;
    if (bounded) {
      EXPECT_LE(f.interval.lo, f.interval.hi) << about << " " << f.law;
    }
  }
  ExpectJson(FitJson(summary), "", about);
  ExpectNumbers(FitText(summary), about);
}

// One file: what reading, fitting, comparing and a prior make of it.
struct Counts {
  std::atomic<int> unread = 0, refused = 0, fitted = 0, forecasts = 0, compared = 0, priors = 0;
};
void FuzzOne(uint64_t round, Counts& counts) {
  core::Rng rng(31, round);
  const Hostile file = HostileFile(rng);
  CsvOptions reading;
  if (file.curve) reading.input = "x";
  const auto csv = ObservationsFromCsv(file.text, kHostileName, reading);
  std::string about = fmt::format("round {}", round);
  if (!csv.ok()) {
    ++counts.unread;
    const std::string message(csv.status().message());
    EXPECT_NE(message.find(kHostileName), std::string::npos) << about << " " << message;
    for (const std::string& part : file.named)
      EXPECT_NE(message.find(part), std::string::npos) << about << " " << part << "; " << message;
    return;
  }
  EXPECT_TRUE(file.named.empty()) << about << " was read in spite of " << file.named[0];
  const FitOptions options = DrawOptions(rng, file);
  about += fmt::format(" {}", fmt::join(options.laws, ","));
  const auto summary = RunFit(csv->observations, options);
  if (summary.ok()) {
    ++counts.fitted;
    counts.forecasts += static_cast<int>(summary->predictions.size());
    ExpectSound(*summary, options, about);
  } else {
    ++counts.refused;
    ExpectAdvice(summary.status(), about);
  }
  if (file.curve || round % 10 != 0) return;
  const std::string law = OneOf(rng, std::vector<std::string>{"chinchilla", "overtrain"});
  if (const auto prior = PriorFromRuns(csv->observations, law, 10, 1); prior.ok()) {
    ++counts.priors;
    EXPECT_TRUE(std::isfinite(prior->noise.Total())) << about;
    for (const std::vector<double>& draw : prior->draws)
      for (const double value : draw) EXPECT_TRUE(std::isfinite(value)) << about;
  } else {
    ExpectAdvice(prior.status(), about + " prior");
  }
  CompareOptions comparing;
  comparing.fit = options;
  comparing.fit.predict.clear(), comparing.fit.predict_runs.clear();
  std::vector<Observation> halves[2];
  for (size_t i = 0; i < csv->observations.size(); ++i)
    halves[i % 2].push_back(csv->observations[i]);
  if (halves[1].empty()) return;
  const auto comparison = Compare({"A", halves[0], {}, 0}, {"B", halves[1], {}, 0}, comparing);
  if (comparison.ok()) {
    ++counts.compared;
    ExpectJson(CompareJson(*comparison), "", about + " compare");
    ExpectNumbers(CompareText(*comparison), about + " compare");
  } else {
    ExpectAdvice(comparison.status(), about + " compare");
  }
}

TEST(FuzzTest, TenThousandHostileFilesGiveAReasonOrSoundNumbers) {
  const uint64_t rounds = FullTest() ? 10000 : 2500;
  Counts counts;
  std::atomic<uint64_t> next = 0;
  const auto work = [&] {
    for (uint64_t round = next++; round < rounds; round = next++) FuzzOne(round, counts);
  };
  std::thread other(work);
  work();
  other.join();
  std::printf("%d files unread, %d refused, %d fitted, %d forecasts, %d compared, %d priors\n",
              counts.unread.load(), counts.refused.load(), counts.fitted.load(),
              counts.forecasts.load(), counts.compared.load(), counts.priors.load());
  EXPECT_GT(counts.fitted, static_cast<int>(rounds / 5));
  EXPECT_GT(counts.unread, static_cast<int>(rounds / 10));
  EXPECT_GT(counts.compared, 0);
  EXPECT_GT(counts.priors, 0);
}

}  // namespace
}  // namespace fit
