// Control: cancel, pause, resume, retry.
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/store.h"

namespace orchestrator {
namespace {

struct Member {
  int64_t key = 0;
  std::string state;
};

const char* ActionName(v1::ControlRequest::Action action) {
  switch (action) {
    case v1::ControlRequest::CANCEL:
      return "cancel";
    case v1::ControlRequest::PAUSE:
      return "pause";
    case v1::ControlRequest::RESUME:
      return "resume";
    case v1::ControlRequest::RETRY:
      return "retry";
    default:
      return "";
  }
}

// Members of the sweep, all or the named ones; NOT_FOUND for a name that is not a member.
absl::StatusOr<std::vector<Member>> Members(Database* db, const v1::ControlRequest& request) {
  std::vector<Member> members;
  if (request.trial_ids().empty()) {
    ASSIGN_OR_RETURN(Statement rows,
                     db->Prepare("SELECT t.trial_key, t.state FROM sweep_trials st JOIN trials t "
                                 "USING(trial_key) WHERE st.sweep=?1 ORDER BY st.position",
                                 request.sweep()));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, rows.Step());
      if (!row) return members;
      members.push_back({rows.Int(0), rows.Text(1)});
    }
  }
  for (const std::string& id : request.trial_ids()) {
    ASSIGN_OR_RETURN(Statement rows,
                     db->Prepare("SELECT t.trial_key, t.state FROM sweep_trials st JOIN trials t "
                                 "USING(trial_key) WHERE st.sweep=?1 AND t.trial_id=?2",
                                 request.sweep(), id));
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return absl::NotFoundError(
          fmt::format("sweep {} has no trial {}; `sweepctl status {}` lists them", request.sweep(),
                      id, request.sweep()));
    }
    members.push_back({rows.Int(0), rows.Text(1)});
  }
  return members;
}

}  // namespace

absl::Status Store::SettleWaiting(int64_t key, int64_t now_ms) {
  // A trial that has run can no longer be forecast blindly (RegisterForecast refuses it), so
  // holding it back as somebody's target would only keep it from ending.
  RETURN_IF_ERROR(
      db_->Run("UPDATE sweep_trials SET released=1 WHERE trial_key=?1 AND released=0 AND "
               "EXISTS(SELECT 1 FROM attempts a WHERE a.trial_key=?1)",
               key));
  // Somebody wants a running trial again that was about to be cancelled.
  RETURN_IF_ERROR(
      db_->Run("UPDATE trials SET stop_request=NULL WHERE trial_key=?1 AND state='LEASED' AND "
               "stop_request='cancel' AND EXISTS(SELECT 1 FROM sweep_trials st WHERE "
               "st.trial_key=?1 AND st.cancelled=0)",
               key));
  RETURN_IF_ERROR(db_->Run(
      R"sql(UPDATE trials SET state = CASE
          WHEN NOT EXISTS(SELECT 1 FROM sweep_trials st WHERE st.trial_key=?1 AND st.cancelled=0)
            THEN 'CANCELLED'
          WHEN EXISTS(SELECT 1 FROM sweep_trials st WHERE st.trial_key=?1 AND st.cancelled=0
                      AND st.released=1) THEN 'PENDING'
          ELSE 'HELD' END,
          finished_unix_ms = CASE WHEN EXISTS(SELECT 1 FROM sweep_trials st WHERE st.trial_key=?1
            AND st.cancelled=0) THEN NULL ELSE coalesce(finished_unix_ms, ?2) END
        WHERE trial_key=?1 AND state IN ('HELD','PENDING','CANCELLED'))sql",
      key, now_ms));
  ASSIGN_OR_RETURN(const std::string state,
                   db_->Text("SELECT state FROM trials WHERE trial_key=?1", key));
  if (state == "CANCELLED") return AbandonForecasts(key, "the target was cancelled", now_ms);
  if (state == "HELD" || state == "PENDING") return ReopenForecasts(key, now_ms);
  return absl::OkStatus();
}

