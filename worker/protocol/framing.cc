#include "worker/protocol/framing.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/status_macros.h"
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

absl::Status FrameSocket::Write(const google::protobuf::MessageLite& message) {
  const std::string frame = EncodeFrame(message);
  for (size_t done = 0; done < frame.size();) {
    const ssize_t n = send(fd_, frame.data() + done, frame.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return absl::UnavailableError(
          fmt::format("writing to the trainer socket failed: {}", std::strerror(errno)));
    }
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status FrameSocket::Read(int timeout_ms, google::protobuf::MessageLite* message) {
  ASSIGN_OR_RETURN(std::optional<std::string> frame, frames_.Next());
  if (!frame.has_value()) {
    pollfd waiting = {fd_, POLLIN, 0};
    const int ready = poll(&waiting, 1, timeout_ms);
    if (ready == 0 || (ready < 0 && errno == EINTR))
      return absl::DeadlineExceededError("no frame yet");
    char buffer[65536];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
    if (n < 0 && errno == EINTR) return absl::DeadlineExceededError("no frame yet");
    if (n <= 0) return absl::OutOfRangeError("the other side of the trainer socket is closed");
    frames_.Append({buffer, static_cast<size_t>(n)});
    ASSIGN_OR_RETURN(frame, frames_.Next());
    if (!frame.has_value()) return absl::DeadlineExceededError("no whole frame yet");
  }
  if (!message->ParseFromString(*frame))
    return absl::InvalidArgumentError("a trainer frame that is not a message of the protocol");
  return absl::OkStatus();
}

}  // namespace worker
