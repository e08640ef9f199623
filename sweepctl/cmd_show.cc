// sweepctl show: one trial in full: its plan, its attempts, its results, and how to run it again.
#include <algorithm>
#include <filesystem>

#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "recipes/plan.h"
#include "sweepctl/database.h"
#include "sweepctl/trial_rows.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct ShowArgs {
  std::string trial;
  bool plan = false, repro = false;
};

struct TrialReport {
  std::string id, plan_bytes;
  std::vector<Json> memberships;  // rows of v_trials, one a sweep
  std::vector<Json> attempts, evaluations, latest;
};

absl::StatusOr<TrialReport> ReadTrial(orchestrator::Reader& reader, const std::string& prefix) {
  TrialReport report;
  ASSIGN_OR_RETURN(report.id, reader.ResolveTrial(prefix));
  ASSIGN_OR_RETURN(report.plan_bytes, reader.Plan(report.id));
  ASSIGN_OR_RETURN(
      report.memberships,
      reader.Rows("SELECT * FROM v_trials WHERE trial_id=?1 ORDER BY sweep", report.id));
  ASSIGN_OR_RETURN(
      report.attempts,
      reader.Rows("SELECT * FROM v_attempts WHERE trial_id=?1 ORDER BY attempt", report.id));
  ASSIGN_OR_RETURN(
      report.evaluations,
      reader.Rows(
          "SELECT e.step, e.eval_hash, e.sum_nats/e.scored_tokens AS loss, CASE WHEN "
          "e.scored_bytes>0 THEN e.sum_nats/(0.69314718055994530942*e.scored_bytes) END AS "
          "bits_per_byte, e.sum_nats, e.scored_tokens, e.scored_bytes, e.final FROM "
          "evaluations e JOIN trials t USING(trial_key) WHERE t.trial_id=?1 ORDER BY e.step",
          report.id));
  ASSIGN_OR_RETURN(report.latest,
                   reader.Rows("SELECT * FROM v_loss_latest WHERE trial_id=?1", report.id));
  return report;
}

// What an agent gives an outside trainer (worker/agent/README.md). Its lines go through a pipe, for
// a file would be readable, and what it reads are requests to stop.
std::string OutsideCommand(const TrialReport& report, const std::vector<std::string>& command,
                           const std::string& data_dir) {
  const std::string id = ShortId(report.id);
  const Json threads = report.attempts.empty() ? Json() : report.attempts.back()["threads"];
  std::string text = fmt::format(
      "mkdir -p {0}.checkpoints && SWEEP_PLAN={0}.plan.json SWEEP_DATA_DIR={1} "
      "SWEEP_CHECKPOINT_DIR={0}.checkpoints SWEEP_RESUME_FROM= SWEEP_FD=3 SWEEP_TRIAL_ID={2} "
      "SWEEP_THREADS={3}",
      id, data_dir, report.id, threads.is_number() ? std::max<int64_t>(1, threads) : 1);
  for (const std::string& word : command) text += " " + ShellWord(word);
  return text + fmt::format(" 3>&1 >&2 | tee {}.jsonl", id);
}

std::string ReproCommand(const TrialReport& report, orchestrator::Reader& reader,
                         const GlobalOptions& options) {
  std::string data_dir = "DIR";
  std::vector<std::string> command;
  // The sweep that trained it, where several share it.
  const std::vector<Json>& rows = report.attempts.empty() ? report.memberships : report.attempts;
  if (!rows.empty()) {
    const auto sweep = reader.Sweep(rows.back()["sweep"].get<std::string>());
    if (sweep.ok()) {
      if (!sweep->data_dir.empty()) data_dir = ShellWord(sweep->data_dir);
      command = sweep->trainer_command;
    }
  }
  const std::string file = ShortId(report.id) + ".plan.json";
  const std::string write =
      CommandLine(options, "show " + ShortId(report.id) + " --plan") + " > " + file;
  if (!command.empty()) return write + " && " + OutsideCommand(report, command, data_dir);
  // Equal bits on a GPU need the sweep's table of algorithms too.
  const auto plan = recipes::ParsePlan(report.plan_bytes);
  const bool cuda = plan.ok() && plan->numerics == "bf16-mixed";
  const std::string table = options.db + ".worker/gpu-0/gemm-table.txt";
  return fmt::format("{} && {} run --plan {} --data {}{}", write,
                     ProgramWord(cuda ? "sweep-worker-cuda" : "sweep-worker"), file, data_dir,
                     cuda && std::filesystem::exists(table) ? Flag("--gemm-table", table) : "");
}

