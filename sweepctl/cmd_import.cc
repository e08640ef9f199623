// sweepctl import: runs that were trained elsewhere, from CSV or JSON Lines through a map, into the
// database, all or none.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "core/hash.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "maps/apply.h"
#include "maps/overrides.h"
#include "orchestrator/direct_write.h"
#include "sweepctl/database.h"
#include "sweepctl/fit_input.h"
#include "sweepctl/import_warnings.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct ImportArgs {
  std::string file, map, name, print_map, rows;
  std::vector<std::string> columns, values, where;
  bool dry_run = false, replace = false, list = false, assume_6nd = false;
};

absl::Status AsUsage(const absl::Status& status) {
  return status.ok() ? status : UsageError(std::string(status.message()));
}

// KEY=TEXT of a repeatable option; one key may not be said in two ways.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> PairsOf(
    const std::vector<std::string>& texts, const char* option) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::map<std::string, std::string> said;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(pairs.emplace_back(), KeyValue(text, option));
    const auto [before, added] = said.insert(pairs.back());
    if (!added && before->second != pairs.back().second)
      return UsageError(fmt::format("{} {} is given twice: as {} and as {}; leave one out", option,
                                    before->first, before->second, pairs.back().second));
  }
  return pairs;
}

// Options of the command line are part of the map, and of its record.
absl::StatusOr<maps::MapFile> MapOf(const ImportArgs& args, maps::MapFile map) {
  if (!args.name.empty()) map.name = args.name;
  ASSIGN_OR_RETURN(const auto columns, PairsOf(args.columns, "--column"));
  ASSIGN_OR_RETURN(const auto values, PairsOf(args.values, "--value"));
  for (const auto& [field, column] : columns) {
    for (const auto& [key, value] : values)
      if (key == field)
        return UsageError(
            fmt::format("--column {}={} and --value {}={} both say what {} is; leave "
                        "one out",
                        field, column, key, value, key));
    if (args.assume_6nd && field == "flops")
      return UsageError(
          fmt::format("--column flops={} names what --assume-6nd is without; leave "
                      "one out",
                      column));
    RETURN_IF_ERROR(AsUsage(maps::SetColumn(map, field, column)));
  }
  for (const auto& [key, value] : values) RETURN_IF_ERROR(AsUsage(maps::SetValue(map, key, value)));
  if (!args.rows.empty()) RETURN_IF_ERROR(AsUsage(maps::SetRows(map, args.rows)));
  std::vector<fit::Where> given;
  for (const std::string& text : args.where) {
    ASSIGN_OR_RETURN(given.emplace_back(), WhereOf(text));
  }
  maps::AddWhere(map, given);
  return map;
}

// --assume-6nd, of a table that has no column for flops.
absl::Status AssumeSixNd(const ImportArgs& args, const fit::CsvTable& table, maps::MapFile& map) {
  if (const std::string column = maps::FieldColumn(map, "flops", table); !column.empty())
    return UsageError(
        fmt::format("--assume-6nd is for files without FLOPs, and map {} takes them from column "
                    "'{}' of this one; leave --assume-6nd out, or drop that column from the file "
                    "or the map",
                    args.map, fit::ShownCell(column)));
  for (const std::string& text : args.values)
    if (text.starts_with("flop_convention=") && text != "flop_convention=6nd")
      return UsageError(
          fmt::format("--value {} and --assume-6nd: C = 6 N D is computed, which is "
                      "flop_convention 6nd",
                      text));
  maps::AssumeSixNd(map);
  // A map that takes the one for the other has no nominal budget either, unless it was named here.
  const bool named = std::any_of(args.columns.begin(), args.columns.end(), [](const auto& text) {
    return text.starts_with("budget_flops=");
  });
  if (!named && maps::FieldColumn(map, "budget_flops", table).empty())
    map.columns.erase("budget_flops");
  return absl::OkStatus();
}

