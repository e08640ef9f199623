#include "worker/data/manifest.h"

#include "core/absl_fmt.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {
namespace {

constexpr int kFormat = 1;
constexpr int kLossDefinition = 1;

core::Json SourceToJson(const SourceEntry& source) {
  core::Json shards = core::Json::array();
  for (const ShardEntry& shard : source.shards) {
    shards.push_back({{"path", shard.path}, {"tokens", shard.tokens}, {"sha256", shard.sha256}});
  }
  return {{"name", source.name},
          {"tokens", source.tokens},
          {"documents", source.documents},
          {"bytes", source.bytes},
          {"shards", shards}};
}

SourceEntry SourceFromJson(const core::Json& json) {
  SourceEntry source{.name = json.at("name"),
                     .tokens = json.at("tokens"),
                     .documents = json.at("documents"),
                     .bytes = json.at("bytes")};
  for (const core::Json& shard : json.at("shards")) {
    source.shards.push_back({shard.at("path"), shard.at("tokens"), shard.at("sha256")});
  }
  return source;
}

}  // namespace

std::string Manifest::SourceHash(const SourceEntry& source) const {
  core::Json hashes = core::Json::array();
  for (const ShardEntry& shard : source.shards) hashes.push_back(shard.sha256);
  return core::Sha256Hex(*core::CanonicalJson({{"tokenizer", tokenizer.hash}, {"shards", hashes}}));
}

std::string Manifest::EvalHash() const {
  return core::Sha256Hex(*core::CanonicalJson({{"tokenizer", tokenizer.hash},
                                               {"heldout", heldout.shards.at(0).sha256},
                                               {"loss_definition", kLossDefinition}}));
}

core::Json ManifestToJson(const Manifest& m) {
  core::Json sources = core::Json::array();
  for (const SourceEntry& source : m.sources) {
    core::Json json = SourceToJson(source);
    json["manifest_hash"] = m.SourceHash(source);
    sources.push_back(json);
  }
  core::Json heldout = SourceToJson(m.heldout);
  heldout["eval_hash"] = m.EvalHash();
  heldout["path"] = m.heldout.shards.at(0).path;
  return {{"format", kFormat},
          {"vocab_size", m.vocab_size},
          {"tokenizer",
           {{"kind", m.tokenizer.kind},
            {"file", m.tokenizer.file},
            {"hash", m.tokenizer.hash},
            {"separator", m.tokenizer.separator}}},
          {"token_bytes", m.token_bytes},
          {"sources", sources},
          {"heldout", heldout}};
}

absl::StatusOr<Manifest> ReadManifest(const std::string& data_dir) {
  const std::string path = data_dir + "/manifest.json";
  const auto text = core::ReadFile(path);
  if (!text.ok()) {
    return absl::NotFoundError(
        fmt::format("no prepared data in '{}' ({}); run `sweepctl data prepare`", data_dir,
                    text.status().message()));
  }
  ASSIGN_OR_RETURN(const core::Json json, core::ParseJson(*text, path));
  try {
    if (json.at("format") != kFormat) {
      return absl::DataLossError(
          fmt::format("'{}' has format {}, this program reads {}; prepare the data again", path,
                      json.at("format").dump(), kFormat));
    }
    Manifest m;
    m.vocab_size = json.at("vocab_size");
    const core::Json& t = json.at("tokenizer");
    m.tokenizer = {t.at("kind"), t.at("file"), t.at("hash"), t.at("separator")};
    m.token_bytes = json.at("token_bytes").get<std::vector<int64_t>>();
    for (const core::Json& source : json.at("sources")) m.sources.push_back(SourceFromJson(source));
    m.heldout = SourceFromJson(json.at("heldout"));
    if (m.heldout.shards.size() != 1 ||
        static_cast<int64_t>(m.token_bytes.size()) != m.vocab_size) {
      return absl::DataLossError(fmt::format(
          "'{}' contradicts itself (held-out shards or token_bytes); prepare the data again",
          path));
    }
    return m;
  } catch (const core::Json::exception& error) {
    return absl::DataLossError(
        fmt::format("'{}' is not a manifest: {}; prepare the data again", path, error.what()));
  }
}

absl::Status WriteManifest(const Manifest& manifest, const std::string& data_dir) {
  return core::WriteFileAtomically(data_dir + "/manifest.json",
                                   ManifestToJson(manifest).dump(1) + "\n");
}

}  // namespace worker
