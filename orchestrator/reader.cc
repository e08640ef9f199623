#include "orchestrator/reader.h"

#include "core/did_you_mean.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/guarded_query.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/store.h"

namespace orchestrator {
namespace {

std::optional<double> Number(const Statement& row, int column) {
  return row.IsNull(column) ? std::nullopt : std::optional<double>(row.Double(column));
}

// A list of strings stored as JSON; anything else reads as empty.
std::vector<std::string> Strings(const std::string& json) {
  std::vector<std::string> result;
  const auto parsed = core::ParseJson(json, "list");
  if (!parsed.ok() || !parsed->is_array()) return result;
  for (const core::Json& item : *parsed)
    if (item.is_string()) result.push_back(item.get<std::string>());
  return result;
}

// Rows whose columns stand in the order of the two queries below.
absl::StatusOr<std::vector<ObservationRow>> ReadObservations(Statement& rows) {
  std::vector<ObservationRow> result;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return result;
    ObservationRow o;
    o.sweep = rows.Text(0);
    o.trial_id = rows.Text(1);
    o.stage = rows.Text(2);
    o.budget_flops = rows.Double(3);
    o.flops = rows.Double(4);
    o.params = rows.Double(5);
    o.params_no_embedding = rows.Double(6);
    o.tokens = rows.Double(7);
    o.loss = rows.Double(8);
    o.bits_per_byte = Number(rows, 9);
    o.init_seed = rows.Int(10);
    o.data_seed = rows.Int(11);
    o.clamps = Strings(rows.Text(12));
    o.steps = rows.Int(13);
    o.batch = rows.Int(14);
    o.seq_len = rows.Text(15);
    o.hidden = rows.Int(16);
    o.recipe = rows.Text(17);
    o.data = rows.Text(18);
    o.tokenizer = rows.Text(19);
    o.eval_hash = rows.Text(20);
    o.numerics = rows.Text(21);
    o.metric = rows.Text(22);
    o.unique_tokens = rows.Double(23);
    o.flop_convention = rows.Text(24);
    o.n_convention = rows.Text(25);
    o.schedule = rows.Text(26);
    o.hard = Number(rows, 27);
    result.push_back(std::move(o));
  }
}

bool IsTerminal(const std::string& state) {
  return state != "PENDING" && state != "LEASED" && state != "HELD";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Reader>> Reader::Open(const std::string& db_path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> db,
                   Database::Open(db_path, Database::Mode::kReadOnly));
  RETURN_IF_ERROR(CheckSchemaVersion(db.get()));
  return std::unique_ptr<Reader>(new Reader(std::move(db), db_path));
}

absl::StatusOr<std::vector<SweepInfo>> Reader::Sweeps() {
  ASSIGN_OR_RETURN(Statement rows,
                   db_->Prepare("SELECT sweep, paused, created_unix_ms, sweep_file, spec_json, "
                                "data_dir, checkpoint_root, trainer_command_json FROM sweeps "
                                "ORDER BY created_unix_ms, sweep"));
  std::vector<SweepInfo> sweeps;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return sweeps;
    sweeps.push_back({rows.Text(0), rows.Int(1) != 0, rows.Int(2), rows.Text(3), rows.Text(4),
                      rows.Text(5), rows.Text(6), Strings(rows.Text(7))});
  }
}

absl::StatusOr<SweepInfo> Reader::Sweep(const std::string& sweep) {
  ASSIGN_OR_RETURN(const std::vector<SweepInfo> sweeps, Sweeps());
  std::vector<std::string> names;
  for (const SweepInfo& info : sweeps) {
    if (info.sweep == sweep) return info;
    names.push_back(info.sweep);
  }
  ASSIGN_OR_RETURN(const std::vector<ImportInfo> imports, Imports());
  for (const ImportInfo& import : imports)
    if (import.name == sweep)
      return absl::NotFoundError(fmt::format(
          "'{}' in {} is an import, not a sweep: its runs were trained elsewhere", sweep, path_));
  return absl::NotFoundError(
      fmt::format("sweep '{}' is not in {}{}", sweep, path_, core::DidYouMean(sweep, names)));
}

