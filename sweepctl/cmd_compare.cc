// sweepctl compare: the compute multiplier of one cohort over another.
#include <algorithm>

#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fit/compare_report.h"
#include "fit/csv.h"
#include "fit/read_table.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "sweepctl/database.h"
#include "sweepctl/fit_input.h"
#include "sweepctl/observations.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

struct CompareArgs {
  std::string a, b, by, csv, sweep, metric, level;
  std::vector<std::string> at, factors, laws = {"default"}, columns, where, allow_mixed;
  int resamples = fit::BootstrapOptions().resamples;
  uint64_t seed = 0;
  bool assume_6nd = false, no_backtest = false;
};

bool IsFile(const std::string& name) {
  for (const char* suffix : {".csv", ".jsonl", ".ndjson", ".json", ".gz", ".zst"})
    if (name.ends_with(suffix)) return true;
  return false;
}

absl::StatusOr<fit::CsvOptions> CsvOptionsOf(const CompareArgs& args) {
  fit::CsvOptions options;
  options.assume_6nd = args.assume_6nd;
  for (const std::string& text : args.columns) {
    ASSIGN_OR_RETURN(const auto pair, KeyValue(text, "--column"));
    options.columns[pair.first] = pair.second;
  }
  for (const std::string& text : args.where) {
    ASSIGN_OR_RETURN(options.where.emplace_back(), WhereOf(text));
  }
  return options;
}

// A file, of which `by` = `value` may select the rows.
absl::StatusOr<fit::ComparedCohort> FromFile(const CompareArgs& args, const std::string& file,
                                             const std::string& value) {
  ASSIGN_OR_RETURN(fit::CsvOptions options, CsvOptionsOf(args));
  if (!args.by.empty()) {
    // A cohort key may stand under another name in the file.
    const auto mapped = options.columns.find(args.by);
    options.where.emplace_back(mapped == options.columns.end() ? args.by : mapped->second, value);
  }
  ASSIGN_OR_RETURN(fit::CsvObservations read, fit::ReadObservationsCsv(file, options));
  fit::ComparedCohort cohort;
  cohort.name = args.by.empty() ? file : value;
  cohort.observations = std::move(read.observations);
  cohort.excluded = std::move(read.excluded);
  for (fit::Observation& o : cohort.observations)
    if (!args.by.empty()) o.cohort[args.by] = value;
  return cohort;
}

// A sweep or import, of which `by` = `value` may select the runs.
absl::StatusOr<fit::ComparedCohort> FromDatabase(const CompareArgs& args,
                                                 const GlobalOptions& global,
                                                 const std::string& name,
                                                 const std::string& value) {
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(global));
  CohortChoice choice{name, args.metric, "", {}};
  for (const std::string& text : args.where) {
    ASSIGN_OR_RETURN(choice.where.emplace_back(), WhereOf(text));
  }
  if (!args.by.empty()) choice.where.emplace_back(args.by, value);
  ASSIGN_OR_RETURN(ChosenCohort read, ReadCohort(*reader, choice));
  fit::ComparedCohort cohort;
  cohort.name = args.by.empty() ? read.name : value;
  cohort.observations = std::move(read.observations.fitted);
  cohort.excluded = std::move(read.excluded);
  if (cohort.observations.empty())
    return absl::FailedPreconditionError(
        fmt::format("{} has no completed fit trial{}", read.name,
                    args.by.empty() ? "" : fmt::format(" whose {} is {}", args.by, value)));
  if (!read.imported && args.by.empty()) {
    ASSIGN_OR_RETURN(cohort.spent_flops, SpentFlops(*reader, read.name, false));
  }
  return cohort;
}

absl::StatusOr<fit::ComparedCohort> CohortOf(const CompareArgs& args, const GlobalOptions& global,
                                             const std::string& name) {
  if (!args.by.empty())
    return args.csv.empty() ? FromDatabase(args, global, args.sweep, name)
                            : FromFile(args, args.csv, name);
  return IsFile(name) ? FromFile(args, name, "") : FromDatabase(args, global, name, "");
}

