// What preparation is asked for and what it reports; and preparation in a process of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "worker/data/manifest.h"

namespace worker {

struct PrepareSource {
  std::string name;
  std::vector<std::string> patterns;  // see ListFiles
  int64_t max_bytes =
      0;  // stop after so much text, documents taken in a fixed pseudo-random order; 0 = all
};

struct PrepareOptions {
  std::string root;
  std::vector<PrepareSource> sources;
  std::string tokenizer_kind = "sentencepiece";  // or "bytes"
  int64_t vocab_size = 0;  // sentencepiece: train a model of this size (on training documents only)
  std::string tokenizer_model;            // or use this model file
  double holdout_fraction = 0.005;        // of the text, by bytes
  std::string holdout_by = "document";    // or "directory": no folder has files on both sides
  double near_duplicate_threshold = 0.6;  // estimated Jaccard similarity of 5-word shingles
  int64_t tokenizer_sample_bytes = 8 << 20;
  int64_t shard_tokens = 100'000'000;
  int threads = 0;  // 0: all cores; changes no byte
};

struct PrepareReport {
  Manifest manifest;
  bool reused = false;   // the folder already held exactly this
  std::string replaced;  // or held it damaged: how
  int64_t documents = 0, heldout_documents = 0;
  int64_t dropped_near_duplicates = 0,
          dropped_bytes = 0;  // training documents that were twins of held-out ones
  double bytes_per_token = 0;
};

// `progress(stage, done in [0, 1])`.
using PrepareProgress = std::function<void(const std::string& stage, double done)>;

// Hash of the request and of names, sizes and times of its files: the name of the folder it is
// prepared in. INVALID_ARGUMENT for bad options, NOT_FOUND for missing files.
absl::StatusOr<std::string> PrepareRequestHash(const PrepareOptions& options);

core::Json PrepareOptionsToJson(const PrepareOptions& options);
absl::StatusOr<PrepareOptions> PrepareOptionsFromJson(const core::Json& json);

// The report of a folder that already holds exactly this request; NOT_FOUND otherwise, DATA_LOSS
// when a file of it is missing or damaged: sizes of all, hashes of those that are read at once.
absl::StatusOr<PrepareReport> FindPrepared(const std::string& request_hash,
                                           const std::string& out_dir);

// PrepareData (prepare.h) in the program `sweep-data` beside the running one. Its SentencePiece
// carries a protobuf of its own, which cannot share a process with the one that gRPC uses. The
// child ends when this process does. Errors as PrepareData; INTERNAL when the child crashes.
absl::StatusOr<PrepareReport> PrepareInProcess(const PrepareOptions& options,
                                               const std::string& out_dir,
                                               const PrepareProgress& progress);

}  // namespace worker
