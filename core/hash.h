// SHA-256, the identity of plans, tokenizers, shards and registrations. Lower-case hex, 64
// characters.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace core {

std::string Sha256Hex(std::string_view bytes);

// Incremental form for data that does not fit in memory. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(const void* data, size_t size);
  void Update(std::string_view bytes) { Update(bytes.data(), bytes.size()); }
  // REQUIRES: called once.
  std::string FinishHex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// NOT_FOUND or UNAVAILABLE with the path when the file cannot be read.
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

}  // namespace core
