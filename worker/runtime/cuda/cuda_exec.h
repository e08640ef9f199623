// What a CUDA op sees when it runs: typed device pointers by input and output position, and the
// stream. For .cu files only.
//   Pointers are those of the first seat in use; kernels take seat_stride and go on from there.
//   kReal activations are bf16; kAccum and constants are f32; a parameter is bf16 as In(i), and its
//   f32 master copy as Master(i); gradients and moments are f32.
#pragma once

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <memory>
#include <vector>

#include "worker/graph/graph.h"
#include "worker/runtime/cuda/cuda_check.h"
#include "worker/runtime/cuda/cuda_context.h"

namespace worker {

using bf16 = __nv_bfloat16;

struct PendingGemms;  // gemm.cu
struct BatchedGemms;

struct CudaHandles {
  cudaStream_t stream = nullptr, copy_stream = nullptr;
  cublasLtHandle_t lt = nullptr;
  void* cudnn = nullptr;  // cudnnHandle_t
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  std::shared_ptr<PendingGemms> pending_gemms;
  std::shared_ptr<BatchedGemms> batched_gemms;
  // By seat but the first: where what one launch cannot do for all seats runs side by side.
  struct Branch {
    cudaStream_t stream = nullptr;
    cudaEvent_t joined = nullptr;
  };
  std::vector<Branch> branches;
  cudaEvent_t forked = nullptr;
};

// Blocks of a kernel that works at every seat in use: blockIdx.z is the seat.
inline dim3 SeatGrid(const CudaContext& context, int64_t blocks) {
  return dim3(static_cast<unsigned>(blocks), 1, static_cast<unsigned>(context.seats().count));
}
// What the block's seat has, where the first seat in use has p.
template <typename T>
__device__ __forceinline__ T* AtSeat(T* p, int64_t stride) {
  return (T*)((char*)p + static_cast<int64_t>(blockIdx.z) * stride);  // NOLINT: keeps const
}
// fn(stream, shift) for every seat in use, side by side; shift: bytes from the first seat's.
template <typename Fn>
void AtEachSeat(CudaContext& context, Fn fn) {
  CudaHandles& h = context.handles();
  const Seats& seats = context.seats();
  if (seats.count > 1) CUDA_OK(cudaEventRecord(h.forked, h.stream));
  fn(h.stream, int64_t{0});
  for (int i = 1; i < seats.count; ++i) {
    const CudaHandles::Branch& branch = h.branches[i];
    CUDA_OK(cudaStreamWaitEvent(branch.stream, h.forked, 0));
    fn(branch.stream, i * seats.stride);
    CUDA_OK(cudaEventRecord(branch.joined, branch.stream));
    CUDA_OK(cudaStreamWaitEvent(h.stream, branch.joined, 0));
  }
}

class CudaProgram;

class CudaExec {
 public:
  CudaExec(CudaContext& context, CudaProgram& program, const Graph& graph, int node_index,
           void* const* base, void* const* master, bool accumulate)
      : context(context),
        stream(context.handles().stream),
        seat_stride(context.seats().stride),
        program_(program),
        graph_(graph),
        node_(graph.nodes()[node_index]),
        index_(node_index),
        base_(base),
        master_(master),
        accumulate_(accumulate) {}

  bool HasIn(int i) const { return node_.inputs[i] != kNoTensor; }
  bool HasOut(int i) const { return node_.outputs[i] != kNoTensor; }
  const bf16* In(int i) const { return At<const bf16>(base_[node_.inputs[i]]); }
  const float* InF32(int i) const { return At<const float>(base_[node_.inputs[i]]); }
  const int32_t* InInt(int i) const { return At<const int32_t>(base_[node_.inputs[i]]); }
  const float* Master(int i) const { return At<const float>(master_[node_.inputs[i]]); }
  bf16* Out(int i) const { return At<bf16>(base_[node_.outputs[i]]); }
  float* OutF32(int i) const { return At<float>(base_[node_.outputs[i]]); }
  float* OutMaster(int i) const { return At<float>(master_[node_.outputs[i]]); }
  const Dims& InDims(int i) const { return graph_.tensor(node_.inputs[i]).dims; }
  const Dims& OutDims(int i) const { return graph_.tensor(node_.outputs[i]).dims; }
  int64_t InRow(int i) const { return graph_.RowElements(node_.inputs[i]); }
  int64_t OutRow(int i) const { return graph_.RowElements(node_.outputs[i]); }

  // Whether gradient output i already holds a sum to add to; else it is overwritten. The first op
  // that writes a gradient in the first micro-step of a step overwrites, so nobody sets gradients
  // to zero.
  bool Adds(int i) const;

  template <typename T>
  T* Scratch(int64_t n) const {
    return static_cast<T*>(context.Scratch(n * static_cast<int64_t>(sizeof(T))));
  }
  // Partial sums of this node that SumLater reads: memory that nothing else uses, the same every
  // run.
  float* Partial(int64_t n) const;
  // Column sums of a Partial into gradient output `output`, added or not as Adds says, once all
  // nodes have run.
  void SumLater(const float* partial, int64_t parts, int64_t stride, int64_t columns,
                int output) const;
  // Device copy of a host table that belongs to this node, made in the first run; one for all
  // seats.
  const void* Constant(const void* host, int64_t bytes) const;
  dim3 Grid(int64_t blocks) const { return SeatGrid(context, blocks); }

  CudaContext& context;
  const cudaStream_t stream;
  const int64_t seat_stride;  // for AtSeat

 private:
  template <typename T>
  T* At(void* p) const {
    return static_cast<T*>(context.OfFirstSeat(p));
  }
  CudaProgram& program_;
  const Graph& graph_;
  const Node& node_;
  const int index_;
  void* const* base_;
  void* const* master_;
  const bool accumulate_;
};

}  // namespace worker
