// Token shards: the common format of public training code. 256 little-endian int32 of header, then
// the tokens. header[0] = 20240520, header[1] = 1 for uint16 tokens (2 for uint32), header[2] =
// number of tokens, rest 0. Source: llm.c's data files and the parameter-golf rules, section 1.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace worker {

inline constexpr int32_t kShardMagic = 20240520;

// A shard mapped read-only. Movable; reading is thread-safe.
class Shard {
 public:
  // NOT_FOUND when missing; DATA_LOSS when the magic, version or size is wrong (truncated: says how
  // many bytes miss).
  static absl::StatusOr<Shard> Open(const std::string& path);
  ~Shard();
  Shard(Shard&& other) noexcept;
  Shard(const Shard&) = delete;

  int64_t tokens() const { return tokens_; }
  // Token at position i. REQUIRES: 0 <= i < tokens().
  int32_t at(int64_t i) const {
    return wide_ ? static_cast<int32_t>(static_cast<const uint32_t*>(data_)[i])
                 : static_cast<int32_t>(static_cast<const uint16_t*>(data_)[i]);
  }
  const std::string& path() const { return path_; }

 private:
  Shard() = default;
  std::string path_;
  void* map_ = nullptr;
  size_t map_bytes_ = 0;
  const void* data_ = nullptr;
  int64_t tokens_ = 0;
  bool wide_ = false;
};

// Writes a shard completely or not at all (temporary file, fsync, rename). Tokens are appended in
// order.
class ShardWriter {
 public:
  // `wide`: uint32 tokens.
  static absl::StatusOr<std::unique_ptr<ShardWriter>> Create(const std::string& path, bool wide);
  ~ShardWriter();  // removes the temporary file when Finish was not reached
  absl::Status Append(const std::vector<int32_t>& tokens);
  absl::Status Finish();
  int64_t tokens() const { return tokens_; }

 private:
  ShardWriter() = default;
  absl::Status Flush();
  std::string path_, temporary_;
  int fd_ = -1;
  bool wide_ = false;
  int64_t tokens_ = 0;
  std::vector<char> buffer_;
};

}  // namespace worker
