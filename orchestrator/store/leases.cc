// Leases: giving trials out, renewing, expiring, and what follows when an attempt ends.
#include <algorithm>
#include <limits>
#include <map>

#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/store.h"

namespace orchestrator {
namespace {

struct PickedTrial {
  int64_t key = 0;
  std::string sweep;
  bool run_alone = false;
};

// FLOPs that a sweep with a limit may still promise: the limit, less what its attempts spent, less
// what its leased trials will spend. Sweeps without a limit are absent.
absl::StatusOr<std::map<std::string, double>> LimitRooms(Database* db) {
  std::map<std::string, double> rooms;
  ASSIGN_OR_RETURN(Statement rows, db->Prepare(R"sql(SELECT s.sweep, s.limit_flops
          - coalesce((SELECT sum(v.flops) FROM v_attempts v WHERE v.sweep=s.sweep), 0)
          - coalesce((SELECT sum(max(t.steps-t.step, 0)*t.recipe_flops/t.steps) FROM trials t
                      WHERE t.state='LEASED' AND t.lease_sweep=s.sweep), 0)
        FROM sweeps s WHERE s.limit_flops > 0)sql"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return rooms;
    rooms[rows.Text(0)] = rows.Double(1);
  }
}

// "cpu" for a worker that is not known.
absl::StatusOr<std::string> DeviceKind(Database* db, const std::string& worker_id) {
  ASSIGN_OR_RETURN(Statement row,
                   db->Prepare("SELECT device_kind FROM workers WHERE worker_id=?1", worker_id));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  return found ? row.Text(0) : "cpu";
}

StopRequest ParseStop(const std::string& text) {
  if (text == "cancel") return StopRequest::kCancel;
  if (text == "pause") return StopRequest::kPause;
  return StopRequest::kNone;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> Store::BlockedSweeps() {
  std::vector<std::string> blocked;
  ASSIGN_OR_RETURN(const auto rooms, LimitRooms(db_.get()));
  for (const auto& [sweep, room] : rooms) {
    ASSIGN_OR_RETURN(
        const double smallest,
        db_->Double(0,
                    "SELECT coalesce(min((t.steps-t.checkpoint_step)*t.recipe_flops/t.steps), 0) "
                    "FROM trials t JOIN sweep_trials st USING(trial_key) "
                    "WHERE st.sweep=?1 AND t.state='PENDING'",
                    sweep));
    if (smallest > room) blocked.push_back(sweep);
  }
  ASSIGN_OR_RETURN(Statement rows, db_->Prepare("SELECT sweep FROM sweeps WHERE paused=1"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return blocked;
    blocked.push_back(rows.Text(0));
  }
}

absl::Status Store::DescribeLease(int64_t key, v1::Lease* lease) {
  ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare(R"sql(SELECT t.trial_id, t.plan, t.epoch, a.attempt, s.sweep, s.data_dir,
          s.checkpoint_root, coalesce(t.checkpoint_path, ''), t.checkpoint_step,
          s.trainer_command_json, t.run_alone, t.recipe_flops
        FROM trials t JOIN sweeps s ON s.sweep=t.lease_sweep
        JOIN attempts a ON a.trial_key=t.trial_key AND a.epoch=t.epoch
        WHERE t.trial_key=?1)sql",
                   key));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::InternalError(fmt::format("trial key {} has no lease", key));
  lease->set_trial_id(row.Text(0));
  lease->set_plan(row.Text(1));
  lease->set_epoch(row.Int(2));
  lease->set_attempt(static_cast<int32_t>(row.Int(3)));
  lease->set_sweep(row.Text(4));
  lease->set_data_dir(row.Text(5));
  lease->set_checkpoint_root(row.Text(6));
  lease->set_resume_from(row.Text(7));
  lease->set_resume_step(row.Int(8));
  ASSIGN_OR_RETURN(const core::Json command, core::ParseJson(row.Text(9), "trainer command"));
  for (const core::Json& word : command) lease->add_trainer_command(word.get<std::string>());
  lease->set_run_alone(row.Int(10) != 0);
  lease->set_recipe_flops(row.Double(11));
  return absl::OkStatus();
}

absl::StatusOr<v1::AcquireResponse> Store::AcquireLeases(const v1::AcquireRequest& request,
                                                         int64_t lease_ms, int64_t now_ms) {
  v1::AcquireResponse response;
  if (request.worker_id().empty())
    return absl::InvalidArgumentError("acquire: the worker has no id");
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  std::vector<int64_t> leased;  // keys of the answer
  int64_t holds = 0;
  bool holds_alone = false;
  {
    const std::vector<std::string> held(request.held_trial_ids().begin(),
                                        request.held_trial_ids().end());
    ASSIGN_OR_RETURN(Statement rows, db_->Prepare("SELECT trial_key, trial_id, run_alone FROM "
                                                  "trials WHERE state='LEASED' AND worker_id=?1",
                                                  request.worker_id()));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      ++holds;
      holds_alone = holds_alone || rows.Int(2) != 0;
      if (std::find(held.begin(), held.end(), rows.Text(1)) == held.end())
        leased.push_back(rows.Int(0));
    }
  }
  const int64_t wanted = std::max(0, request.max_trials()) - static_cast<int64_t>(leased.size());
  std::vector<PickedTrial> picked;
  if (wanted > 0 && !holds_alone) {
    ASSIGN_OR_RETURN(auto rooms, LimitRooms(db_.get()));
    // The native trainer computes f32 on a CPU and bf16-mixed on a GPU; an outside one decides.
    ASSIGN_OR_RETURN(const std::string kind, DeviceKind(db_.get(), request.worker_id()));
    // The outer loop walks the partial index in queue order and stops as soon as enough is found.
    ASSIGN_OR_RETURN(Statement rows, db_->Prepare(R"sql(SELECT t.trial_key, st.sweep, t.run_alone,
            (t.steps-t.checkpoint_step)*t.recipe_flops/t.steps
          FROM trials t INDEXED BY trials_pending CROSS JOIN sweep_trials st USING(trial_key)
          CROSS JOIN sweeps s USING(sweep)
          WHERE t.state='PENDING' AND st.cancelled=0 AND st.released=1 AND s.paused=0
            AND (s.trainer_command_json <> '[]' OR coalesce(t.numerics, 'f32') =
                 CASE ?1 WHEN 'cuda' THEN 'bf16-mixed' ELSE 'f32' END)
          ORDER BY t.lease_rank DESC, t.trial_key)sql",
                                                  kind));
    while (static_cast<int64_t>(picked.size()) < wanted) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      const PickedTrial trial{rows.Int(0), rows.Text(1), rows.Int(2) != 0};
      if (!picked.empty() && picked.back().key == trial.key) continue;  // another sweep's claim
      if (trial.run_alone && (holds > 0 || !picked.empty())) continue;
      auto room = rooms.find(trial.sweep);
      if (room != rooms.end()) {
        if (rows.Double(3) > room->second) continue;
        room->second -= rows.Double(3);
      }
      picked.push_back(trial);
      if (trial.run_alone) break;
    }
  }
  for (const PickedTrial& trial : picked) {
    // Clocks step back, and no target is leased before it is registered.
    ASSIGN_OR_RETURN(
        const int64_t leased_ms,
        db_->Int(now_ms,
                 "SELECT max(?2, coalesce(max(registered_unix_ms), ?2)) FROM forecasts WHERE "
                 "target_key=?1",
                 trial.key, now_ms));
    RETURN_IF_ERROR(
        db_->Run("UPDATE trials SET state='LEASED', epoch=epoch+1, worker_id=?2, lease_sweep=?3, "
                 "lease_expires_unix_ms=?4, stop_request=NULL, step=checkpoint_step, "
                 "tokens_per_s=0 WHERE trial_key=?1 AND state='PENDING'",
                 trial.key, request.worker_id(), trial.sweep, now_ms + lease_ms));
    RETURN_IF_ERROR(
        db_->Run("INSERT INTO attempts(trial_key, epoch, attempt, sweep, worker_id, outcome, "
                 "leased_unix_ms, heard_unix_ms, start_step, step) "
                 "SELECT trial_key, epoch, 1+(SELECT count(*) FROM attempts a WHERE "
                 "a.trial_key=?1), ?2, ?3, 'RUNNING', ?4, ?4, checkpoint_step, checkpoint_step "
                 "FROM trials WHERE trial_key=?1",
                 trial.key, trial.sweep, request.worker_id(), leased_ms));
    leased.push_back(trial.key);
  }
  ASSIGN_OR_RETURN(
      const int64_t behind,
      db_->Int(0, "SELECT count(*) FROM (SELECT 1 FROM trials WHERE state='PENDING' LIMIT 1000)"));
  for (const int64_t key : leased) {
    v1::Lease* lease = response.add_leases();
    RETURN_IF_ERROR(DescribeLease(key, lease));
    lease->set_pending_behind(behind);
  }
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

