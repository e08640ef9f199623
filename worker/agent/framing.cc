#include "worker/agent/framing.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "fmt/format.h"

namespace worker {

absl::Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return absl::UnavailableError(
          fmt::format("writing to the other end of the trainer protocol: {}", strerror(errno)));
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status WriteFrame(int fd, const google::protobuf::MessageLite& message) {
  const std::string payload = message.SerializeAsString();
  const auto size = static_cast<uint32_t>(payload.size());
  std::string frame;
  frame.reserve(payload.size() + 4);
  for (int shift = 0; shift < 32; shift += 8) frame.push_back(static_cast<char>(size >> shift));
  frame += payload;
  return WriteAll(fd, frame);
}

absl::StatusOr<std::optional<std::string>> FrameBuffer::Next() {
  if (buffer_.size() - start_ < 4) return std::nullopt;
  uint32_t size = 0;
  for (int i = 0; i < 4; ++i)
    size |= static_cast<uint32_t>(static_cast<unsigned char>(buffer_[start_ + i])) << (8 * i);
  if (size > kMaxFrameBytes) {
    return absl::InvalidArgumentError(fmt::format(
        "a frame of {} bytes is announced, at most {} are allowed: this is not the trainer "
        "protocol",
        size, kMaxFrameBytes));
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
