// sweepctl import: runs that were trained elsewhere, from CSV or JSON Lines through a map, into the
// database, all or none.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include "core/hash.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "maps/apply.h"
#include "orchestrator/direct_write.h"
#include "sweepctl/database.h"
#include "sweepctl/fit_input.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct ImportArgs {
  std::string file, map, name, print_map;
  std::vector<std::string> columns, values, where;
  bool dry_run = false, replace = false, list = false;
};

// Options of the command line are part of the map, and of its record.
absl::StatusOr<maps::MapFile> MapOf(const ImportArgs& args) {
  ASSIGN_OR_RETURN(maps::MapFile map, maps::LoadMap(args.map));
  if (!args.name.empty()) map.name = args.name;
  const auto usage = [](const absl::Status& status) {
    return status.ok() ? status : UsageError(std::string(status.message()));
  };
  for (const std::string& text : args.columns) {
    ASSIGN_OR_RETURN(const auto pair, KeyValue(text, "--column"));
    RETURN_IF_ERROR(usage(maps::SetColumn(map, pair.first, pair.second)));
  }
  for (const std::string& text : args.values) {
    ASSIGN_OR_RETURN(const auto pair, KeyValue(text, "--value"));
    RETURN_IF_ERROR(usage(maps::SetValue(map, pair.first, pair.second)));
  }
  std::vector<fit::Where> given;
  for (const std::string& text : args.where) {
    ASSIGN_OR_RETURN(given.emplace_back(), WhereOf(text));
  }
  maps::AddWhere(map, given);
  return map;
}