// A factor is a field in which cohorts may differ, or the column that divides them.
absl::Status CheckFactors(const CompareArgs& args) {
  std::vector<std::string> keys = fit::FactorKeys();
  keys.emplace_back(fit::kFlopsFactor);
  if (!args.by.empty() && std::find(keys.begin(), keys.end(), args.by) == keys.end())
    keys.push_back(args.by);
  const std::vector<std::string>& cohort = fit::CohortKeys();
  // A file may tell cohorts apart by any of its columns.
  const bool files = !args.csv.empty() || IsFile(args.a) || IsFile(args.b);
  for (const std::string& factor : args.factors) {
    if (std::find(keys.begin(), keys.end(), factor) != keys.end()) continue;
    const bool measures = std::find(cohort.begin(), cohort.end(), factor) != cohort.end();
    if (files && !measures) continue;
    return UsageError(fmt::format(
        "--factor {}: {}{}; cohorts may differ in: {} (tokenizer only in bits per byte)", factor,
        measures ? "losses that were measured differently have no common scale"
                 : "no field of a plan in which cohorts may differ",
        measures ? "" : core::DidYouMean(factor, keys), fmt::join(keys, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<fit::CompareOptions> OptionsOf(const CompareArgs& args) {
  fit::CompareOptions options;
  options.factors = args.factors;
  options.fit.laws = args.laws;
  options.fit.allow_mixed = args.allow_mixed;
  options.fit.backtest = !args.no_backtest;
  options.fit.law.bootstrap.resamples = args.resamples;
  options.fit.law.bootstrap.seed = args.seed;
  if (!args.level.empty()) {
    const auto level = core::ParseFraction(args.level);
    if (!level.ok() || *level <= 0 || *level >= 1)
      return UsageError(fmt::format("--level lies between 0 and 1, not '{}'", args.level));
    options.fit.law.bootstrap.level = *level;
  }
  for (const std::string& text : args.at) {
    const auto flops = core::ParseNumber(text);
    if (!flops.ok() || *flops <= 0)
      return UsageError(fmt::format("--at takes training FLOPs as 1e21, not '{}'", text));
    options.at.push_back(*flops);
  }
  // What differs by request is a compared factor, whatever else is.
  if (!args.by.empty() &&
      std::find(args.factors.begin(), args.factors.end(), args.by) == args.factors.end())
    options.factors.push_back(args.by);
  return options;
}

absl::StatusOr<int> RunCompare(const CompareArgs& args, const GlobalOptions& global) {
  if (global.Format() == OutputFormat::kCsv || global.Format() == OutputFormat::kJsonLines)
    return UsageError("compare prints a report, or one JSON object with --json");
  if (args.by.empty() && (!args.csv.empty() || !args.sweep.empty()))
    return UsageError("--csv and --sweep name the one table that --by KEY divides");
  if (!args.csv.empty() && !args.sweep.empty())
    return UsageError("--by KEY divides one table: --csv or --sweep");
  if (args.a == args.b)
    return UsageError(fmt::format("A and B are both {}: there is nothing to compare", args.a));
  RETURN_IF_ERROR(CheckFactors(args));
  ASSIGN_OR_RETURN(const fit::CompareOptions options, OptionsOf(args));
  ASSIGN_OR_RETURN(const fit::ComparedCohort a, CohortOf(args, global, args.a));
  ASSIGN_OR_RETURN(const fit::ComparedCohort b, CohortOf(args, global, args.b));
  ASSIGN_OR_RETURN(const fit::Comparison comparison, fit::Compare(a, b, options));
  RETURN_IF_ERROR(global.Format() == OutputFormat::kJson ? PrintJson(fit::CompareJson(comparison))
                                                         : Print(fit::CompareText(comparison)));
  if (!comparison.comparability.reasons.empty())
    return absl::FailedPreconditionError(
        fmt::format("not comparable: {}", comparison.comparability.reasons[0]));
  return kDone;
}

}  // namespace

void AddCompareVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<CompareArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand(
      "compare", "how many times the compute of B does A need for the same loss");
  verb->add_option("A", args->a,
                   "a sweep or import of --db, a file (.csv, .jsonl), or a value of --by")
      ->required();
  verb->add_option("B", args->b, "the other one")->required();
  verb->add_option("--at", args->at,
                   "training FLOPs of B; default: the largest at which nothing is extrapolated")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("C,...");
  verb->add_option("--by", args->by, "A and B are values of this cohort key or column")
      ->type_name("KEY");
  verb->add_option("--sweep", args->sweep, "with --by: the sweep or import that it divides")
      ->type_name("NAME");
  verb->add_option("--csv", args->csv, "with --by: the file that it divides")->type_name("FILE");
  verb->add_option("--factor", args->factors,
                   "a cohort key that may differ (data, numerics, recipe; tokenizer in bits per "
                   "byte); default: the one that does; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY");
  verb->add_option("--metric", args->metric,
                   "of a sweep: loss or bits_per_byte; of an import: one of its losses")
      ->type_name("NAME");
  verb->add_option("--law", args->laws, "as of fit")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("LAW,...");
  verb->add_option("--column", args->columns, "of files: which column holds a field; repeatable")
      ->allow_extra_args(false)
      ->type_name("FIELD=COLUMN");
  verb->add_option("--where", args->where, "keep rows whose column (or cohort key) holds this")
      ->allow_extra_args(false)
      ->type_name("COLUMN=TEXT");
  verb->add_option("--allow-mixed", args->allow_mixed,
                   "a cohort key, or a column of files, that may differ within A and B; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY");
  verb->add_flag("--assume-6nd", args->assume_6nd, "files without a flops column: C = 6 N D");
  verb->add_option("--bootstrap", args->resamples, "resamples of each cohort")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--seed", args->seed, "of the bootstrap")->capture_default_str()->type_name("S");
  verb->add_option("--level", args->level, "of the intervals (0.9)")->type_name("P");
  verb->add_flag("--no-backtest", args->no_backtest, "skip it: no weights, no widening by it");
  verb->footer(
      "Examples:  sweepctl compare adamw muon --at 1e21,1e22\n"
      "           sweepctl compare nemotron dclm --by data --csv runs.csv --json\n"
      "CM above 1: B is better. Cohorts that differ in more than the compared factor, or are not\n"
      "measured alike, are not comparable: the reasons are printed, exit 65.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunCompare(*args, session.options); };
  });
}

}  // namespace sweepctl
