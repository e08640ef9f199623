// sweepctl plan: what a sweep file would train, what that costs and what its forecasts would be
// worth; the cheapest design for a width; the runs to add next. Trains and stores nothing.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/file.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/database.h"
#include "sweepctl/plan_design_report.h"
#include "sweepctl/plan_memory.h"
#include "sweepctl/plan_next.h"
#include "sweepctl/plan_power.h"
#include "sweepctl/plan_targets.h"
#include "sweepctl/power_input.h"
#include "sweepctl/sweep_data.h"
#include "sweepctl/trial_rows.h"
#include "sweepctl/verbs.h"
#include "sweeps/estimate.h"
#include "sweeps/expand.h"
#include "sweeps/write.h"

namespace sweepctl {
namespace {

using core::Json;

struct PlanArgs {
  std::string path, data_root, data_dir;
  std::string speed, price;  // as typed; core/units.h reads them
  PowerArgs power;
  std::vector<std::string> predict;     // further targets
  std::string target_width, max_flops;  // a design
  bool next = false;                    // runs to add
  std::string sweep, criterion = "auto", out;
};

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

absl::Status AddTargets(const PlanArgs& args, sweeps::SweepFile* file) {
  for (const std::string& text : args.predict) {
    ASSIGN_OR_RETURN(const double flops, Positive(text, "--predict"));
    if (std::find(file->forecast_at.begin(), file->forecast_at.end(), flops) ==
        file->forecast_at.end())
      file->forecast_at.push_back(flops);
  }
  return absl::OkStatus();
}

// What the forecasts of a design would be worth, with what that rests on.
struct Worth {
  fit::Prior prior;
  fit::PowerOptions options;
  fit::Power power;
  std::vector<std::string> caveats;
};

absl::StatusOr<Worth> WorthOf(const PlanArgs& args, const std::string& recipe,
                              const std::vector<fit::PlannedRun>& design,
                              const std::vector<fit::PowerTarget>& targets) {
  Worth worth;
  ASSIGN_OR_RETURN(worth.options, PowerOptionsOf(args.power, /*search=*/false));
  ASSIGN_OR_RETURN(worth.prior, PriorOf(args.power, recipe, design));
  worth.caveats = PriorCaveats(worth.prior, design);
  ASSIGN_OR_RETURN(worth.power, fit::SimulatePower(worth.prior, design, targets, worth.options));
  return worth;
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return std::filesystem::absolute(folder.empty() ? "." : folder).lexically_normal().string();
}

// Writes a sweep file and returns the launch command. Its data paths stay relative to the folder of
// the file they came from, which --data-root then has to say; `from` is empty where nobody knows
// it.
absl::StatusOr<std::string> WriteSweep(sweeps::SweepFile file, const std::string& from,
                                       const PlanArgs& args, const GlobalOptions& options,
                                       const std::vector<std::string>& comments) {
  const bool moved = from.empty() || FolderOf(from) != FolderOf(args.out);
  if (moved && !from.empty() && file.data.has_value() && !file.data->tokenizer.model_path.empty())
    file.data->tokenizer.model_path =
        (std::filesystem::path(FolderOf(from)) / file.data->tokenizer.model_path)
            .lexically_normal()
            .string();
  const absl::Status written =
      core::WriteFileAtomically(args.out, sweeps::WriteSweepFile(file, comments));
  if (!written.ok()) return absl::ResourceExhaustedError(written.message());
  std::string root = args.data_root;
  if (root.empty() && moved) root = from.empty() ? "FOLDER" : FolderOf(from);
  std::string command =
      CommandLine(options, "launch " + ShellWord(args.out) + Flag("--data-root", root) +
                               Flag("--data-dir", args.data_dir));
  if (root == "FOLDER") command += "   (the folder that the first launch took its text from)";
  return command;
}

// The file and where its data are, as given.
std::string DataArguments(const PlanArgs& args) {
  return ShellWord(args.path) + Flag("--data-root", args.data_root) +
         Flag("--data-dir", args.data_dir);
}

// The parabola through a budget's losses has this many constants; two points more show its noise.
constexpr int64_t kParabola = 3, kParabolaAndNoise = 5;

// Empty when the points of a budget suffice for its minimum.
std::string PointsWarning(const sweeps::SweepFile& file) {
  if (file.budgets.empty() || !file.points.has_value() || *file.points >= kParabolaAndNoise)
    return "";
  return fmt::format(
      "points: {} a budget, and a budget's minimum is that of a parabola: {}; take "
      "{} or more",
      *file.points,
      *file.points < kParabola ? "no budget will have one"
                               : "so few points do not tell it from noise or from an edge",
      kParabolaAndNoise);
}

// A design that costs as much as what it forecasts; empty where none does.
std::string DearerThanTargets(const DesignAnswer& answer, const std::vector<Target>& targets) {
  const auto& design = answer.design.has_value() ? answer.design : answer.narrowest;
  if (!design.has_value()) return "";
  double least = HUGE_VAL;
  for (const Target& target : targets) least = std::min(least, target.plan.recipe_flops);
  if (design->flops < least) return "";
  return fmt::format(
      "the design costs {:.3g} times its cheapest target: training that costs {} FLOPs and needs "
      "no forecast",
      design->flops / least, core::FormatFlops(least));
}

absl::StatusOr<int> RunDesign(const PlanArgs& args, const GlobalOptions& options) {
  const auto width = core::ParseFraction(args.target_width);
  if (!width.ok() || *width <= 0 || *width >= 1)
    return UsageError(
        fmt::format("--target-width is a half-width as 1% or 0.01, not '{}'", args.target_width));
  ASSIGN_OR_RETURN(const double max_flops, Positive(args.max_flops, "--max-flops"));
  if (max_flops == 0) return UsageError("--target-width needs --max-flops X, what may be spent");
  if (args.power.simulations == 0)
    return UsageError("--target-width simulates its designs; --simulations is 1 or more");
  ASSIGN_OR_RETURN(sweeps::SweepFile file, sweeps::LoadSweepFile(args.path));
  RETURN_IF_ERROR(AddTargets(args, &file));
  if (file.forecast_at.empty())
    return UsageError("a design is for a target: forecast: {at: [C]} in the file, or --predict C");
  const sweeps::ExpandOptions expand;
  ASSIGN_OR_RETURN(const std::vector<sweeps::PlannedTrial> trials, sweeps::Expand(file, expand));
  ASSIGN_OR_RETURN(const std::vector<Target> targets, PriorTargets(file, expand));
  ASSIGN_OR_RETURN(const fit::Prior prior, PriorOf(args.power, file.recipe, DesignOf(trials)));
  ASSIGN_OR_RETURN(const fit::PowerOptions power, PowerOptionsOf(args.power, /*search=*/true));
  ASSIGN_OR_RETURN(
      const DesignAnswer answer,
      CheapestDesign(file, expand, prior, PowerTargetsOf(targets), power, *width, max_flops));
  std::vector<std::string> caveats =
      answer.design.has_value()      ? PriorCaveats(prior, answer.design->runs)
      : answer.narrowest.has_value() ? PriorCaveats(prior, answer.narrowest->runs)
                                     : std::vector<std::string>();
  if (std::string dear = DearerThanTargets(answer, targets); !dear.empty())
    caveats.push_back(std::move(dear));
  std::string next;
  if (answer.design.has_value() && !args.out.empty()) {
    sweeps::SweepFile design = FileOf(file, *answer.design);
    ASSIGN_OR_RETURN(const std::vector<sweeps::PlannedTrial> runs, sweeps::Expand(design, expand));
    CoverLimit(FlopsOf(design, runs, targets), &design);
    ASSIGN_OR_RETURN(
        next, WriteSweep(std::move(design), args.path, args, options,
                         {fmt::format("The cheapest design of {} found for a half-width of {:g} % "
                                      "({:g} % prediction interval),",
                                      answer.considered, 100 * *width, 100 * power.level),
                          "if " + PriorLine(prior) + ".", NoiseLine(prior) + "."}));
  }
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson(DesignJson(answer, prior, power, caveats, *width, max_flops)));
  } else {
    RETURN_IF_ERROR(Print(DesignText(answer, prior, power, caveats, *width, max_flops)));
  }
  if (!next.empty()) Note(fmt::format("wrote {}. next: {}", args.out, next));
  if (answer.design.has_value()) return kDone;
  std::string why = NoDesign(answer, *width, max_flops);
  if (!args.out.empty()) why += fmt::format("; nothing was written to {}", args.out);
  return absl::FailedPreconditionError(why);
}