// The plan's fields by name; nothing when a plan of another version is stored.
Json PlanFields(const TrialReport& report) {
  const auto plan = recipes::ParsePlan(report.plan_bytes);
  return plan.ok() ? TrialJson({*plan, report.id}) : Json::object();
}

std::string When(const Json& unix_ms) {
  return unix_ms.is_null() ? "-" : core::FormatUnixMs(unix_ms.get<int64_t>());
}

std::string TextOf(const Json& value) {
  return value.is_null() ? "" : value.is_string() ? value.get<std::string>() : JsonText(value);
}

Table AttemptsTable(const std::vector<Json>& attempts) {
  Table table({{"attempt", "try"},
               {"worker_id", "worker", true},
               {"outcome", "outcome", true},
               {"leased", "leased", true},
               {"ended", "ended", true},
               {"steps", "steps"},
               {"seconds", "trained"},
               {"detail", "detail", true}});
  for (const Json& a : attempts) {
    const std::string detail = TextOf(a["detail"]);
    table.AddRow({{a["attempt"], ""},
                  {a["worker_id"], ""},
                  {a["outcome"], ""},
                  {When(a["leased_unix_ms"]), ""},
                  {When(a["ended_unix_ms"]), ""},
                  {fmt::format("{} .. {}", a["start_step"].dump(), a["step"].dump()), ""},
                  {core::FormatDuration(a["trainer_seconds"].get<double>()), ""},
                  {detail.empty() ? Json("-") : Json(detail.substr(0, detail.find('\n'))), ""}});
  }
  return table;
}

// Only what the trainer told.
std::string ProvenanceText(const Json& attempt) {
  std::string text;
  for (const char* key :
       {"trainer", "trainer_version", "commit_hash", "host", "device", "driver", "threads",
        "microbatch_sequences", "packing", "algorithm_table_hash", "libraries_json"}) {
    // A zero was not told.
    if (const std::string value = TextOf(attempt[key]); !value.empty() && value != "0")
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, value);
  }
  return text;
}

std::string ResultText(const TrialReport& report) {
  std::string text;
  for (const Json& e : report.evaluations) {
    text += fmt::format("evaluation at step {}{}: {:.6f} nats per token over {} tokens",
                        e["step"].dump(), e["final"] == 1 ? " (final)" : "",
                        e["loss"].get<double>(), e["scored_tokens"].dump());
    if (!e["bits_per_byte"].is_null())
      text += fmt::format(", {:.4f} bits per byte", e["bits_per_byte"].get<double>());
    text += fmt::format(", set {}\n", ShortId(TextOf(e["eval_hash"])));
  }
  for (const Json& l : report.latest) {
    text += fmt::format("newest training loss: {} at step {} of {}\n",
                        l["train_loss"].is_null() ? "not finite" : l["train_loss"].dump(),
                        l["step"].dump(), l["steps"].dump());
  }
  return text;
}

std::string PlanText(const TrialReport& report) {
  const Json fields = PlanFields(report);
  if (fields.empty()) return "";
  std::string text = "\nplan\n";
  for (const char* key : {"recipe",
                          "recipe_version",
                          "family",
                          "hidden",
                          "layers",
                          "heads",
                          "head_dim",
                          "ffn",
                          "vocab",
                          "seq_len",
                          "params",
                          "tokens",
                          "tokens_per_param",
                          "epochs",
                          "batch",
                          "steps",
                          "flops",
                          "lr",
                          "adam_lr",
                          "beta2",
                          "warmup_steps",
                          "stable_steps",
                          "decay_steps",
                          "init_seed",
                          "data_seed",
                          "numerics",
                          "clamps"}) {
    if (fields.contains(key)) text += fmt::format("  {:<17} {}\n", key, TextOf(fields[key]));
  }
  return text;
}

