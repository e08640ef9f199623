// Runs a graph on a GPU: one arena laid out by the memory plan, parameters from a shared store, and
// after the first run one captured CUDA graph. Plain C++: no CUDA header is needed to include it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "worker/graph/graph.h"
#include "worker/graph/memory_plan.h"
#include "worker/graph/parameters.h"
#include "worker/runtime/cpu/cpu_program.h"
#include "worker/runtime/cuda/cuda_context.h"
#include "worker/runtime/cuda/late_sums.h"
#include "worker/runtime/cuda/staged_copy.h"

namespace worker {

// Bytes a parameter costs on the device while training: f32 master, gradient, two moments, and the
// bf16 copy that matrix products read.
inline constexpr int64_t kCudaBytesPerParameter = 18;

// Parameters of one trial on a device, and of every further seat. One array a kind; a block starts
// at block_offset elements, aligned to 128. What moves, moves from and to the first seat in use.
class CudaParameters {
 public:
  // Null when memory is short; the context outlives them. The weights are random and small, so that
  // programs can be run to settle algorithms before the real ones come.
  static std::unique_ptr<CudaParameters> Create(const Parameters& layout, CudaContext* context);

  // Weights, and the bf16 copies that follow from them; the moments become zero.
  void UploadWeights(const CpuParameters<float>& host, CudaContext& context);
  // Weights and moments, from and to the host.
  void Upload(const CpuParameters<float>& host, CudaContext& context);
  void Download(CpuParameters<float>& host, CudaContext& context) const;
  // Gradients, for tests.
  void UploadGradients(const CpuParameters<float>& host, CudaContext& context);

  float* master(int block) const { return At(master_, block); }
  float* grad(int block) const { return At(grad_, block); }
  float* moment1(int block) const { return At(moment1_, block); }
  float* moment2(int block) const { return At(moment2_, block); }
  void* compute(int block) const { return compute_.get() + 2 * block_offset_[block]; }
  int64_t block_offset(int block) const { return block_offset_[block]; }
  int64_t bytes() const;

 private:
  float* At(const DeviceBuffer& buffer, int block) const {
    return reinterpret_cast<float*>(buffer.get()) + block_offset_[block];
  }
  void RoundWeights(CudaContext& context);
  std::vector<CopyPart> Parts(const std::vector<AlignedArray<float>>& host,
                              const DeviceBuffer& device, const CudaContext& context) const;
  void CopyIn(const std::vector<AlignedArray<float>>& from, const DeviceBuffer& to,
              CudaContext& context);
  std::vector<int64_t> block_offset_;
  DeviceBuffer master_, grad_, moment1_, moment2_, compute_;
};

inline MemoryPlan PlanCudaMemory(const Graph& graph) { return PlanMemory(graph, 2, 4); }

class CudaProgram {
 public:
  // Null when memory is short. The graph, the parameters and the context outlive the program, and
  // so does `lender`, whose arena this program uses as well if it is large enough: both run on one
  // stream, and neither keeps activations between runs.
  static std::unique_ptr<CudaProgram> Create(const Graph* graph, CudaParameters* parameters,
                                             CudaContext* context,
                                             const CudaProgram* lender = nullptr);
  ~CudaProgram();

  // Device storage of an input, output or constant, of seat 0.
  void* device(TensorId id) const { return base_[id]; }
  // Of the first seat in use.
  void Upload(TensorId id, const void* host);
  // Waits for the stream. kReal tensors are bf16 on the device and come back as f32.
  std::vector<float> Download(TensorId id);

  // Enqueues every op on the context's stream. `accumulate`: gradients are added to what the
  // parameters hold; otherwise the first writer overwrites.
  void Run(bool accumulate);
  // Seconds of each node, by device events, one synchronisation a node. For profiles.
  std::vector<double> Profile(bool accumulate, int repetitions);
  // Of its own.
  int64_t arena_bytes() const { return arena_.bytes(); }

  // For CudaExec.
  bool FirstWriter(int node, int output) const { return first_writer_[node] >> output & 1; }
  const void* Constant(int node, const void* host, int64_t bytes);
  float* Partial(int node, int64_t n);
  LateSums& late_sums() { return late_sums_; }

 private:
  CudaProgram() = default;
  void RunNode(int node, bool accumulate);
  const Graph* graph_ = nullptr;
  CudaContext* context_ = nullptr;
  MemoryPlan plan_;
  DeviceBuffer arena_;
  std::vector<DeviceBuffer> owned_;
  std::vector<void*> base_, master_;
  std::vector<uint32_t> first_writer_;              // by node: bits of outputs
  std::vector<DeviceBuffer> constants_, partials_;  // by node
  LateSums late_sums_;
};

}  // namespace worker
