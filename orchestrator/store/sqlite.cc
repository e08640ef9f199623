#include "orchestrator/store/sqlite.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cmath>

#include "fmt/format.h"

namespace orchestrator {
namespace {

// Only reading passes; used for connections that run other people's SQL.
int AuthorizeReadOnly(void*, int action, const char* first, const char* second, const char*,
                      const char*) {
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
    case SQLITE_TRANSACTION:
      return SQLITE_OK;
    case SQLITE_FUNCTION:
      // The only functions of SQLite that reach outside the database.
      if (second != nullptr && (std::string_view(second) == "load_extension")) return SQLITE_DENY;
      return SQLITE_OK;
    case SQLITE_PRAGMA: {
      const std::string_view name = first == nullptr ? "" : first;
      const bool reads = second == nullptr &&
                         (name == "user_version" || name == "page_count" || name == "page_size" ||
                          name == "journal_mode" || name == "integrity_check");
      const bool describes = name == "table_info" || name == "table_xinfo" || name == "index_list";
      return reads || describes ? SQLITE_OK : SQLITE_DENY;
    }
    case SQLITE_UPDATE:
      // SQLite asks this when it declares the table of json_each, which v_frontier reads. A
      // statement that updates the schema itself is refused by SQLite, and the file is read-only.
      return first != nullptr && std::string_view(first) == "sqlite_master" ? SQLITE_OK
                                                                            : SQLITE_DENY;
    default:
      return SQLITE_DENY;
  }
}

int OnProgress(void* context) { return (*static_cast<std::function<bool()>*>(context))() ? 1 : 0; }

}  // namespace

bool IsNetworkFilesystem(int64_t f_type) {
  switch (static_cast<uint32_t>(f_type)) {
    case 0x6969:      // NFS
    case 0x0BD00BD0:  // Lustre
    case 0x517B:      // SMB
    case 0xFF534D42:  // CIFS
    case 0xFE534D42:  // SMB2
    case 0x47504653:  // GPFS
    case 0x00C36400:  // Ceph
    case 0x19830326:  // BeeGFS
    case 0x5346414F:  // AFS
      return true;
    default:
      return false;
  }
}

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), handle_(std::exchange(other.handle_, nullptr)), cached_(other.cached_) {}

Statement::~Statement() {
  if (handle_ != nullptr) db_->GiveBack(handle_, cached_);
}

absl::StatusOr<bool> Statement::Step() {
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  const absl::Status error = db_->Error(code, sqlite3_sql(handle_));
  sqlite3_reset(handle_);
  return error;
}

int Statement::Columns() const { return sqlite3_column_count(handle_); }
std::string Statement::ColumnName(int column) const {
  const char* name = sqlite3_column_name(handle_, column);
  return name == nullptr ? "" : name;
}
bool Statement::IsNull(int column) const {
  return sqlite3_column_type(handle_, column) == SQLITE_NULL;
}
int64_t Statement::Int(int column) const { return sqlite3_column_int64(handle_, column); }
double Statement::Double(int column) const { return sqlite3_column_double(handle_, column); }
std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(handle_, column));
  return text == nullptr ? "" : std::string(text, sqlite3_column_bytes(handle_, column));
}
core::Json Statement::Value(int column) const {
  switch (sqlite3_column_type(handle_, column)) {
    case SQLITE_INTEGER:
      return Int(column);
    case SQLITE_FLOAT: {
      const double value = Double(column);
      return std::isfinite(value) ? core::Json(value) : core::Json(nullptr);
    }
    case SQLITE_TEXT:
      return Text(column);
    case SQLITE_BLOB:
      return fmt::format("<{} bytes>", sqlite3_column_bytes(handle_, column));
    default:
      return nullptr;
  }
}

absl::Status Statement::BindAt(int index, std::nullptr_t) {
  return db_->Error(sqlite3_bind_null(handle_, index), sqlite3_sql(handle_));
}
absl::Status Statement::BindAt(int index, int64_t value) {
  return db_->Error(sqlite3_bind_int64(handle_, index, value), sqlite3_sql(handle_));
}
absl::Status Statement::BindAt(int index, double value) {
  return db_->Error(sqlite3_bind_double(handle_, index, value), sqlite3_sql(handle_));
}
absl::Status Statement::BindAt(int index, std::string_view value) {
  return db_->Error(sqlite3_bind_text64(handle_, index, value.data() == nullptr ? "" : value.data(),
                                        value.size(), SQLITE_TRANSIENT, SQLITE_UTF8),
                    sqlite3_sql(handle_));
}

