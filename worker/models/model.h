// A model family: one file that writes a forward pass in ops. Parameters and their roles, the
// backward pass, memory and FLOPs follow from the graph. A new architecture is one file here and
// one line in families.cc.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/canonical_json.h"
#include "worker/graph/graph.h"
#include "worker/graph/parameters.h"

namespace worker {

// What a family sees while it builds: the graph, the parameters, and the inputs.
class ModelBuilder {
 public:
  ModelBuilder(Graph& graph, Parameters& parameters, TensorId tokens)
      : graph(graph), tokens(tokens), parameters_(parameters) {}

  // One matrix [rows, cols] (out, in) as its own block.
  TensorId Matrix(const std::string& name, const std::string& role, int64_t rows, int64_t cols);
  // Several matrices with equal cols stacked into one block, so that one product computes them all.
  struct Part {
    std::string name;
    int64_t rows;
  };
  TensorId Stacked(const std::string& block, const std::string& role,
                   const std::vector<Part>& parts, int64_t cols);
  TensorId Vector(const std::string& name, const std::string& role, int64_t size);

  Graph& graph;
  const TensorId tokens;  // (B, T) int32

 private:
  TensorId Declare(const std::string& block, Dims dims, std::vector<ParameterView> views);
  Parameters& parameters_;
};

// What a family returns: final hidden states (B, T, C), ready for the head, and the head (V, C).
struct ModelOutputs {
  TensorId hidden = kNoTensor;
  TensorId head = kNoTensor;
  int64_t vocab = 0;
};

// Builds `family` with its configuration (recipes/plan.h, ModelSpec). INVALID_ARGUMENT names the
// key that is missing, unknown or out of range; NOT_FOUND for an unknown family.
absl::StatusOr<ModelOutputs> BuildModel(const std::string& family, const core::Json& config,
                                        ModelBuilder& builder);

// Forward passes, one a family.
absl::StatusOr<ModelOutputs> BuildTransformer(const core::Json& config, ModelBuilder& builder);

}  // namespace worker
