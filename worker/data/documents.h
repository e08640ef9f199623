// Documents of a source: text files, JSON Lines with a "text" field, either of them compressed
// (.gz, .zst).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace worker {

struct Document {
  std::string id;            // path below the root, with "#<line>" for JSON Lines
  std::string folder;        // of the file, for splitting by directory
  std::string text;          // bytes as they are; need not be UTF-8
  std::vector<int32_t> ids;  // of a token shard: the tokens as they are; empty for text
};

// Files below `root` that match any pattern, sorted. Patterns are relative to root: `*` and `?`
// stay within a folder name, `**` crosses folders; a pattern that starts with '!' excludes.
// NOT_FOUND when a positive pattern matches nothing.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& root,
                                                   const std::vector<std::string>& patterns);

bool MatchesPattern(std::string_view pattern, std::string_view path);

// Calls fn for each document of the file, in order; stops at the first error of fn.
// INVALID_ARGUMENT names file and line for JSON that is not an object with a string "text";
// DATA_LOSS for a damaged compressed file.
absl::Status ForEachDocument(const std::string& root, const std::string& file,
                             const std::function<absl::Status(Document)>& fn);

}  // namespace worker
