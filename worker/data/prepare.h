// Preparation: from folders of text to token shards, a held-out set and a manifest.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/manifest.h"
#include "worker/data/prepare_request.h"

namespace worker {

// Fills `out_dir`; the manifest is written last, so an interrupted preparation is repeated. The
// same request on unchanged files is recognised and reused. NOT_FOUND for missing files,
// INVALID_ARGUMENT for bad options or documents, RESOURCE_EXHAUSTED on a full disk.
absl::StatusOr<PrepareReport> PrepareData(const PrepareOptions& options, const std::string& out_dir,
                                          const PrepareProgress& progress);

// Loads the tokenizer of a prepared folder.
class Tokenizer;
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& data_dir,
                                                         const Manifest& manifest);

}  // namespace worker
