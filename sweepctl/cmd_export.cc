// sweepctl export: rows for notebooks, as CSV, JSON Lines or one JSON object.
#include <algorithm>

#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "sweepctl/database.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct ExportArgs {
  std::string sweep, what = "observations", out;
};

// ?1 is the sweep, '' for all. The observations are what `fit --csv` reads: id, eval, seed and
// the conventions under the names of fit/csv.h, clamps as ObservationsOf() chooses them.
const std::map<std::string, std::string>& Queries() {
  static const auto* const queries = new std::map<std::string, std::string>{
      {"observations",
       "SELECT sweep, stage, trial_id AS id, budget_flops, flops, params, params_no_embedding, "
       "tokens, loss, bits_per_byte, init_seed AS seed, data_seed, (SELECT group_concat(value, "
       "';') FROM json_each(clamps) WHERE value NOT IN ('beta2_steps', 'beta_floor')) AS clamps, "
       "steps, batch, hidden, layers, model_flops, "
       "sum_nats, scored_tokens, scored_bytes, recipe, data, tokenizer, eval_hash AS eval, "
       "seq_len, metric, numerics, unique_tokens, flop_convention, n_convention, schedule "
       "FROM v_observations WHERE ?1='' OR sweep=?1 ORDER BY sweep, budget_flops, params, "
       "trial_id"},
      {"trials", "SELECT * FROM v_trials WHERE ?1='' OR sweep=?1 ORDER BY sweep, position"},
      {"metrics",
       "SELECT trial_id, name, step, value, unix_ms FROM v_metrics WHERE ?1='' OR trial_id IN "
       "(SELECT trial_id FROM v_trials WHERE sweep=?1) ORDER BY trial_id, name, step"},
      {"forecasts", "SELECT * FROM v_forecasts WHERE ?1='' OR sweep=?1 ORDER BY forecast_id"}};
  return *queries;
}

// Json objects forget the order of columns, so they are asked for.
absl::StatusOr<std::vector<std::string>> ColumnsOf(orchestrator::Reader& reader,
                                                   const std::string& sql) {
  sweep::v1::QueryRequest request;
  std::string bound = sql;
  for (size_t at = bound.find("?1"); at != std::string::npos; at = bound.find("?1"))
    bound.replace(at, 2, "''");
  request.set_sql(fmt::format("SELECT * FROM ({}) LIMIT 0", bound));
  ASSIGN_OR_RETURN(const sweep::v1::QueryResponse response, reader.Query(request));
  return std::vector<std::string>(response.columns().begin(), response.columns().end());
}

absl::StatusOr<int> RunExport(const ExportArgs& args, const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  if (!args.sweep.empty()) {
    ASSIGN_OR_RETURN(const std::vector<orchestrator::ImportInfo> imports, reader->Imports());
    if (std::none_of(imports.begin(), imports.end(),
                     [&](const auto& import) { return import.name == args.sweep; }))
      RETURN_IF_ERROR(reader->Sweep(args.sweep).status());
  }
  const std::string& sql = Queries().at(args.what);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ColumnsOf(*reader, sql));
  ASSIGN_OR_RETURN(const std::vector<Json> rows, reader->Rows(sql, args.sweep));
  std::vector<Column> columns;
  for (const std::string& name : names) columns.push_back({name, name});
  Table table(columns);
  for (const Json& row : rows) {
    std::vector<Cell> cells;
    for (const std::string& name : names) cells.push_back({row[name], ""});
    table.AddRow(std::move(cells));
  }
  const OutputFormat format = options.Format();
  const std::string text = format == OutputFormat::kJson ? JsonText({{"rows", table.Rows()}}) + "\n"
                           : format == OutputFormat::kJsonLines ? table.JsonLines()
                                                                : table.Csv();
  if (args.out.empty()) {
    RETURN_IF_ERROR(Print(text));
    return kDone;
  }
  if (const absl::Status written = core::WriteFileAtomically(args.out, text); !written.ok())
    return absl::ResourceExhaustedError(written.message());
  Note(fmt::format("wrote {} {} to {}", rows.size(), args.what, args.out));
  return kDone;
}

}  // namespace

void AddExportVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<ExportArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("export", "write rows as CSV or JSON Lines");
  verb->add_option("--sweep", args->sweep, "only this sweep or import")->type_name("NAME");
  verb->add_option("--what", args->what, "observations, trials, metrics or forecasts")
      ->check(CLI::IsMember({"observations", "trials", "metrics", "forecasts"}))
      ->capture_default_str();
  verb->add_option("--out", args->out, "a file, replaced as a whole; else stdout")
      ->type_name("FILE");
  verb->footer(
      "CSV unless --output jsonl or --json says otherwise. Observations are what fit --csv reads:\n"
      "           sweepctl export --sweep isoflop --out runs.csv\n"
      "           sweepctl fit --csv runs.csv --where stage=fit");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunExport(*args, session.options); };
  });
}

}  // namespace sweepctl