// Why there is no sweep to add runs to; of imported runs, what they can plan.
absl::Status NoSweep(orchestrator::Reader& reader, const std::string& name, absl::Status why) {
  ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader.Imports());
  for (const orchestrator::ImportInfo& import : imports)
    if (import.name == name || (name.empty() && absl::IsFailedPrecondition(why)))
      return absl::FailedPreconditionError(fmt::format(
          "{} is an import: no recipe here makes more of its runs. It can be the prior of a sweep "
          "of yours: `sweepctl plan FILE --prior {} --predict C`, where --target-width and "
          "--max-flops find the cheapest design",
          import.name, ShellWord(fmt::format("{}:{}", reader.path(), import.name))));
  return why;
}

absl::StatusOr<int> RunNext(const PlanArgs& args, const GlobalOptions& options) {
  NextOptions next;
  ASSIGN_OR_RETURN(next.max_flops, Positive(args.max_flops, "--max-flops"));
  if (next.max_flops == 0) return UsageError("--next needs --max-flops X, what may be spent");
  if (args.criterion != "auto")
    next.criterion = args.criterion == "d" ? fit::Criterion::kD : fit::Criterion::kV;
  ASSIGN_OR_RETURN(next.power, PowerOptionsOf(args.power, /*search=*/true));
  for (const std::string& text : args.predict) {
    ASSIGN_OR_RETURN(next.targets.emplace_back(), Positive(text, "--predict"));
  }
  std::string name = args.sweep;
  if (!args.path.empty()) {
    if (!name.empty()) return UsageError("--next takes FILE or --sweep NAME, not both");
    ASSIGN_OR_RETURN(const sweeps::SweepFile file, sweeps::LoadSweepFile(args.path));
    name = file.name;
  }
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  const absl::StatusOr<orchestrator::SweepInfo> info = ChooseSweep(*reader, name);
  if (!info.ok()) return NoSweep(*reader, name, info.status());
  ASSIGN_OR_RETURN(const NextAnswer answer, NextRuns(*reader, *info, args.power, next));
  std::string command;
  if (!args.out.empty()) {
    ASSIGN_OR_RETURN(command,
                     WriteSweep(answer.file, args.path, args, options,
                                {fmt::format("Sweep {} and the {} runs that `plan --next` adds to "
                                             "it; finished trials are not trained again.",
                                             answer.sweep, answer.choices.front().runs.size())}));
  }
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson(NextJson(answer, next)));
  } else {
    RETURN_IF_ERROR(Print(NextText(answer, next)));
  }
  if (!answer.outcomes_known.empty())
    Note("targets that are trained already are left out: a forecast of them would be void");
  Note(command.empty() ? "--out FILE writes the sweep file that trains them"
                       : fmt::format("wrote {}. next: {}", args.out, command));
  return kDone;
}

