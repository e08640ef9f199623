#include "worker/data/documents.h"

#include <algorithm>
#include <filesystem>

#include "core/canonical_json.h"
#include "core/compressed_file.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {
namespace {

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

bool MatchesPattern(std::string_view pattern, std::string_view path) {
  if (pattern.empty()) return path.empty();
  if (pattern.substr(0, 3) == "**/") {
    for (size_t i = 0; i <= path.size(); ++i) {
      if ((i == 0 || path[i - 1] == '/') && MatchesPattern(pattern.substr(3), path.substr(i)))
        return true;
    }
    return false;
  }
  if (pattern == "**") return true;
  if (pattern.front() == '*') {
    for (size_t i = 0; i <= path.size(); ++i) {
      if (MatchesPattern(pattern.substr(1), path.substr(i))) return true;
      if (i < path.size() && path[i] == '/') return false;
    }
    return false;
  }
  if (path.empty()) return false;
  if (pattern.front() == '?' ? path.front() != '/' : pattern.front() == path.front()) {
    return MatchesPattern(pattern.substr(1), path.substr(1));
  }
  return false;
}

absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& root,
                                                   const std::vector<std::string>& patterns) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    return absl::NotFoundError(
        fmt::format("data root '{}' is not a folder; give one with --data-root", root));
  }
  for (const std::string& pattern : patterns) {
    if (pattern.empty() || pattern == "!")
      return absl::InvalidArgumentError("an empty file pattern");
  }
  std::vector<std::string> files;
  std::vector<int64_t> matched(patterns.size(), 0);
  for (auto it = fs::recursive_directory_iterator(
           root, fs::directory_options::skip_permission_denied, error);
       it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (!it->is_regular_file(error)) {
      error.clear();
      continue;
    }
    const std::string path = it->path().lexically_relative(root).generic_string();
    bool included = false, excluded = false;
    for (size_t p = 0; p < patterns.size(); ++p) {
      const bool negative = patterns[p].front() == '!';
      if (!MatchesPattern(negative ? std::string_view(patterns[p]).substr(1) : patterns[p], path))
        continue;
      ++matched[p];
      (negative ? excluded : included) = true;
    }
    if (included && !excluded) files.push_back(path);
  }
  // A failed increment ends the loop as the end does.
  if (error) return core::ErrnoStatus(error.value(), "listing", root);
  for (size_t p = 0; p < patterns.size(); ++p) {
    if (matched[p] == 0 && patterns[p].front() != '!') {
      return absl::NotFoundError(fmt::format("no file matches '{}' below '{}'", patterns[p], root));
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::Status ForEachDocument(const std::string& root, const std::string& file,
                             const std::function<absl::Status(Document)>& fn) {
  const std::string path = root + "/" + file;
  ASSIGN_OR_RETURN(std::string text, core::ReadFileDecompressed(path));
  const std::string_view plain = core::UncompressedName(file);
  const std::string folder = std::filesystem::path(file).parent_path().generic_string();
  if (!EndsWith(plain, ".jsonl")) return fn({file, folder, std::move(text)});
  int64_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    ++line_number;
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto json = core::ParseJson(line, fmt::format("{}:{}", path, line_number));
    if (!json.ok()) return json.status();
    if (!json->is_object() || !json->contains("text") || !(*json)["text"].is_string()) {
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: expected a JSON object with a string \"text\"", path, line_number));
    }
    RETURN_IF_ERROR(
        fn({fmt::format("{}#{}", file, line_number), folder, (*json)["text"].get<std::string>()}));
  }
  return absl::OkStatus();
}

}  // namespace worker
