// sweepctl plan: what a sweep file would train, and what that costs. Trains and stores nothing.
#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/sweep_data.h"
#include "sweepctl/trial_rows.h"
#include "sweepctl/verbs.h"
#include "sweeps/estimate.h"
#include "sweeps/expand.h"

namespace sweepctl {
namespace {

using core::Json;

struct PlanArgs {
  std::string path, data_root, data_dir;
  std::string speed, price;  // as typed; core/units.h reads them
};

// A forecast's target as the prior would choose it; the fit decides in the end.
struct Target {
  double budget_flops = 0;
  recipes::Plan plan;
};

absl::StatusOr<std::vector<Target>> PriorTargets(const sweeps::SweepFile& file,
                                                 const sweeps::ExpandOptions& expand) {
  std::vector<Target> targets;
  const auto recipe = recipes::FindRecipe(file.recipe);
  if (!recipe.ok()) return file.Error("recipe", recipe.status());
  const recipes::Setting setting = sweeps::SettingOf(file, expand);
  for (size_t i = 0; i < file.forecast_at.size(); ++i) {
    const double flops = file.forecast_at[i];
    const std::string key = fmt::format("forecast.at[{}]", i);
    const auto tokens = (*recipe)->PriorOptimalTokens(flops, setting);
    if (!tokens.ok()) return file.Error(key, tokens.status());
    auto plan = sweeps::ChooseTarget(**recipe, flops, *tokens, setting);
    if (!plan.ok()) return file.Error(key, plan.status());
    targets.push_back({flops, *std::move(plan)});
  }
  return targets;
}

Json TotalsJson(const sweeps::Cost& cost, size_t trials, double memory_bytes) {
  return {{"trials", trials},
          {"flops", cost.recipe_flops},
          {"model_flops", cost.model_flops},
          {"tokens", cost.tokens},
          {"largest_memory_bytes", std::llround(memory_bytes)},
          {"seconds", cost.seconds > 0 ? Json(cost.seconds) : Json()},
          {"dollars", cost.dollars > 0 ? Json(cost.dollars) : Json()}};
}

std::string TotalsText(const sweeps::Cost& cost, size_t trials, double memory_bytes) {
  std::string text = fmt::format(
      "{} trials, {} FLOPs ({} as benchmarks count), {} tokens, at most about {} each\n", trials,
      core::FormatFlops(cost.recipe_flops), core::FormatFlops(cost.model_flops),
      core::FormatCount(static_cast<double>(cost.tokens)), core::FormatBytes(memory_bytes));
  if (cost.seconds > 0) {
    text += fmt::format("about {} on one device at the speed given",
                        core::FormatDuration(cost.seconds));
    text += cost.dollars > 0 ? fmt::format(", ${:.2f}\n", cost.dollars) : "\n";
  }
  return text;
}

// The most passes over each source that any trial and any target makes.
std::string EpochsText(const std::vector<sweeps::PlannedTrial>& trials,
                       const std::vector<Target>& targets) {
  std::vector<double> most;
  const recipes::DataSpec* data = nullptr;
  const auto look = [&](const recipes::Plan& plan) {
    const std::vector<double> epochs = sweeps::EpochsOfSources(plan);
    most.resize(epochs.size(), 0);
    for (size_t i = 0; i < epochs.size(); ++i) most[i] = std::max(most[i], epochs[i]);
    data = &plan.data;
  };
  for (const sweeps::PlannedTrial& trial : trials) look(trial.plan);
  for (const Target& target : targets) look(target.plan);
  std::string text;
  for (size_t i = 0; i < most.size(); ++i) {
    const recipes::DataSource& source = data->sources[i];
    text +=
        fmt::format("{}{} {:.3g} of {} tokens", i == 0 ? "epochs, at most: " : ", ", source.name,
                    most[i], core::FormatCount(static_cast<double>(source.tokens)));
    if (source.max_epochs > 0) text += fmt::format(" (limit {:g})", source.max_epochs);
  }
  return text.empty() ? "" : text + "\n";
}

absl::Status CheckAllEpochs(const sweeps::SweepFile& file,
                            const std::vector<sweeps::PlannedTrial>& trials,
                            const std::vector<Target>& targets) {
  for (const sweeps::PlannedTrial& trial : trials) RETURN_IF_ERROR(CheckEpochs(file, trial.plan));
  for (const Target& target : targets) RETURN_IF_ERROR(CheckEpochs(file, target.plan));
  return absl::OkStatus();
}

// A positive number from the command line; 0 when not given.
absl::StatusOr<double> Positive(const std::string& text, std::string_view option) {
  if (text.empty()) return 0.0;
  const auto number = core::ParseNumber(text);
  if (!number.ok() || *number <= 0)
    return UsageError(fmt::format("{} takes a number above 0, not '{}'", option, text));
  return *number;
}

absl::StatusOr<int> RunPlan(const PlanArgs& args, const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const double speed, Positive(args.speed, "--flops-per-second"));
  ASSIGN_OR_RETURN(const double price, Positive(args.price, "--dollars-per-hour"));
  ASSIGN_OR_RETURN(const sweeps::SweepFile file, sweeps::LoadSweepFile(args.path));
  const FoundData data = FindSweepData(
      file, args.data_root, args.data_dir.empty() ? options.db + ".data" : args.data_dir);
  sweeps::ExpandOptions expand;
  expand.data = data.spec;
  ASSIGN_OR_RETURN(const std::vector<sweeps::PlannedTrial> trials, sweeps::Expand(file, expand));
  ASSIGN_OR_RETURN(const std::vector<Target> targets, PriorTargets(file, expand));

