// A small RAII layer over SQLite: Database, Statement, Transaction. The only door to sqlite3 in the
// tree; nothing above it sees a handle or a result code.
//
// Error codes of everything here: RESOURCE_EXHAUSTED (disk full, quota, I/O error: nothing of the
// statement happened), UNAVAILABLE (locked by another process), DEADLINE_EXCEEDED (interrupted),
// PERMISSION_DENIED (read-only or not authorised), DATA_LOSS (corrupt file), INVALID_ARGUMENT (SQL
// that does not compile, a value of the wrong type, a broken constraint), INTERNAL (the rest).
// Thread-safety: a Database and what it hands out belong to one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/canonical_json.h"

struct sqlite3;
struct sqlite3_stmt;

namespace orchestrator {

class Database;

// One prepared statement with its parameters bound, borrowed from the connection's cache. Must not
// outlive its Database.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Advances; true when a row is there.
  absl::StatusOr<bool> Step();

  int Columns() const;
  std::string ColumnName(int column) const;
  bool IsNull(int column) const;
  int64_t Int(int column) const;       // NULL reads as 0
  double Double(int column) const;     // NULL reads as 0
  std::string Text(int column) const;  // NULL reads as ""
  // The value as JSON: null, integer, number, string; a blob is shown as its size; a number that
  // JSON cannot hold is null.
  core::Json Value(int column) const;

 private:
  friend class Database;
  Statement(Database* db, sqlite3_stmt* handle, bool cached)
      : db_(db), handle_(handle), cached_(cached) {}

  absl::Status BindAt(int index, std::nullptr_t);
  absl::Status BindAt(int index, int64_t value);
  absl::Status BindAt(int index, int value) { return BindAt(index, static_cast<int64_t>(value)); }
  absl::Status BindAt(int index, bool value) { return BindAt(index, static_cast<int64_t>(value)); }
  absl::Status BindAt(int index, double value);  // NaN binds NULL
  absl::Status BindAt(int index, std::string_view value);
  absl::Status BindAt(int index, const std::string& value) {
    return BindAt(index, std::string_view(value));
  }
  absl::Status BindAt(int index, const char* value) {
    return BindAt(index, std::string_view(value));
  }
  template <typename T>
  absl::Status BindAt(int index, const std::optional<T>& value) {
    return value.has_value() ? BindAt(index, *value) : BindAt(index, nullptr);
  }

  Database* db_;
  sqlite3_stmt* handle_;
  bool cached_;
};

class Database {
 public:
  enum class Mode {
    kReadWrite,  // creates the file; WAL, foreign keys on, synchronous=FULL
    kReadOnly,   // query_only, and an authorizer that lets nothing but reading pass
  };
  // NOT_FOUND for a missing file in kReadOnly; FAILED_PRECONDITION as CheckDatabasePlace. A copy
  // without a -wal can be read where nothing may be written; PERMISSION_DENIED for one with a -wal.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Any number of statements without parameters and without results.
  absl::Status Execute(const std::string& sql);

  // Compiles (or takes from the cache) and binds ?1, ?2, ... in order.
  template <typename... Args>
  absl::StatusOr<Statement> Prepare(std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Compile(sql);
    if (!statement.ok()) return statement;
    int index = 0;
    absl::Status status;
    ((status = status.ok() ? statement->BindAt(++index, args) : status), ...);
    if (!status.ok()) return status;
    return statement;
  }
  // Prepare and step to the end; rows are ignored.
  template <typename... Args>
  absl::Status Run(std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Prepare(sql, args...);
    if (!statement.ok()) return statement.status();
    return Finish(*statement);
  }
  // First column of the first row as an integer; `none` when there is no row.
  template <typename... Args>
  absl::StatusOr<int64_t> Int(int64_t none, std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Prepare(sql, args...);
    if (!statement.ok()) return statement.status();
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    return *row ? statement->Int(0) : none;
  }
  // As Int, for a number.
  template <typename... Args>
  absl::StatusOr<double> Double(double none, std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Prepare(sql, args...);
    if (!statement.ok()) return statement.status();
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    return *row ? statement->Double(0) : none;
  }
  // As Int, for text.
  template <typename... Args>
  absl::StatusOr<std::string> Text(std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Prepare(sql, args...);
    if (!statement.ok()) return statement.status();
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    return *row ? statement->Text(0) : std::string();
  }

  // Writes what the database holds now to a new file, as one state. Blocks nobody.
  absl::Status CopyTo(const std::string& path);

  // As opened.
  const std::string& path() const { return path_; }
  // Rows the last Run changed; rowid of the last insert.
  int64_t Changes() const;
  int64_t LastInsertRowid() const;
  // False again after SQLite itself rolled everything back (disk full does that).
  bool InTransaction() const;

  // From now on a statement is interrupted (DEADLINE_EXCEEDED) once `expired` returns true; it is
  // asked every few thousand instructions. An empty function removes the limit.
  void SetInterrupt(std::function<bool()> expired);

 private:
  friend class Statement;
  // `name`: the path, or a URI of it.
  static absl::StatusOr<std::unique_ptr<Database>> Connect(const std::string& path,
                                                           const std::string& name, Mode mode);
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  absl::StatusOr<Statement> Compile(std::string_view sql);
  absl::Status Finish(Statement& statement);
  absl::Status Error(int code, std::string_view attempted) const;
  void GiveBack(sqlite3_stmt* handle, bool cached);

  sqlite3* handle_;
  std::string path_;
  std::unordered_map<std::string, std::vector<sqlite3_stmt*>> idle_;
  std::unordered_map<sqlite3_stmt*, std::string> busy_;
  std::function<bool()> interrupt_;
};

// All or nothing. The outermost one is BEGIN IMMEDIATE (a read that upgrades to a write cannot be
// retried in WAL), one inside another is a SAVEPOINT. Without Commit() the destructor rolls back.
class Transaction {
 public:
  explicit Transaction(Database* db);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  // Whether it could begin.
  const absl::Status& status() const { return status_; }
  // After an error everything has been rolled back.
  absl::Status Commit();

 private:
  Database* db_;
  bool outermost_ = false;
  bool open_ = false;
  absl::Status status_;
};

// FAILED_PRECONDITION, with what to do, for a path in a folder that does not exist, that is a
// folder itself, or on a network filesystem (WAL needs shared memory and working locks).
absl::Status CheckDatabasePlace(const std::string& path);

// The file as one that nobody writes, for SQLite: special characters of a URI are escaped.
std::string ImmutableUri(const std::string& path);

// Whether statfs(2)'s f_type names a filesystem shared over a network (NFS, Lustre, GPFS, CIFS,
// Ceph, BeeGFS, AFS). Source: linux/magic.h and the filesystems' own headers.
bool IsNetworkFilesystem(int64_t f_type);

}  // namespace orchestrator
