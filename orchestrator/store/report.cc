// What workers report: metrics, evaluations, checkpoints, the end of an attempt.
#include <algorithm>
#include <cmath>

#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/store.h"

namespace orchestrator {
namespace {

absl::Status CheckEvaluation(const v1::Evaluation& evaluation, std::string_view trial_id) {
  if (evaluation.scored_tokens() <= 0 || evaluation.scored_bytes() < 0 ||
      !std::isfinite(evaluation.sum_nats()) || evaluation.sum_nats() < 0 || evaluation.step() < 0) {
    return absl::InvalidArgumentError(fmt::format(
        "trial {}: evaluation with sum_nats {}, {} tokens, {} bytes at step {}; it needs a finite "
        "sum >= 0 and at least one token",
        trial_id, evaluation.sum_nats(), evaluation.scored_tokens(), evaluation.scored_bytes(),
        evaluation.step()));
  }
  return absl::OkStatus();
}

absl::Status InsertEvaluation(Database* db, int64_t key, int64_t epoch,
                              const v1::Evaluation& evaluation, bool final, int64_t now_ms) {
  return db->Run(
      "INSERT INTO evaluations(trial_key, eval_hash, step, sum_nats, scored_tokens, scored_bytes, "
      "final, epoch, unix_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) "
      "ON CONFLICT(trial_key, eval_hash, step) DO UPDATE SET sum_nats=excluded.sum_nats, "
      "scored_tokens=excluded.scored_tokens, scored_bytes=excluded.scored_bytes, "
      "final=excluded.final, epoch=excluded.epoch, unix_ms=excluded.unix_ms "
      "WHERE excluded.epoch > evaluations.epoch OR excluded.final > evaluations.final",
      key, evaluation.eval_hash(), evaluation.step(), evaluation.sum_nats(),
      evaluation.scored_tokens(), evaluation.scored_bytes(), final, epoch, now_ms);
}

absl::StatusOr<AttemptEnd> EndOf(const v1::CompleteRequest& request) {
  switch (request.outcome()) {
    case v1::OUTCOME_COMPLETED:
      return AttemptEnd::kCompleted;
    case v1::OUTCOME_DIVERGED:
      return AttemptEnd::kDiverged;
    case v1::OUTCOME_OUT_OF_MEMORY:
      return AttemptEnd::kOutOfMemory;
    case v1::OUTCOME_FAILED:
      return AttemptEnd::kFailed;
    case v1::OUTCOME_PREEMPTED:
      return AttemptEnd::kPreempted;
    case v1::OUTCOME_CANCELLED:
      return AttemptEnd::kCancelled;
    default:
      return absl::InvalidArgumentError(
          fmt::format("trial {}: completed with outcome {}, which "
                      "this coordinator does not know",
                      request.trial_id(), static_cast<int>(request.outcome())));
  }
}

}  // namespace

absl::StatusOr<v1::ReportResponse> Store::AppendReport(const v1::ReportRequest& request,
                                                       int64_t now_ms) {
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  ASSIGN_OR_RETURN(const LeasedTrial trial,
                   CheckEpoch(request.trial_id(), request.worker_id(), request.epoch()));
  ASSIGN_OR_RETURN(const int64_t before,
                   db_->Int(0,
                            "SELECT acknowledged_sequence FROM attempts WHERE trial_key=?1 AND "
                            "epoch=?2",
                            trial.key, request.epoch()));
  int64_t acknowledged = before, step = 0;
  std::vector<const v1::MetricPoint*> points;
  for (const v1::MetricPoint& point : request.metrics()) points.push_back(&point);
  std::sort(points.begin(), points.end(),
            [](const auto* a, const auto* b) { return a->sequence() < b->sequence(); });
  for (const v1::MetricPoint* point : points) {
    if (point->sequence() <= acknowledged) continue;
    if (point->sequence() != acknowledged + 1) break;  // a gap: the worker sends the rest again
    if (point->name().empty() || point->name().size() > 128 || point->step() < 0) {
      return absl::InvalidArgumentError(
          fmt::format("trial {}: metric '{}' at step {}; names have 1 to 128 characters, steps "
                      "are not negative",
                      request.trial_id(), point->name().substr(0, 128), point->step()));
    }
    const std::optional<double> value =
        std::isfinite(point->value()) ? std::optional<double>(point->value()) : std::nullopt;
    RETURN_IF_ERROR(db_->Run(
        "INSERT INTO metrics(trial_key, name, step, value, unix_ms, epoch) "
        "VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(trial_key, name, step) DO UPDATE SET "
        "value=excluded.value, unix_ms=excluded.unix_ms, epoch=excluded.epoch "
        "WHERE excluded.epoch > metrics.epoch",
        trial.key, point->name(), point->step(), value, point->unix_ms(), request.epoch()));
    acknowledged = point->sequence();
    step = std::max(step, point->step());
  }
  for (const v1::Evaluation& evaluation : request.evaluations()) {
    RETURN_IF_ERROR(CheckEvaluation(evaluation, request.trial_id()));
    RETURN_IF_ERROR(
        InsertEvaluation(db_.get(), trial.key, request.epoch(), evaluation, false, now_ms));
  }
  RETURN_IF_ERROR(
      db_->Run("UPDATE attempts SET acknowledged_sequence=?3, heard_unix_ms=?4, "
               "step=max(step, min(?5, ?6)) WHERE trial_key=?1 AND epoch=?2",
               trial.key, request.epoch(), acknowledged, now_ms, step, trial.steps));
  RETURN_IF_ERROR(
      db_->Run("UPDATE trials SET step=max(step, min(?2, steps)), "
               "tokens_per_s=CASE WHEN ?3>0 THEN ?3 ELSE tokens_per_s END WHERE trial_key=?1",
               trial.key, step, request.tokens_per_s()));
  RETURN_IF_ERROR(transaction.Commit());
  v1::ReportResponse response;
  response.set_acknowledged_sequence(acknowledged);
  return response;
}

absl::StatusOr<v1::PublishCheckpointResponse> Store::PublishCheckpoint(
    const v1::PublishCheckpointRequest& request, int64_t now_ms) {
  const v1::Checkpoint& checkpoint = request.checkpoint();
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  ASSIGN_OR_RETURN(const LeasedTrial trial,
                   CheckEpoch(request.trial_id(), request.worker_id(), request.epoch()));
  if (checkpoint.path().empty() || checkpoint.step() < 0 || checkpoint.step() > trial.steps) {
    return absl::InvalidArgumentError(
        fmt::format("trial {}: checkpoint '{}' at step {} of {}; it needs a path and a step of "
                    "the plan",
                    request.trial_id(), checkpoint.path(), checkpoint.step(), trial.steps));
  }
  RETURN_IF_ERROR(
      db_->Run("INSERT INTO checkpoints(trial_key, epoch, step, path, manifest_hash, exact_resume, "
               "published_unix_ms) VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT DO NOTHING",
               trial.key, request.epoch(), checkpoint.step(), checkpoint.path(),
               checkpoint.manifest_hash(), checkpoint.exact_resume(), now_ms));
  // The newest lease wins, and within it the furthest step: a late repeat cannot move it back.
  RETURN_IF_ERROR(db_->Run(
      "UPDATE trials SET (checkpoint_path, checkpoint_step) = (SELECT path, step FROM checkpoints "
      "WHERE trial_key=?1 ORDER BY epoch DESC, step DESC LIMIT 1) WHERE trial_key=?1",
      trial.key));
  v1::PublishCheckpointResponse response;
  // The two newest stay (the second for a reader of the first's predecessor). Older ones are
  // named again by later calls in case an answer was lost; deleting a missing folder is no error.
  ASSIGN_OR_RETURN(Statement rows, db_->Prepare("SELECT path FROM checkpoints WHERE trial_key=?1 "
                                                "ORDER BY epoch DESC, step DESC LIMIT 8 OFFSET 2",
                                                trial.key));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) break;
    response.add_obsolete_paths(rows.Text(0));
  }
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

