#include "orchestrator/store/schema.h"

namespace orchestrator {

// What dashboards, notebooks and the fitter may rely on: columns are added, never renamed.
const char kViewsSql[] = R"sql(
-- One row per attempt. trainer_seconds: reported by the trainer, or until the last sign of life.
-- useful_steps: steps whose result the trial went on from; the rest was done again or thrown away.
CREATE VIEW v_attempts AS
SELECT t.trial_id, a.attempt, a.epoch, a.sweep, a.worker_id, a.outcome, a.detail,
  a.leased_unix_ms, a.heard_unix_ms, a.ended_unix_ms, a.start_step, a.step,
  coalesce(a.train_ms, a.heard_unix_ms - a.leased_unix_ms) / 1000.0 AS trainer_seconds,
  max(a.step - a.start_step, 0) * t.recipe_flops / t.steps AS flops,
  CASE WHEN t.state IN ('DIVERGED','OUT_OF_MEMORY','FAILED') THEN 0
       ELSE max(min(a.step, coalesce(
              (SELECT n.start_step FROM attempts n WHERE n.trial_key=a.trial_key AND n.epoch>a.epoch
               ORDER BY n.epoch LIMIT 1),
              CASE WHEN a.outcome IN ('RUNNING','COMPLETED') THEN a.step ELSE t.checkpoint_step END))
            - a.start_step, 0) END AS useful_steps,
  t.steps, t.recipe_flops, t.state AS trial_state,
  a.peak_resident_bytes, a.total_ms, a.commit_hash, a.trainer, a.trainer_version, a.host, a.device,
  a.driver, a.libraries_json, a.algorithm_table_hash, a.microbatch_sequences, a.packing, a.threads
FROM attempts a JOIN trials t USING(trial_key);

-- One row per sweep and trial. loss: nats per token of the final evaluation.
CREATE VIEW v_trials AS
SELECT st.sweep, t.trial_id, st.stage, st.position, t.state,
  CASE WHEN t.state='HELD' THEN 'registration'
       WHEN t.state='PENDING' AND s.paused THEN 'paused' ELSE '' END AS waiting_for,
  t.recipe || '@' || t.recipe_version AS recipe, t.budget_flops, t.family, t.hidden, t.layers,
  t.heads, t.ffn, t.vocab, t.params, t.params_no_embedding, t.tokens, t.seq_len, t.batch, t.steps,
  t.recipe_flops, t.model_flops, t.init_seed, t.data_seed, t.numerics, t.clamps,
  t.step, min(1.0, CAST(t.step AS REAL) / t.steps) AS progress, t.tokens_per_s, t.resident_bytes,
  t.epoch, t.worker_id, t.lease_expires_unix_ms, t.checkpoint_path, t.checkpoint_step,
  t.failures, t.preemptions, t.out_of_memory, t.shared_crashes, t.run_alone,
  (SELECT count(*) FROM attempts a WHERE a.trial_key=t.trial_key) AS attempts,
  (SELECT a.detail FROM attempts a WHERE a.trial_key=t.trial_key ORDER BY a.epoch DESC LIMIT 1)
    AS detail,
  e.sum_nats / e.scored_tokens AS loss,
  CASE WHEN e.scored_bytes > 0 THEN e.sum_nats / (0.69314718055994530942 * e.scored_bytes) END
    AS bits_per_byte,
  t.created_unix_ms, t.finished_unix_ms
FROM sweep_trials st JOIN trials t USING(trial_key) JOIN sweeps s USING(sweep)
LEFT JOIN evaluations e ON e.trial_key=t.trial_key AND e.final=1;

CREATE VIEW v_metrics AS
SELECT t.trial_id, m.name, m.step, m.value, m.unix_ms, m.epoch
FROM metrics m JOIN trials t USING(trial_key);

-- The newest training loss of each trial (nats per token of one batch; never an observation).
CREATE VIEW v_loss_latest AS
SELECT t.trial_id, t.state, m.step, t.steps, m.value AS train_loss, m.unix_ms
FROM trials t JOIN metrics m ON m.trial_key=t.trial_key AND m.name='train_loss'
  AND m.step=(SELECT max(step) FROM metrics l WHERE l.trial_key=t.trial_key AND l.name='train_loss');

-- One row per imported run and metric. value: in the metric's unit; is_default: what a fit takes.
CREATE VIEW v_imported_values AS
SELECT i.name AS sweep, r.source_row, r.run, r.stage, r.budget_flops, r.flops, r.params,
  r.params_no_embedding, r.tokens, r.unique_tokens, r.seed, m.metric, m.unit, m.eval, v.value,
  m.position=0 AS is_default, r.recipe, r.data, r.tokenizer, r.seq_len, r.numerics,
  r.flop_convention, r.n_convention, r.schedule
FROM imports i JOIN imported_runs r USING(import_key) JOIN imported_values v
  USING(import_key, source_row) JOIN imported_metrics m USING(import_key, metric);

-- One row per import, with where it came from and what nobody has said about it.
CREATE VIEW v_imports AS
SELECT i.name, i.source, i.source_hash, i.map, i.map_json, i.excluded_json, i.content_hash,
  i.imported_unix_ms,
  (SELECT count(*) FROM imported_runs r WHERE r.import_key=i.import_key) AS runs,
  (SELECT count(*) FROM imported_metrics m WHERE m.import_key=i.import_key) AS metrics,
  (SELECT metric || '/' || unit FROM imported_metrics m
   WHERE m.import_key=i.import_key AND position=0) AS default_metric,
  (SELECT group_concat(key, ', ') FROM (
     SELECT 'data' AS key FROM imported_runs r WHERE r.import_key=i.import_key AND data='unknown'
     UNION SELECT 'eval' FROM imported_metrics m WHERE m.import_key=i.import_key AND eval='unknown'
     UNION SELECT 'flop_convention' FROM imported_runs r
       WHERE r.import_key=i.import_key AND flop_convention='unknown'
     UNION SELECT 'n_convention' FROM imported_runs r
       WHERE r.import_key=i.import_key AND n_convention='unknown'
     UNION SELECT 'numerics' FROM imported_runs r
       WHERE r.import_key=i.import_key AND numerics='unknown'
     UNION SELECT 'recipe' FROM imported_runs r WHERE r.import_key=i.import_key AND recipe='unknown'
     UNION SELECT 'schedule' FROM imported_runs r
       WHERE r.import_key=i.import_key AND schedule='unknown'
     UNION SELECT 'seq_len' FROM imported_runs r
       WHERE r.import_key=i.import_key AND seq_len='unknown'
     UNION SELECT 'tokenizer' FROM imported_runs r
       WHERE r.import_key=i.import_key AND tokenizer='unknown')) AS unknown
FROM imports i;

-- What a fit sees: one row per sweep and COMPLETED trial, and per imported run (sweep: the import's
-- name, trial_id: the run's). Of a trial, loss is the mean of plain cross-entropy in nats per token
-- over the held-out set after the last step; of an imported run, the value of the import's default
-- metric, in the unit that stands in metric. Cohort columns: recipe, data, tokenizer, eval_hash (of
-- imports the evaluation set's name), seq_len (the evaluation's context), numerics, metric,
-- flop_convention, n_convention, schedule.
CREATE VIEW v_observations AS
SELECT st.sweep, t.trial_id, st.stage, t.budget_flops, t.recipe_flops AS flops, t.params,
  t.params_no_embedding, t.tokens, e.sum_nats / e.scored_tokens AS loss,
  CASE WHEN e.scored_bytes > 0 THEN e.sum_nats / (0.69314718055994530942 * e.scored_bytes) END
    AS bits_per_byte,
  t.init_seed, t.data_seed, t.clamps, t.steps, t.batch, t.seq_len, t.hidden, t.layers,
  t.model_flops, e.sum_nats, e.scored_tokens, e.scored_bytes,
  t.recipe || '@' || t.recipe_version AS recipe, t.data, t.tokenizer, e.eval_hash, t.numerics,
  'nats_per_token/' || coalesce(t.loss_definition, 1) AS metric,
  NULL AS unique_tokens, 'recipe' AS flop_convention, 'params' AS n_convention,
  'cooled' AS schedule
FROM sweep_trials st JOIN trials t USING(trial_key)
JOIN evaluations e ON e.trial_key=t.trial_key AND e.final=1
WHERE t.state='COMPLETED'
UNION ALL
SELECT sweep, run, stage, budget_flops, flops, params, params_no_embedding, tokens, value,
  CASE WHEN unit='bits_per_byte' THEN value END, seed, NULL, NULL, NULL, NULL, seq_len, NULL, NULL,
  NULL, NULL, NULL, NULL, recipe, data, tokenizer, eval, numerics, metric || '/' || unit,
  unique_tokens, flop_convention, n_convention, schedule
FROM v_imported_values WHERE is_default;

-- The best point observed at each budget of a sweep's fit stage. Observed, not fitted: the bottom of
-- a parabola usually lies between two points. at_edge: no smaller or no larger model was tried.
CREATE VIEW v_isoflop_minima AS
SELECT sweep, recipe, data, tokenizer, eval_hash, seq_len, numerics, metric, budget_flops, points,
  loss AS observed_min_loss, trial_id, flops, params, tokens,
  params IN (fewest_params, most_params) AS at_edge
FROM (SELECT o.*, count(*) OVER cohort AS points, min(o.params) OVER cohort AS fewest_params,
        max(o.params) OVER cohort AS most_params,
        row_number() OVER (PARTITION BY sweep, recipe, data, tokenizer, eval_hash, seq_len, numerics,
                           metric, budget_flops ORDER BY loss, trial_id) AS place
      FROM v_observations o WHERE stage='fit' AND budget_flops IS NOT NULL
      WINDOW cohort AS (PARTITION BY sweep, recipe, data, tokenizer, eval_hash, seq_len, numerics,
                        metric, budget_flops))
WHERE place=1;

-- Loss, params and tokens along the compute-optimal line. source 'fit': predictions of the sweep's
-- newest recorded fit; source 'observed minimum': v_isoflop_minima.
CREATE VIEW v_frontier AS
SELECT f.sweep, 'fit' AS source, p.value->>'law' AS law,
  CAST(p.value->>'budget_flops' AS REAL) AS budget_flops, CAST(p.value->>'loss' AS REAL) AS loss,
  CAST(p.value->>'params' AS REAL) AS params, CAST(p.value->>'tokens' AS REAL) AS tokens,
  CAST(p.value->'interval'->>'lo' AS REAL) AS interval_lo,
  CAST(p.value->'interval'->>'hi' AS REAL) AS interval_hi, f.fit_id, f.created_unix_ms
FROM fits f, json_each(f.fit_json, '$.predictions') p
WHERE f.fit_id=(SELECT max(g.fit_id) FROM fits g WHERE g.sweep=f.sweep)
UNION ALL
SELECT sweep, 'observed minimum', NULL, budget_flops, observed_min_loss, params, tokens,
  NULL, NULL, NULL, NULL
FROM v_isoflop_minima;

-- The record of registered forecasts, all of them. Only rows whose status is not 'void' are blind.
-- error_rel = (forecast - outcome) / outcome; inside: the outcome lies in the interval. Of an import
-- the target has no trial here, but params and tokens; a trial's are those of its plan. reach:
-- target / largest fitted FLOPs; verdict_json: the newest link of the chain about it, NULL: none.
CREATE VIEW v_forecasts AS
SELECT f.forecast_id, f.name, f.sweep, f.status, f.status_reason, f.law,
  f.primary_law AS "primary", t.trial_id AS target_trial_id, t.state AS target_state,
  coalesce(f.target_params, t.params) AS target_params,
  coalesce(f.target_tokens, t.tokens) AS target_tokens,
  f.budget_flops, f.metric, f.loss, f.interval_lo, f.interval_hi, f.interval_level,
  f.interval_kind, f.interval_method, f.observations_hash, f.registered_unix_ms, f.record_json,
  f.previous_hash, f.record_hash, f.outcome_loss, f.error_rel, f.inside, f.scored_unix_ms,
  f.budget_flops / (SELECT max(CAST(o.value->>'flops' AS REAL))
                    FROM json_each(CASE WHEN json_valid(f.observations_json)
                      THEN f.observations_json ELSE '[]' END) o) AS reach,
  (SELECT v.record_json FROM forecast_verdicts v WHERE v.forecast_id=f.forecast_id
   ORDER BY v.place DESC LIMIT 1) AS verdict_json
FROM forecasts f LEFT JOIN trials t ON t.trial_key=f.target_key;

-- What a sweep cost, by the attempts that ran in its name. useful: steps that led to a COMPLETED
-- trial; in_progress: steps that an unfinished or cancelled trial can go on from; wasted: the rest
-- (failed, diverged, out of memory, done again after a lost lease).
CREATE VIEW v_spend AS
SELECT sweep, count(*) AS attempts, sum(flops) AS flops,
  sum(CASE WHEN trial_state='COMPLETED' THEN useful_steps*recipe_flops/steps ELSE 0 END)
    AS flops_useful,
  sum(CASE WHEN trial_state<>'COMPLETED' THEN useful_steps*recipe_flops/steps ELSE 0 END)
    AS flops_in_progress,
  sum(flops - useful_steps*recipe_flops/steps) AS flops_wasted,
  sum(trainer_seconds) AS trainer_seconds,
  sum(CASE WHEN step > start_step AND trial_state='COMPLETED'
           THEN trainer_seconds*useful_steps/(step-start_step) ELSE 0 END) AS trainer_seconds_useful,
  sum(CASE WHEN step > start_step AND trial_state<>'COMPLETED'
           THEN trainer_seconds*useful_steps/(step-start_step) ELSE 0 END)
    AS trainer_seconds_in_progress,
  sum(CASE WHEN step > start_step THEN trainer_seconds*(1.0-useful_steps*1.0/(step-start_step))
           WHEN outcome='RUNNING' THEN 0 ELSE trainer_seconds END) AS trainer_seconds_wasted
FROM v_attempts GROUP BY sweep;
)sql";

}  // namespace orchestrator
