// sweepctl query: any reading SQL over the database or a running coordinator.
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "orchestrator/client.h"
#include "sweepctl/database.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"

namespace sweepctl {
namespace {

using core::Json;

struct QueryArgs {
  std::string sql, endpoint, timeout;
  int64_t max_rows = 10'000;
};

std::string Shown(const Json& value) {
  return value.is_number_float() ? fmt::format("{:.8g}", value.get<double>()) : "";
}

absl::StatusOr<sweep::v1::QueryResponse> Ask(const QueryArgs& args, const GlobalOptions& options,
                                             const sweep::v1::QueryRequest& request) {
  if (!args.endpoint.empty()) return orchestrator::Client::Connect(args.endpoint)->Query(request);
  ASSIGN_OR_RETURN(const auto reader, OpenDatabase(options));
  return reader->Query(request);
}

absl::StatusOr<int> RunQuery(const QueryArgs& args, const GlobalOptions& options) {
  sweep::v1::QueryRequest request;
  request.set_sql(args.sql);
  request.set_max_rows(args.max_rows);
  if (!args.timeout.empty()) {
    const auto timeout_ms = core::ParseDurationMs(args.timeout);
    if (!timeout_ms.ok() || *timeout_ms <= 0)
      return UsageError(
          fmt::format("--timeout takes a duration as 30s or 5m, not '{}'", args.timeout));
    request.set_timeout_ms(*timeout_ms);
  }
  ASSIGN_OR_RETURN(const sweep::v1::QueryResponse response, Ask(args, options, request));

  std::vector<Json> rows;
  for (const std::string& text : response.rows_json()) {
    ASSIGN_OR_RETURN(rows.emplace_back(), core::ParseJson(text, "a row of the answer"));
  }
  std::vector<Column> columns;
  for (int c = 0; c < response.columns_size(); ++c) {
    bool numeric = true;
    for (const Json& row : rows) numeric = numeric && (row[c].is_number() || row[c].is_null());
    const std::string& name = response.columns(c);
    columns.push_back({name, name.empty() ? "?" : name, !numeric});
  }
  Table table(columns);
  for (const Json& row : rows) {
    std::vector<Cell> cells;
    for (const Json& value : row) cells.push_back({value, Shown(value)});
    table.AddRow(std::move(cells));
  }
  if (options.Format() == OutputFormat::kJson) {
    RETURN_IF_ERROR(PrintJson({{"columns", response.columns()},
                               {"rows", table.Rows()},
                               {"truncated", response.truncated()}}));
  } else {
    RETURN_IF_ERROR(table.Print(options));
  }
  if (response.truncated()) {
    Note(
        fmt::format("more rows exist than the {} printed; raise --max-rows, add LIMIT and OFFSET, "
                    "or use `sweepctl export`",
                    rows.size()));
  }
  return kDone;
}

}  // namespace

void AddQueryVerb(CLI::App& app, Session& session) {
  auto args = std::make_shared<QueryArgs>();  // shared by the parser and the callback
  CLI::App* verb = app.add_subcommand("query", "run reading SQL over the database");
  verb->add_option("SQL", args->sql, "one SELECT")->required();
  verb->add_option("--max-rows", args->max_rows, "stop after so many rows")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--timeout", args->timeout, "stop after so long (10s)")->type_name("TIME");
  verb->add_option("--endpoint", args->endpoint, "ask this coordinator instead of the file")
      ->type_name("HOST:PORT");
  verb->footer(
      "Views:     v_trials v_attempts v_metrics v_loss_latest v_observations v_isoflop_minima\n"
      "           v_frontier v_forecasts v_spend v_imports v_imported_values\n"
      "Examples:  sweepctl query 'SELECT budget_flops, params, loss FROM v_observations'\n"
      "           sweepctl query 'SELECT * FROM v_spend' --output csv\n"
      "Read-only by construction: SQL that writes exits 77.");
  verb->callback([args, &session] {
    session.action = [args, &session] { return RunQuery(*args, session.options); };
  });
}

}  // namespace sweepctl