absl::StatusOr<v1::CompleteResponse> Store::CompleteAttempt(const v1::CompleteRequest& request,
                                                            int64_t now_ms) {
  ASSIGN_OR_RETURN(AttemptEnd end, EndOf(request));
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  {
    // A repeat after a lost answer.
    ASSIGN_OR_RETURN(Statement row,
                     db_->Prepare("SELECT a.outcome FROM attempts a JOIN trials t USING(trial_key) "
                                  "WHERE t.trial_id=?1 AND a.epoch=?2 AND a.worker_id=?3",
                                  request.trial_id(), request.epoch(), request.worker_id()));
    ASSIGN_OR_RETURN(const bool found, row.Step());
    if (found && row.Text(0) == AttemptEndName(end)) return v1::CompleteResponse();
  }
  ASSIGN_OR_RETURN(const LeasedTrial trial,
                   CheckEpoch(request.trial_id(), request.worker_id(), request.epoch()));
  // A trial that runs alone has no neighbours to blame, whatever the worker says.
  if (end == AttemptEnd::kFailed && request.crashed_with() > 0 && !trial.run_alone)
    end = AttemptEnd::kSharedCrash;
  int64_t step = std::clamp<int64_t>(request.step(), 0, trial.steps);
  if (end == AttemptEnd::kCompleted) {
    if (!request.has_final_evaluation()) {
      return absl::InvalidArgumentError(
          fmt::format("trial {}: COMPLETED without its final evaluation", request.trial_id()));
    }
    const v1::Evaluation& evaluation = request.final_evaluation();
    RETURN_IF_ERROR(CheckEvaluation(evaluation, request.trial_id()));
    if (evaluation.step() != trial.steps) {
      return absl::InvalidArgumentError(
          fmt::format("trial {}: the final evaluation is of step {}, the plan has {} steps",
                      request.trial_id(), evaluation.step(), trial.steps));
    }
    if (!trial.eval_hash.empty() && evaluation.eval_hash() != trial.eval_hash) {
      return absl::InvalidArgumentError(
          fmt::format("trial {}: scored on evaluation set '{}', the plan says '{}'; prepare the "
                      "data again or point the worker at the right folder",
                      request.trial_id(), evaluation.eval_hash(), trial.eval_hash));
    }
    RETURN_IF_ERROR(
        InsertEvaluation(db_.get(), trial.key, request.epoch(), evaluation, true, now_ms));
    step = trial.steps;
  }
  const v1::Provenance& p = request.provenance();
  RETURN_IF_ERROR(db_->Run(
      "UPDATE attempts SET step=max(step, ?3), heard_unix_ms=?4, train_ms=?5, total_ms=?6, "
      "peak_resident_bytes=?7, commit_hash=?8, trainer=?9, trainer_version=?10, host=?11, "
      "device=?12, driver=?13, libraries_json=?14, algorithm_table_hash=?15, "
      "microbatch_sequences=?16, packing=?17, threads=?18 WHERE trial_key=?1 AND epoch=?2",
      trial.key, request.epoch(), step, now_ms, request.train_ms(), request.total_ms(),
      request.peak_resident_bytes(), p.commit(), p.trainer(), p.trainer_version(), p.host(),
      p.device(), p.driver(), p.libraries_json(), p.algorithm_table_hash(),
      p.microbatch_sequences(), p.packing(), p.threads()));
  RETURN_IF_ERROR(db_->Run("UPDATE trials SET step=?2 WHERE trial_key=?1", trial.key, step));
  RETURN_IF_ERROR(EndAttempt(trial, end, request.detail(), now_ms));
  RETURN_IF_ERROR(transaction.Commit());
  return v1::CompleteResponse();
}

}  // namespace orchestrator
