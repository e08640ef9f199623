// Runs a graph on the CPU: one arena laid out by the memory plan, parameters from a shared store.
#pragma once

#include <memory>
#include <vector>

#include "worker/graph/graph.h"
#include "worker/graph/memory_plan.h"
#include "worker/graph/parameters.h"
#include "worker/runtime/cpu/cpu_runtime.h"

namespace worker {

// 64-byte aligned, zero-initialised array.
template <typename T>
class AlignedArray {
 public:
  explicit AlignedArray(int64_t n);
  ~AlignedArray();
  AlignedArray(AlignedArray&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
  }
  AlignedArray(const AlignedArray&) = delete;
  T* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  T* data_;
  int64_t size_;
};

// Parameters of one trial with gradients and moments, one array a block each. T: float, or double
// in the checker.
template <typename T>
struct CpuParameters {
  explicit CpuParameters(const Parameters& layout, bool with_optimizer_state = true);
  T* view(const ParameterView& v) { return param[v.block].data() + v.offset; }

  std::vector<AlignedArray<T>> param, grad, moment1, moment2;
  int64_t bytes() const;
};

// A graph ready to run. Not thread-safe; the graph, the parameters and the runtime outlive it.
template <typename T>
class CpuProgram {
 public:
  CpuProgram(const Graph* graph, CpuParameters<T>* parameters, CpuRuntime* runtime);

  // Storage of a kInput or kOutput tensor, valid for the program's life.
  T* Real(TensorId id) const { return static_cast<T*>(base_[id]); }
  int32_t* Int(TensorId id) const { return static_cast<int32_t*>(base_[id]); }
  void Run();
  int64_t arena_bytes() const { return plan_.arena_bytes; }
  // Wall time of each node in the last profiled runs, summed by op name; filled when profiling is
  // on.
  void set_profile(std::vector<double>* seconds_by_node) { profile_ = seconds_by_node; }

 private:
  const Graph* graph_;
  CpuRuntime* runtime_;
  MemoryPlan plan_;
  std::unique_ptr<AlignedArray<std::byte>> arena_;
  std::vector<AlignedArray<std::byte>> owned_;  // inputs, outputs, constants
  std::vector<void*> base_;
  std::vector<double>* profile_ = nullptr;
};

}  // namespace worker
