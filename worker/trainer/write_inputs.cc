#include "worker/trainer/write_inputs.h"

#include <bit>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/file.h"
#include "core/hash.h"
#include "core/machine.h"
#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/data/dataset.h"
#include "worker/trainer/programs.h"
#include "worker/trainer/trial.h"

namespace worker {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

absl::Status WriteWeights(const std::string& path, const recipes::Plan& plan,
                          const std::string& trial_id) {
  Parameters layout;
  RETURN_IF_ERROR(BuildStep(plan, 1, false, &layout).status());
  if (layout.total() != plan.params) {
    return absl::InvalidArgumentError(
        fmt::format("the model has {} parameters, the plan says {}", layout.total(), plan.params));
  }
  CpuParameters<float> parameters(layout);
  RETURN_IF_ERROR(InitializeWeights(plan, layout, core::ReadMachine().cores, parameters));
  std::vector<TensorToWrite> tensors;
  for (const ParameterView& view : layout.views())
    tensors.push_back({view.name, view.shape(), parameters.view(view)});
  return WriteSafetensors(path, tensors, {{"format", "pt"}, {"trial_id", trial_id}});
}

absl::Status WriteSequences(const std::string& path, const recipes::Plan& plan,
                            const Dataset& dataset) {
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  std::vector<int32_t> tokens(plan.seq_len), targets(plan.seq_len);
  for (int64_t i = 0; i < plan.steps * plan.batch && file; ++i) {
    dataset.TrainingSequence(i, tokens.data(), targets.data());
    file.write(reinterpret_cast<const char*>(tokens.data()),
               static_cast<std::streamsize>(tokens.size() * sizeof(int32_t)));
  }
  file.close();
  std::error_code error;
  if (!file) {
    const int number = errno;
    std::filesystem::remove(temporary, error);
    return core::ErrnoStatus(number, "writing", path);
  }
  std::filesystem::rename(temporary, path, error);
  if (error) return core::ErrnoStatus(error.value(), "renaming to", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteInputs(const WriteInputsOptions& options) {
  ASSIGN_OR_RETURN(const std::string bytes, core::ReadFile(options.plan_path));
  ASSIGN_OR_RETURN(const recipes::Plan plan, recipes::ParsePlan(bytes));
  ASSIGN_OR_RETURN(const auto dataset, Dataset::Open(options.data_dir, plan, true));
  RETURN_IF_ERROR(core::MakeDirs(options.out_dir));
  RETURN_IF_ERROR(
      WriteWeights(options.out_dir + "/initial.safetensors", plan, core::Sha256Hex(bytes)));
  return WriteSequences(options.out_dir + "/sequences.i32", plan, *dataset);
}

}  // namespace worker
