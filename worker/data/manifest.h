// The manifest of a prepared data folder: what its shards are and the hashes that enter the plan's
// identity. File `manifest.json` in the folder; paths are relative to it. Written last by
// preparation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"

namespace worker {

struct ShardEntry {
  std::string path;
  int64_t tokens = 0;
  std::string sha256;  // of the file
};

struct SourceEntry {
  std::string name;
  int64_t tokens = 0, documents = 0, bytes = 0;
  std::vector<ShardEntry> shards;
};

struct TokenizerEntry {
  std::string kind;       // "sentencepiece" or "bytes"
  std::string file;       // model file, empty for bytes
  std::string hash;       // of the model file; of "bytes-1" for bytes
  int32_t separator = 0;  // id between documents
};

struct Manifest {
  int64_t vocab_size = 0;
  TokenizerEntry tokenizer;
  std::vector<int64_t>
      token_bytes;  // by id: UTF-8 bytes the id spells; 0 for the separator and control ids
  std::vector<SourceEntry> sources;
  SourceEntry heldout;  // exactly one shard

  // Identity of one source: its tokens and the tokenizer. Enters DataSource::manifest_hash.
  std::string SourceHash(const SourceEntry& source) const;
  // Identity of the evaluation: held-out tokens, tokenizer, loss definition. Enters
  // DataSpec::eval_hash.
  std::string EvalHash() const;
};

core::Json ManifestToJson(const Manifest& manifest);
// NOT_FOUND when the folder has no manifest (says how to prepare); DATA_LOSS when it cannot be
// understood.
absl::StatusOr<Manifest> ReadManifest(const std::string& data_dir);
absl::Status WriteManifest(const Manifest& manifest, const std::string& data_dir);

}  // namespace worker
