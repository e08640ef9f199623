// Parameters: named matrices that are row ranges of storage blocks. The optimiser, clipping,
// checkpoints and counts see the views (q, k, v apart); the matrix products see the blocks (qkv
// fused).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/graph/graph.h"

namespace worker {

struct ParameterView {
  std::string name;  // Hugging Face's, "model.layers.0.self_attn.q_proj.weight"
  std::string role;  // optimiser and init role, see recipes/plan.h
  int64_t rows = 0;  // 1-D parameters: rows = size, cols = 1
  int64_t cols = 1;
  bool vector = false;  // saved with one dimension
  int block = -1;
  int64_t offset = 0;  // elements into the block
  int64_t elements() const { return rows * cols; }
  // As files hold it.
  std::vector<int64_t> shape() const {
    return vector ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, cols};
  }
};

struct ParameterBlock {
  std::string name;
  int64_t elements = 0;
};

class Parameters {
 public:
  // Declares a block of stacked [rows, cols] matrices (all views share cols) and returns its index;
  // a block whose first view was declared before is returned as it is, so that every program of a
  // trial shares one layout.
  int Declare(const std::string& block_name, std::vector<ParameterView> views);

  const std::vector<ParameterView>& views() const { return views_; }
  const std::vector<ParameterBlock>& blocks() const { return blocks_; }
  int64_t total() const;

 private:
  std::vector<ParameterView> views_;
  std::vector<ParameterBlock> blocks_;
};

}  // namespace worker