absl::StatusOr<sweep::v1::ImportRequest> RequestOf(const ImportArgs& args, const maps::MapFile& map,
                                                   const maps::Imported& imported,
                                                   const std::string& source_hash) {
  sweep::v1::ImportRequest request;
  request.set_name(map.name);
  request.set_source(args.file);
  request.set_source_hash(source_hash);
  request.set_map(args.map);
  Json record = maps::MapJson(map);
  record["taken"] = maps::TakenJson(imported.taken);
  ASSIGN_OR_RETURN(const std::string map_json, core::CanonicalJson(record));
  request.set_map_json(map_json);
  request.set_replace(args.replace);
  Json excluded = Json::array();
  for (const fit::Exclusion& e : imported.excluded)
    excluded.push_back({{"reason", e.reason}, {"count", e.count}});
  request.set_excluded_json(excluded.dump());
  for (const maps::Metric& m : imported.metrics) {
    auto* metric = request.add_metrics();
    metric->set_name(m.name);
    metric->set_unit(m.unit);
    metric->set_eval(m.eval);
  }
  for (const maps::ImportedRun& r : imported.runs) {
    auto* run = request.add_runs();
    run->set_source_row(r.row);
    run->set_run(r.run);
    run->set_target(r.target);
    run->set_flops(r.flops);
    run->set_params(r.params);
    run->set_tokens(r.tokens);
    run->set_params_no_embedding(r.params_no_embedding);
    run->set_unique_tokens(r.unique_tokens);
    run->set_budget_flops(r.budget_flops);
    run->set_seed(r.seed);
    run->set_recipe(r.labels.at("recipe"));
    run->set_data(r.labels.at("data"));
    run->set_tokenizer(r.labels.at("tokenizer"));
    run->set_seq_len(r.labels.at("seq_len"));
    run->set_numerics(r.labels.at("numerics"));
    run->set_flop_convention(r.labels.at("flop_convention"));
    run->set_n_convention(r.labels.at("n_convention"));
    run->set_schedule(r.schedule);
    for (const maps::MeasuredValue& v : r.values) (*run->mutable_values())[v.metric] = v.value;
  }
  return request;
}

Table RunTable(const maps::Imported& imported) {
  std::vector<Column> columns = {{"source_row", "row"},
                                 {"run", "run", true},
                                 {"stage", "stage", true},
                                 {"schedule", "schedule", true},
                                 {"flops", "flops"},
                                 {"params", "params"},
                                 {"tokens", "tokens"},
                                 {"params_no_embedding", ""},
                                 {"unique_tokens", ""},
                                 {"budget_flops", ""},
                                 {"seed", ""}};
  for (const std::string& key : maps::LabelKeys()) columns.push_back({key, ""});
  // People see the first three metrics, programs all.
  for (size_t m = 0; m < imported.metrics.size(); ++m)
    columns.push_back({imported.metrics[m].name, m < 3 ? imported.metrics[m].name : ""});
  Table table(columns);
  const auto given = [](double value) { return value > 0 ? Json(value) : Json(); };
  for (const maps::ImportedRun& r : imported.runs) {
    std::vector<Cell> cells = {{r.row, ""},
                               {r.run, ""},
                               {r.target ? "target" : "fit", ""},
                               {r.schedule, ""},
                               {r.flops, core::FormatFlops(r.flops)},
                               {r.params, core::FormatCount(r.params)},
                               {r.tokens, core::FormatCount(r.tokens)},
                               {given(r.params_no_embedding), ""},
                               {given(r.unique_tokens), ""},
                               {given(r.budget_flops), ""},
                               {r.seed, ""}};
    for (const std::string& key : maps::LabelKeys()) cells.push_back({r.labels.at(key), ""});
    for (const maps::Metric& metric : imported.metrics) {
      Cell cell{Json(), "-"};
      for (const maps::MeasuredValue& v : r.values)
        if (v.metric == metric.name) cell = {v.value, fmt::format("{:.5g}", v.value)};
      cells.push_back(std::move(cell));
    }
    table.AddRow(std::move(cells));
  }
  return table;
}

