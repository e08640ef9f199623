#include "worker/trainer/framing.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {
namespace {

absl::Status ReadExactly(int fd, char* out, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = read(fd, out + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::OutOfRangeError("the other side of the trainer socket is closed");
    done += n;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteFrame(int fd, const google::protobuf::MessageLite& message) {
  std::string bytes(4, '\0');
  const uint32_t size = static_cast<uint32_t>(message.ByteSizeLong());
  std::memcpy(bytes.data(), &size, 4);
  message.AppendToString(&bytes);
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return absl::UnavailableError(
          fmt::format("writing to the trainer socket failed: {}", std::strerror(errno)));
    done += n;
  }
  return absl::OkStatus();
}

absl::Status ReadFrame(int fd, int timeout_ms, google::protobuf::MessageLite* message) {
  pollfd ready{fd, POLLIN, 0};
  const int n = poll(&ready, 1, timeout_ms);
  if (n == 0 || (n < 0 && errno == EINTR)) return absl::DeadlineExceededError("no frame yet");
  uint32_t size = 0;
  RETURN_IF_ERROR(ReadExactly(fd, reinterpret_cast<char*>(&size), 4));
  if (size > kMaxFrameBytes)
    return absl::DataLossError(fmt::format("a trainer frame of {} bytes cannot be", size));
  std::string bytes(size, '\0');
  RETURN_IF_ERROR(ReadExactly(fd, bytes.data(), size));
  if (!message->ParseFromString(bytes))
    return absl::DataLossError("a trainer frame that is not a message of the protocol");
  return absl::OkStatus();
}

}  // namespace worker
