#include "orchestrator/store/guarded_query.h"

#include "core/clock.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/sqlite.h"

namespace orchestrator {
namespace {

constexpr int64_t kDefaultRows = 10'000;
constexpr int64_t kDefaultTimeoutMs = 10'000;
// Below gRPC's limit of 4 MiB a message.
constexpr size_t kMaxBytes = 3 << 20;

}  // namespace

absl::StatusOr<sweep::v1::QueryResponse> RunGuardedQuery(const std::string& path,
                                                         const sweep::v1::QueryRequest& request) {
  ASSIGN_OR_RETURN(const auto db, Database::Open(path, Database::Mode::kReadOnly));
  RETURN_IF_ERROR(CheckSchemaVersion(db.get()));
  const int64_t timeout_ms = request.timeout_ms() > 0 ? request.timeout_ms() : kDefaultTimeoutMs;
  const int64_t max_rows = request.max_rows() > 0 ? request.max_rows() : kDefaultRows;
  const int64_t deadline_ms = core::SystemClock().MonotonicMs() + timeout_ms;
  db->SetInterrupt([deadline_ms] { return core::SystemClock().MonotonicMs() >= deadline_ms; });
  sweep::v1::QueryResponse response;
  ASSIGN_OR_RETURN(Statement rows, db->Prepare(request.sql()));
  for (int i = 0; i < rows.Columns(); ++i) response.add_columns(rows.ColumnName(i));
  size_t bytes = 0;
  while (true) {
    absl::StatusOr<bool> row = rows.Step();
    if (absl::IsDeadlineExceeded(row.status())) {
      return absl::DeadlineExceededError(fmt::format(
          "query: stopped after {} ms; ask for less or raise the time limit", timeout_ms));
    }
    RETURN_IF_ERROR(row.status());
    if (!*row) return response;
    core::Json values = core::Json::array();
    for (int i = 0; i < rows.Columns(); ++i) values.push_back(rows.Value(i));
    std::string text = values.dump(-1, ' ', false, core::Json::error_handler_t::replace);
    bytes += text.size();
    if (response.rows_json_size() >= max_rows || bytes > kMaxBytes) {
      response.set_truncated(true);
      return response;
    }
    response.add_rows_json(std::move(text));
  }
}

}  // namespace orchestrator