std::string ImmutableUri(const std::string& path) {
  // An empty authority, so that a path that begins with two slashes stays one.
  std::string uri = !path.empty() && path[0] == '/' ? "file://" : "file:";
  for (const char c : path)
    uri += c == '%' || c == '?' || c == '#' ? fmt::format("%{:02X}", static_cast<unsigned>(c))
                                            : std::string(1, c);
  return uri + "?immutable=1";
}

absl::Status CheckDatabasePlace(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  struct stat info;
  if (stat(folder.c_str(), &info) != 0)
    return absl::FailedPreconditionError(fmt::format(
        "database {}: there is no folder {}; create it, or name another place with --db", path,
        folder));
  if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
    return absl::FailedPreconditionError(
        fmt::format("database {}: this is a folder; name a file with --db, as {}{}sweepctl.db",
                    path, path, path.back() == '/' ? "" : "/"));
  struct statfs fs;
  if (statfs(folder.c_str(), &fs) == 0 && IsNetworkFilesystem(fs.f_type))
    return absl::FailedPreconditionError(fmt::format(
        "opening database {}: {} is a network filesystem, where SQLite's write-ahead log loses "
        "data; "
        "put the database on a local disk (--db /local/path.db) and run the coordinator there",
        path, folder));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Database>> Database::Connect(const std::string& path,
                                                            const std::string& name, Mode mode) {
  const bool read_only = mode == Mode::kReadOnly;
  sqlite3* handle = nullptr;
  const int flags =
      (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
      SQLITE_OPEN_NOMUTEX | (name != path ? SQLITE_OPEN_URI : 0);
  const int code = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  std::unique_ptr<Database> db(new Database(handle, path));
  if (code != SQLITE_OK) return db->Error(code, "open");
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 5000);
  const char* setup = read_only ? "PRAGMA query_only=1; PRAGMA temp_store=MEMORY;"
                                : "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
                                  "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;";
  if (absl::Status status = db->Execute(setup); !status.ok()) return status;
  if (read_only) sqlite3_set_authorizer(handle, &AuthorizeReadOnly, nullptr);
  return db;
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  if (absl::Status place = CheckDatabasePlace(path); !place.ok()) return place;
  if (mode == Mode::kReadWrite) return Connect(path, path, mode);
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(fmt::format(
        "database {} does not exist; name another with --db or launch a sweep first", path));
  }
  absl::StatusOr<std::unique_ptr<Database>> db = Connect(path, path, mode);
  // The first read wants to make shared memory beside the file.
  const absl::Status read =
      db.ok() ? (*db)->Int(0, "SELECT count(*) FROM sqlite_schema").status() : db.status();
  if (!absl::IsPermissionDenied(read)) {
    if (!db.ok()) return db.status();
    return db;
  }
  if (stat((path + "-wal").c_str(), &info) == 0 && info.st_size > 0)
    return absl::PermissionDeniedError(fmt::format(
        "database {} lies where nothing can be written, and the newest of it in {}-wal; copy both "
        "to a folder that you may write, and name the copy with --db",
        path, path));
  return Connect(path, ImmutableUri(path), mode);
}

absl::Status Database::CopyTo(const std::string& path) {
  absl::StatusOr<std::unique_ptr<Database>> copy = Connect(path, path, Mode::kReadWrite);
  if (!copy.ok()) return copy.status();
  sqlite3_backup* backup = sqlite3_backup_init((*copy)->handle_, "main", handle_, "main");
  if (backup == nullptr) return (*copy)->Error(sqlite3_errcode((*copy)->handle_), "copy");
  const int code = sqlite3_backup_step(backup, -1);
  sqlite3_backup_finish(backup);
  return code == SQLITE_DONE ? absl::OkStatus() : Error(code, "copy");
}

Database::~Database() {
  for (auto& [sql, handles] : idle_)
    for (sqlite3_stmt* handle : handles) sqlite3_finalize(handle);
  sqlite3_close_v2(handle_);
}