absl::StatusOr<sweep::v1::ImportRequest> RequestOf(const ImportArgs& args, const maps::MapFile& map,
                                                   const maps::Imported& imported,
                                                   const std::string& source_hash) {
  sweep::v1::ImportRequest request;
  request.set_name(map.name);
  request.set_source(args.file);
  request.set_source_hash(source_hash);
  request.set_map(args.map);
  ASSIGN_OR_RETURN(const std::string map_json, core::CanonicalJson(maps::MapJson(map)));
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

// The values of each label, for people: one word, or how many there are.
std::string LabelsText(const maps::Imported& imported) {
  std::string text;
  const auto add = [&](const std::string& key, const std::set<std::string>& values) {
    text += fmt::format(
        "  {:<16} {}\n", key,
        values.size() == 1
            ? *values.begin()
            : fmt::format(
                  "{} values: {}", values.size(),
                  fmt::join(std::vector<std::string>(
                                values.begin(),
                                std::next(values.begin(), std::min<size_t>(5, values.size()))),
                            ", ")));
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
    text += fmt::format("  {:<32} {} on {}, {} of {} runs\n", m.name, m.unit, m.eval, filled,
                        imported.runs.size());
  }
  return text;
}

struct Warning {
  std::string code, text;
};

// "lines 2 and 5", the first few of many.
std::string LinesText(const std::vector<int64_t>& lines) {
  constexpr size_t kShown = 5;
  std::string text = lines.size() == 1 ? "line" : "lines";
  for (size_t i = 0; i < std::min(kShown, lines.size()); ++i)
    text += fmt::format("{} {}", i > 0 ? "," : "", lines[i]);
  if (lines.size() > kShown) text += fmt::format(" and {} more", lines.size() - kShown);
  return text;
}

// What `fit` calls one run: an exact copy of it is dropped there.
using RunKey =
    std::tuple<double, double, double, int64_t, std::vector<std::pair<std::string, double>>>;
RunKey KeyOf(const maps::ImportedRun& run) {
  std::vector<std::pair<std::string, double>> values;
  for (const maps::MeasuredValue& v : run.values) values.emplace_back(v.metric, v.value);
  return {run.flops, run.params, run.tokens, run.seed, values};
}

// Rows that are one run, or look like it.
std::vector<Warning> WarnOfRepeats(const maps::Imported& imported) {
  std::map<RunKey, std::vector<int64_t>> equal;
  std::map<std::pair<std::string, int64_t>, std::map<RunKey, std::vector<int64_t>>> named;
  for (const maps::ImportedRun& run : imported.runs) {
    equal[KeyOf(run)].push_back(run.row);
    // Checkpoints of one run share its name.
    if (!run.run.empty() && run.schedule != "mid-run")
      named[{run.run, run.seed}][KeyOf(run)].push_back(run.row);
  }
  std::vector<Warning> warnings;
  constexpr size_t kMost = 5;
  for (const auto& [key, lines] : equal) {
    if (lines.size() < 2) continue;
    if (warnings.size() == kMost) break;
    warnings.push_back({"duplicate-rows", fmt::format("{} hold one run: all are stored, and `fit` "
                                                      "takes one of them",
                                                      LinesText(lines))});
  }
  const size_t before = warnings.size();
  for (const auto& [name, keys] : named) {
    if (keys.size() < 2) continue;
    if (warnings.size() == before + kMost) break;
    std::vector<int64_t> lines;
    for (const auto& [key, rows] : keys) lines.insert(lines.end(), rows.begin(), rows.end());
    std::sort(lines.begin(), lines.end());
    warnings.push_back(
        {"one-run-many-rows",
         fmt::format(
             "run '{}' stands on {} with different numbers, and each counts as a run: rows: "
             "last-of-run in the map keeps the last of each, --where leaves one out",
             name.first, LinesText(lines))});
  }
  return warnings;
}

// Runs that another import of the database holds already.
absl::StatusOr<std::vector<Warning>> WarnOfCopies(const maps::Imported& imported,
                                                  const std::string& name,
                                                  orchestrator::Reader& reader) {
  const maps::Metric& metric = imported.metrics.front();
  ASSIGN_OR_RETURN(const std::vector<Json> rows,
                   reader.Rows("SELECT sweep, flops, params, tokens, seed, value FROM "
                               "v_imported_values WHERE sweep<>?1",
                               name));
  std::map<std::tuple<double, double, double, int64_t, double>, std::set<std::string>> known;
  for (const Json& row : rows)
    known[{row["flops"], row["params"], row["tokens"], row["seed"], row["value"]}].insert(
        row["sweep"].get<std::string>());
  std::map<std::string, std::vector<int64_t>> lines;
  for (const maps::ImportedRun& run : imported.runs) {
    for (const maps::MeasuredValue& v : run.values) {
      if (v.metric != metric.name) continue;
      const auto found = known.find({run.flops, run.params, run.tokens, run.seed, v.value});
      if (found == known.end()) continue;
      for (const std::string& import : found->second) lines[import].push_back(run.row);
    }
  }
  std::vector<Warning> warnings;
  for (const auto& [import, copies] : lines)
    warnings.push_back(
        {"copies", fmt::format("{} of {} runs ({}) are in import {} already: the same runs under "
                               "two names are no two experiments",
                               copies.size(), imported.runs.size(), LinesText(copies), import)});
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
  ASSIGN_OR_RETURN(const maps::MapFile map, MapOf(args));
  ASSIGN_OR_RETURN(const std::string source_hash, core::Sha256HexOfFile(args.file));
  ASSIGN_OR_RETURN(const fit::CsvTable table, fit::ReadTable(args.file, map.format));
  ASSIGN_OR_RETURN(const maps::Imported imported, maps::Apply(map, table, args.file));
  Json summary = {{"name", map.name},
                  {"source", args.file},
                  {"source_hash", source_hash},
                  {"map", args.map},
                  {"rows_read", table.rows.size()},
                  {"runs", imported.runs.size()},
                  {"unknown", imported.unknown},
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
  std::vector<Warning> warnings = WarnOfRepeats(imported);
  if (!args.dry_run) RETURN_IF_ERROR(BringUpToDate(options));
  // Without a database there are no copies, and an older one is left alone by --dry-run.
  if (const auto reader = orchestrator::Reader::Open(options.db); reader.ok()) {
    ASSIGN_OR_RETURN(const std::vector<Warning> copies, WarnOfCopies(imported, map.name, **reader));
    warnings.insert(warnings.end(), copies.begin(), copies.end());
  }
  summary["warnings"] = Json::array();
  for (const Warning& w : warnings)
    summary["warnings"].push_back({{"code", w.code}, {"text", w.text}});
  if (!args.dry_run) {
    ASSIGN_OR_RETURN(const auto request, RequestOf(args, map, imported, source_hash));
    ASSIGN_OR_RETURN(const auto response, orchestrator::WriteImport(options.db, request));
    summary["stored"] = true;
    summary["already_present"] = response.already_present();
    summary["forecasts_scored"] = response.forecasts_scored();
    for (const std::string& note : response.notes()) summary["notes"].push_back(note);
  }
  if (options.Format() == OutputFormat::kJson) {
    if (args.dry_run) summary["rows"] = RunTable(imported).Rows();
    RETURN_IF_ERROR(PrintJson(summary));
    return kDone;
  }
  if (args.dry_run) RETURN_IF_ERROR(RunTable(imported).Print(options));
  const bool people = options.Format() == OutputFormat::kTable;
  const std::string text =
      fmt::format("{}: {} of {} rows of {} through map {}{}\n{}", map.name, imported.runs.size(),
                  table.rows.size(), args.file, args.map,
                  args.dry_run                             ? "; nothing is stored (--dry-run)"
                  : summary["already_present"].get<bool>() ? ", which the database has already"
                                                           : ", stored",
                  LabelsText(imported));
  if (people && !args.dry_run) {
    RETURN_IF_ERROR(Print(text));
  } else {
    Note(text.substr(0, text.size() - 1));
  }
  for (const fit::Exclusion& e : imported.excluded)
    Note(fmt::format("left out: {} {}", e.count, e.reason));
  for (const Warning& w : warnings) Note("! " + w.code + ": " + w.text);
  if (!imported.unknown.empty())
    Note(fmt::format(
        "! unknown: {}. Such runs can be fitted and looked at; a forecast from them "
        "cannot be registered. Say what you know with --value {}=...{}",
        fmt::join(imported.unknown, ", "), imported.unknown[0], args.dry_run ? "" : " --replace"));
  for (const Json& note : summary["notes"]) Note("! " + note.get<std::string>());
  if (args.dry_run) return kDone;
  if (summary["forecasts_scored"] > 0) {
    Note(fmt::format("outcome of {} found; next: {}",
                     Counted(summary["forecasts_scored"].get<int64_t>(), "registered forecast"),
                     CommandLine(options, "forecasts")));
  } else {
    Note("next: " + CommandLine(options, "fit --sweep " + map.name));
  }
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
                   "where a field or metric of the map stands; repeatable")
      ->allow_extra_args(false)
      ->type_name("FIELD=COLUMN");
  verb->add_option(
          "--value", args->values,
          "what is the same for all rows: recipe, data, tokenizer, eval, seq_len, numerics, "
          "n_convention, flop_convention, schedule; repeatable")
      ->allow_extra_args(false)
      ->type_name("KEY=TEXT");
  verb->add_option(
          "--where", args->where,
          "keep rows whose column holds this, does not (!=), or is <, <=, >, >= a number; = "
          "repeated for one column: one of these")
      ->allow_extra_args(false)
      ->type_name("COLUMN=TEXT");
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