absl::Status CheckPlanArgs(const PlanArgs& args) {
  const bool design = !args.target_width.empty();
  if (design && args.next) return UsageError("--target-width plans a sweep, --next adds to one");
  if (args.path.empty() && !args.next) return UsageError("plan needs the sweep FILE");
  if (!args.price.empty() && args.speed.empty())
    return UsageError("--dollars-per-hour needs --flops-per-second, or no hour is known");
  if (!args.speed.empty() && (design || args.next))
    return UsageError(
        "--flops-per-second prices one sweep: write the answer with --out FILE and `plan FILE` it");
  if (!args.max_flops.empty() && !design && !args.next)
    return UsageError("--max-flops belongs to --target-width or --next");
  if (!args.sweep.empty() && !args.next) return UsageError("--sweep belongs to --next");
  if (!args.out.empty() && !design && !args.next)
    return UsageError("--out belongs to --target-width or --next");
  return absl::OkStatus();
}

absl::StatusOr<int> RunPlan(const PlanArgs& args, const GlobalOptions& options) {
  RETURN_IF_ERROR(CheckPlanArgs(args));
  if (args.next || !args.target_width.empty()) {
    if (options.Format() == OutputFormat::kCsv || options.Format() == OutputFormat::kJsonLines)
      return UsageError("--target-width and --next print a report, or one JSON object with --json");
    return args.next ? RunNext(args, options) : RunDesign(args, options);
  }
  ASSIGN_OR_RETURN(const double speed, Positive(args.speed, "--flops-per-second"));
  ASSIGN_OR_RETURN(const double price, Positive(args.price, "--dollars-per-hour"));
  ASSIGN_OR_RETURN(const sweeps::SweepFile file, sweeps::LoadSweepFile(args.path));
  sweeps::SweepFile asked = file;  // with the targets of --predict
  RETURN_IF_ERROR(AddTargets(args, &asked));
  FoundData data = FindSweepData(file, args.data_root,
                                 args.data_dir.empty() ? options.db + ".data" : args.data_dir);
  if (data.unprepared)
    data.reason += fmt::format("; `{}` or `launch` does it",
                               CommandLine(options, "data prepare " + DataArguments(args)));
  sweeps::ExpandOptions expand;
  expand.data = data.spec;
  ASSIGN_OR_RETURN(const std::vector<sweeps::PlannedTrial> trials, sweeps::Expand(file, expand));
  ASSIGN_OR_RETURN(const std::vector<Target> targets, PriorTargets(asked, expand));
  // The file's own; the others are forecast here and neither registered nor trained.
  const std::vector<Target> own(
      targets.begin(), targets.begin() + static_cast<std::ptrdiff_t>(file.forecast_at.size()));

  std::vector<const recipes::Plan*> plans;
  double memory_bytes = 0;
  for (const sweeps::PlannedTrial& trial : trials) {
    plans.push_back(&trial.plan);
    memory_bytes = std::max(memory_bytes, sweeps::EstimateMemoryBytes(trial.plan));
  }
  const sweeps::Cost cost = sweeps::EstimateCost(plans, speed, price);
  const std::vector<MemoryWarning> memory = file.trainer_command.empty()
                                                ? MemoryWarnings(trials, own, DevicesHere())
                                                : std::vector<MemoryWarning>();
  const bool rows_only =
      options.Format() == OutputFormat::kCsv || options.Format() == OutputFormat::kJsonLines;
  absl::StatusOr<Worth> worth = absl::FailedPreconditionError("no target");
  if (!targets.empty() && args.power.simulations != 0 && !rows_only) {
    worth = WorthOf(args, file.recipe, DesignOf(trials), PowerTargetsOf(targets));
    if (!worth.ok() && !absl::IsFailedPrecondition(worth.status())) return worth.status();
  }

  const std::string points = PointsWarning(file);
  if (options.Format() == OutputFormat::kJson) {
    Json out = {{"sweep", file.name},
                {"recipe", file.recipe},
                {"data",
                 {{"prepared", data.spec.has_value()},
                  {"data_dir", data.spec.has_value() ? Json(data.data_dir) : Json()},
                  {"reason", data.spec.has_value() ? Json() : Json(data.reason)}}},
                {"trials", Json::array()},
                {"totals", TotalsJson(cost, trials.size(), memory_bytes)},
                {"targets", Json::array()},
                {"warnings", MemoryWarningsJson(memory)},
                {"power", Json()}};
    if (worth.ok())
      out["power"] = PowerJson(worth->prior, worth->power, worth->options, worth->caveats);
    if (!points.empty()) out["warnings"].push_back({{"code", "few-points"}, {"text", points}});
    for (const sweeps::PlannedTrial& trial : trials) out["trials"].push_back(TrialJson(trial));
    for (size_t i = 0; i < targets.size(); ++i) {
      out["targets"].push_back({{"budget_flops", targets[i].budget_flops},
                                {"in_file", i < own.size()},
                                {"chosen_by", "prior"},
                                {"plan", TrialJson({targets[i].plan, ""})}});
    }
    RETURN_IF_ERROR(PrintJson(out));
    return kDone;
  }
  RETURN_IF_ERROR(TrialTable(trials).Print(options));
  if (options.Format() != OutputFormat::kTable) return kDone;

  std::string text = "\n" + TotalsText(cost, trials.size(), memory_bytes);
  for (size_t i = 0; i < targets.size(); ++i) {
    const Target& target = targets[i];
    text += fmt::format("forecast at {}: {}; by the prior {} params on {} tokens, {} FLOPs\n",
                        core::FormatFlops(target.budget_flops),
                        i < own.size()
                            ? "held until registered"
                            : "of --predict, not in the file: neither registered nor trained",
                        core::FormatCount(static_cast<double>(target.plan.params)),
                        core::FormatCount(static_cast<double>(target.plan.tokens)),
                        core::FormatFlops(target.plan.recipe_flops));
  }
  if (!points.empty()) text += fmt::format("! {}\n", points);
  for (const MemoryWarning& warning : memory) text += fmt::format("! {}\n", warning.text);
  if (data.spec.has_value()) text += EpochsText(trials, own);
  if (worth.ok()) text += PowerText(worth->prior, worth->power, worth->options, worth->caveats);
  RETURN_IF_ERROR(Print(text));
  if (!worth.ok() && !targets.empty() && args.power.simulations != 0)
    Note("no expected width: " + std::string(worth.status().message()));
  const absl::Status epochs = CheckAllEpochs(file, trials, own);
  if (data.spec.has_value() && !epochs.ok())  // without data there is nothing to count
    Note("`launch` will refuse this: " + std::string(epochs.message()));
  if (const absl::Status limit = CheckLimit(file, trials, own); !limit.ok())
    Note("`launch` will refuse this: " + std::string(limit.message()));
  if (!data.spec.has_value()) Note("no trial ids and epochs: " + data.reason);
  if (file.data.has_value()) {
    Note("next: " + CommandLine(options, "launch " + DataArguments(args)));
  }
  return kDone;
}

}  // namespace

void AddPlanVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<PlanArgs>();  // shared by the parser and the callback
  CLI::App* verb =
      app.add_subcommand("plan",
                         "print what a sweep file would train, what that costs and what its "
                         "forecasts would be worth; design a sweep or the next runs of one");
  verb->add_option("FILE", args->path, "the sweep file (YAML)");
  verb->add_option("--data-root", args->data_root,
                   "folder that the file's data paths are below; default: the file's own folder")
      ->check(CLI::ExistingDirectory);
  verb->add_option("--data-dir", args->data_dir, "where prepared data are kept; default: DB.data");
  verb->add_option("--flops-per-second", args->speed,
                   "model FLOPs a second your device reaches on this work, for hours")
      ->type_name("N");
  verb->add_option("--dollars-per-hour", args->price, "price of that device")->type_name("N");
  verb->add_option("--predict", args->predict, "further targets than the file's, training FLOPs")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("C,...");
  AddPowerOptions(verb, &args->power);
  verb->add_option("--target-width", args->target_width,
                   "find the cheapest design whose expected half-width is this or less, as 1%")
      ->type_name("W");
  verb->add_flag("--next", args->next,
                 "which runs to add to a sweep of --db, and what they would be worth");
  verb->add_option("--max-flops", args->max_flops, "training FLOPs that a design or next runs cost")
      ->type_name("X");
  verb->add_option("--sweep", args->sweep, "--next: the sweep of --db; the only one by default")
      ->type_name("NAME");
  verb->add_option("--criterion", args->criterion,
                   "--next: v shrinks the interval at the targets, d that of all constants; auto "
                   "takes what simulates narrower")
      ->check(CLI::IsMember({"auto", "v", "d"}))
      ->capture_default_str();
  verb->add_option("--out", args->out, "--target-width, --next: write the sweep file here")
      ->type_name("FILE");
  verb->footer(
      "Examples:  sweepctl plan sweeps/quickstart.yaml\n"
      "           sweepctl plan sweeps/delphi.yaml --prior chinchilla --noise 0.5% --predict 1e22\n"
      "           sweepctl plan mine.yaml --target-width 2.5% --max-flops 1e16 --out design.yaml\n"
      "           sweepctl plan --next --max-flops 1e15 --out next.yaml\n"
      "           sweepctl plan sweeps/delphi.yaml --json | jq '.trials[0]'\n"
      "           sweepctl plan isoflop.yaml --flops-per-second 2e14 --dollars-per-hour 2.5\n"
      "Expected widths hold if the prior does. Memory is an estimate. Nothing is trained or "
      "stored.\n"
      "Trial ids and epochs are known once the data are prepared (`sweepctl data prepare FILE`, or "
      "a launch).");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunPlan(*args, session.options); };
  });
}

}  // namespace sweepctl
