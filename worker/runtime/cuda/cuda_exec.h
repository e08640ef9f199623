// What a CUDA op sees when it runs: typed device pointers by input and output position, and the
// stream. For .cu files only.
//   kReal activations are bf16; kAccum and constants are f32; a parameter is bf16 as In(i), and its
//   f32 master copy as Master(i); gradients and moments are f32.
#pragma once

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <memory>

#include "worker/graph/graph.h"
#include "worker/runtime/cuda/cuda_check.h"
#include "worker/runtime/cuda/cuda_context.h"

namespace worker {

using bf16 = __nv_bfloat16;

struct PendingGemms;  // gemm.cu

struct CudaHandles {
  cudaStream_t stream = nullptr, copy_stream = nullptr;
  cublasLtHandle_t lt = nullptr;
  void* cudnn = nullptr;  // cudnnHandle_t
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  std::shared_ptr<PendingGemms> pending_gemms;
};

class CudaProgram;

class CudaExec {
 public:
  CudaExec(CudaContext& context, CudaProgram& program, const Graph& graph, int node_index,
           void* const* base, void* const* master, bool accumulate)
      : context(context),
        stream(context.handles().stream),
        program_(program),
        graph_(graph),
        node_(graph.nodes()[node_index]),
        index_(node_index),
        base_(base),
        master_(master),
        accumulate_(accumulate) {}

  bool HasIn(int i) const { return node_.inputs[i] != kNoTensor; }
  bool HasOut(int i) const { return node_.outputs[i] != kNoTensor; }
  const bf16* In(int i) const { return static_cast<const bf16*>(base_[node_.inputs[i]]); }
  const float* InF32(int i) const { return static_cast<const float*>(base_[node_.inputs[i]]); }
  const int32_t* InInt(int i) const { return static_cast<const int32_t*>(base_[node_.inputs[i]]); }
  const float* Master(int i) const { return static_cast<const float*>(master_[node_.inputs[i]]); }
  bf16* Out(int i) const { return static_cast<bf16*>(base_[node_.outputs[i]]); }
  float* OutF32(int i) const { return static_cast<float*>(base_[node_.outputs[i]]); }
  float* OutMaster(int i) const { return static_cast<float*>(master_[node_.outputs[i]]); }
  const Dims& InDims(int i) const { return graph_.tensor(node_.inputs[i]).dims; }
  const Dims& OutDims(int i) const { return graph_.tensor(node_.outputs[i]).dims; }

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
  // Device copy of a host table that belongs to this node, made in the first run.
  const void* Constant(const void* host, int64_t bytes) const;

  CudaContext& context;
  const cudaStream_t stream;

 private:
  CudaProgram& program_;
  const Graph& graph_;
  const Node& node_;
  const int index_;
  void* const* base_;
  void* const* master_;
  const bool accumulate_;
};

}  // namespace worker
