// sweep-data: the part of sweepctl that uses SentencePiece, as a program of its own (see
// prepare_request.h).
//   sweep-data prepare OUT_DIR REQUEST_JSON   progress and outcome as JSON Lines on descriptor 3
//   sweep-data encode DATA_DIR                text on stdin; {"ids", "pieces", "round_trip"} on
//   stdout
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <iostream>
#include <iterator>

#include "core/clock.h"
#include "core/file.h"
#include "core/status_macros.h"
#include "core/version.h"
#include "worker/data/prepare.h"
#include "worker/data/tokenizer.h"

namespace worker {
namespace {

void Tell(const core::Json& line) {
  const std::string text = line.dump(-1, ' ', false, core::Json::error_handler_t::replace) + "\n";
  if (write(3, text.data(), text.size()) < 0) _exit(1);  // the parent is gone
}

absl::Status Prepare(const char* out_dir, const char* request) {
  ASSIGN_OR_RETURN(const core::Json json, core::ParseJson(request, "the request"));
  ASSIGN_OR_RETURN(const PrepareOptions options, PrepareOptionsFromJson(json));
  std::string last;
  int64_t last_ms = 0;
  ASSIGN_OR_RETURN(const PrepareReport report,
                   PrepareData(options, out_dir, [&](const std::string& stage, double done) {
                     const int64_t now = core::SystemClock().MonotonicMs();
                     if (stage == last && now - last_ms < 100) return;
                     last = stage;
                     last_ms = now;
                     Tell({{"stage", stage}, {"done", done}});
                   }));
  (void)report;
  return absl::OkStatus();
}

absl::Status Encode(const char* data_dir) {
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(data_dir));
  ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(data_dir, manifest));
  const std::string text((std::istreambuf_iterator<char>(std::cin)),
                         std::istreambuf_iterator<char>());
  const std::vector<int32_t> ids = tokenizer->Encode(text);
  core::Json pieces = core::Json::array();
  for (int32_t id : ids) pieces.push_back(tokenizer->Bytes(id));
  const core::Json out = {
      {"ids", ids}, {"pieces", pieces}, {"round_trip", tokenizer->Decode(ids) == text}};
  std::printf("%s\n", out.dump(-1, ' ', false, core::Json::error_handler_t::replace).c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace worker

int main(int argc, char** argv) {
  core::ReportFileSizeLimit();
  if (argc == 4 && std::strcmp(argv[1], "prepare") == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const absl::Status status = worker::Prepare(argv[2], argv[3]);
    worker::Tell(
        {{"code", static_cast<int>(status.code())}, {"message", std::string(status.message())}});
    return status.ok() ? 0 : 1;
  }
  if (argc == 3 && std::strcmp(argv[1], "encode") == 0) {
    const absl::Status status = worker::Encode(argv[2]);
    if (!status.ok())
      std::fprintf(stderr, "sweep-data: %s\n", std::string(status.message()).c_str());
    return status.ok() ? 0 : 65;
  }
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    std::printf("sweep-data %s (%s)\n", std::string(core::Version()).c_str(),
                std::string(core::Commit()).c_str());
    return 0;
  }
  std::fprintf(stderr, "sweep-data is started by sweepctl; see `sweepctl data --help`\n");
  return 2;
}
