#include "worker/checkpoint/safetensors.h"

#include <cstring>

#include "core/file.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace worker {

absl::Status WriteSafetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  core::Json header = core::Json::object();
  header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const TensorToWrite& t : tensors) {
    int64_t bytes = 4;
    for (int64_t d : t.shape) bytes *= d;
    header[t.name] = {
        {"dtype", "F32"}, {"shape", t.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string content(8, '\0');
  const uint64_t length = text.size();
  std::memcpy(content.data(), &length, 8);
  content.reserve(8 + text.size() + offset);
  content += text;
  for (const TensorToWrite& t : tensors) {
    const auto& range = header[t.name]["data_offsets"];
    content.append(reinterpret_cast<const char*>(t.data),
                   range[1].get<int64_t>() - range[0].get<int64_t>());
  }
  return core::WriteFileAtomically(path, content);
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Read(const std::string& path) {
  SafetensorsFile file;
  file.path_ = path;
  ASSIGN_OR_RETURN(file.content_, core::ReadFile(path));
  auto damaged = [&](std::string_view why) {
    return absl::DataLossError(fmt::format("'{}' is not a whole safetensors file: {}", path, why));
  };
  if (file.content_.size() < 8) return damaged("shorter than its header");
  uint64_t length = 0;
  std::memcpy(&length, file.content_.data(), 8);
  if (length > file.content_.size() - 8) return damaged("truncated header");
  ASSIGN_OR_RETURN(const core::Json header,
                   core::ParseJson(std::string_view(file.content_).substr(8, length), path));
  file.data_start_ = 8 + length;
  const int64_t data_bytes = static_cast<int64_t>(file.content_.size() - file.data_start_);
  try {
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        file.metadata_ = value.get<std::map<std::string, std::string>>();
        continue;
      }
      Entry entry{value.at("dtype"), value.at("data_offsets").at(0),
                  value.at("data_offsets").at(1)};
      if (entry.begin < 0 || entry.end < entry.begin || entry.end > data_bytes) {
        return damaged(fmt::format("tensor '{}' lies outside the data", name));
      }
      file.entries_[name] = entry;
    }
  } catch (const core::Json::exception& error) {
    return damaged(error.what());
  }
  return file;
}

absl::StatusOr<const float*> SafetensorsFile::Tensor(const std::string& name, int64_t count) const {
  const auto it = entries_.find(name);
  if (it == entries_.end())
    return absl::NotFoundError(fmt::format("'{}' has no tensor '{}'", path_, name));
  if (it->second.dtype != "F32" || it->second.end - it->second.begin != 4 * count) {
    return absl::InvalidArgumentError(
        fmt::format("'{}': tensor '{}' is {} of {} bytes, expected F32 of {} bytes", path_, name,
                    it->second.dtype, it->second.end - it->second.begin, 4 * count));
  }
  return reinterpret_cast<const float*>(content_.data() + data_start_ + it->second.begin);
}

}  // namespace worker