  std::vector<const recipes::Plan*> plans;
  double memory_bytes = 0;
  for (const sweeps::PlannedTrial& trial : trials) {
    plans.push_back(&trial.plan);
    memory_bytes = std::max(memory_bytes, sweeps::EstimateMemoryBytes(trial.plan));
  }
  const sweeps::Cost cost = sweeps::EstimateCost(plans, speed, price);

  if (options.Format() == OutputFormat::kJson) {
    Json out = {{"sweep", file.name},
                {"recipe", file.recipe},
                {"data",
                 {{"prepared", data.spec.has_value()},
                  {"data_dir", data.spec.has_value() ? Json(data.data_dir) : Json()},
                  {"reason", data.spec.has_value() ? Json() : Json(data.reason)}}},
                {"trials", Json::array()},
                {"totals", TotalsJson(cost, trials.size(), memory_bytes)},
                {"targets", Json::array()}};
    for (const sweeps::PlannedTrial& trial : trials) out["trials"].push_back(TrialJson(trial));
    for (const Target& target : targets) {
      out["targets"].push_back({{"budget_flops", target.budget_flops},
                                {"chosen_by", "prior"},
                                {"plan", TrialJson({target.plan, ""})}});
    }
    RETURN_IF_ERROR(PrintJson(out));
    return kDone;
  }
  RETURN_IF_ERROR(TrialTable(trials).Print(options));
  if (options.Format() != OutputFormat::kTable) return kDone;

  std::string text = "\n" + TotalsText(cost, trials.size(), memory_bytes);
  for (const Target& target : targets) {
    text += fmt::format(
        "forecast at {}: held until registered; by the prior {} params on {} tokens, "
        "{} FLOPs\n",
        core::FormatFlops(target.budget_flops),
        core::FormatCount(static_cast<double>(target.plan.params)),
        core::FormatCount(static_cast<double>(target.plan.tokens)),
        core::FormatFlops(target.plan.recipe_flops));
  }
  if (data.spec.has_value()) text += EpochsText(trials, targets);
  RETURN_IF_ERROR(Print(text));
  if (const absl::Status epochs = CheckAllEpochs(file, trials, targets); !epochs.ok())
    Note("`launch` will refuse this: " + std::string(epochs.message()));
  if (file.limit_flops > 0 && cost.recipe_flops > file.limit_flops) {
    Note(fmt::format("these trials need {} FLOPs and limits.flops is {}: some will not run",
                     core::FormatFlops(cost.recipe_flops), core::FormatFlops(file.limit_flops)));
  }
  if (!data.spec.has_value()) Note("no trial ids and epochs: " + data.reason);
  if (file.data.has_value()) {
    Note(fmt::format("next: {}",
                     CommandLine(options, "launch " + args.path +
                                              (args.data_root.empty() ? "" : " --data-root ") +
                                              args.data_root)));
  }
  return kDone;
}

}  // namespace

void AddPlanVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<PlanArgs>();  // shared by the parser and the callback
  CLI::App* verb =
      app.add_subcommand("plan", "print what a sweep file would train, and what that costs");
  verb->add_option("FILE", args->path, "the sweep file (YAML)")->required();
  verb->add_option("--data-root", args->data_root,
                   "folder that the file's data paths are below; default: the file's own folder");
  verb->add_option("--data-dir", args->data_dir, "where prepared data are kept; default: DB.data");
  verb->add_option("--flops-per-second", args->speed,
                   "model FLOPs a second your device reaches on this work, for hours")
      ->type_name("N");
  verb->add_option("--dollars-per-hour", args->price, "price of that device")->type_name("N");
  verb->footer(
      "Examples:  sweepctl plan sweeps/quickstart.yaml\n"
      "           sweepctl plan sweeps/delphi.yaml --json | jq '.trials[0]'\n"
      "           sweepctl plan isoflop.yaml --flops-per-second 2e14 --dollars-per-hour 2.5\n"
      "Memory is an estimate. Nothing is trained or stored. Trial ids and epochs are known once "
      "the\n"
      "data are prepared (`sweepctl data prepare FILE`, or a launch).");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunPlan(*args, session.options); };
  });
}

}  // namespace sweepctl
