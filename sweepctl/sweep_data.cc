#include "sweepctl/sweep_data.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "core/clock.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/cli.h"
#include "sweeps/estimate.h"

namespace sweepctl {

namespace fs = std::filesystem;

namespace {

std::string PreparedFolder(const std::string& store_dir, const std::string& request_hash) {
  return fs::absolute(store_dir + "/" + request_hash.substr(0, 16)).lexically_normal().string();
}

}  // namespace

absl::StatusOr<worker::PrepareOptions> PrepareOptionsOf(const sweeps::SweepFile& file,
                                                        const std::string& data_root) {
  if (!file.data.has_value()) {
    return file.Error("", "the file has no `data` section, so nothing can be trained from it");
  }
  const sweeps::DataRequest& data = *file.data;
  worker::PrepareOptions options;
  const fs::path folder = fs::path(file.path).parent_path();
  options.root = !data_root.empty() ? data_root : folder.empty() ? "." : folder.string();
  for (const sweeps::MixSource& source : data.mix) {
    options.sources.push_back({.name = source.name, .patterns = source.paths});
  }
  switch (data.tokenizer.kind) {
    case sweeps::Tokenizer::Kind::kBytes:
      options.tokenizer_kind = "bytes";
      break;
    case sweeps::Tokenizer::Kind::kSentencePiece:
      options.vocab_size = data.tokenizer.vocab;
      break;
    case sweeps::Tokenizer::Kind::kModel:
      options.tokenizer_model =
          (fs::path(data.tokenizer.model_path).is_absolute()
               ? fs::path(data.tokenizer.model_path)
               : (folder.empty() ? fs::path(".") : folder) / data.tokenizer.model_path)
              .string();
      break;
  }
  options.holdout_fraction = data.holdout_fraction;
  options.holdout_by = data.holdout_by_directory ? "directory" : "document";
  return options;
}

recipes::DataSpec DataSpecOf(const sweeps::SweepFile& file, const worker::Manifest& manifest) {
  recipes::DataSpec spec = sweeps::UnpreparedData(file);
  for (recipes::DataSource& source : spec.sources) {
    for (const worker::SourceEntry& entry : manifest.sources) {
      if (entry.name != source.name) continue;
      source.manifest_hash = manifest.SourceHash(entry);
      source.tokens = entry.tokens;
    }
  }
  spec.tokenizer_hash = manifest.tokenizer.hash;
  spec.eval_hash = manifest.EvalHash();
  return spec;
}

FoundData FindSweepData(const sweeps::SweepFile& file, const std::string& data_root,
                        const std::string& store_dir) {
  FoundData found;
  if (!file.data.has_value()) {
    found.reason = "the file has no `data` section, and data are part of a trial's identity";
    return found;
  }
  const auto options = PrepareOptionsOf(file, data_root);
  const auto hash =
      options.ok() ? worker::PrepareRequestHash(*options) : absl::StatusOr<std::string>("");
  if (!options.ok() || !hash.ok()) {
    found.reason = std::string((options.ok() ? hash.status() : options.status()).message());
    if (data_root.empty()) found.reason += "; name the folder of the text with --data-root";
    return found;
  }
  const std::string folder = PreparedFolder(store_dir, *hash);
  const auto report = worker::FindPrepared(*hash, folder);
  if (absl::IsNotFound(report.status())) {
    found.reason = fmt::format("the data are not prepared below {}", store_dir);
    found.unprepared = true;
  } else if (!report.ok()) {
    found.reason = std::string(report.status().message());
    found.unprepared = absl::IsDataLoss(report.status());
  } else {
    found.spec = DataSpecOf(file, report->manifest);
    found.data_dir = folder;
  }
  return found;
}

absl::StatusOr<SweepData> PrepareSweepData(const sweeps::SweepFile& file,
                                           const std::string& data_root,
                                           const std::string& store_dir) {
  ASSIGN_OR_RETURN(const worker::PrepareOptions options, PrepareOptionsOf(file, data_root));
  const auto hash = worker::PrepareRequestHash(options);
  if (!hash.ok()) return file.Error("data", hash.status());
  SweepData out;
  out.data_dir = PreparedFolder(store_dir, *hash);
  const bool live = isatty(STDERR_FILENO) != 0;
  std::string last_stage;
  int64_t last_ms = 0;
  auto report =
      worker::PrepareInProcess(options, out.data_dir, [&](const std::string& stage, double done) {
        const int64_t now = core::SystemClock().MonotonicMs();
        if (stage == last_stage && (!live || now - last_ms < 200)) return;
        if (live && !last_stage.empty()) std::fputs("\r\033[K", stderr);
        if (live)
          std::fprintf(stderr, "data: %s %.0f %%", stage.c_str(), 100 * done);
        else
          Note("data: " + stage);
        std::fflush(stderr);
        last_stage = stage;
        last_ms = now;
      });
  if (live && !last_stage.empty()) std::fputs("\r\033[K", stderr);
  if (!report.ok()) {
    return absl::IsResourceExhausted(report.status()) ? report.status()
                                                      : file.Error("data", report.status());
  }
  out.report = *std::move(report);
  if (const std::string& why = out.report.replaced; !why.empty()) {
    const size_t advice = why.find("; prepare the data again");  // which has been followed
    Note("data: prepared again: " + why.substr(0, advice));
  }
  out.spec = DataSpecOf(file, out.report.manifest);
  double total_weight = 0;
  for (const recipes::DataSource& source : out.spec.sources) total_weight += source.weight;
  for (const recipes::DataSource& source : out.spec.sources) {
    if (source.weight / total_weight * 1024 < 1) {
      return file.Error("data.mix." + source.name,
                        fmt::format("a weight of {:.3g} is below 1/1024 of the mixture, the finest "
                                    "share the data order has; raise it or leave the source out",
                                    source.weight / total_weight));
    }
  }
  if (file.vocab > 0 && out.report.manifest.vocab_size > file.vocab) {
    return file.Error("vocab", fmt::format("the tokenizer has {} ids, more than vocab {}",
                                           out.report.manifest.vocab_size, file.vocab));
  }
  int64_t tokens = 0;
  for (const worker::SourceEntry& source : out.report.manifest.sources) tokens += source.tokens;
  Note(fmt::format(
      "data: {} documents, {} training tokens, {} held-out tokens ({} documents), {:.2f} bytes a "
      "token; {} training documents left out as near-duplicates of held-out ones{}",
      out.report.documents, core::FormatCount(static_cast<double>(tokens)),
      core::FormatCount(static_cast<double>(out.report.manifest.heldout.tokens)),
      out.report.heldout_documents, out.report.bytes_per_token, out.report.dropped_near_duplicates,
      out.report.reused ? " (prepared before)" : ""));
  return out;
}

absl::Status CheckEpochs(const sweeps::SweepFile& file, const recipes::Plan& plan) {
  const std::vector<double> epochs = sweeps::EpochsOfSources(plan);
  for (size_t i = 0; i < epochs.size(); ++i) {
    const recipes::DataSource& source = plan.data.sources[i];
    if (source.max_epochs <= 0 || epochs[i] <= source.max_epochs) continue;
    return file.Error(
        "data.mix." + source.name,
        fmt::format("a trial of {} tokens passes {:.2f} times over '{}' ({} tokens), more than "
                    "max_epochs {}; add text, raise the limit or lower the largest budget",
                    core::FormatCount(static_cast<double>(plan.tokens)), epochs[i], source.name,
                    core::FormatCount(static_cast<double>(source.tokens)), source.max_epochs));
  }
  return absl::OkStatus();
}

}  // namespace sweepctl
