#include "sweepctl/cli.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "absl/strings/cord.h"
#include "core/subprocess.h"
#include "fmt/format.h"

namespace sweepctl {
namespace {

constexpr char kUsagePayload[] = "sweepctl/usage";

}  // namespace

OutputFormat GlobalOptions::Format() const {
  if (json || output == "json") return OutputFormat::kJson;
  if (output == "csv") return OutputFormat::kCsv;
  if (output == "jsonl") return OutputFormat::kJsonLines;
  return OutputFormat::kTable;
}

bool GlobalOptions::Color() const {
  const char* const refused = std::getenv("NO_COLOR");
  if (no_color || (refused != nullptr && *refused != '\0')) return false;
  return isatty(STDOUT_FILENO) == 1;
}

absl::Status UsageError(std::string_view message) {
  absl::Status status = absl::InvalidArgumentError(std::string(message));
  status.SetPayload(kUsagePayload, absl::Cord("usage"));
  return status;
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kDone;
  if (status.GetPayload(kUsagePayload).has_value()) return kUsage;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:  // a damaged file
      return kBadInput;
    case absl::StatusCode::kUnavailable:
      return kUnreachable;
    case absl::StatusCode::kResourceExhausted:
      return kCannotWrite;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDeadlineExceeded:
      return kTryAgain;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kNotAllowed;
    case absl::StatusCode::kCancelled:
      return kInterrupted;
    default:
      return kBug;
  }
}

std::string Counted(int64_t n, std::string_view noun) {
  return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
}

std::string ShellWord(std::string_view word) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::strchr("_-./:=,@%+", c) != nullptr;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string Flag(std::string_view name, std::string_view word) {
  return word.empty() ? "" : fmt::format(" {} {}", name, ShellWord(word));
}

std::string ProgramWord(const std::string& name) {
  namespace fs = std::filesystem;
  const fs::path beside = fs::path(core::SelfPath()).parent_path() / name;
  std::error_code ignored;
  if (!fs::exists(beside, ignored)) return name;
  std::istringstream folders(std::getenv("PATH") != nullptr ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path found = fs::path(folder) / name;
    // The first in PATH is the one a shell takes.
    if (fs::exists(found, ignored)) {
      if (fs::equivalent(found, beside, ignored)) return name;
      break;
    }
  }
  const std::string program = fs::proximate(beside, ignored).string();
  return ShellWord(program.find('/') == std::string::npos ? "./" + program : program);
}

std::string CommandLine(const GlobalOptions& options, std::string_view verb_and_arguments) {
  return fmt::format("{} {}{}", ProgramWord("sweepctl"), verb_and_arguments,
                     options.db == GlobalOptions().db ? "" : Flag("--db", options.db));
}

absl::Status Print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("writing to standard output failed: {}", std::strerror(errno)));
}

std::string JsonText(const core::Json& value) {
  return value.dump(-1, ' ', false, core::Json::error_handler_t::replace);
}

absl::Status PrintJson(const core::Json& value) { return Print(JsonText(value) + "\n"); }

void Note(std::string_view message) { fmt::print(stderr, "{}\n", message); }

}  // namespace sweepctl
