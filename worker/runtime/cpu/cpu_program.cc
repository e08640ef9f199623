#include "worker/runtime/cpu/cpu_program.h"

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "worker/graph/op.h"

namespace worker {

template <typename T>
AlignedArray<T>::AlignedArray(int64_t n) : size_(n) {
  const size_t bytes = (std::max<int64_t>(n, 1) * sizeof(T) + 63) / 64 * 64;
  data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
  SWEEP_CHECK(data_ != nullptr);
  std::memset(static_cast<void*>(data_), 0, bytes);
}
template <typename T>
AlignedArray<T>::~AlignedArray() {
  std::free(data_);
}

template <typename T>
CpuParameters<T>::CpuParameters(const Parameters& layout, bool with_optimizer_state) {
  for (const ParameterBlock& block : layout.blocks()) {
    param.emplace_back(block.elements);
    if (!with_optimizer_state) continue;
    grad.emplace_back(block.elements);
    moment1.emplace_back(block.elements);
    moment2.emplace_back(block.elements);
  }
}

template <typename T>
int64_t CpuParameters<T>::bytes() const {
  int64_t n = 0;
  for (const auto* arrays : {&param, &grad, &moment1, &moment2}) {
    for (const auto& array : *arrays) n += array.size() * static_cast<int64_t>(sizeof(T));
  }
  return n;
}

template <typename T>
CpuProgram<T>::CpuProgram(const Graph* graph, CpuParameters<T>* parameters, CpuRuntime* runtime)
    : graph_(graph),
      runtime_(runtime),
      plan_(PlanMemory(*graph, sizeof(T), sizeof(T))),
      arena_(std::make_unique<AlignedArray<std::byte>>(plan_.arena_bytes)) {
  for (TensorId id = 0; id < static_cast<TensorId>(graph->tensors().size()); ++id) {
    const Tensor& t = graph->tensor(id);
    if (t.view_of != kNoTensor) {
      base_.push_back(static_cast<T*>(base_[t.view_of]) + t.view_offset);
      continue;
    }
    switch (t.storage) {
      case Storage::kActivation:
        base_.push_back(plan_.offset[id] < 0 ? nullptr : arena_->data() + plan_.offset[id]);
        break;
      case Storage::kParam:
        base_.push_back(parameters->param[t.block].data());
        break;
      case Storage::kGrad:
        base_.push_back(parameters->grad[t.block].data());
        break;
      case Storage::kMoment1:
        base_.push_back(parameters->moment1[t.block].data());
        break;
      case Storage::kMoment2:
        base_.push_back(parameters->moment2[t.block].data());
        break;
      default: {
        const int64_t size = t.element == Element::kInt ? 4 : static_cast<int64_t>(sizeof(T));
        owned_.emplace_back(NumElements(t.dims) * size);
        base_.push_back(owned_.back().data());
        for (size_t i = 0; i < t.constant.size(); ++i) Real(id)[i] = static_cast<T>(t.constant[i]);
      }
    }
  }
}

template <typename T>
void CpuProgram<T>::Run() {
  for (size_t i = 0; i < graph_->nodes().size(); ++i) {
    const Node& node = graph_->nodes()[i];
    const auto start =
        profile_ ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    node.op->Run(CpuExec<T>(*runtime_, *graph_, node, base_.data()));
    if (profile_ != nullptr) {
      profile_->resize(graph_->nodes().size());
      (*profile_)[i] +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  }
}

template class AlignedArray<float>;
template class AlignedArray<double>;
template class AlignedArray<std::byte>;
template struct CpuParameters<float>;
template struct CpuParameters<double>;
template class CpuProgram<float>;
template class CpuProgram<double>;

}  // namespace worker
