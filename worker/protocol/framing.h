// Framing of the trainer protocol (proto/sweep/v1/trainer.proto): 4-byte little-endian length, then
// one message, over a stream socket.
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
inline constexpr size_t kFrameLimitBytes = 64 << 20;

std::string EncodeFrame(const google::protobuf::MessageLite& message);

// Cuts a byte stream into frames. Incremental, because a trainer that hangs in the middle of a
// frame must not hang its slot.
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

// Messages over a socket that somebody else closes: the trainer's end. Not thread-safe.
class FrameSocket {
 public:
  explicit FrameSocket(int fd) : fd_(fd) {}
  // UNAVAILABLE when the other side is gone (never SIGPIPE).
  absl::Status Write(const google::protobuf::MessageLite& message);
  // Waits up to timeout_ms (-1: for ever) for bytes. DEADLINE_EXCEEDED while no frame is whole;
  // OUT_OF_RANGE at end of file; INVALID_ARGUMENT for what cannot be this protocol.
  absl::Status Read(int timeout_ms, google::protobuf::MessageLite* message);

 private:
  const int fd_;
  FrameBuffer frames_;
};

}  // namespace worker
