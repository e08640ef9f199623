#include "worker/agent/framing.h"

#include <cstdint>

#include "fmt/format.h"

namespace worker {

std::string EncodeFrame(const google::protobuf::MessageLite& message) {
  const std::string payload = message.SerializeAsString();
  const auto size = static_cast<uint32_t>(payload.size());
  std::string frame;
  frame.reserve(payload.size() + 4);
  for (int shift = 0; shift < 32; shift += 8) frame.push_back(static_cast<char>(size >> shift));
  return frame + payload;
}

absl::StatusOr<std::optional<std::string>> FrameBuffer::Next() {
  if (buffer_.size() - start_ < 4) return std::nullopt;
  uint32_t size = 0;
  for (int i = 0; i < 4; ++i)
    size |= static_cast<uint32_t>(static_cast<unsigned char>(buffer_[start_ + i])) << (8 * i);
  if (size > kFrameLimitBytes) {
    return absl::InvalidArgumentError(fmt::format(
        "a frame of {} bytes is announced, at most {} are allowed: this is not the trainer "
        "protocol",
        size, kFrameLimitBytes));
  }
  if (buffer_.size() - start_ - 4 < size) return std::nullopt;
  std::string payload = buffer_.substr(start_ + 4, size);
  start_ += 4 + size;
  if (start_ > (1 << 16) || start_ == buffer_.size()) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
  return payload;
}

}  // namespace worker
