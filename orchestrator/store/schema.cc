#include "orchestrator/store/schema.h"

#include <filesystem>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status_macros.h"
#include "core/version.h"
#include "fmt/format.h"
#include "orchestrator/store/history.h"
#include "orchestrator/store/verdicts.h"

namespace orchestrator {

// Times are milliseconds since the Unix epoch. trial_key is the short local name of a trial, used
// where there are millions of rows; trial_id is its identity everywhere else.
const char kTablesSql[] = R"sql(
CREATE TABLE sweeps(
  sweep TEXT PRIMARY KEY,
  sweep_file TEXT NOT NULL,             -- the YAML as read
  spec_json TEXT NOT NULL,              -- resolved; what a second launch is compared with
  data_dir TEXT NOT NULL,
  checkpoint_root TEXT NOT NULL,
  trainer_command_json TEXT NOT NULL,   -- [] means native
  retry_failure INTEGER NOT NULL,
  retry_preemption INTEGER NOT NULL,
  retry_out_of_memory INTEGER NOT NULL,
  limit_flops REAL NOT NULL,            -- 0: none
  lease_order TEXT NOT NULL,            -- 'largest-first' | 'as-listed'
  paused INTEGER NOT NULL DEFAULT 0,
  created_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE trials(
  trial_key INTEGER PRIMARY KEY,
  trial_id TEXT NOT NULL UNIQUE,        -- SHA-256 of plan
  plan TEXT NOT NULL,                   -- canonical JSON, the bytes that were hashed
  state TEXT NOT NULL CHECK(state IN ('HELD','PENDING','LEASED','COMPLETED','DIVERGED',
                                      'OUT_OF_MEMORY','FAILED','CANCELLED')),
  lease_rank REAL NOT NULL,             -- higher is leased first
  epoch INTEGER NOT NULL DEFAULT 0,     -- of the newest lease; the fence
  lease_sweep TEXT,                     -- the sweep in whose name it is leased
  worker_id TEXT,
  lease_expires_unix_ms INTEGER,
  stop_request TEXT CHECK(stop_request IN ('cancel','pause')),
  failures INTEGER NOT NULL DEFAULT 0,
  preemptions INTEGER NOT NULL DEFAULT 0,
  out_of_memory INTEGER NOT NULL DEFAULT 0,
  run_alone INTEGER NOT NULL DEFAULT 0,
  checkpoint_path TEXT,                 -- current; NULL: none yet
  checkpoint_step INTEGER NOT NULL DEFAULT 0,
  step INTEGER NOT NULL DEFAULT 0,      -- completed optimiser steps as last heard
  tokens_per_s REAL NOT NULL DEFAULT 0,
  resident_bytes INTEGER NOT NULL DEFAULT 0,
  created_unix_ms INTEGER NOT NULL,
  finished_unix_ms INTEGER,
  -- Extracted from the plan when it is stored, so that SQL can ask.
  recipe TEXT NOT NULL,
  recipe_version TEXT NOT NULL,
  budget_flops REAL NOT NULL,
  family TEXT,
  hidden INTEGER, layers INTEGER, heads INTEGER, ffn INTEGER, vocab INTEGER,
  params INTEGER NOT NULL,
  params_no_embedding INTEGER,
  tokens INTEGER NOT NULL,
  seq_len INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  steps INTEGER NOT NULL CHECK(steps > 0),
  recipe_flops REAL NOT NULL,
  model_flops REAL,
  init_seed INTEGER, data_seed INTEGER,
  numerics TEXT,
  clamps TEXT,                          -- JSON array
  data TEXT NOT NULL,                   -- SHA-256 over the plan's data sources and order rule
  tokenizer TEXT,
  eval_hash TEXT,
  loss_definition INTEGER
) STRICT;
CREATE INDEX trials_pending ON trials(lease_rank DESC, trial_key) WHERE state='PENDING';
CREATE INDEX trials_leased ON trials(lease_expires_unix_ms) WHERE state='LEASED';
CREATE INDEX trials_worker ON trials(worker_id) WHERE state='LEASED';
CREATE INDEX trials_state ON trials(state);
CREATE INDEX trials_budget ON trials(recipe, budget_flops);

-- A trial can serve several sweeps; it is trained once.
CREATE TABLE sweep_trials(
  sweep TEXT NOT NULL REFERENCES sweeps(sweep),
  trial_key INTEGER NOT NULL REFERENCES trials(trial_key),
  stage TEXT NOT NULL CHECK(stage IN ('fit','target')),
  position INTEGER NOT NULL,            -- order of submission, from 0
  released INTEGER NOT NULL,            -- 0: a target that waits for its registration
  cancelled INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(sweep, trial_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX sweep_trials_trial ON sweep_trials(trial_key);

CREATE TABLE attempts(
  trial_key INTEGER NOT NULL REFERENCES trials(trial_key),
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,             -- from 1
  sweep TEXT NOT NULL,
  worker_id TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK(outcome IN ('RUNNING','COMPLETED','DIVERGED','OUT_OF_MEMORY',
                                          'FAILED','PREEMPTED','CANCELLED','EXPIRED')),
  detail TEXT NOT NULL DEFAULT '',
  leased_unix_ms INTEGER NOT NULL,
  heard_unix_ms INTEGER NOT NULL,       -- last sign of life
  ended_unix_ms INTEGER,
  start_step INTEGER NOT NULL,          -- resumed from this many completed steps
  step INTEGER NOT NULL,                -- completed steps as last heard
  acknowledged_sequence INTEGER NOT NULL DEFAULT 0,
  train_ms INTEGER, total_ms INTEGER, peak_resident_bytes INTEGER,
  commit_hash TEXT, trainer TEXT, trainer_version TEXT, host TEXT, device TEXT, driver TEXT,
  libraries_json TEXT, algorithm_table_hash TEXT, microbatch_sequences INTEGER, packing TEXT,
  threads INTEGER,
  PRIMARY KEY(trial_key, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_sweep ON attempts(sweep);

-- One value per trial, name and step. A resent point changes nothing; a later attempt that repeats
-- a step replaces the value.
CREATE TABLE metrics(
  trial_key INTEGER NOT NULL REFERENCES trials(trial_key),
  name TEXT NOT NULL,
  step INTEGER NOT NULL,
  value REAL,                           -- NULL: was not a finite number
  unix_ms INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  PRIMARY KEY(trial_key, name, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluations(
  trial_key INTEGER NOT NULL REFERENCES trials(trial_key),
  eval_hash TEXT NOT NULL,
  step INTEGER NOT NULL,
  sum_nats REAL NOT NULL,
  scored_tokens INTEGER NOT NULL CHECK(scored_tokens > 0),
  scored_bytes INTEGER NOT NULL,
  final INTEGER NOT NULL,               -- 1: the result of the completed trial
  epoch INTEGER NOT NULL,
  unix_ms INTEGER NOT NULL,
  PRIMARY KEY(trial_key, eval_hash, step)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX evaluations_final ON evaluations(trial_key) WHERE final=1;

CREATE TABLE checkpoints(
  trial_key INTEGER NOT NULL REFERENCES trials(trial_key),
  epoch INTEGER NOT NULL,
  step INTEGER NOT NULL,
  path TEXT NOT NULL,
  manifest_hash TEXT NOT NULL,
  exact_resume INTEGER NOT NULL,
  published_unix_ms INTEGER NOT NULL,
  PRIMARY KEY(trial_key, epoch, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE fits(
  fit_id INTEGER PRIMARY KEY,
  sweep TEXT NOT NULL REFERENCES sweeps(sweep),
  fit_json TEXT NOT NULL CHECK(json_valid(fit_json)),
  fit_hash TEXT NOT NULL,
  observations_hash TEXT NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  UNIQUE(sweep, fit_hash, observations_hash)
) STRICT;

-- The record. record_hash = SHA-256(previous_hash, newline, record_json); rows are never changed
-- but for the copies of what was decided since (version 4: forecast_verdicts).
CREATE TABLE forecasts(
  forecast_id INTEGER PRIMARY KEY,      -- place in the chain, from 1
  name TEXT NOT NULL UNIQUE,
  sweep TEXT NOT NULL REFERENCES sweeps(sweep),
  target_key INTEGER NOT NULL REFERENCES trials(trial_key),
  law TEXT NOT NULL,
  primary_law INTEGER NOT NULL,
  budget_flops REAL NOT NULL,
  metric TEXT NOT NULL CHECK(metric IN ('loss','bits_per_byte')),
  loss REAL NOT NULL,
  interval_lo REAL NOT NULL, interval_hi REAL NOT NULL, interval_level REAL NOT NULL,
  interval_kind TEXT NOT NULL, interval_method TEXT NOT NULL,
  observations_json TEXT NOT NULL,
  observations_hash TEXT NOT NULL,
  registered_unix_ms INTEGER NOT NULL,
  record_json TEXT NOT NULL,            -- canonical; everything of the request, observations by hash
  previous_hash TEXT NOT NULL,          -- '' for the first
  record_hash TEXT NOT NULL,
  status TEXT NOT NULL CHECK(status IN ('open','scored','abandoned','void')),
  status_reason TEXT NOT NULL DEFAULT '',
  outcome_loss REAL, error_rel REAL, inside INTEGER, scored_unix_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX forecasts_primary ON forecasts(target_key, sweep) WHERE primary_law=1;
CREATE INDEX forecasts_target ON forecasts(target_key);

CREATE TABLE events(
  event_id INTEGER PRIMARY KEY,
  unix_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  sweep TEXT, trial_id TEXT, worker_id TEXT,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_sweep ON events(sweep, event_id);

CREATE TABLE workers(
  worker_id TEXT PRIMARY KEY,
  host TEXT NOT NULL, pid INTEGER NOT NULL,
  version TEXT NOT NULL, commit_hash TEXT NOT NULL,
  device_kind TEXT NOT NULL, device TEXT NOT NULL,
  slots INTEGER NOT NULL,
  registered_unix_ms INTEGER NOT NULL,
  heard_unix_ms INTEGER NOT NULL
) STRICT;

-- Written and emptied to learn whether the disk has room again.
CREATE TABLE probe(content BLOB NOT NULL) STRICT;
)sql";

// Runs that were trained elsewhere. Labels nobody has given are the word 'unknown'.
const char kImportTablesSql[] = R"sql(
CREATE TABLE imports(
  import_key INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,            -- no sweep has it
  source TEXT NOT NULL,                 -- the file as named
  source_hash TEXT NOT NULL,            -- SHA-256 of its bytes
  map TEXT NOT NULL,                    -- the map as named
  map_json TEXT NOT NULL CHECK(json_valid(map_json)),
  excluded_json TEXT NOT NULL CHECK(json_valid(excluded_json)),
  content_hash TEXT NOT NULL,           -- SHA-256 of everything but name, source and map as named
  imported_unix_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE imported_metrics(
  import_key INTEGER NOT NULL REFERENCES imports(import_key),
  position INTEGER NOT NULL,            -- 0: what a fit takes by default
  metric TEXT NOT NULL,
  unit TEXT NOT NULL CHECK(unit IN ('nats_per_token','bits_per_token','bits_per_byte','error',
                                    'accuracy')),
  eval TEXT NOT NULL,
  PRIMARY KEY(import_key, metric)
) STRICT, WITHOUT ROWID;

CREATE TABLE imported_runs(
  import_key INTEGER NOT NULL REFERENCES imports(import_key),
  source_row INTEGER NOT NULL,          -- line of the file
  run TEXT NOT NULL,
  stage TEXT NOT NULL CHECK(stage IN ('fit','target')),
  flops REAL NOT NULL CHECK(flops > 0),
  params REAL NOT NULL CHECK(params > 0),
  tokens REAL NOT NULL CHECK(tokens > 0),
  params_no_embedding REAL, unique_tokens REAL, budget_flops REAL,
  seed INTEGER NOT NULL,
  recipe TEXT NOT NULL, data TEXT NOT NULL, tokenizer TEXT NOT NULL, seq_len TEXT NOT NULL,
  numerics TEXT NOT NULL, flop_convention TEXT NOT NULL, n_convention TEXT NOT NULL,
  schedule TEXT NOT NULL CHECK(schedule IN ('cooled','mid-run','unknown')),
  PRIMARY KEY(import_key, source_row)
) STRICT, WITHOUT ROWID;

CREATE TABLE imported_values(
  import_key INTEGER NOT NULL REFERENCES imports(import_key),
  source_row INTEGER NOT NULL,
  metric TEXT NOT NULL,
  value REAL NOT NULL,
  PRIMARY KEY(import_key, source_row, metric)
) STRICT, WITHOUT ROWID;
)sql";

// SQLite cannot drop a constraint: both tables are made again. Of an import, whose target is
// trained elsewhere, target_key is NULL and the target is what params and tokens say.
const char kImportForecastsSql[] = R"sql(
ALTER TABLE trials ADD COLUMN shared_crashes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE fits_3(
  fit_id INTEGER PRIMARY KEY,
  sweep TEXT NOT NULL,                  -- or an import
  fit_json TEXT NOT NULL CHECK(json_valid(fit_json)),
  fit_hash TEXT NOT NULL,
  observations_hash TEXT NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  UNIQUE(sweep, fit_hash, observations_hash)
) STRICT;
INSERT INTO fits_3 SELECT * FROM fits;
DROP TABLE fits;
ALTER TABLE fits_3 RENAME TO fits;

CREATE TABLE forecasts_3(
  forecast_id INTEGER PRIMARY KEY,      -- place in the chain, from 1
  name TEXT NOT NULL UNIQUE,
  sweep TEXT NOT NULL,                  -- or an import
  target_key INTEGER REFERENCES trials(trial_key),
  law TEXT NOT NULL,
  primary_law INTEGER NOT NULL,
  budget_flops REAL NOT NULL,
  metric TEXT NOT NULL,                 -- loss, bits_per_byte; of an import its metric/unit
  loss REAL NOT NULL,
  interval_lo REAL NOT NULL, interval_hi REAL NOT NULL, interval_level REAL NOT NULL,
  interval_kind TEXT NOT NULL, interval_method TEXT NOT NULL,
  observations_json TEXT NOT NULL,
  observations_hash TEXT NOT NULL,
  registered_unix_ms INTEGER NOT NULL,
  record_json TEXT NOT NULL,            -- canonical; everything of the request, observations by hash
  previous_hash TEXT NOT NULL,          -- '' for the first
  record_hash TEXT NOT NULL,
  status TEXT NOT NULL CHECK(status IN ('open','scored','abandoned','void')),
  status_reason TEXT NOT NULL DEFAULT '',
  outcome_loss REAL, error_rel REAL, inside INTEGER, scored_unix_ms INTEGER,
  target_params REAL, target_tokens REAL,
  CHECK((target_key IS NULL) = (target_params IS NOT NULL AND target_tokens IS NOT NULL))
) STRICT;
INSERT INTO forecasts_3 SELECT *, NULL, NULL FROM forecasts;
DROP TABLE forecasts;
ALTER TABLE forecasts_3 RENAME TO forecasts;
CREATE UNIQUE INDEX forecasts_primary ON forecasts(target_key, sweep) WHERE primary_law=1;
CREATE INDEX forecasts_target ON forecasts(target_key);
)sql";

// Registrations and verdicts are links of one chain: forecast_id and place count together.
const char kVerdictsSql[] = R"sql(
CREATE TABLE forecast_verdicts(
  place INTEGER PRIMARY KEY,            -- in the chain, from 1
  forecast_id INTEGER NOT NULL REFERENCES forecasts(forecast_id),
  record_json TEXT NOT NULL,            -- canonical: forecast by its hash, status, outcome, from
  previous_hash TEXT NOT NULL,
  record_hash TEXT NOT NULL
) STRICT;
CREATE INDEX forecast_verdicts_forecast ON forecast_verdicts(forecast_id, place);
)sql";

// Both are only added to: every import that was ever made, and every run that one ever held, once
// however often that was imported, also where it was replaced since.
const char kImportHistorySql[] = R"sql(
CREATE TABLE import_files(
  file_id INTEGER PRIMARY KEY,
  import TEXT NOT NULL,
  source_hash TEXT NOT NULL,            -- SHA-256 of the file's bytes
  imported_unix_ms INTEGER NOT NULL,
  chain_links INTEGER NOT NULL          -- of the chain of forecasts when it was imported
) STRICT;
CREATE INDEX import_files_source ON import_files(source_hash);
CREATE TABLE seen_runs(
  seen_id INTEGER PRIMARY KEY,
  import TEXT NOT NULL,
  imported_unix_ms INTEGER NOT NULL,    -- for the first time
  run TEXT NOT NULL,
  flops REAL NOT NULL,
  budget_flops REAL NOT NULL,           -- nominal; 0: none given
  params REAL NOT NULL, tokens REAL NOT NULL,
  recipe TEXT NOT NULL, data TEXT NOT NULL, tokenizer TEXT NOT NULL, seq_len TEXT NOT NULL,
  numerics TEXT NOT NULL,
  UNIQUE(run, flops, budget_flops, params, tokens, import, recipe, data, tokenizer, seq_len,
    numerics)
) STRICT;
)sql";

namespace {

// An older file's are replaced by today's; views under other names are somebody's own.
absl::Status DropViews(Database* db) {
  constexpr std::string_view kCreate = "CREATE VIEW ";
  const std::string_view sql = kViewsSql;
  for (size_t at = sql.find(kCreate); at != std::string_view::npos; at = sql.find(kCreate, at)) {
    at += kCreate.size();
    RETURN_IF_ERROR(
        db->Execute(fmt::format("DROP VIEW IF EXISTS {}", sql.substr(at, sql.find(' ', at) - at))));
  }
  return absl::OkStatus();
}

absl::Status ForeignError(const std::string& path) {
  return absl::FailedPreconditionError(fmt::format(
      "{} is not a sweepctl database, and is left as it is; name another with --db", path));
}

// Whether the file holds something, and not what every version of ours has.
absl::StatusOr<bool> IsForeign(Database* db, int64_t version) {
  ASSIGN_OR_RETURN(const int64_t foreign,
                   db->Int(0,
                           "SELECT CASE ?1 WHEN 0 THEN count(*)>0 ELSE coalesce(sum(type='table' "
                           "AND name IN ('trials','sweep_trials')), 0)<2 END FROM sqlite_schema",
                           version));
  return foreign != 0;
}

absl::Status NewerError(int64_t found) {
  return absl::FailedPreconditionError(
      fmt::format("the database has schema version {}, this sweepctl {} knows versions up to {}; "
                  "use a newer sweepctl, or another database with --db",
                  found, core::Version(), kSchemaVersion));
}

// Before a migration. Not inside a transaction: VACUUM refuses.
absl::StatusOr<std::string> Backup(Database* db, int64_t version) {
  std::string path = fmt::format("{}.schema-{}.bak", db->path(), version);
  std::error_code ignored;
  for (int i = 2; std::filesystem::exists(path, ignored); ++i)
    path = fmt::format("{}.schema-{}.bak-{}", db->path(), version, i);
  std::string quoted;
  for (const char c : path) quoted += c == '\'' ? std::string("''") : std::string(1, c);
  const absl::Status copied = db->Execute(fmt::format("VACUUM INTO '{}'", quoted));
  if (copied.ok()) return path;
  std::filesystem::remove(path, ignored);
  return absl::Status(
      copied.code(),
      fmt::format("database {} has schema version {} and must be brought to {}; its "
                  "copy {} could not be written, so it was left as it is: {}",
                  db->path(), version, kSchemaVersion, path, std::string(copied.message())));
}

}  // namespace

absl::Status CheckOurs(Database* db) {
  ASSIGN_OR_RETURN(const int64_t version, db->Int(0, "PRAGMA user_version"));
  ASSIGN_OR_RETURN(const bool foreign, IsForeign(db, version));
  return foreign ? ForeignError(db->path()) : absl::OkStatus();
}

absl::StatusOr<Migration> Migrate(Database* db) {
  Migration done;
  RETURN_IF_ERROR(CheckOurs(db));
  ASSIGN_OR_RETURN(done.from, db->Int(0, "PRAGMA user_version"));
  if (done.from > kSchemaVersion) return NewerError(done.from);
  if (done.from == kSchemaVersion) return done;
  if (done.from > 0) {
    ASSIGN_OR_RETURN(done.backup, Backup(db, done.from));
  }
  // A view of somebody's own may name a table that is made again.
  RETURN_IF_ERROR(db->Execute("PRAGMA legacy_alter_table=ON"));
  Transaction transaction(db);
  RETURN_IF_ERROR(transaction.status());
  // Somebody else may have been faster.
  ASSIGN_OR_RETURN(const int64_t version, db->Int(0, "PRAGMA user_version"));
  if (version == kSchemaVersion) {
    RETURN_IF_ERROR(db->Execute("PRAGMA legacy_alter_table=OFF"));
    return done;
  }
  // Views hold no data, and would stand in the way of a table that is made again.
  RETURN_IF_ERROR(DropViews(db));
  if (version < 1) RETURN_IF_ERROR(db->Execute(kTablesSql));
  if (version < 2) RETURN_IF_ERROR(db->Execute(kImportTablesSql));
  if (version < 3) RETURN_IF_ERROR(db->Execute(kImportForecastsSql));
  if (version < 4) {
    RETURN_IF_ERROR(db->Execute(kVerdictsSql));
    RETURN_IF_ERROR(AdoptVerdicts(db, core::SystemClock().UnixMs()));
  }
  if (version < 5) {
    RETURN_IF_ERROR(db->Execute(kImportHistorySql));
    RETURN_IF_ERROR(RememberAllImports(db));
  }
  RETURN_IF_ERROR(db->Execute(kViewsSql));
  RETURN_IF_ERROR(db->Execute(fmt::format("PRAGMA user_version={}", kSchemaVersion)));
  RETURN_IF_ERROR(transaction.Commit());
  RETURN_IF_ERROR(db->Execute("PRAGMA legacy_alter_table=OFF"));
  return done;
}

absl::Status CheckSchemaVersion(Database* db) {
  RETURN_IF_ERROR(CheckOurs(db));
  ASSIGN_OR_RETURN(const int64_t version, db->Int(0, "PRAGMA user_version"));
  if (version > kSchemaVersion) return NewerError(version);
  if (version < kSchemaVersion) {
    return absl::FailedPreconditionError(
        fmt::format("database {} has schema version {}, this sweepctl needs {}; `sweepctl serve "
                    "--migrate-only --db {}` brings it up to date and keeps a copy",
                    db->path(), version, kSchemaVersion, db->path()));
  }
  return absl::OkStatus();
}

}  // namespace orchestrator