absl::StatusOr<Store::LeasedTrial> Store::CheckEpoch(std::string_view trial_id,
                                                     std::string_view worker_id, int64_t epoch) {
  ASSIGN_OR_RETURN(
      Statement row,
      db_->Prepare(R"sql(SELECT t.trial_key, t.state, t.epoch, coalesce(t.worker_id, ''),
          coalesce(t.lease_sweep, ''), t.steps, t.checkpoint_step, coalesce(t.eval_hash, ''),
          coalesce(t.stop_request, ''), t.failures, t.preemptions, t.out_of_memory, t.run_alone,
          coalesce(s.retry_failure, 0), coalesce(s.retry_preemption, 0),
          coalesce(s.retry_out_of_memory, 0), t.shared_crashes
        FROM trials t LEFT JOIN sweeps s ON s.sweep=t.lease_sweep WHERE t.trial_id=?1)sql",
                   trial_id));
  ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found)
    return absl::NotFoundError(fmt::format("trial {} is not in this database; drop it", trial_id));
  if (row.Text(1) != "LEASED" || row.Int(2) != epoch || row.Text(3) != worker_id) {
    return absl::FailedPreconditionError(fmt::format(
        "trial {}: worker {} writes under epoch {}, but the trial is {} at epoch {} of worker "
        "'{}'; drop the trial and write nothing more",
        trial_id, worker_id, epoch, row.Text(1), row.Int(2), row.Text(3)));
  }
  LeasedTrial trial;
  trial.key = row.Int(0);
  trial.sweep = row.Text(4);
  trial.steps = row.Int(5);
  trial.checkpoint_step = row.Int(6);
  trial.eval_hash = row.Text(7);
  trial.stop = ParseStop(row.Text(8));
  trial.counts = {static_cast<int>(row.Int(9)), static_cast<int>(row.Int(10)),
                  static_cast<int>(row.Int(11)), static_cast<int>(row.Int(16))};
  trial.run_alone = row.Int(12) != 0;
  trial.limits = {static_cast<int>(row.Int(13)), static_cast<int>(row.Int(14)),
                  static_cast<int>(row.Int(15))};
  return trial;
}