absl::StatusOr<int> RunShow(const ShowArgs& args, const GlobalOptions& options) {
  if (args.plan && args.repro) return UsageError("--plan and --repro: give one of them");
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  ASSIGN_OR_RETURN(const TrialReport report, ReadTrial(*reader, args.trial));
  if (args.plan) {
    RETURN_IF_ERROR(Print(report.plan_bytes));
    return kDone;
  }
  const std::string repro = ReproCommand(report, *reader, options);
  if (args.repro && options.Format() != OutputFormat::kJson) {
    RETURN_IF_ERROR(Print(repro + "\n"));
    return kDone;
  }
  if (options.Format() == OutputFormat::kJson) {
    ASSIGN_OR_RETURN(const Json plan, core::ParseJson(report.plan_bytes, "the stored plan"));
    RETURN_IF_ERROR(PrintJson({{"trial_id", report.id},
                               {"fields", PlanFields(report)},
                               {"plan", plan},
                               {"sweeps", report.memberships},
                               {"attempts", report.attempts},
                               {"evaluations", report.evaluations},
                               {"train_loss", report.latest.empty() ? Json() : report.latest[0]},
                               {"repro", repro}}));
    return kDone;
  }
  if (options.Format() != OutputFormat::kTable) {
    RETURN_IF_ERROR(AttemptsTable(report.attempts).Print(options));
    return kDone;
  }
  std::string text = fmt::format("trial {}\n", report.id);
  for (const Json& m : report.memberships) {
    const std::string waiting = m["waiting_for"];
    text += fmt::format(
        "sweep {}, {} trial: {}{}, step {} of {}, budget {} FLOPs, {} params, {} tokens\n",
        TextOf(m["sweep"]), TextOf(m["stage"]), TextOf(m["state"]),
        waiting.empty() ? "" : " (waits: " + waiting + ")", m["step"].dump(), m["steps"].dump(),
        core::FormatFlops(m["budget_flops"]), core::FormatCount(m["params"]),
        core::FormatCount(m["tokens"]));
  }
  text += ResultText(report);
  if (!report.memberships.empty()) {
    const Json& m = report.memberships[0];
    text += m["checkpoint_path"].is_null()
                ? "checkpoint: none\n"
                : fmt::format("checkpoint: {} at step {}\n", TextOf(m["checkpoint_path"]),
                              m["checkpoint_step"].dump());
  }
  text += PlanText(report);
  if (!report.attempts.empty()) {
    text += "\n" + AttemptsTable(report.attempts).Text(options.Color());
    for (const Json& a : report.attempts) {
      if (const std::string told = ProvenanceText(a); !told.empty())
        text += fmt::format("  try {}: {}\n", a["attempt"].dump(), told);
    }
  }
  RETURN_IF_ERROR(Print(text));
  Note("again: " + repro);
  return kDone;
}

}  // namespace

void AddShowVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<ShowArgs>();  // shared by the parser and the callback
  CLI::App* verb =
      app.add_subcommand("show", "one trial: plan, attempts, results, how to repeat it");
  verb->add_option("TRIAL", args->trial, "its id, or at least 4 characters of it")->required();
  verb->add_flag("--plan", args->plan, "print the stored plan, byte for byte, and nothing else");
  verb->add_flag("--repro", args->repro, "print the command that trains it again");
  verb->footer(
      "Examples:  sweepctl show 3fa9\n"
      "           sweepctl show 3fa9 --plan | sha256sum   # is the trial's id");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunShow(*args, session.options); };
  });
}

}  // namespace sweepctl