// "loss_c4", "steps x batch x 1e+06", "loss x 1.0000001".
std::string ColumnText(const maps::Taken& taken) {
  std::string text = fmt::format("{}", fmt::join(taken.columns, " x "));
  if (taken.scale == 1) return text;
  const std::string scale = fmt::format("{:g}", taken.scale);
  return text + " x " +
         (std::stod(scale) == taken.scale ? scale : fmt::format("{:.10g}", taken.scale));
}

// Where each number and name stands, for people; labels and metrics follow with theirs.
std::string ColumnsText(const maps::Imported& imported, bool assume_6nd) {
  std::string text = "columns\n";
  std::set<std::string> told(maps::LabelKeys().begin(), maps::LabelKeys().end());
  for (const maps::Metric& m : imported.metrics) told.insert(m.name);
  for (const maps::Taken& taken : imported.taken)
    if (told.count(taken.field) == 0)
      text += fmt::format("  {:<16} {}\n", taken.field, ColumnText(taken));
  if (assume_6nd) text += fmt::format("  {:<16} none: C = 6 N D\n", "flops");
  return text + "labels\n";
}

// The values of each label, for people: one word, or how many there are; and the metrics.
std::string LabelsText(const maps::Imported& imported) {
  std::string text;
  std::map<std::string, std::string> from;
  for (const maps::Taken& taken : imported.taken) from[taken.field] = ", from " + ColumnText(taken);
  const auto add = [&](const std::string& key, const std::set<std::string>& values) {
    text += fmt::format(
        "  {:<16} {}{}\n", key,
        values.size() == 1
            ? *values.begin()
            : fmt::format(
                  "{} values: {}", values.size(),
                  fmt::join(std::vector<std::string>(
                                values.begin(),
                                std::next(values.begin(), std::min<size_t>(5, values.size()))),
                            ", ")),
        from.count(key) > 0 ? from.at(key) : "");
  };
  for (const std::string& key : maps::LabelKeys()) {
    std::set<std::string> values;
    for (const maps::ImportedRun& run : imported.runs) values.insert(run.labels.at(key));
    add(key, values);
  }
  std::set<std::string> states;
  for (const maps::ImportedRun& run : imported.runs) states.insert(run.schedule);
  add("schedule", states);
  text += "metrics\n";
  for (const maps::Metric& m : imported.metrics) {
    const auto filled =
        std::count_if(imported.runs.begin(), imported.runs.end(), [&](const auto& run) {
          return std::any_of(run.values.begin(), run.values.end(),
                             [&](const auto& v) { return v.metric == m.name; });
        });
    text += fmt::format("  {:<32} {} on {}, {} of {} runs{}\n", m.name, m.unit, m.eval, filled,
                        imported.runs.size(), from.at(m.name));
  }
  return text;
}

// Those that the file and the map alone tell.
std::vector<ImportWarning> WarningsOf(const maps::MapFile& named, const maps::MapFile& map,
                                      const maps::Imported& imported) {
  std::vector<ImportWarning> warnings;
  for (const maps::Override& o : maps::Overridden(named, map)) warnings.push_back({o.code, o.text});
  for (const auto& more :
       {WarnOfColumns(imported), WarnOfLosses(imported), WarnOfRepeats(imported)})
    warnings.insert(warnings.end(), more.begin(), more.end());
  return warnings;
}

absl::StatusOr<int> ListMaps(const GlobalOptions& options) {
  Table table({{"map", "map", true}, {"about", "about", true}});
  for (const auto& [name, text] : maps::ReadyMaps()) {
    ASSIGN_OR_RETURN(const maps::MapFile map, maps::ParseMap(text, "map " + name));
    table.AddRow({{name, ""}, {map.about, ""}});
  }
  RETURN_IF_ERROR(table.Print(options));
  return kDone;
}

