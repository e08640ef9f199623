// Reader: what status, show, logs, query, export and fit read, straight from the database file and
// without a coordinator. Opens the file read-only; never blocks the writer and is never blocked.
// Each call sees one consistent state. Thread-safe: no (one thread at a time).
// Errors: NOT_FOUND (no file, sweep or trial), FAILED_PRECONDITION (other schema version), and
// those of orchestrator/store/sqlite.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "orchestrator/store/audit.h"
#include "orchestrator/store/sqlite.h"
#include "sweep/v1/coordinator.pb.h"

namespace orchestrator {

// One trial of one sweep, as people want to see it.
struct TrialRow {
  std::string trial_id;
  std::string stage;        // "fit" or "target"
  std::string state;        // DESIGN.md section 2
  std::string waiting_for;  // "registration", "paused" or ""
  double budget_flops = 0;
  double recipe_flops = 0;
  int64_t hidden = 0, layers = 0, params = 0, tokens = 0, batch = 0, seq_len = 0;
  int64_t steps = 0;  // of the plan
  int64_t step = 0;   // completed, as last heard
  double tokens_per_s = 0;
  std::optional<double> loss;           // final evaluation, nats per token
  std::optional<double> bits_per_byte;  // final evaluation
  std::optional<double> train_loss;     // newest train_loss metric
  int64_t attempts = 0;
  std::string worker_id;  // while LEASED
  std::string detail;     // how the last attempt ended
};

struct SweepStatus {
  std::string sweep;
  bool paused = false;
  int64_t created_unix_ms = 0;
  std::map<std::string, int64_t> counts;  // by state; absent states have none
  int64_t trials = 0;
  // recipe FLOPs of all trials of the sweep, and the part that is done (completed, or the steps of
  // unfinished ones).
  double flops_planned = 0, flops_done = 0;
  // v_spend: what its attempts cost.
  double flops_spent = 0, flops_wasted = 0, trainer_seconds = 0;
  // Of the trials running now.
  double flops_per_second = 0;
  // Time left at that rate; absent while nothing runs.
  std::optional<double> eta_seconds;
  // All fit trials have ended and a target waits for its forecast to be registered: run
  // `sweepctl resume NAME`.
  bool waiting_for_registration = false;
  std::vector<TrialRow> rows;  // by position
};

struct SweepInfo {
  std::string sweep;
  bool paused = false;
  int64_t created_unix_ms = 0;
  std::string sweep_file, spec_json, data_dir, checkpoint_root;
  std::vector<std::string> trainer_command;  // empty: native
};

// One row of v_observations. Of an imported run, `sweep` is the import and trial_id the run; steps,
// batch and hidden are 0.
struct ObservationRow {
  std::string sweep, trial_id, stage;
  double budget_flops = 0, flops = 0;  // budget_flops 0: an import that names none
  double params = 0, params_no_embedding = 0, tokens = 0;
  double unique_tokens = 0;  // 0: every token seen once, or not given
  double loss = 0;           // nats per token, or what `metric` says
  std::optional<double> bits_per_byte;
  std::optional<double> hard;  // ImportedObservations() only
  int64_t init_seed = 0, data_seed = 0;
  std::vector<std::string> clamps;
  int64_t steps = 0, batch = 0, hidden = 0;
  // Cohort.
  std::string recipe, data, tokenizer, eval_hash, seq_len, numerics, metric, flop_convention,
      n_convention, schedule;
};

// One row of v_imports.
struct ImportInfo {
  std::string name, source, map;
  int64_t runs = 0;
  std::vector<std::string> metrics;  // the default one first
  std::string unknown;               // keys that nobody has given: "eval, tokenizer"
};

struct MetricRow {
  std::string name;
  int64_t step = 0;
  std::optional<double> value;  // absent: was not a finite number
  int64_t unix_ms = 0;
};

struct EventRow {
  int64_t event_id = 0;
  int64_t unix_ms = 0;
  std::string kind, sweep, trial_id, worker_id, detail;
};

class Reader {
 public:
  static absl::StatusOr<std::unique_ptr<Reader>> Open(const std::string& db_path);

  // As opened.
  const std::string& path() const { return path_; }
  // All sweeps, newest last.
  absl::StatusOr<std::vector<SweepInfo>> Sweeps();
  absl::StatusOr<SweepInfo> Sweep(const std::string& sweep);
  absl::StatusOr<SweepStatus> Status(const std::string& sweep);
  // The full id of the one trial of the database whose id starts with `prefix`. INVALID_ARGUMENT
  // when several do.
  absl::StatusOr<std::string> ResolveTrial(const std::string& prefix);
  // The plan's canonical bytes.
  absl::StatusOr<std::string> Plan(const std::string& trial_id);
  // COMPLETED trials of a sweep, or the runs of an import under its default metric; of all of them
  // when `sweep` is empty (a shared trial then appears once per sweep). Ordered by sweep, budget,
  // params.
  absl::StatusOr<std::vector<ObservationRow>> Observations(const std::string& sweep);
  // The runs of an import that have this metric, as Observations(): `loss` is its value, `hard`
  // that of the other one where a run has it.
  absl::StatusOr<std::vector<ObservationRow>> ImportedObservations(const std::string& import,
                                                                   const std::string& metric,
                                                                   const std::string& hard = "");
  // All imports, oldest first.
  absl::StatusOr<std::vector<ImportInfo>> Imports();
  // One metric, or all when `name` is empty, by name and step.
  absl::StatusOr<std::vector<MetricRow>> Metrics(const std::string& trial_id,
                                                 const std::string& name);
  // Events after `after_event_id`, oldest first, at most `limit`; of all sweeps when empty.
  absl::StatusOr<std::vector<EventRow>> Events(const std::string& sweep, int64_t after_event_id,
                                               int64_t limit);
  // Rows of any of our views or tables as JSON objects: for `--json` of show, forecasts, attempts.
  // `sql` is ours, not the user's (that is Query).
  absl::StatusOr<std::vector<core::Json>> Rows(const std::string& sql, const std::string& argument);
  // As store.h.
  absl::StatusOr<ForecastAudit> AuditForecasts();
  // The user's SQL, bounded; as orchestrator/store/guarded_query.h.
  absl::StatusOr<sweep::v1::QueryResponse> Query(const sweep::v1::QueryRequest& request);

 private:
  Reader(std::unique_ptr<Database> db, std::string path)
      : db_(std::move(db)), path_(std::move(path)) {}
  std::unique_ptr<Database> db_;
  std::string path_;
};

}  // namespace orchestrator
