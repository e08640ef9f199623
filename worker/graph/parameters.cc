#include "worker/graph/parameters.h"

namespace worker {

int Parameters::Declare(const std::string& block_name, std::vector<ParameterView> views) {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i].name == block_name) return static_cast<int>(i);
  }
  ParameterBlock block{block_name, 0};
  for (ParameterView& view : views) {
    view.block = static_cast<int>(blocks_.size());
    view.offset = block.elements;
    block.elements += view.elements();
    views_.push_back(std::move(view));
  }
  blocks_.push_back(std::move(block));
  return static_cast<int>(blocks_.size()) - 1;
}

int64_t Parameters::total() const {
  int64_t n = 0;
  for (const ParameterBlock& block : blocks_) n += block.elements;
  return n;
}

}  // namespace worker