absl::StatusOr<v1::HeartbeatResponse> Store::RenewLeases(const v1::HeartbeatRequest& request,
                                                         int64_t lease_ms, int64_t now_ms) {
  v1::HeartbeatResponse response;
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  RETURN_IF_ERROR(db_->Run("UPDATE workers SET heard_unix_ms=?2 WHERE worker_id=?1",
                           request.worker_id(), now_ms));
  for (const v1::HeartbeatRequest::Held& held : request.held()) {
    const absl::StatusOr<LeasedTrial> trial =
        CheckEpoch(held.trial_id(), request.worker_id(), held.epoch());
    if (absl::IsFailedPrecondition(trial.status()) || absl::IsNotFound(trial.status())) {
      response.add_lost_trial_ids(held.trial_id());
      continue;
    }
    RETURN_IF_ERROR(trial.status());
    const int64_t step = std::clamp<int64_t>(held.step(), 0, trial->steps);
    RETURN_IF_ERROR(
        db_->Run("UPDATE trials SET lease_expires_unix_ms=?2, step=?3, "
                 "tokens_per_s=coalesce(?4, 0), resident_bytes=?5 WHERE trial_key=?1",
                 trial->key, now_ms + lease_ms, step, held.tokens_per_s(), held.resident_bytes()));
    RETURN_IF_ERROR(
        db_->Run("UPDATE attempts SET heard_unix_ms=?3, step=max(step, ?4) WHERE "
                 "trial_key=?1 AND epoch=?2",
                 trial->key, held.epoch(), now_ms, step));
    if (trial->stop == StopRequest::kCancel) response.add_cancel_trial_ids(held.trial_id());
    if (trial->stop == StopRequest::kPause) response.add_pause_trial_ids(held.trial_id());
  }
  RETURN_IF_ERROR(transaction.Commit());
  return response;
}

