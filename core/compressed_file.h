// Files that may be compressed: name.gz (gzip) and name.zst (zstd) are read as what they hold.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace core {

// The whole content, decompressed where the name ends in .gz or .zst. DATA_LOSS for a damaged or
// truncated file; errors of ReadFile (file.h) pass through.
absl::StatusOr<std::string> ReadFileDecompressed(const std::string& path);

// "runs.csv" for "runs.csv.zst": the name without the suffix of its compression.
std::string_view UncompressedName(std::string_view path);

}  // namespace core