absl::Status Database::Execute(const std::string& sql) {
  return Error(sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr),
               std::string_view(sql).substr(0, 200));
}

absl::StatusOr<Statement> Database::Compile(std::string_view sql) {
  const std::string key(sql);
  std::vector<sqlite3_stmt*>& free = idle_[key];
  if (!free.empty()) {
    sqlite3_stmt* handle = free.back();
    free.pop_back();
    busy_.emplace(handle, key);
    return Statement(this, handle, true);
  }
  sqlite3_stmt* handle = nullptr;
  const char* tail = nullptr;
  const int code =
      sqlite3_prepare_v2(handle_, key.c_str(), static_cast<int>(key.size()) + 1, &handle, &tail);
  if (code != SQLITE_OK) return Error(code, sql.substr(0, 200));
  if (handle == nullptr) return absl::InvalidArgumentError("SQL: the statement is empty");
  if (std::string_view(tail).find_first_not_of(" \t\r\n;") != std::string_view::npos) {
    sqlite3_finalize(handle);
    return absl::InvalidArgumentError("SQL: one statement at a time");
  }
  busy_.emplace(handle, key);
  return Statement(this, handle, true);
}

void Database::GiveBack(sqlite3_stmt* handle, bool cached) {
  sqlite3_reset(handle);
  sqlite3_clear_bindings(handle);
  auto it = busy_.find(handle);
  if (!cached || it == busy_.end() || idle_.size() > 512) {
    if (it != busy_.end()) busy_.erase(it);
    sqlite3_finalize(handle);
    return;
  }
  idle_[it->second].push_back(handle);
  busy_.erase(it);
}

absl::Status Database::Finish(Statement& statement) {
  while (true) {
    absl::StatusOr<bool> row = statement.Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
  }
}

absl::Status Database::Error(int code, std::string_view attempted) const {
  if (code == SQLITE_OK) return absl::OkStatus();
  const std::string message = fmt::format(
      "database {}: {} ({}), in: {}", path_,
      handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_), code, attempted);
  // A CREATE that the authorizer refused ends with SQLITE_SCHEMA rather than SQLITE_AUTH.
  const bool refused = handle_ != nullptr && (code & 0xff) == SQLITE_SCHEMA &&
                       std::string_view(sqlite3_errmsg(handle_)) == "not authorized";
  switch (refused ? SQLITE_AUTH : code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(message + "; free space on the disk");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(message);
    case SQLITE_INTERRUPT:
      return absl::DeadlineExceededError(message);
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(message + "; only reading is allowed here");
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      return absl::PermissionDeniedError(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message +
                                 "; name another file with --db, or restore a backup of this one");
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(message);
    default:
      return absl::InternalError(message);
  }
}

int64_t Database::Changes() const { return sqlite3_changes64(handle_); }
int64_t Database::LastInsertRowid() const { return sqlite3_last_insert_rowid(handle_); }
bool Database::InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }

void Database::SetInterrupt(std::function<bool()> expired) {
  interrupt_ = std::move(expired);
  if (interrupt_) {
    sqlite3_progress_handler(handle_, 5000, &OnProgress, &interrupt_);
  } else {
    sqlite3_progress_handler(handle_, 0, nullptr, nullptr);
  }
}

Transaction::Transaction(Database* db) : db_(db), outermost_(!db->InTransaction()) {
  status_ = outermost_ ? db_->Run("BEGIN IMMEDIATE") : db_->Run("SAVEPOINT nested");
  open_ = status_.ok();
}

Transaction::~Transaction() {
  // After a disk-full error SQLite may have rolled back the whole transaction already.
  if (!open_ || !db_->InTransaction()) return;
  if (outermost_) {
    (void)db_->Run("ROLLBACK");
  } else {
    (void)db_->Run("ROLLBACK TO nested");
    (void)db_->Run("RELEASE nested");
  }
}

absl::Status Transaction::Commit() {
  if (!open_) return status_;
  if (!db_->InTransaction()) {
    open_ = false;
    return absl::ResourceExhaustedError("the database rolled the transaction back");
  }
  absl::Status status = outermost_ ? db_->Run("COMMIT") : db_->Run("RELEASE nested");
  if (status.ok()) open_ = false;
  return status;
}

}  // namespace orchestrator