absl::Status Store::EndAttempt(const LeasedTrial& trial, AttemptEnd end, std::string_view detail,
                               int64_t now_ms) {
  const AttemptVerdict verdict = AfterAttempt(end, trial.stop, trial.counts, trial.limits);
  RETURN_IF_ERROR(
      db_->Run("UPDATE attempts SET outcome=?2, detail=?3, ended_unix_ms=?4 "
               "WHERE trial_key=?1 AND epoch=(SELECT epoch FROM trials WHERE trial_key=?1)",
               trial.key, AttemptEndName(end), detail.substr(0, 16384), now_ms));
  const bool terminal = verdict.next != TrialState::kPending;
  ASSIGN_OR_RETURN(const std::string ids,
                   db_->Text("SELECT trial_id || ' ' || coalesce(worker_id, '') FROM trials WHERE "
                             "trial_key=?1",
                             trial.key));
  RETURN_IF_ERROR(db_->Run(
      "UPDATE trials SET state=?2, worker_id=NULL, lease_expires_unix_ms=NULL, "
      "stop_request=NULL, tokens_per_s=0, failures=?3, preemptions=?4, out_of_memory=?5, "
      "run_alone=?6, finished_unix_ms=?7, shared_crashes=?8, step=CASE WHEN ?2 IN "
      "('PENDING','CANCELLED') THEN "
      "checkpoint_step ELSE "
      "step END WHERE trial_key=?1",
      trial.key, TrialStateName(verdict.next), verdict.counts.failures, verdict.counts.preemptions,
      verdict.counts.out_of_memory, trial.run_alone || verdict.run_alone,
      terminal ? std::optional<int64_t>(now_ms) : std::nullopt, verdict.counts.shared_crashes));
  const size_t space = ids.find(' ');
  RETURN_IF_ERROR(AddEvent(now_ms, AttemptEndName(end), trial.sweep, ids.substr(0, space),
                           ids.substr(space + 1),
                           fmt::format("trial is {}{}{}", TrialStateName(verdict.next),
                                       detail.empty() ? "" : ": ", detail.substr(0, 2000))));
  switch (verdict.next) {
    case TrialState::kPending:
    case TrialState::kCancelled:
      // Sweeps may have cancelled it or asked for it since.
      return SettleWaiting(trial.key, now_ms);
    case TrialState::kCompleted:
      return ScoreForecasts(trial.key, now_ms);
    default:
      return AbandonForecasts(
          trial.key, fmt::format("the target ended {}", TrialStateName(verdict.next)), now_ms);
  }
}

absl::StatusOr<int64_t> Store::ExpireLeases(int64_t now_ms) {
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  struct Expired {
    std::string trial_id, worker_id;
    int64_t epoch;
  };
  std::vector<Expired> expired;
  {
    ASSIGN_OR_RETURN(Statement rows,
                     db_->Prepare("SELECT trial_id, worker_id, epoch FROM trials WHERE "
                                  "state='LEASED' AND lease_expires_unix_ms<=?1",
                                  now_ms));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) break;
      expired.push_back({rows.Text(0), rows.Text(1), rows.Int(2)});
    }
  }
  for (const Expired& lease : expired) {
    ASSIGN_OR_RETURN(const LeasedTrial trial,
                     CheckEpoch(lease.trial_id, lease.worker_id, lease.epoch));
    RETURN_IF_ERROR(EndAttempt(
        trial, AttemptEnd::kExpired,
        fmt::format("worker {} was not heard of until its lease ended", lease.worker_id), now_ms));
  }
  RETURN_IF_ERROR(transaction.Commit());
  return static_cast<int64_t>(expired.size());
}

absl::Status Store::ExtendLeases(int64_t lease_ms, int64_t now_ms) {
  return db_->Run("UPDATE trials SET lease_expires_unix_ms=?1 WHERE state='LEASED'",
                  now_ms + lease_ms);
}

absl::Status Store::RegisterWorker(const v1::RegisterRequest& request, int64_t now_ms) {
  if (request.worker_id().empty() || request.worker_id().size() > 256) {
    return absl::InvalidArgumentError(fmt::format(
        "register: worker id '{}'; use 1 to 256 characters", request.worker_id().substr(0, 256)));
  }
  return db_->Run(
      "INSERT INTO workers(worker_id, host, pid, version, commit_hash, device_kind, device, "
      "slots, registered_unix_ms, heard_unix_ms) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?9) "
      "ON CONFLICT(worker_id) DO UPDATE SET heard_unix_ms=excluded.heard_unix_ms",
      request.worker_id(), request.host(), request.pid(), request.version(), request.commit(),
      request.device_kind(), request.device(), request.slots(), now_ms);
}

}  // namespace orchestrator
