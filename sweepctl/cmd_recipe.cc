// sweepctl recipe list | show: the recipes, their constants, candidates and complete plans.
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "recipes/recipe.h"
#include "sweepctl/trial_rows.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct ShowArgs {
  std::string name, budget;
  int64_t hidden = 0, batch = 0, vocab = 0, seq_len = 0;
  std::vector<std::string> constants;
};

absl::StatusOr<int> RunList(const GlobalOptions& options) {
  Table table({{"name", "name", true}, {"version", "version", true}, {"summary", "summary", true}});
  for (const recipes::Recipe* recipe : recipes::AllRecipes())
    table.AddRow({{recipe->Name(), ""}, {recipe->Version(), ""}, {recipe->Summary(), ""}});
  RETURN_IF_ERROR(table.Print(options));
  return kDone;
}

absl::StatusOr<int> ShowConstants(const recipes::Recipe& recipe, const GlobalOptions& options) {
  Table table({{"constant", "constant", true}, {"value", "value"}, {"source", "source", true}});
  for (const recipes::Constant& constant : recipe.Constants())
    table.AddRow({{constant.name, ""}, {constant.value, ""}, {constant.source, ""}});
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson({{"name", recipe.Name()},
                               {"version", recipe.Version()},
                               {"summary", recipe.Summary()},
                               {"vocab", recipe.DefaultVocab()},
                               {"seq_len", recipe.DefaultSeqLen()},
                               {"constants", table.Rows()}}));
    return kDone;
  }
  if (options.Format() == OutputFormat::kTable) {
    RETURN_IF_ERROR(Print(fmt::format("{} {}: {}\ndefaults: vocabulary {}, sequence {}\n\n",
                                      recipe.Name(), recipe.Version(), recipe.Summary(),
                                      recipe.DefaultVocab(), recipe.DefaultSeqLen())));
  }
  RETURN_IF_ERROR(table.Print(options));
  return kDone;
}

absl::StatusOr<recipes::Setting> SettingOf(const ShowArgs& args) {
  recipes::Setting setting;
  setting.vocab = args.vocab;
  setting.seq_len = args.seq_len;
  for (const std::string& text : args.constants) {
    const size_t equals = text.find('=');
    const auto value =
        core::ParseNumber(equals == std::string::npos ? "" : text.substr(equals + 1));
    if (!value.ok()) return UsageError("--set takes NAME=NUMBER, not '" + text + "'");
    setting.constants[text.substr(0, equals)] = *value;
  }
  return setting;
}

// The recipe refuses what the command line asked for.
absl::Status AsUsage(const absl::Status& status) {
  return UsageError(std::string(status.message()));
}

absl::StatusOr<int> ShowPlan(const recipes::Plan& plan, const GlobalOptions& options) {
  auto id = recipes::TrialId(plan);
  const sweeps::PlannedTrial trial{plan, id.ok() ? *id : ""};
  if (options.Format() == OutputFormat::kJson) {
    Json out = TrialJson(trial);
    ASSIGN_OR_RETURN(const std::string bytes, recipes::PlanBytes(plan));
    ASSIGN_OR_RETURN(out["plan"], core::ParseJson(bytes, "the plan"));
    RETURN_IF_ERROR(PrintJson(out));
    return kDone;
  }
  if (options.Format() != OutputFormat::kTable) {
    RETURN_IF_ERROR(TrialTable({trial}).Print(options));
    return kDone;
  }
  const Json json = TrialJson(trial);
  Table table({{"field", "field", true}, {"value", "value", true}});
  for (const auto& [key, value] : json.items()) table.AddRow({{key, ""}, {value, ""}});
  RETURN_IF_ERROR(table.Print(options));
  return kDone;
}

