// Files: whole reads, and writes that either happen completely or not at all.
// Errors carry the path and what to do: NOT_FOUND, INVALID_ARGUMENT (a folder, a name too long),
// PERMISSION_DENIED, RESOURCE_EXHAUSTED (disk full, quota or file-size limit), UNAVAILABLE for
// other I/O failures.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace core {

absl::StatusOr<std::string> ReadFile(const std::string& path);

// Temporary file in the same folder, fsync, rename, fsync of the folder. After any failure the old
// content stands.
absl::Status WriteFileAtomically(const std::string& path, std::string_view content);

// fsync of a folder: names in it survive a power loss.
absl::Status SyncDir(const std::string& path);

// mkdir -p.
absl::Status MakeDirs(const std::string& path);

// Makes a write beyond the limit on file sizes (`ulimit -f`) an error of that write, like a full
// disk, instead of a signal that ends the process. Once, at the start of a program.
void ReportFileSizeLimit();

// A Status for errno after an operation on a path, in the categories above.
absl::Status ErrnoStatus(int error_number, std::string_view attempted, const std::string& path);

}  // namespace core