absl::StatusOr<v1::ControlResponse> Store::Control(const v1::ControlRequest& request,
                                                   int64_t now_ms) {
  Transaction transaction(db_.get());
  RETURN_IF_ERROR(transaction.status());
  ASSIGN_OR_RETURN(const int64_t known,
                   db_->Int(0, "SELECT 1 FROM sweeps WHERE sweep=?1", request.sweep()));
  if (known == 0) {
    return absl::NotFoundError(fmt::format(
        "sweep {} does not exist; `sweepctl status` lists the sweeps", request.sweep()));
  }
  ASSIGN_OR_RETURN(const std::vector<Member> members, Members(db_.get(), request));
  int64_t changed = 0;
  switch (request.action()) {
    case v1::ControlRequest::CANCEL:
      for (const Member& member : members) {
        if (member.state != "HELD" && member.state != "PENDING" && member.state != "LEASED")
          continue;
        RETURN_IF_ERROR(
            db_->Run("UPDATE sweep_trials SET cancelled=1 WHERE sweep=?1 AND "
                     "trial_key=?2 AND cancelled=0",
                     request.sweep(), member.key));
        changed += db_->Changes();
        RETURN_IF_ERROR(SettleWaiting(member.key, now_ms));
        RETURN_IF_ERROR(db_->Run(
            "UPDATE trials SET stop_request='cancel' WHERE trial_key=?1 AND state='LEASED' AND "
            "NOT EXISTS(SELECT 1 FROM sweep_trials st WHERE st.trial_key=?1 AND st.cancelled=0)",
            member.key));
      }
      break;
    case v1::ControlRequest::PAUSE:
      if (!request.trial_ids().empty()) {
        return absl::InvalidArgumentError(
            "pause works on a whole sweep; use cancel for single trials");
      }
      RETURN_IF_ERROR(
          db_->Run("UPDATE sweeps SET paused=1 WHERE sweep=?1 AND paused=0", request.sweep()));
      changed = db_->Changes();
      // A trial that another running sweep wants goes on.
      RETURN_IF_ERROR(db_->Run(
          R"sql(UPDATE trials SET stop_request='pause'
            WHERE state='LEASED' AND stop_request IS NULL
              AND trial_key IN (SELECT trial_key FROM sweep_trials WHERE sweep=?1)
              AND NOT EXISTS(SELECT 1 FROM sweep_trials st JOIN sweeps s USING(sweep)
                WHERE st.trial_key=trials.trial_key AND st.cancelled=0 AND s.paused=0))sql",
          request.sweep()));
      changed += db_->Changes();
      break;
    case v1::ControlRequest::RESUME:
      if (request.trial_ids().empty()) {
        RETURN_IF_ERROR(
            db_->Run("UPDATE sweeps SET paused=0 WHERE sweep=?1 AND paused=1", request.sweep()));
        changed = db_->Changes();
      }
      for (const Member& member : members) {
        RETURN_IF_ERROR(
            db_->Run("UPDATE sweep_trials SET cancelled=0 WHERE sweep=?1 AND "
                     "trial_key=?2 AND cancelled=1",
                     request.sweep(), member.key));
        changed += db_->Changes();
        RETURN_IF_ERROR(
            db_->Run("UPDATE trials SET stop_request=NULL WHERE trial_key=?1 AND "
                     "stop_request='pause' AND EXISTS(SELECT 1 FROM sweep_trials st JOIN sweeps s "
                     "USING(sweep) WHERE st.trial_key=?1 AND st.cancelled=0 AND s.paused=0)",
                     member.key));
        RETURN_IF_ERROR(SettleWaiting(member.key, now_ms));
      }
      break;
    case v1::ControlRequest::RETRY:
      for (const Member& member : members) {
        if (member.state != "FAILED" && member.state != "OUT_OF_MEMORY") continue;
        RETURN_IF_ERROR(
            db_->Run("UPDATE trials SET state='PENDING', failures=0, preemptions=0, "
                     "out_of_memory=0, shared_crashes=0, run_alone=0, finished_unix_ms=NULL WHERE "
                     "trial_key=?1",
                     member.key));
        ++changed;
        RETURN_IF_ERROR(SettleWaiting(member.key, now_ms));
      }
      break;
    default:
      return absl::InvalidArgumentError("control: no action; use cancel, pause, resume or retry");
  }
  if (changed > 0) {
    RETURN_IF_ERROR(AddEvent(now_ms, ActionName(request.action()), request.sweep(), "", "",
                             request.trial_ids().empty()
                                 ? "the whole sweep"
                                 : fmt::format("{} trials", request.trial_ids_size())));
  }
  RETURN_IF_ERROR(transaction.Commit());
  v1::ControlResponse response;
  response.set_trials_changed(changed);
  return response;
}

}  // namespace orchestrator