absl::StatusOr<int> RunImport(const ImportArgs& args, const GlobalOptions& options) {
  if (args.list) return ListMaps(options);
  if (!args.print_map.empty()) {
    for (const auto& [name, text] : maps::ReadyMaps()) {
      if (name != args.print_map) continue;
      RETURN_IF_ERROR(Print(text));
      return kDone;
    }
    return UsageError(fmt::format("no ready map '{}'; --list-maps lists them", args.print_map));
  }
  if (args.file.empty() || args.map.empty())
    return UsageError("import needs a FILE and --map NAME|FILE; --list-maps lists the ready ones");
  std::error_code ignored;
  if (std::filesystem::exists(args.file, ignored) &&
      !std::filesystem::is_regular_file(args.file, ignored))
    return absl::InvalidArgumentError(fmt::format(
        "{} is no regular file, and is read twice, for its hash and for its rows; write it to a "
        "file and import that",
        args.file));
  ASSIGN_OR_RETURN(const maps::MapFile named, maps::LoadMap(args.map));
  ASSIGN_OR_RETURN(maps::MapFile map, MapOf(args, named));
  ASSIGN_OR_RETURN(const std::string source_hash, core::Sha256HexOfFile(args.file));
  ASSIGN_OR_RETURN(const fit::CsvTable table, fit::ReadTable(args.file, map.format));
  if (args.assume_6nd) RETURN_IF_ERROR(AssumeSixNd(args, table, map));
  ASSIGN_OR_RETURN(const maps::Imported imported, maps::Apply(map, table, args.file));
  Json summary = {{"name", map.name},
                  {"source", args.file},
                  {"source_hash", source_hash},
                  {"map", args.map},
                  {"rows_read", table.rows.size()},
                  {"runs", imported.runs.size()},
                  {"unknown", imported.unknown},
                  {"columns", maps::TakenJson(imported.taken)},
                  {"assume_6nd", map.assume_6nd},
                  {"stored", false},
                  {"already_present", false},
                  {"forecasts_scored", 0},
                  {"notes", Json::array()}};
  summary["excluded"] = Json::array();
  for (const fit::Exclusion& e : imported.excluded)
    summary["excluded"].push_back({{"reason", e.reason}, {"count", e.count}});
  summary["metrics"] = Json::array();
  for (const maps::Metric& m : imported.metrics)
    summary["metrics"].push_back({{"name", m.name}, {"unit", m.unit}, {"eval", m.eval}});
  std::vector<ImportWarning> warnings = WarningsOf(named, map, imported);
  if (!args.dry_run) RETURN_IF_ERROR(BringUpToDate(options));
  // Without a database there are no copies, and an older one is left alone by --dry-run.
  if (const auto reader = orchestrator::Reader::Open(options.db); reader.ok()) {
    ASSIGN_OR_RETURN(const std::vector<ImportWarning> copies,
                     WarnOfCopies(imported, map.name, **reader));
    warnings.insert(warnings.end(), copies.begin(), copies.end());
  }
  ASSIGN_OR_RETURN(const auto request, RequestOf(args, map, imported, source_hash));
  const auto response = args.dry_run ? orchestrator::TryImport(options.db, request)
                                     : orchestrator::WriteImport(options.db, request);
  if (response.ok()) {
    summary["stored"] = !args.dry_run;
    summary["already_present"] = response->already_present();
    summary["forecasts_scored"] = response->forecasts_scored();
    for (const std::string& note : response->notes()) summary["notes"].push_back(note);
  } else if (!args.dry_run) {
    return response.status();
  } else if (!absl::IsNotFound(response.status())) {
    warnings.push_back(
        {"would-fail", "without --dry-run: " + std::string(response.status().message())});
  }
  summary["warnings"] = Json::array();
  for (const ImportWarning& w : warnings)
    summary["warnings"].push_back({{"code", w.code}, {"text", w.text}});
  if (options.Format() == OutputFormat::kJson) {
    if (args.dry_run) summary["rows"] = RunTable(imported).Rows();
    RETURN_IF_ERROR(PrintJson(summary));
    return kDone;
  }
  if (args.dry_run) RETURN_IF_ERROR(RunTable(imported).Print(options));
  const bool people = options.Format() == OutputFormat::kTable;
  const std::string text =
      fmt::format("{}: {} of {} rows of {} through map {}{}\n{}{}", map.name, imported.runs.size(),
                  table.rows.size(), args.file, args.map,
                  args.dry_run                             ? "; nothing is stored (--dry-run)"
                  : summary["already_present"].get<bool>() ? ", which the database has already"
                                                           : ", stored",
                  ColumnsText(imported, map.assume_6nd), LabelsText(imported));
  if (people && !args.dry_run) {
    RETURN_IF_ERROR(Print(text));
  } else {
    Note(text.substr(0, text.size() - 1));
  }
  for (const fit::Exclusion& e : imported.excluded)
    Note(fmt::format("left out: {} {}", e.count, e.reason));
  for (const ImportWarning& w : warnings) Note("! " + w.code + ": " + w.text);
  if (!imported.unknown.empty())
    Note(fmt::format(
        "! unknown: {}. Such runs can be fitted and looked at; a forecast from them "
        "cannot be registered. Say what you know with --value {}=...{}",
        fmt::join(imported.unknown, ", "), imported.unknown[0], args.dry_run ? "" : " --replace"));
  for (const Json& note : summary["notes"])
    Note((args.dry_run ? "! dry run: " : "! ") + note.get<std::string>());
  if (args.dry_run) return kDone;
  Note("next: " + CommandLine(options, summary["notes"].empty() ? "fit --sweep " + map.name
                                                                : std::string("forecasts")));
  return kDone;
}

}  // namespace

void AddImportVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<ImportArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("import", "take in runs that were trained elsewhere");
  verb->add_option("FILE", args->file, "CSV or JSON Lines, .gz and .zst too");
  verb->add_option("--map", args->map, "what its columns mean: a ready map's name, or a map file")
      ->type_name("NAME|FILE");
  verb->add_option("--name", args->name,
                   "of the import, where sweeps have theirs; default: the map's")
      ->type_name("NAME");
  verb->add_option("--column", args->columns,
                   "where a field or metric of the map stands, and times what (flops=gflops*1e9); "
                   "repeatable")
      ->allow_extra_args(false)
      ->type_name("FIELD=COLUMN[*SCALE]");
  verb->add_option(
          "--value", args->values,
          "what is the same for all rows, whatever the map says: recipe, data, tokenizer, eval, "
          "unit (nats_per_token, bits_per_token, bits_per_byte, error), seq_len, numerics, "
          "n_convention, flop_convention, schedule; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY=TEXT");
  verb->add_option(
          "--where", args->where,
          "keep rows whose column holds this, does not (!=), or is <, <=, >, >= a number; = "
          "repeated for one column: one of these")
      ->allow_extra_args(false)
      ->type_name("COLUMN=TEXT");
  verb->add_option("--rows", args->rows,
                   "which rows of a run are kept, whatever the map says: all or last-of-run")
      ->type_name("WHICH");
  verb->add_flag("--assume-6nd", args->assume_6nd, "without a column for flops: C = 6 N D");
  verb->add_flag("--dry-run", args->dry_run, "print what would be stored, store nothing");
  verb->add_flag("--replace", args->replace, "take the place of an import of this name");
  verb->add_flag("--list-maps", args->list, "the ready maps");
  verb->add_option("--print-map", args->print_map, "a ready map's text, to start your own from")
      ->type_name("NAME");
  verb->footer(
      "Examples:  sweepctl import --map olmo-ladder ladder.csv && sweepctl fit --sweep "
      "olmo-ladder\n"
      "           sweepctl import --map wandb runs.csv --name mine --value tokenizer=llama3 \\\n"
      "             --column params=num_parameters --dry-run\n"
      "Importing the same file through the same map twice adds nothing. A bad row is refused by "
      "file\n"
      "and line, and then nothing is stored. query: v_imports, v_imported_values, v_observations.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunImport(*args, session.options); };
  });
}

}  // namespace sweepctl