absl::StatusOr<SweepStatus> Reader::Status(const std::string& sweep) {
  SweepStatus status;
  ASSIGN_OR_RETURN(const SweepInfo info, Sweep(sweep));
  status.sweep = sweep;
  status.paused = info.paused;
  status.created_unix_ms = info.created_unix_ms;
  bool fit_open = false, target_held = false;
  {
    ASSIGN_OR_RETURN(
        Statement rows,
        db_->Prepare(R"sql(SELECT trial_id, stage, state, waiting_for, budget_flops, recipe_flops,
            hidden, layers, params, tokens, batch, seq_len, steps, step, tokens_per_s, loss,
            bits_per_byte, attempts, coalesce(worker_id, ''), coalesce(detail, ''),
            (SELECT l.train_loss FROM v_loss_latest l WHERE l.trial_id=v.trial_id)
          FROM v_trials v WHERE sweep=?1 ORDER BY position)sql",
                     sweep));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      TrialRow trial;
      trial.trial_id = rows.Text(0);
      trial.stage = rows.Text(1);
      trial.state = rows.Text(2);
      trial.waiting_for = rows.Text(3);
      trial.budget_flops = rows.Double(4);
      trial.recipe_flops = rows.Double(5);
      trial.hidden = rows.Int(6);
      trial.layers = rows.Int(7);
      trial.params = rows.Int(8);
      trial.tokens = rows.Int(9);
      trial.batch = rows.Int(10);
      trial.seq_len = rows.Int(11);
      trial.steps = rows.Int(12);
      trial.step = rows.Int(13);
      trial.tokens_per_s = rows.Double(14);
      trial.loss = Number(rows, 15);
      trial.bits_per_byte = Number(rows, 16);
      trial.attempts = rows.Int(17);
      trial.worker_id = rows.Text(18);
      trial.detail = rows.Text(19);
      trial.train_loss = Number(rows, 20);
      ++status.trials;
      ++status.counts[trial.state];
      status.flops_planned += trial.recipe_flops;
      if (trial.state != "DIVERGED" && trial.state != "FAILED" && trial.state != "OUT_OF_MEMORY")
        status.flops_done += trial.recipe_flops * trial.step / trial.steps;
      if (trial.state == "LEASED" && trial.tokens > 0)
        status.flops_per_second += trial.tokens_per_s * trial.recipe_flops / trial.tokens;
      fit_open = fit_open || (trial.stage == "fit" && !IsTerminal(trial.state));
      target_held = target_held || trial.state == "HELD";
      status.rows.push_back(std::move(trial));
    }
  }
  status.waiting_for_registration = target_held && !fit_open;
  if (status.flops_per_second > 0) {
    double left = 0;
    for (const TrialRow& trial : status.rows) {
      if (trial.state == "PENDING" || trial.state == "LEASED")
        left += trial.recipe_flops * (1.0 - static_cast<double>(trial.step) / trial.steps);
    }
    status.eta_seconds = left / status.flops_per_second;
  }
  ASSIGN_OR_RETURN(Statement spend,
                   db_->Prepare("SELECT flops, flops_wasted, trainer_seconds FROM v_spend WHERE "
                                "sweep=?1",
                                sweep));
  ASSIGN_OR_RETURN(const bool spent, spend.Step());
  if (spent) {
    status.flops_spent = spend.Double(0);
    status.flops_wasted = spend.Double(1);
    status.trainer_seconds = spend.Double(2);
  }
  return status;
}

absl::StatusOr<std::string> Reader::ResolveTrial(const std::string& prefix) {
  if (prefix.size() < 4 || prefix.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return absl::InvalidArgumentError(fmt::format(
        "trial '{}': give at least 4 characters of its id, which are 0 to 9 and a to f", prefix));
  }
  ASSIGN_OR_RETURN(Statement rows,
                   db_->Prepare("SELECT trial_id FROM trials WHERE trial_id>=?1 AND "
                                "trial_id<?1||'g' ORDER BY trial_id LIMIT 2",
                                prefix));
  ASSIGN_OR_RETURN(const bool first, rows.Step());
  if (!first) return absl::NotFoundError(fmt::format("trial {} is not in {}", prefix, path_));
  std::string id = rows.Text(0);
  ASSIGN_OR_RETURN(const bool second, rows.Step());
  if (second) {
    return absl::InvalidArgumentError(fmt::format(
        "trial {}: {} and {} both begin so; give more of the id", prefix, id, rows.Text(0)));
  }
  return id;
}

absl::StatusOr<std::string> Reader::Plan(const std::string& trial_id) {
  ASSIGN_OR_RETURN(std::string plan,
                   db_->Text("SELECT plan FROM trials WHERE trial_id=?1", trial_id));
  if (plan.empty())
    return absl::NotFoundError(fmt::format("trial {} is not in {}", trial_id, path_));
  return plan;
}

