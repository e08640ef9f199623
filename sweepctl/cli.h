// What every verb shares: global options, exit codes, and how a result and an error leave the
// program. stdout is data, stderr is messages.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/canonical_json.h"

namespace sweepctl {

// DESIGN.md, section 5. kBug (EX_SOFTWARE) is ours alone: please report it.
enum ExitCode {
  kDone = 0,
  kFailedTrials = 1,
  kUsage = 2,
  kBadInput = 65,
  kUnreachable = 69,
  kBug = 70,
  kCannotWrite = 73,
  kTryAgain = 75,
  kNotAllowed = 77,
  kInterrupted = 130,
};

enum class OutputFormat { kTable, kCsv, kJson, kJsonLines };

struct GlobalOptions {
  std::string db = "./sweepctl.db";
  bool json = false;             // the same as --output json
  bool no_color = false;         // also NO_COLOR, and whenever stdout is no terminal
  std::string output = "table";  // table, csv, json, jsonl
  std::string typed;             // the command line after the program's name, for a shell

  OutputFormat Format() const;
  // Whether escapes may be written to stdout.
  bool Color() const;
};

// One run of the program. A verb's CLI11 callback sets `action`; main runs it after parsing.
struct Session {
  GlobalOptions options;
  std::function<absl::StatusOr<int>()> action;  // an ExitCode
};

// INVALID_ARGUMENT that means "the command line is wrong" (exit 2) rather than "the file is wrong"
// (exit 65).
absl::Status UsageError(std::string_view message);

// The exit code of a failure: usage 2; INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION,
// ALREADY_EXISTS, OUT_OF_RANGE and DATA_LOSS 65; UNAVAILABLE 69; RESOURCE_EXHAUSTED 73; ABORTED and
// DEADLINE_EXCEEDED 75; PERMISSION_DENIED and UNAUTHENTICATED 77; CANCELLED 130; the rest 70.
int ExitCodeOf(const absl::Status& status);

// "1 trial", "2 trials".
std::string Counted(int64_t n, std::string_view noun);

// A word as a shell reads it back: quoted where it must be.
std::string ShellWord(std::string_view word);
// " --name WORD", quoted; empty for an empty word. For commands that are printed.
std::string Flag(std::string_view name, std::string_view word);

// How a shell starts a program of ours: its name where PATH finds the one beside us, else its path.
std::string ProgramWord(const std::string& name);

// The command line that reaches this program and database again: "sweepctl watch mine", with the
// program's path when it is not in PATH and with --db when it is not the default. Whatever is
// printed as a next command is made by it, so that it works when it is pasted.
std::string CommandLine(const GlobalOptions& options, std::string_view verb_and_arguments);

// Writes all of `text` to stdout and flushes. RESOURCE_EXHAUSTED (exit 73) when it does not take
// it.
absl::Status Print(std::string_view text);
// JSON in one line. Text that is not UTF-8, such as what a crashed trainer said, is shown with
// replacement characters.
std::string JsonText(const core::Json& value);
// One JSON object and a newline; doubles with every digit that reads back.
absl::Status PrintJson(const core::Json& value);

// A message for people on stderr, with a newline.
void Note(std::string_view message);

}  // namespace sweepctl
