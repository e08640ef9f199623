// Tokenizers: decode(encode(x)) == x for every byte string.
// `bytes`: ids 0..255 and separator 256. SentencePiece BPE: identity normalisation, byte fallback,
// no dummy prefix, whitespace kept, digits split, newline and tab as symbols of their own; what its
// model cannot hold (bytes that are not UTF-8, U+2581 itself) is spelt in byte pieces here.
// DESIGN.md, "Tokenizer contract".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace worker {

// Thread-safe after creation.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int64_t vocab_size() const = 0;
  virtual int32_t separator() const = 0;
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  // The bytes an id spells; empty for the separator and control ids. REQUIRES: 0 <= id <
  // vocab_size().
  virtual const std::string& Bytes(int32_t id) const = 0;
  // "bytes" or "sentencepiece".
  virtual std::string kind() const = 0;
  // SHA-256 of the model file; of "bytes-1" for bytes.
  virtual std::string hash() const = 0;

  std::string Decode(const std::vector<int32_t>& ids) const;
};

std::unique_ptr<Tokenizer> ByteTokenizer();

// From a serialised SentencePiece model. INVALID_ARGUMENT when it breaks the contract (no byte
// fallback, a normaliser, a dummy prefix), naming the option.
absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer(const std::string& model);

// Trains a BPE model of `vocab_size` pieces (at least 264) on the lines that `next` yields until it
// returns false. Deterministic: one thread, no sampling. Returns the serialised model.
absl::StatusOr<std::string> TrainSentencePiece(int64_t vocab_size,
                                               const std::function<bool(std::string*)>& next);

}  // namespace worker
