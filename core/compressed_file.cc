#include "core/compressed_file.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>

#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace core {
namespace {

absl::StatusOr<std::string> Gunzip(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return absl::NotFoundError(fmt::format("cannot open '{}'", path));
  std::string out;
  char buffer[1 << 16];
  int n = 0;
  while ((n = gzread(file, buffer, sizeof(buffer))) > 0) out.append(buffer, n);
  int code = Z_OK;
  gzerror(file, &code);
  gzclose(file);
  if (n < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    return absl::DataLossError(fmt::format("'{}' is a damaged or truncated gzip file", path));
  }
  return out;
}

absl::StatusOr<std::string> Unzstd(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string packed, ReadFile(path));
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  std::string out, buffer(ZSTD_DStreamOutSize(), '\0');
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  size_t more = 1;
  while (in.pos < in.size) {
    ZSTD_outBuffer chunk{buffer.data(), buffer.size(), 0};
    more = ZSTD_decompressStream(context.get(), &chunk, &in);
    if (ZSTD_isError(more)) break;
    out.append(buffer.data(), chunk.pos);
  }
  if (more != 0)
    return absl::DataLossError(fmt::format("'{}' is a damaged or truncated zstd file", path));
  return out;
}

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

absl::StatusOr<std::string> ReadFileDecompressed(const std::string& path) {
  if (EndsWith(path, ".gz")) return Gunzip(path);
  if (EndsWith(path, ".zst")) return Unzstd(path);
  return ReadFile(path);
}

std::string_view UncompressedName(std::string_view path) {
  for (const std::string_view suffix : {".gz", ".zst"})
    if (EndsWith(path, suffix)) return path.substr(0, path.size() - suffix.size());
  return path;
}

}  // namespace core
