// sweepctl data: prepare the data of a sweep file, look at a prepared folder.
#include <filesystem>

#include "core/file.h"
#include "core/status_macros.h"
#include "core/units.h"
#include "fmt/format.h"
#include "sweepctl/sweep_data.h"
#include "sweepctl/table.h"
#include "sweepctl/verbs.h"
#include "worker/data/shard.h"

namespace sweepctl {
namespace {

struct DataArgs {
  std::string path, data_root, data_dir;
};

absl::StatusOr<int> RunPrepare(const DataArgs& args, const GlobalOptions& global) {
  ASSIGN_OR_RETURN(const sweeps::SweepFile file, sweeps::LoadSweepFile(args.path));
  const std::string db = std::filesystem::absolute(global.db).lexically_normal().string();
  ASSIGN_OR_RETURN(
      const SweepData data,
      PrepareSweepData(file, args.data_root, args.data_dir.empty() ? db + ".data" : args.data_dir));
  if (global.Format() == OutputFormat::kJson) {
    core::Json out = worker::ManifestToJson(data.report.manifest);
    out.erase("token_bytes");
    out["data_dir"] = data.data_dir;
    out["documents"] = data.report.documents;
    out["heldout_documents"] = data.report.heldout_documents;
    out["dropped_near_duplicates"] = data.report.dropped_near_duplicates;
    RETURN_IF_ERROR(PrintJson(out));
  } else {
    RETURN_IF_ERROR(Print(data.data_dir + "\n"));
    Note("next: " + CommandLine(global, "launch " + ShellWord(args.path) +
                                            Flag("--data-root", args.data_root) +
                                            Flag("--data-dir", args.data_dir)));
  }
  return kDone;
}

absl::StatusOr<int> RunShow(const DataArgs& args, const GlobalOptions& global) {
  ASSIGN_OR_RETURN(const worker::Manifest manifest, worker::ReadManifest(args.path));
  Table table({{"name", "source", true},
               {"tokens", "tokens"},
               {"documents", "documents"},
               {"bytes", "bytes"},
               {"hash", "hash", true}});
  auto add = [&](const worker::SourceEntry& source, const std::string& hash) -> absl::Status {
    for (const worker::ShardEntry& shard : source.shards) {
      ASSIGN_OR_RETURN(const worker::Shard opened,
                       worker::Shard::Open(args.path + "/" + shard.path));
      (void)opened;
    }
    table.AddRow({{source.name, ""},
                  {source.tokens, ""},
                  {source.documents, ""},
                  {source.bytes, core::FormatBytes(static_cast<double>(source.bytes))},
                  {hash, hash.substr(0, 16)}});
    return absl::OkStatus();
  };
  for (const worker::SourceEntry& source : manifest.sources) {
    RETURN_IF_ERROR(add(source, manifest.SourceHash(source)));
  }
  RETURN_IF_ERROR(add(manifest.heldout, manifest.EvalHash()));
  RETURN_IF_ERROR(table.Print(global));
  if (global.Format() == OutputFormat::kTable) {
    RETURN_IF_ERROR(Print(fmt::format("\ntokenizer: {} of {} ids, {}\n", manifest.tokenizer.kind,
                                      manifest.vocab_size, manifest.tokenizer.hash.substr(0, 16))));
  }
  return kDone;
}

}  // namespace

void AddDataVerb(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("data", "prepare text for training, and look at it");
  verb->require_subcommand(1);
  verb->footer("Example:  sweepctl data prepare isoflop.yaml --data-root ~/text");
  auto args = std::make_shared<DataArgs>();
  CLI::App* prepare = verb->add_subcommand("prepare", "tokenise the data of a sweep file");
  prepare->add_option("FILE", args->path, "the sweep file (YAML)")->required();
  prepare->add_option("--data-root", args->data_root, "folder that the data paths are below");
  prepare->add_option("--data-dir", args->data_dir, "where to put it; default: DB.data");
  prepare->footer("`launch` does this by itself; prepared data are found again.");
  prepare->callback([args, &session] {
    session.action = [args, &session] { return RunPrepare(*args, session.options); };
  });
  CLI::App* show = verb->add_subcommand("show", "sources, sizes and hashes of a prepared folder");
  show->add_option("FOLDER", args->path, "a prepared folder")->required();
  show->callback([args, &session] {
    session.action = [args, &session] { return RunShow(*args, session.options); };
  });
}

}  // namespace sweepctl