absl::StatusOr<std::vector<ObservationRow>> Reader::Observations(const std::string& sweep) {
  ASSIGN_OR_RETURN(Statement rows,
                   db_->Prepare(R"sql(SELECT sweep, trial_id, stage, budget_flops, flops, params,
          params_no_embedding, tokens, loss, bits_per_byte, init_seed, data_seed,
          coalesce(clamps, '[]'), steps, batch, seq_len, hidden, recipe, data,
          coalesce(tokenizer, ''), eval_hash, coalesce(numerics, ''), metric, unique_tokens,
          flop_convention, n_convention, schedule, NULL
        FROM v_observations WHERE ?1='' OR sweep=?1
        ORDER BY sweep, budget_flops, params, trial_id)sql",
                                sweep));
  return ReadObservations(rows);
}

absl::StatusOr<std::vector<ObservationRow>> Reader::ImportedObservations(const std::string& import,
                                                                         const std::string& metric,
                                                                         const std::string& hard) {
  ASSIGN_OR_RETURN(Statement rows,
                   db_->Prepare(R"sql(SELECT sweep, run, stage, budget_flops, flops, params,
          params_no_embedding, tokens, value, CASE WHEN unit='bits_per_byte' THEN value END, seed,
          NULL, '[]', NULL, NULL, seq_len, NULL, recipe, data, tokenizer, eval, numerics,
          metric || '/' || unit, unique_tokens, flop_convention, n_convention, schedule,
          (SELECT h.value FROM imported_values h JOIN imports i USING(import_key)
           WHERE i.name=v.sweep AND h.source_row=v.source_row AND h.metric=?3)
        FROM v_imported_values v WHERE sweep=?1 AND metric=?2
        ORDER BY budget_flops, params, run, source_row)sql",
                                import, metric, hard));
  return ReadObservations(rows);
}

absl::StatusOr<std::vector<ImportInfo>> Reader::Imports() {
  ASSIGN_OR_RETURN(Statement rows,
                   db_->Prepare(R"sql(SELECT name, source, map, runs, coalesce(unknown, ''),
          (SELECT json_group_array(metric) FROM (SELECT metric FROM imported_metrics m
             JOIN imports i USING(import_key) WHERE i.name=v.name ORDER BY position))
        FROM v_imports v ORDER BY imported_unix_ms, name)sql"));
  std::vector<ImportInfo> imports;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return imports;
    imports.push_back({rows.Text(0), rows.Text(1), rows.Text(2), rows.Int(3), Strings(rows.Text(5)),
                       rows.Text(4)});
  }
}

absl::StatusOr<std::vector<MetricRow>> Reader::Metrics(const std::string& trial_id,
                                                       const std::string& name) {
  ASSIGN_OR_RETURN(Statement rows,
                   db_->Prepare("SELECT name, step, value, unix_ms FROM v_metrics WHERE "
                                "trial_id=?1 AND (?2='' OR name=?2) ORDER BY name, step",
                                trial_id, name));
  std::vector<MetricRow> result;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return result;
    result.push_back({rows.Text(0), rows.Int(1), Number(rows, 2), rows.Int(3)});
  }
}

absl::StatusOr<std::vector<EventRow>> Reader::Events(const std::string& sweep,
                                                     int64_t after_event_id, int64_t limit) {
  ASSIGN_OR_RETURN(Statement rows,
                   db_->Prepare("SELECT event_id, unix_ms, kind, coalesce(sweep, ''), "
                                "coalesce(trial_id, ''), coalesce(worker_id, ''), detail FROM "
                                "events WHERE event_id>?2 AND (?1='' OR sweep=?1) ORDER BY "
                                "event_id LIMIT ?3",
                                sweep, after_event_id, limit));
  std::vector<EventRow> result;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return result;
    result.push_back({rows.Int(0), rows.Int(1), rows.Text(2), rows.Text(3), rows.Text(4),
                      rows.Text(5), rows.Text(6)});
  }
}

absl::StatusOr<std::vector<core::Json>> Reader::Rows(const std::string& sql,
                                                     const std::string& argument) {
  ASSIGN_OR_RETURN(Statement rows, sql.find("?1") == std::string::npos
                                       ? db_->Prepare(sql)
                                       : db_->Prepare(sql, argument));
  std::vector<core::Json> result;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return result;
    core::Json object = core::Json::object();
    for (int i = 0; i < rows.Columns(); ++i) object[rows.ColumnName(i)] = rows.Value(i);
    result.push_back(std::move(object));
  }
}

absl::StatusOr<ForecastAudit> Reader::AuditForecasts() {
  return orchestrator::AuditForecasts(db_.get());
}

absl::StatusOr<sweep::v1::QueryResponse> Reader::Query(const sweep::v1::QueryRequest& request) {
  return RunGuardedQuery(path_, request);
}

}  // namespace orchestrator
