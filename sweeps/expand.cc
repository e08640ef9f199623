#include "sweeps/expand.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/did_you_mean.h"
#include "core/rng.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"

namespace sweeps {
namespace {

using recipes::Candidate;
using recipes::Plan;
using recipes::Recipe;
using recipes::Setting;

absl::StatusOr<PlannedTrial> MakeTrial(const SweepFile& file, const Recipe& recipe,
                                       const Candidate& candidate, const Setting& setting,
                                       const std::string& key) {
  auto plan = recipe.MakePlan(candidate, setting);
  if (!plan.ok()) return file.Error(key, plan.status());
  PlannedTrial trial{*std::move(plan), ""};
  auto id = recipes::TrialId(trial.plan);
  if (id.ok()) {
    trial.trial_id = *std::move(id);
  } else if (id.status().code() != absl::StatusCode::kFailedPrecondition) {
    return file.Error(key, id.status());
  }
  return trial;
}

// One trial a seed.
absl::Status AppendSeeds(const SweepFile& file, const Recipe& recipe, const Candidate& candidate,
                         Setting setting, const std::string& key, std::vector<PlannedTrial>* out) {
  for (int64_t seed = 0; seed < file.seeds; ++seed) {
    setting.init_seed = setting.data_seed = static_cast<uint64_t>(seed);
    ASSIGN_OR_RETURN(PlannedTrial trial, MakeTrial(file, recipe, candidate, setting, key));
    out->push_back(std::move(trial));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> CenterTokens(const SweepFile& file, const ExpandOptions& options,
                                    const Recipe& recipe, double flops, const Setting& setting,
                                    const std::vector<Candidate>& candidates) {
  if (!file.tokens_per_param.has_value()) {
    if (options.frontier.has_value())
      return options.frontier->coefficient * std::pow(flops, options.frontier->exponent);
    return recipe.PriorOptimalTokens(flops, setting);
  }
  // The tokens of the candidate whose ratio is nearest; good enough for choosing a window.
  const double wanted = std::log(*file.tokens_per_param);
  auto distance = [wanted](const Candidate& c) {
    return std::fabs(std::log(c.tokens_exact / static_cast<double>(c.params)) - wanted);
  };
  const Candidate* nearest = &candidates.front();
  for (const Candidate& candidate : candidates) {
    if (distance(candidate) < distance(*nearest)) nearest = &candidate;
  }
  return nearest->tokens_exact;
}

absl::Status ExpandBudget(const SweepFile& file, const ExpandOptions& options, const Recipe& recipe,
                          const Setting& setting, size_t index, std::vector<PlannedTrial>* out) {
  const double flops = file.budgets[index];
  const std::string key = fmt::format("budgets[{}]", index);
  auto list = recipe.Candidates({"training_flops", flops}, setting);
  if (!list.ok()) return file.Error(key, list.status());
  std::vector<Candidate> chosen = std::move(list->candidates);
  if (file.points.has_value()) {
    const int64_t available = static_cast<int64_t>(chosen.size());
    if (*file.points > available) {
      return file.Error(
          "points", fmt::format("points is {}, and recipe {} has {} candidates at {} FLOPs "
                                "(widths {} to {}); ask for {} or fewer, or `points: all`",
                                *file.points, recipe.Name(), available, core::FormatFlops(flops),
                                chosen.front().hidden, chosen.back().hidden, available));
    }
    const auto center = CenterTokens(file, options, recipe, flops, setting, chosen);
    if (!center.ok()) return file.Error(key, center.status());
    chosen = ChoosePoints(chosen, *file.points, *center);
  }
  for (const Candidate& candidate : chosen)
    RETURN_IF_ERROR(AppendSeeds(file, recipe, candidate, setting, key, out));
  return absl::OkStatus();
}

// The candidate of a width; an error at `key` that names the widths there are.
absl::StatusOr<Candidate> CandidateOf(const SweepFile& file, const Recipe& recipe, double budget,
                                      int64_t hidden, const Setting& setting,
                                      const std::string& budget_key, const std::string& key) {
  const auto list = recipe.Candidates({"training_flops", budget}, setting);
  if (!list.ok()) return file.Error(budget_key, list.status());
  std::string widths;
  for (const Candidate& candidate : list->candidates) {
    if (candidate.hidden == hidden) return candidate;
    widths += fmt::format("{}{}", widths.empty() ? "" : ", ", candidate.hidden);
  }
  return file.Error(key,
                    fmt::format("recipe {} has no candidate of width {} at {} FLOPs; it has {}",
                                recipe.Name(), hidden, core::FormatFlops(budget), widths));
}

// The single runs. One that a budget trains anyway is refused: it would not be an addition.
absl::Status ExpandRuns(const SweepFile& file, const Recipe& recipe, const Setting& setting,
                        std::vector<PlannedTrial>* out) {
  const size_t of_budgets = out->size();
  for (size_t i = 0; i < file.runs.size(); ++i) {
    const ExplicitRun& run = file.runs[i];
    const std::string key = fmt::format("runs[{}]", i);
    ASSIGN_OR_RETURN(const Candidate candidate,
                     CandidateOf(file, recipe, run.budget, run.hidden, setting, key + ".budget",
                                 key + ".hidden"));
    Setting seeded = setting;
    seeded.init_seed = seeded.data_seed = run.seed;
    ASSIGN_OR_RETURN(PlannedTrial trial, MakeTrial(file, recipe, candidate, seeded, key));
    for (size_t t = 0; t < of_budgets; ++t) {
      const Plan& other = (*out)[t].plan;
      if (other.params == trial.plan.params && other.tokens == trial.plan.tokens &&
          other.init_seed == run.seed && other.budget.amount == run.budget)
        return file.Error(key,
                          "is among the candidates of `budgets` already; another seed makes "
                          "it another run");
    }
    out->push_back(std::move(trial));
  }
  return absl::OkStatus();
}

// The values of draw `index`: mixed-radix digits over the lists, or random.
std::map<std::string, double> DrawOf(const Search& search, int64_t index) {
  std::map<std::string, double> constants;
  core::Rng rng(search.seed, static_cast<uint64_t>(index));
  for (const ParameterRange& range : search.parameters) {
    const size_t n = range.values.size();
    if (search.samples == 0) {
      constants[range.constant] = range.values[static_cast<size_t>(index) % n];
      index /= static_cast<int64_t>(n);
    } else if (n > 0) {
      constants[range.constant] = range.values[rng.Below(n)];
    } else {
      constants[range.constant] =
          std::exp(std::log(range.lo) + rng.Uniform() * (std::log(range.hi) - std::log(range.lo)));
    }
  }
  return constants;
}

absl::Status ExpandSearch(const SweepFile& file, const Recipe& recipe, const Setting& setting,
                          std::vector<PlannedTrial>* out) {
  const Search& search = *file.search;
  std::vector<std::string> names;
  for (const recipes::Constant& constant : recipe.Constants()) names.push_back(constant.name);
  for (const ParameterRange& range : search.parameters) {
    if (std::find(names.begin(), names.end(), range.constant) != names.end()) continue;
    return file.Error("parameters." + range.constant,
                      fmt::format("recipe {} has no constant '{}'{} (`sweepctl recipe show {}` "
                                  "lists them)",
                                  recipe.Name(), range.constant,
                                  core::DidYouMean(range.constant, names), recipe.Name()));
  }
  int64_t draws = search.samples;
  if (draws == 0) {
    draws = 1;
    for (const ParameterRange& range : search.parameters) {
      draws *= static_cast<int64_t>(range.values.size());
      if (draws > 100000)
        return file.Error("parameters", "more than 100,000 combinations; give 'samples'");
    }
  }
  for (int64_t i = 0; i < draws; ++i) {
    Setting tuned = setting;
    tuned.constants = DrawOf(search, i);
    ASSIGN_OR_RETURN(const Candidate at, CandidateOf(file, recipe, search.budget, search.hidden,
                                                     tuned, "at.budget", "at.hidden"));
    RETURN_IF_ERROR(AppendSeeds(file, recipe, at, tuned, "parameters", out));
  }
  return absl::OkStatus();
}

}  // namespace

recipes::DataSpec UnpreparedData(const SweepFile& file) {
  recipes::DataSpec data;
  if (!file.data.has_value()) return data;
  for (const MixSource& source : file.data->mix)
    data.sources.push_back({source.name, source.weight, source.max_epochs, "", 0});
  return data;
}

Setting SettingOf(const SweepFile& file, const ExpandOptions& options) {
  Setting setting;
  setting.vocab = file.vocab;
  setting.seq_len = file.seq_len;
  setting.numerics = file.numerics;
  setting.data = options.data.has_value() ? *options.data : UnpreparedData(file);
  return setting;
}

absl::StatusOr<std::vector<PlannedTrial>> Expand(const SweepFile& file,
                                                 const ExpandOptions& options) {
  const auto recipe = recipes::FindRecipe(file.recipe);
  if (!recipe.ok()) return file.Error("recipe", recipe.status());
  const Setting setting = SettingOf(file, options);
  std::vector<PlannedTrial> trials;
  if (file.search.has_value()) {
    RETURN_IF_ERROR(ExpandSearch(file, **recipe, setting, &trials));
  }
  for (size_t i = 0; i < file.budgets.size(); ++i)
    RETURN_IF_ERROR(ExpandBudget(file, options, **recipe, setting, i, &trials));
  RETURN_IF_ERROR(ExpandRuns(file, **recipe, setting, &trials));
  return trials;
}

std::vector<Candidate> ChoosePoints(const std::vector<Candidate>& candidates, int64_t points,
                                    double center_tokens) {
  SWEEP_CHECK(points >= 1 && points <= static_cast<int64_t>(candidates.size()));
  std::vector<Candidate> sorted = candidates;
  std::sort(sorted.begin(), sorted.end(),
            [](const Candidate& a, const Candidate& b) { return a.tokens_exact < b.tokens_exact; });
  const size_t n = static_cast<size_t>(points);
  size_t best = 0;
  double best_distance = HUGE_VAL;
  for (size_t first = 0; first + n <= sorted.size(); ++first) {
    double sum = 0;
    for (size_t i = first; i < first + n; ++i) sum += std::log(sorted[i].tokens_exact);
    const double distance = std::fabs(sum / static_cast<double>(n) - std::log(center_tokens));
    if (distance < best_distance) {
      best_distance = distance;
      best = first;
    }
  }
  std::vector<Candidate> chosen(sorted.begin() + static_cast<int64_t>(best),
                                sorted.begin() + static_cast<int64_t>(best + n));
  std::sort(chosen.begin(), chosen.end(),
            [](const Candidate& a, const Candidate& b) { return a.hidden < b.hidden; });
  return chosen;
}

absl::StatusOr<Plan> ChooseTarget(const Recipe& recipe, double budget_flops, double optimal_tokens,
                                  const Setting& setting) {
  ASSIGN_OR_RETURN(const recipes::CandidateList list,
                   recipe.Candidates({"training_flops", budget_flops}, setting));
  return recipe.MakePlan(recipes::ChooseForTokens(list.candidates, optimal_tokens), setting);
}

core::Json CohortOf(const Plan& plan) {
  core::Json sources = core::Json::array();
  for (const recipes::DataSource& source : plan.data.sources)
    sources.push_back({source.name, source.weight, source.max_epochs, source.manifest_hash});
  return {{"recipe", plan.recipe},
          {"recipe_version", plan.recipe_version},
          {"model_family", plan.model.family},
          {"vocab", plan.model.config.value("vocab_size", int64_t{0})},
          {"data_mix", sources.dump()},
          {"order_rule", plan.data.order_rule},
          {"tokenizer_hash", plan.data.tokenizer_hash},
          {"eval_hash", plan.data.eval_hash},
          {"eval_context", plan.seq_len},
          {"metric", fmt::format("loss-{}", plan.data.loss_definition)},
          {"numerics", plan.numerics},
          {"flop_convention", "recipe_flops:" + plan.recipe},
          {"n_convention", "params:" + plan.recipe}};
}

}  // namespace sweeps
