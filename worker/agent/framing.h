// Framing of the trainer protocol: 4-byte little-endian length, then one message. Used by both
// ends; depends on protobuf only. Not thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"

namespace worker {

// No message of the protocol is near this; a longer length means garbage on the line.
inline constexpr size_t kMaxFrameBytes = 64 << 20;

// Writes one frame to a socket. UNAVAILABLE when the other end is gone (never SIGPIPE).
absl::Status WriteFrame(int fd, const google::protobuf::MessageLite& message);

// Writes all bytes to a socket. UNAVAILABLE as above.
absl::Status WriteAll(int fd, std::string_view bytes);

// Cuts a byte stream into frames.
class FrameBuffer {
 public:
  void Append(std::string_view bytes) { buffer_.append(bytes); }
  // The next frame's payload, nullopt while it is incomplete. INVALID_ARGUMENT for a length beyond
  // kMaxFrameBytes; the stream is of no use from then on.
  absl::StatusOr<std::optional<std::string>> Next();
  bool empty() const { return buffer_.size() == start_; }

 private:
  std::string buffer_;
  size_t start_ = 0;
};

}  // namespace worker
