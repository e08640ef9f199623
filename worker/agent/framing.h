// The agent's end of the trainer protocol's framing (proto/sweep/v1/trainer.proto): 4-byte
// little-endian length, then one message. Incremental, because a trainer that hangs in the middle
// of a frame must not hang its slot.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"

namespace worker {

// No message of the protocol is near this; a longer length means garbage on the line.
inline constexpr size_t kFrameLimitBytes = 64 << 20;

std::string EncodeFrame(const google::protobuf::MessageLite& message);

// Cuts a byte stream into frames.
class FrameBuffer {
 public:
  void Append(std::string_view bytes) { buffer_.append(bytes); }
  // The next frame's payload, nullopt while it is incomplete. INVALID_ARGUMENT for a length beyond
  // kFrameLimitBytes; the stream is of no use from then on.
  absl::StatusOr<std::optional<std::string>> Next();
  bool empty() const { return buffer_.size() == start_; }

 private:
  std::string buffer_;
  size_t start_ = 0;
};

}  // namespace worker
