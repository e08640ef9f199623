#include "orchestrator/store/store.h"

#include "core/status_macros.h"

namespace orchestrator {

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& path, Migration* migration) {
  // Before a byte of another program's file is changed.
  if (const auto before = Database::Open(path, Database::Mode::kReadOnly); before.ok())
    RETURN_IF_ERROR(CheckOurs(before->get()));
  ASSIGN_OR_RETURN(std::unique_ptr<Database> db, Database::Open(path, Database::Mode::kReadWrite));
  ASSIGN_OR_RETURN(const Migration done, Migrate(db.get()));
  if (migration != nullptr) *migration = done;
  return std::unique_ptr<Store>(new Store(std::move(db)));
}

absl::Status Store::AddEvent(int64_t now_ms, std::string_view kind, std::string_view sweep,
                             std::string_view trial_id, std::string_view worker_id,
                             std::string_view detail) {
  return db_->Run(
      "INSERT INTO events(unix_ms, kind, sweep, trial_id, worker_id, detail) "
      "VALUES(?1, ?2, nullif(?3,''), nullif(?4,''), nullif(?5,''), ?6)",
      now_ms, kind, sweep, trial_id, worker_id, detail);
}

absl::Status Store::ProbeSpace() {
  return db_->Run("INSERT INTO probe(content) VALUES(zeroblob(262144))");
}

absl::Status Store::ClearProbe() { return db_->Run("DELETE FROM probe"); }

absl::StatusOr<Activity> Store::GetActivity() {
  Activity activity;
  ASSIGN_OR_RETURN(activity.pending,
                   db_->Int(0, "SELECT count(*) FROM trials WHERE state='PENDING'"));
  ASSIGN_OR_RETURN(activity.leased,
                   db_->Int(0, "SELECT count(*) FROM trials WHERE state='LEASED'"));
  ASSIGN_OR_RETURN(activity.held, db_->Int(0, "SELECT count(*) FROM trials WHERE state='HELD'"));
  if (activity.pending > 0) {
    ASSIGN_OR_RETURN(const std::vector<std::string> blocked, BlockedSweeps());
    ASSIGN_OR_RETURN(
        const int64_t some,
        db_->Int(0,
                 "SELECT 1 FROM trials t WHERE t.state='PENDING' AND EXISTS("
                 "SELECT 1 FROM sweep_trials st WHERE st.trial_key=t.trial_key AND st.cancelled=0 "
                 "AND st.released=1 AND st.sweep NOT IN (SELECT value FROM json_each(?1))) LIMIT 1",
                 core::Json(blocked).dump()));
    activity.runnable = some != 0;
  }
  return activity;
}

}  // namespace orchestrator
