// safetensors files: 8-byte little-endian header length, a JSON header {name: {dtype, shape,
// data_offsets}}, raw data. F32 and F64 here. Source: the format's public specification.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"

namespace worker {

struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  const float* data = nullptr;
};

// Writes atomically (temporary, fsync, rename). `metadata` values become strings of "__metadata__".
absl::Status WriteSafetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                              const std::map<std::string, std::string>& metadata);

// A whole file in memory with its tensors by name.
class SafetensorsFile {
 public:
  // DATA_LOSS when the header lies about sizes or offsets.
  static absl::StatusOr<SafetensorsFile> Read(const std::string& path);
  // F32 data of `count` elements; NOT_FOUND or INVALID_ARGUMENT (dtype, size) with the file and the
  // name.
  absl::StatusOr<const float*> Tensor(const std::string& name, int64_t count) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  struct Entry {
    std::string dtype;
    int64_t begin = 0, end = 0;
  };
  std::string path_, content_;
  size_t data_start_ = 0;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace worker
