#include "sweepctl/power_input.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "core/file.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fit/csv.h"
#include "fit/labels.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweepctl/database.h"
#include "sweepctl/observations.h"

namespace sweepctl {
namespace {

constexpr int kPriorDraws = 32;  // beside the best guess
constexpr std::string_view kByFit =
    "`sweepctl fit --csv FILE --column FIELD=COLUMN --where COLUMN=TEXT --law chinchilla --json` "
    "chooses columns and rows, and what it prints is a prior too";

std::string DefaultPriorName(const std::string& recipe) {
  return recipe == "delphi" ? "delphi" : "nano";
}

absl::StatusOr<fit::Prior> FromRuns(const std::vector<fit::Observation>& runs,
                                    const std::string& name) {
  if (runs.empty())
    return absl::FailedPreconditionError(fmt::format("{} holds no finished run", name));
  auto prior = fit::PriorFromRuns(runs, "chinchilla", kPriorDraws, 0);
  if (!prior.ok())
    return absl::Status(prior.status().code(),
                        fmt::format("{}: {}", name, std::string(prior.status().message())));
  prior->name = name;
  return prior;
}

// FILE.db or FILE.db:NAME, of a sweep or an import.
absl::StatusOr<fit::Prior> FromDatabase(const std::string& text) {
  std::string path = text, name;
  const size_t colon = text.rfind(".db:");
  if (colon != std::string::npos) path = text.substr(0, colon + 3), name = text.substr(colon + 4);
  GlobalOptions options;
  options.db = path;
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  ASSIGN_OR_RETURN(const ChosenCohort read, ReadCohort(*reader, {name, "", "", {}}));
  return FromRuns(read.observations.fitted, fmt::format("{}:{}", path, read.name));
}

absl::StatusOr<fit::Prior> FromName(const std::string& text) {
  if (text.ends_with(".json")) {
    ASSIGN_OR_RETURN(const std::string json, core::ReadFile(text));
    return fit::PriorFromJson(json, text);
  }
  if (text.ends_with(".csv")) {
    auto read = fit::ReadObservationsCsv(text, {});
    if (!read.ok())
      return absl::Status(read.status().code(),
                          fmt::format("{}; {}", std::string(read.status().message()), kByFit));
    for (const fit::LabelFinding& label : fit::FindLabels(read->observations))
      return absl::InvalidArgumentError(
          fmt::format("{}: column {} tells {} experiments apart ({}), and a prior is the law of "
                      "one; {}",
                      text, fmt::join(label.columns, " and "), label.groups, label.counts, kByFit));
    return FromRuns(read->observations, text);
  }
  if (text.ends_with(".db") || text.find(".db:") != std::string::npos) return FromDatabase(text);
  auto prior = fit::PublishedPrior(text);
  if (prior.ok()) return prior;
  return UsageError(
      fmt::format("--prior: {}; or FILE.json, FILE.csv, FILE.db[:NAME], ranges as "
                  "E=1.5..1.9, or range",
                  std::string(prior.status().message())));
}

absl::StatusOr<std::pair<double, double>> RangeOf(const std::string& item, size_t equals) {
  const std::string text = item.substr(equals + 1);
  const size_t dots = text.find("..");
  const auto low = core::ParseNumber(text.substr(0, dots));
  const auto high = dots == std::string::npos ? low : core::ParseNumber(text.substr(dots + 2));
  if (!low.ok() || !high.ok() || *low > *high)
    return UsageError(fmt::format("--prior takes LETTER=LOW..HIGH, not '{}'", item));
  return std::make_pair(*low, *high);
}

fit::ConstantRanges UsualRanges(const fit::Prior& prior) {
  fit::ConstantRanges ranges;
  for (const auto& [letter, value] : prior.law->Report(prior.draws.front())) {
    if (letter == "E") ranges[letter] = {0.8 * value, 1.2 * value};
    if (letter == "alpha" || letter == "beta") ranges[letter] = {0.85 * value, 1.15 * value};
  }
  return ranges;
}

absl::StatusOr<double> Deviation(const std::string& text, std::string_view option) {
  const auto value = core::ParseFraction(text);
  if (value.ok() && *value >= 0 && *value < 1) return *value;
  return UsageError(fmt::format(
      "{} is a standard deviation of ln L below 1, as 0.003 or 0.3%, not '{}'", option, text));
}

}  // namespace

void AddPowerOptions(CLI::App* verb, PowerArgs* args) {
  verb->add_option(
          "--prior", args->prior,
          "law that power analysis takes for true: chinchilla, delphi, nano, FILE.json "
          "(fit --json), FILE.csv, FILE.db[:SWEEP or IMPORT], ranges E=1.5..1.9,alpha=0.3..0.4, or "
          "range; default: delphi for recipe delphi, else nano")
      ->type_name("PRIOR");
  verb->add_option("--noise", args->noise,
                   "scatter of one run about the law, standard deviation of ln L, as 0.3%; "
                   "default: the prior's")
      ->type_name("SD");
  verb->add_option("--seed-noise", args->seed_noise,
                   "the part of --noise that another seed changes; default: the prior's")
      ->type_name("SD");
  verb->add_option("--level", args->level, "of the expected intervals (0.9)")->type_name("P");
  verb->add_option("--simulations", args->simulations,
                   fmt::format("sweeps simulated and fitted for what is expected; 0: none; default "
                               "{}, and {} for each candidate of a search, which simulates what it "
                               "chooses 4 times as often",
                               kUsualSimulations, kSearchSimulations))
      ->check(CLI::Range(0, 10'000))
      ->type_name("N");
}

fit::PlannedRun RunOf(const recipes::Plan& plan) {
  return {plan.recipe_flops, plan.budget.amount, static_cast<double>(plan.params),
          static_cast<double>(plan.tokens), 1};
}

std::vector<fit::PlannedRun> DesignOf(const std::vector<sweeps::PlannedTrial>& trials) {
  std::vector<fit::PlannedRun> design;
  std::map<std::pair<int64_t, int64_t>, size_t> shapes;
  for (const sweeps::PlannedTrial& trial : trials) {
    const auto [at, fresh] =
        shapes.emplace(std::make_pair(trial.plan.params, trial.plan.tokens), design.size());
    if (fresh)
      design.push_back(RunOf(trial.plan));
    else
      ++design[at->second].repeats;
  }
  return design;
}

absl::StatusOr<fit::Prior> PriorOf(const PowerArgs& args, const std::string& recipe,
                                   const std::vector<fit::PlannedRun>& design) {
  std::string name;
  fit::ConstantRanges ranges;
  std::string text = args.prior;
  const bool usual = text == "range";
  if (usual) text.clear();
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string item = text.substr(0, comma);
    text = text.substr(std::min(comma + 1, text.size()));
    const size_t equals = item.find('=');
    if (equals == std::string::npos) {
      if (!name.empty() || !ranges.empty())
        return UsageError(
            fmt::format("--prior names one prior, then ranges; not '{}'", args.prior));
      name = item;
    } else {
      ASSIGN_OR_RETURN(ranges[item.substr(0, equals)], RangeOf(item, equals));
    }
  }
  ASSIGN_OR_RETURN(fit::Prior prior, FromName(name.empty() ? DefaultPriorName(recipe) : name));
  if (usual) ranges = UsualRanges(prior);
  if (!ranges.empty()) {
    double params = 0, tokens = 0;
    for (const fit::PlannedRun& run : design)
      params += std::log(run.params), tokens += std::log(run.tokens);
    const auto n = static_cast<double>(std::max<size_t>(design.size(), 1));
    auto ranged =
        fit::WithRanges(prior, ranges, std::exp(params / n), std::exp(tokens / n), kPriorDraws, 0);
    if (!ranged.ok())
      return UsageError(fmt::format("--prior: {}", std::string(ranged.status().message())));
    prior = *std::move(ranged);
  }
  RETURN_IF_ERROR(SetNoise(args, &prior));
  return prior;
}

absl::Status SetNoise(const PowerArgs& args, fit::Prior* prior) {
  double total = prior->noise.Total(), seed = prior->noise.seed;
  if (!args.noise.empty()) {
    ASSIGN_OR_RETURN(total, Deviation(args.noise, "--noise"));
    seed = std::min(seed, total);
    prior->noise_source = "--noise";
  }
  if (!args.seed_noise.empty()) {
    ASSIGN_OR_RETURN(seed, Deviation(args.seed_noise, "--seed-noise"));
    if (seed > total && !args.noise.empty())
      return UsageError("--seed-noise is a part of --noise and cannot be larger");
    total = std::max(total, seed);
  }
  if (!(total > 0))
    return UsageError(fmt::format(
        "prior {} says nothing of the scatter of single runs; name it with --noise", prior->name));
  prior->noise = {std::sqrt(std::max(0.0, total * total - seed * seed)), seed};
  return absl::OkStatus();
}

absl::StatusOr<fit::PowerOptions> PowerOptionsOf(const PowerArgs& args, bool search) {
  fit::PowerOptions options;
  options.simulations = args.simulations >= 0 ? args.simulations
                        : search              ? kSearchSimulations
                                              : kUsualSimulations;
  if (args.level.empty()) return options;
  const auto level = core::ParseFraction(args.level);
  if (!level.ok() || *level <= 0 || *level >= 1)
    return UsageError(fmt::format("--level lies between 0 and 1, not '{}'", args.level));
  options.level = *level;
  return options;
}

std::vector<std::string> PriorCaveats(const fit::Prior& prior,
                                      const std::vector<fit::PlannedRun>& design) {
  constexpr double kNear = 3;
  std::vector<std::string> caveats;
  double smallest = HUGE_VAL, largest = 0;
  for (const fit::PlannedRun& run : design)
    smallest = std::min(smallest, run.flops), largest = std::max(largest, run.flops);
  if (prior.largest_flops > 0 &&
      (smallest * kNear < prior.smallest_flops || largest > kNear * prior.largest_flops))
    caveats.push_back(fmt::format(
        "prior {} rests on runs of {} to {} FLOPs, and these are {} to {}: out of its range it is "
        "a guess",
        prior.name, core::FormatFlops(prior.smallest_flops), core::FormatFlops(prior.largest_flops),
        core::FormatFlops(smallest), core::FormatFlops(largest)));
  if (prior.name == "nano")
    caveats.push_back(
        "prior nano was measured on one text with one tokenizer: on other data it is a guess; "
        "--prior FILE.db takes a sweep of yours");
  constexpr double kSuddenFrom = 3e13;
  if (prior.name == "nano" && largest > kSuddenFrom)
    caveats.push_back(
        "near 1e14 FLOPs losses of such small models were seen to fall suddenly, at a "
        "seed-dependent "
        "size (recorded sweeps of 2026-11-22): no law here expects that, and widths are too small");
  return caveats;
}

}  // namespace sweepctl
