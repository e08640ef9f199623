#include "worker/data/shard.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {
namespace {

constexpr int64_t kHeaderBytes = 256 * 4;
constexpr size_t kBufferBytes = 1 << 20;

absl::Status WriteAll(int fd, const char* data, size_t size, const std::string& path) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = write(fd, data + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return core::ErrnoStatus(errno, "writing shard", path);
    done += n;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Shard> Shard::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return core::ErrnoStatus(errno, "opening shard", path);
  struct stat info {};
  fstat(fd, &info);
  if (info.st_size < kHeaderBytes) {
    close(fd);
    return absl::DataLossError(
        fmt::format("shard '{}' has {} bytes, less than its {}-byte header; prepare the data again",
                    path, info.st_size, kHeaderBytes));
  }
  void* map = mmap(nullptr, info.st_size, PROT_READ, MAP_SHARED, fd, 0);
  const int map_errno = errno;
  close(fd);
  if (map == MAP_FAILED) return core::ErrnoStatus(map_errno, "mapping shard", path);
  Shard shard;
  shard.path_ = path;
  shard.map_ = map;
  shard.map_bytes_ = info.st_size;
  int32_t header[3];
  std::memcpy(header, map, sizeof(header));
  if (header[0] != kShardMagic || (header[1] != 1 && header[1] != 2)) {
    return absl::DataLossError(
        fmt::format("'{}' is not a token shard: magic {} version {}, expected {} and 1 or 2", path,
                    header[0], header[1], kShardMagic));
  }
  shard.wide_ = header[1] == 2;
  shard.tokens_ = header[2];
  const int64_t expected = kHeaderBytes + shard.tokens_ * (shard.wide_ ? 4 : 2);
  if (shard.tokens_ < 0 || info.st_size != expected) {
    return absl::DataLossError(
        fmt::format("shard '{}' is damaged: its header promises {} tokens ({} bytes) but the file "
                    "has {}; prepare the data again",
                    path, shard.tokens_, expected, info.st_size));
  }
  shard.data_ = static_cast<const char*>(map) + kHeaderBytes;
  return shard;
}

Shard::Shard(Shard&& other) noexcept
    : path_(std::move(other.path_)),
      map_(std::exchange(other.map_, nullptr)),
      map_bytes_(other.map_bytes_),
      data_(other.data_),
      tokens_(other.tokens_),
      wide_(other.wide_) {}

Shard::~Shard() {
  if (map_ != nullptr) munmap(map_, map_bytes_);
}

absl::StatusOr<std::unique_ptr<ShardWriter>> ShardWriter::Create(const std::string& path,
                                                                 bool wide) {
  auto writer = std::unique_ptr<ShardWriter>(new ShardWriter);
  writer->path_ = path;
  writer->temporary_ = fmt::format("{}.tmp.{}", path, getpid());
  writer->wide_ = wide;
  writer->fd_ = open(writer->temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (writer->fd_ < 0) return core::ErrnoStatus(errno, "creating shard", writer->temporary_);
  const std::vector<char> header(kHeaderBytes, 0);
  RETURN_IF_ERROR(WriteAll(writer->fd_, header.data(), header.size(), writer->temporary_));
  return writer;
}

ShardWriter::~ShardWriter() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

absl::Status ShardWriter::Append(const std::vector<int32_t>& tokens) {
  for (int32_t token : tokens) {
    char bytes[4];
    std::memcpy(bytes, &token, 4);  // little-endian machines only, as everything here
    buffer_.insert(buffer_.end(), bytes, bytes + (wide_ ? 4 : 2));
  }
  tokens_ += static_cast<int64_t>(tokens.size());
  return buffer_.size() >= kBufferBytes ? Flush() : absl::OkStatus();
}

absl::Status ShardWriter::Flush() {
  RETURN_IF_ERROR(WriteAll(fd_, buffer_.data(), buffer_.size(), temporary_));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status ShardWriter::Finish() {
  RETURN_IF_ERROR(Flush());
  const int32_t header[3] = {kShardMagic, wide_ ? 2 : 1, static_cast<int32_t>(tokens_)};
  if (tokens_ > INT32_MAX)
    return absl::OutOfRangeError(
        fmt::format("shard '{}' would hold {} tokens, more than 2^31-1", path_, tokens_));
  if (pwrite(fd_, header, sizeof(header), 0) != sizeof(header))
    return core::ErrnoStatus(errno, "writing header of", temporary_);
  if (fsync(fd_) != 0) return core::ErrnoStatus(errno, "flushing shard", temporary_);
  close(std::exchange(fd_, -1));
  if (rename(temporary_.c_str(), path_.c_str()) != 0)
    return core::ErrnoStatus(errno, "renaming shard to", path_);
  return absl::OkStatus();
}

}  // namespace worker