absl::StatusOr<int> RunShow(const ShowArgs& args, const GlobalOptions& options) {
  const auto recipe = recipes::FindRecipe(args.name);
  if (!recipe.ok()) return AsUsage(recipe.status());
  if (args.budget.empty()) {
    if (args.hidden != 0 || args.batch != 0 || args.vocab != 0 || args.seq_len != 0 ||
        !args.constants.empty())
      return UsageError("--hidden, --batch, --vocab, --seq-len and --set need --budget");
    return ShowConstants(**recipe, options);
  }
  const auto flops = core::ParseNumber(args.budget);
  if (!flops.ok()) return UsageError("--budget: " + std::string(flops.status().message()));
  ASSIGN_OR_RETURN(const recipes::Setting setting, SettingOf(args));
  const auto list = (*recipe)->Candidates({"training_flops", *flops}, setting);
  if (!list.ok()) return AsUsage(list.status());
  const std::optional<int64_t> batch =
      args.batch != 0 ? std::optional<int64_t>(args.batch) : std::nullopt;
  std::vector<sweeps::PlannedTrial> trials;
  for (const recipes::Candidate& candidate : list->candidates) {
    if (args.hidden != 0 && candidate.hidden != args.hidden) continue;
    const auto plan = (*recipe)->MakePlan(candidate, setting, batch);
    if (!plan.ok()) return AsUsage(plan.status());
    trials.push_back({*plan, ""});
  }
  if (args.hidden != 0) {
    if (!trials.empty()) return ShowPlan(trials[0].plan, options);
    for (const recipes::Rejection& rejection : list->rejections) {
      if (rejection.hidden == args.hidden)
        return UsageError(fmt::format("width {} is no candidate at {} FLOPs: {}", args.hidden,
                                      core::FormatFlops(*flops), rejection.reason));
    }
    return UsageError(fmt::format(
        "width {} is not on the grid of {} at {} FLOPs; leave --hidden out to see the candidates",
        args.hidden, args.name, core::FormatFlops(*flops)));
  }
  if (options.Format() == OutputFormat::kJson) {
    Json out = {{"recipe", (*recipe)->Name()}, {"candidates", Json::array()}};
    for (const auto& trial : trials) out["candidates"].push_back(TrialJson(trial));
    out["rejections"] = Json::array();
    for (const recipes::Rejection& rejection : list->rejections)
      out["rejections"].push_back({{"hidden", rejection.hidden}, {"reason", rejection.reason}});
    RETURN_IF_ERROR(PrintJson(out));
    return kDone;
  }
  RETURN_IF_ERROR(TrialTable(trials).Print(options));
  return kDone;
}

}  // namespace

void AddRecipeVerb(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("recipe", "list recipes; show their constants and plans");
  verb->require_subcommand(1);
  verb->footer("Example:  sweepctl recipe show delphi --budget 3e20 --hidden 2816");
  CLI::App* list = verb->add_subcommand("list", "every recipe, with its version");
  list->callback([&session] { session.action = [&session] { return RunList(session.options); }; });

  auto args = std::make_shared<ShowArgs>();  // shared by the parser and the callback
  CLI::App* show = verb->add_subcommand(
      "show", "constants of a recipe; with --budget its candidates, with --hidden one whole plan");
  show->add_option("NAME", args->name, "the recipe")->required();
  show->add_option("--budget", args->budget, "training FLOPs, 3e20")->type_name("C");
  show->add_option("--hidden", args->hidden, "width of one candidate")->type_name("H");
  show->add_option("--batch", args->batch, "sequences a step instead of the rule's")
      ->type_name("B");
  show->add_option("--vocab", args->vocab, "vocabulary instead of the default")->type_name("V");
  show->add_option("--seq-len", args->seq_len, "sequence length instead of the default")
      ->type_name("S");
  show->add_option("--set", args->constants, "a constant for this call only; may be repeated")
      ->type_name("NAME=X");
  show->footer(
      "Examples:  sweepctl recipe show delphi-nano\n"
      "           sweepctl recipe show delphi --budget 3e20 --hidden 2816 --json\n"
      "           sweepctl recipe show delphi-nano --budget 1e12 --vocab 512 --seq-len 256");
  show->callback([args, &session] {
    session.action = [args, &session] { return RunShow(*args, session.options); };
  });
}

}  // namespace sweepctl
