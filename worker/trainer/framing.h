// Framing of the trainer protocol: 4-byte little-endian length, then one protobuf message, over a
// stream socket.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"

namespace worker {

// Largest frame either side accepts; a longer one is garbage.
inline constexpr uint32_t kMaxFrameBytes = 64u << 20;

// UNAVAILABLE when the other side is gone.
absl::Status WriteFrame(int fd, const google::protobuf::MessageLite& message);

// Waits up to timeout_ms (-1: for ever) for a whole frame. DEADLINE_EXCEEDED when none came;
// OUT_OF_RANGE at end of file; DATA_LOSS for a frame that cannot be one of this protocol.
absl::Status ReadFrame(int fd, int timeout_ms, google::protobuf::MessageLite* message);

}  // namespace worker
