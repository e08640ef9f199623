#include "sweepctl/cli.h"

#include <unistd.h>

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

std::string CommandLine(const GlobalOptions& options, std::string_view verb_and_arguments) {
  namespace fs = std::filesystem;
  const std::string self = core::SelfPath();
  bool in_path = false;
  std::istringstream folders(std::getenv("PATH") != nullptr ? std::getenv("PATH") : "");
  for (std::string folder; !in_path && std::getline(folders, folder, ':');) {
    std::error_code ignored;
    in_path = fs::equivalent(fs::path(folder) / "sweepctl", self, ignored);
  }
  std::error_code ignored;
  std::string program = in_path ? "sweepctl" : fs::proximate(self, ignored).string();
  if (program.find('/') == std::string::npos && !in_path) program = "./" + program;
  const std::string db =
      options.db == GlobalOptions().db ? "" : fmt::format(" --db {}", options.db);
  return fmt::format("{} {}{}", program, verb_and_arguments, db);
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
