#include "fmt/format.h"
#include "worker/models/model.h"

namespace worker {

absl::StatusOr<ModelOutputs> BuildModel(const std::string& family, const core::Json& config,
                                        ModelBuilder& builder) {
  if (family == "transformer") return BuildTransformer(config, builder);
  return absl::NotFoundError(
      fmt::format("no model family '{}' in this trainer; it knows: transformer", family));
}

TensorId ModelBuilder::Matrix(const std::string& name, const std::string& role, int64_t rows,
                              int64_t cols) {
  return Declare(name, {rows, cols}, {{.name = name, .role = role, .rows = rows, .cols = cols}});
}

TensorId ModelBuilder::Stacked(const std::string& block, const std::string& role,
                               const std::vector<Part>& parts, int64_t cols) {
  std::vector<ParameterView> views;
  int64_t rows = 0;
  for (const Part& part : parts) {
    views.push_back({.name = part.name, .role = role, .rows = part.rows, .cols = cols});
    rows += part.rows;
  }
  return Declare(block, {rows, cols}, std::move(views));
}

TensorId ModelBuilder::Vector(const std::string& name, const std::string& role, int64_t size) {
  return Declare(name, {size},
                 {{.name = name, .role = role, .rows = size, .cols = 1, .vector = true}});
}

TensorId ModelBuilder::Declare(const std::string& block, Dims dims,
                               std::vector<ParameterView> views) {
  const int index = parameters_.Declare(block, std::move(views));
  return graph.Add(
      {.name = block, .dims = std::move(dims), .storage = Storage::kParam, .block = index});
}

}  // namespace worker
