#include "worker/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/checkpoint/safetensors.h"

namespace worker {
namespace {

const char* const kFiles[] = {"model.safetensors", "config.json", "optimizer.safetensors",
                              "state.json", "plan.json"};

// A file of the folder as a JSON object. DATA_LOSS when it is none: it was one when it was written.
absl::StatusOr<core::Json> ReadObject(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, core::ReadFile(path));
  absl::StatusOr<core::Json> json = core::ParseJson(text, path);
  if (json.ok() && json->is_object()) return json;
  return absl::DataLossError(
      fmt::format("checkpoint file '{}' is damaged (it is not a JSON object)", path));
}

}  // namespace

std::vector<std::string> OtherCheckpoints(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path mine = fs::path(path).lexically_normal();
  std::vector<std::pair<int64_t, std::string>> found;
  std::error_code error;
  for (const auto& attempt : fs::directory_iterator(mine.parent_path().parent_path(), error)) {
    if (!attempt.is_directory(error)) continue;
    for (const auto& entry : fs::directory_iterator(attempt.path(), error)) {
      const std::string name = entry.path().filename().string();
      int64_t step = 0;
      if (name.rfind("step-", 0) != 0 || entry.path() == mine ||
          !absl::SimpleAtoi(name.substr(5), &step))
        continue;
      found.emplace_back(step, entry.path().string());
    }
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<std::string> paths;
  for (auto& [step, checkpoint] : found) paths.push_back(std::move(checkpoint));
  return paths;
}

core::Json HuggingFaceConfig(const recipes::Plan& plan) {
  core::Json config = plan.model.config;
  config["architectures"] = {"Qwen3ForCausalLM"};
  config["model_type"] = "qwen3";
  config["hidden_act"] = "silu";
  config["attention_bias"] = false;
  config["torch_dtype"] = "float32";
  config["use_sliding_window"] = false;
  if (config.contains("rope_scaling") && config["rope_scaling"].is_object())
    config["rope_scaling"]["rope_type"] = "llama3";
  return config;
}

absl::StatusOr<CheckpointInfo> WriteCheckpoint(const std::string& parent, int64_t step,
                                               std::string_view plan_bytes,
                                               const recipes::Plan& plan, const Parameters& layout,
                                               CpuParameters<float>& parameters) {
  const std::string path = fmt::format("{}/step-{}", parent, step), temporary = path + ".tmp";
  std::error_code ignored;
  std::filesystem::remove_all(temporary, ignored);
  RETURN_IF_ERROR(core::MakeDirs(temporary));
  auto write = [&]() -> absl::StatusOr<std::string> {
    std::vector<TensorToWrite> weights, moments;
    for (const ParameterView& view : layout.views()) {
      weights.push_back({view.name, view.shape(), parameters.view(view)});
      moments.push_back(
          {"m." + view.name, view.shape(), parameters.moment1[view.block].data() + view.offset});
      moments.push_back(
          {"v." + view.name, view.shape(), parameters.moment2[view.block].data() + view.offset});
    }
    const std::string trial_id = core::Sha256Hex(plan_bytes);
    RETURN_IF_ERROR(WriteSafetensors(temporary + "/model.safetensors", weights,
                                     {{"format", "pt"}, {"trial_id", trial_id}}));
    RETURN_IF_ERROR(
        WriteSafetensors(temporary + "/optimizer.safetensors", moments, {{"trial_id", trial_id}}));
    RETURN_IF_ERROR(core::WriteFileAtomically(temporary + "/config.json",
                                              HuggingFaceConfig(plan).dump(2) + "\n"));
    const core::Json state = {{"step", step}, {"trial_id", trial_id}};
    RETURN_IF_ERROR(core::WriteFileAtomically(temporary + "/state.json", state.dump(2) + "\n"));
    RETURN_IF_ERROR(core::WriteFileAtomically(temporary + "/plan.json", plan_bytes));
    core::Json manifest = core::Json::object();
    for (const char* file : kFiles) {
      ASSIGN_OR_RETURN(const std::string hash, core::Sha256HexOfFile(temporary + "/" + file));
      manifest[file] = {{"bytes", std::filesystem::file_size(temporary + "/" + file)},
                        {"sha256", hash}};
    }
    const std::string text = manifest.dump(2) + "\n";
    RETURN_IF_ERROR(core::WriteFileAtomically(temporary + "/checkpoint.json", text));
    std::filesystem::remove_all(path, ignored);
    std::error_code error;
    std::filesystem::rename(temporary, path, error);
    if (error) return core::ErrnoStatus(error.value(), "renaming checkpoint to", path);
    RETURN_IF_ERROR(core::SyncDir(parent));
    return core::Sha256Hex(text);
  };
  auto hash = write();
  if (!hash.ok()) {
    std::filesystem::remove_all(temporary, ignored);
    return hash.status();
  }
  return CheckpointInfo{path, step, *hash};
}

absl::StatusOr<int64_t> ReadCheckpoint(const std::string& path, std::string_view plan_bytes,
                                       const Parameters& layout, CpuParameters<float>& parameters) {
  ASSIGN_OR_RETURN(const core::Json manifest, ReadObject(path + "/checkpoint.json"));
  for (const char* file : kFiles) {
    const std::string name = path + "/" + file;
    ASSIGN_OR_RETURN(const std::string hash, core::Sha256HexOfFile(name));
    if (!manifest.contains(file) || !manifest[file].is_object() ||
        manifest[file].value("sha256", core::Json()) != hash) {
      return absl::DataLossError(fmt::format(
          "checkpoint file '{}' is damaged (its SHA-256 is not the recorded one)", name));
    }
  }
  ASSIGN_OR_RETURN(const std::string saved_plan, core::ReadFile(path + "/plan.json"));
  if (saved_plan != plan_bytes) {
    return absl::FailedPreconditionError(fmt::format(
        "checkpoint '{}' belongs to another plan ({}..., wanted {}...)", path,
        core::Sha256Hex(saved_plan).substr(0, 12), core::Sha256Hex(plan_bytes).substr(0, 12)));
  }
  ASSIGN_OR_RETURN(const SafetensorsFile weights,
                   SafetensorsFile::Read(path + "/model.safetensors"));
  ASSIGN_OR_RETURN(const SafetensorsFile moments,
                   SafetensorsFile::Read(path + "/optimizer.safetensors"));
  for (const ParameterView& view : layout.views()) {
    const int64_t n = view.elements();
    ASSIGN_OR_RETURN(const float* w, weights.Tensor(view.name, n));
    ASSIGN_OR_RETURN(const float* m, moments.Tensor("m." + view.name, n));
    ASSIGN_OR_RETURN(const float* v, moments.Tensor("v." + view.name, n));
    std::copy_n(w, n, parameters.view(view));
    std::copy_n(m, n, parameters.moment1[view.block].data() + view.offset);
    std::copy_n(v, n, parameters.moment2[view.block].data() + view.offset);
  }
  ASSIGN_OR_RETURN(const core::Json state, ReadObject(path + "/state.json"));
  const core::Json step = state.value("step", core::Json());
  if (!step.is_number_integer() || step < 0) {
    return absl::DataLossError(fmt::format("checkpoint file '{}/state.json' has no step", path));
  }
  return step.get<int64_t>();
}

}  // namespace worker
