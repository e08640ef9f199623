#include "worker/data/prepare_request.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "core/absl_fmt.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "core/subprocess.h"
#include "fmt/format.h"
#include "worker/data/documents.h"
#include "worker/data/shard.h"

namespace worker {
namespace {

namespace fs = std::filesystem;

absl::Status CheckOptions(const PrepareOptions& options) {
  if (options.sources.empty()) return absl::InvalidArgumentError("no data source given");
  if (!(options.holdout_fraction > 0 && options.holdout_fraction < 0.5)) {
    return absl::InvalidArgumentError(fmt::format(
        "held-out fraction {} must be above 0 and below 0.5", options.holdout_fraction));
  }
  if (options.holdout_by != "document" && options.holdout_by != "directory") {
    return absl::InvalidArgumentError(
        fmt::format("holdout by '{}': choose document or directory", options.holdout_by));
  }
  return absl::OkStatus();
}

// Hashing more would make every plan wait; a larger shard is checked by its size.
constexpr int64_t kHashedBytes = 64 << 20;

absl::Status CheckHash(const std::string& path, const std::string& expected) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (!error && bytes > kHashedBytes) return absl::OkStatus();
  const auto hash = core::Sha256HexOfFile(path);
  if (!hash.ok()) return absl::DataLossError(hash.status().message());
  if (*hash == expected) return absl::OkStatus();
  return absl::DataLossError(fmt::format(
      "'{}' is damaged: its SHA-256 is not that of its manifest; prepare the data again", path));
}

absl::Status CheckFiles(const Manifest& manifest, const std::string& dir) {
  if (!manifest.tokenizer.file.empty())
    RETURN_IF_ERROR(CheckHash(dir + "/" + manifest.tokenizer.file, manifest.tokenizer.hash));
  std::vector<SourceEntry> sources = manifest.sources;
  sources.push_back(manifest.heldout);
  for (const SourceEntry& source : sources) {
    for (const ShardEntry& entry : source.shards) {
      const std::string path = dir + "/" + entry.path;
      const auto shard = Shard::Open(path);
      if (!shard.ok()) return absl::DataLossError(shard.status().message());
      if (shard->tokens() != entry.tokens)
        return absl::DataLossError(
            fmt::format("shard '{}' has {} tokens, its manifest says {}; prepare the data again",
                        path, shard->tokens(), entry.tokens));
      RETURN_IF_ERROR(CheckHash(path, entry.sha256));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> PrepareRequestHash(const PrepareOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  core::Json request = {{"format", 1},
                        {"tokenizer_kind", options.tokenizer_kind},
                        {"vocab_size", options.vocab_size},
                        {"holdout_fraction", options.holdout_fraction},
                        {"holdout_by", options.holdout_by},
                        {"near_duplicate_threshold", options.near_duplicate_threshold},
                        {"sample", options.tokenizer_sample_bytes},
                        {"shard_tokens", options.shard_tokens}};
  if (!options.tokenizer_model.empty()) {
    ASSIGN_OR_RETURN(request["tokenizer_model"], core::Sha256HexOfFile(options.tokenizer_model));
  }
  for (const PrepareSource& source : options.sources) {
    ASSIGN_OR_RETURN(const auto files, ListFiles(options.root, source.patterns));
    core::Sha256 listing;
    for (const std::string& file : files) {
      std::error_code error;
      const fs::path path = options.root + "/" + file;
      listing.Update(fmt::format("{}\n{}\n{}\n", file, fs::file_size(path, error),
                                 fs::last_write_time(path, error).time_since_epoch().count()));
    }
    request["sources"].push_back(
        {{"name", source.name}, {"files", listing.FinishHex()}, {"max_bytes", source.max_bytes}});
  }
  ASSIGN_OR_RETURN(const std::string bytes, core::CanonicalJson(request));
  return core::Sha256Hex(bytes);
}

core::Json PrepareOptionsToJson(const PrepareOptions& options) {
  core::Json sources = core::Json::array();
  for (const PrepareSource& source : options.sources) {
    sources.push_back(
        {{"name", source.name}, {"patterns", source.patterns}, {"max_bytes", source.max_bytes}});
  }
  return {{"root", options.root},
          {"sources", sources},
          {"tokenizer_kind", options.tokenizer_kind},
          {"vocab_size", options.vocab_size},
          {"tokenizer_model", options.tokenizer_model},
          {"holdout_fraction", options.holdout_fraction},
          {"holdout_by", options.holdout_by},
          {"near_duplicate_threshold", options.near_duplicate_threshold},
          {"tokenizer_sample_bytes", options.tokenizer_sample_bytes},
          {"shard_tokens", options.shard_tokens}};
}

absl::StatusOr<PrepareOptions> PrepareOptionsFromJson(const core::Json& json) {
  try {
    PrepareOptions options;
    options.root = json.at("root");
    for (const core::Json& source : json.at("sources")) {
      options.sources.push_back({source.at("name"), source.at("patterns"), source.at("max_bytes")});
    }
    options.tokenizer_kind = json.at("tokenizer_kind");
    options.vocab_size = json.at("vocab_size");
    options.tokenizer_model = json.at("tokenizer_model");
    options.holdout_fraction = json.at("holdout_fraction");
    options.holdout_by = json.at("holdout_by");
    options.near_duplicate_threshold = json.at("near_duplicate_threshold");
    options.tokenizer_sample_bytes = json.at("tokenizer_sample_bytes");
    options.shard_tokens = json.at("shard_tokens");
    return options;
  } catch (const core::Json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("not a preparation request: {}", error.what()));
  }
}

absl::StatusOr<PrepareReport> FindPrepared(const std::string& request_hash,
                                           const std::string& out_dir) {
  const std::string path = out_dir + "/prepare.json";
  ASSIGN_OR_RETURN(const std::string text, core::ReadFile(path));
  ASSIGN_OR_RETURN(const core::Json json, core::ParseJson(text, path));
  if (json.value("request_hash", "") != request_hash)
    return absl::NotFoundError("another request was prepared there");
  PrepareReport report;
  ASSIGN_OR_RETURN(report.manifest, ReadManifest(out_dir));
  RETURN_IF_ERROR(CheckFiles(report.manifest, out_dir));
  report.reused = true;
  report.documents = json.value("documents", int64_t{0});
  report.heldout_documents = json.value("heldout_documents", int64_t{0});
  report.dropped_near_duplicates = json.value("dropped_near_duplicates", int64_t{0});
  report.dropped_bytes = json.value("dropped_bytes", int64_t{0});
  report.bytes_per_token = json.value("bytes_per_token", 0.0);
  return report;
}

absl::StatusOr<PrepareReport> PrepareInProcess(const PrepareOptions& options,
                                               const std::string& out_dir,
                                               const PrepareProgress& progress) {
  ASSIGN_OR_RETURN(const std::string request_hash, PrepareRequestHash(options));
  const auto found = FindPrepared(request_hash, out_dir);
  if (found.ok()) return found;
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return core::ErrnoStatus(errno, "making a socket for", "sweep-data");
  }
  const fs::path beside = fs::path(core::SelfPath()).parent_path() / "sweep-data";
  core::SpawnOptions spawn;
  spawn.argv = {fs::exists(beside) ? beside.string() : "sweep-data", "prepare", out_dir,
                PrepareOptionsToJson(options).dump()};
  spawn.inherited_fd = fds[1];
  const auto pid = core::Spawn(spawn);
  close(fds[1]);
  if (!pid.ok()) {
    close(fds[0]);
    return pid.status();
  }
  absl::Status outcome =
      absl::InternalError("sweep-data ended without an answer; its messages are above");
  std::string buffer;
  char chunk[4096];
  ssize_t n = 0;
  while ((n = read(fds[0], chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR)) {
    if (n > 0) buffer.append(chunk, n);
    for (size_t end; (end = buffer.find('\n')) != std::string::npos; buffer.erase(0, end + 1)) {
      const auto line = core::ParseJson(std::string_view(buffer).substr(0, end), "sweep-data");
      if (!line.ok() || !line->is_object()) continue;
      if (line->contains("stage")) progress(line->value("stage", ""), line->value("done", 0.0));
      if (line->contains("code")) {
        outcome = absl::Status(static_cast<absl::StatusCode>(line->value("code", 2)),
                               line->value("message", ""));
      }
    }
  }
  close(fds[0]);
  core::WaitExit(*pid, 10'000);
  RETURN_IF_ERROR(outcome);
  ASSIGN_OR_RETURN(PrepareReport report, FindPrepared(request_hash, out_dir));
  report.reused = false;
  if (absl::IsDataLoss(found.status())) report.replaced = std::string(found.status().message());
  return report;
}

}  // namespace worker
