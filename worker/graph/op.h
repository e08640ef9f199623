// Op: one operation of the graph. An instance holds attributes only (epsilon, scale) and never
// state. Each op knows its shapes, its matrix FLOPs, the nodes of its gradient and how to run on
// each backend.
#pragma once

#include <cstdint>
#include <span>

#include "worker/graph/graph.h"
#include "worker/runtime/cpu/cpu_runtime.h"

namespace worker {

// What a CPU op sees when it runs: typed pointers by input and output position. T is float, or
// double in the checker.
template <typename T>
class CpuExec {
 public:
  CpuExec(CpuRuntime& runtime, const Graph& graph, const Node& node, void* const* base)
      : rt(runtime), graph_(graph), node_(node), base_(base) {}

  bool HasIn(int i) const { return node_.inputs[i] != kNoTensor; }
  bool HasOut(int i) const { return node_.outputs[i] != kNoTensor; }
  const T* In(int i) const { return static_cast<const T*>(base_[node_.inputs[i]]); }
  const int32_t* InInt(int i) const { return static_cast<const int32_t*>(base_[node_.inputs[i]]); }
  T* Out(int i) const { return static_cast<T*>(base_[node_.outputs[i]]); }
  const Dims& InDims(int i) const { return graph_.tensor(node_.inputs[i]).dims; }
  const Dims& OutDims(int i) const { return graph_.tensor(node_.outputs[i]).dims; }
  int64_t InRow(int i) const { return graph_.RowElements(node_.inputs[i]); }
  int64_t OutRow(int i) const { return graph_.RowElements(node_.outputs[i]); }

  CpuRuntime& rt;

 private:
  const Graph& graph_;
  const Node& node_;
  void* const* base_;
};

class CudaExec;  // worker/runtime/cuda/cuda_exec.h

class Op {
 public:
  virtual ~Op() = default;
  virtual const char* Name() const = 0;

  // Appends the nodes that compute the gradients of this node's inputs and writes their ids to
  // grad_in (same order as inputs; kNoTensor where there is none: integers, constants, and
  // parameters, whose gradients are added to Graph::GradOf inside). grad_out[i] is kNoTensor when
  // output i does not influence the loss.
  virtual void Backward(Graph& graph, const Node& node, std::span<const TensorId> grad_out,
                        std::span<TensorId> grad_in) const;

  // An op whose outputs cost less to make again than to keep until the backward pass: appends nodes
  // that make them again, to the last bit, from the node's inputs and kept outputs, and writes the
  // ids of the remade ones to `again` (same order as outputs; kNoTensor: that output is kept).
  // False, and nothing appended, for every other op.
  virtual bool Repeat(Graph& graph, const Node& node, std::span<TensorId> again) const {
    return false;
  }

  // FLOPs of matrix products of this node (a multiply-add counts 2; attention counts the causal
  // half).
  virtual double MatmulFlops(const Graph& graph, const Node& node) const { return 0; }

  virtual void Run(const CpuExec<float>& exec) const = 0;
  virtual void Run(const CpuExec<double>& exec) const = 0;
  // Enqueues on the exec's stream; no host synchronisation, capturable after the first run.
  virtual void RunCuda(const CudaExec& exec) const;
};

// Declares an op's entry points. op_cpu.cc defines RunCpu and instantiates it; op.cu defines
// RunCuda, and no_cuda.cc for programs without the CUDA backend.
#define WORKER_OP_RUN                                                    \
  void RunCuda(const CudaExec& exec) const override;                     \
  void Run(const CpuExec<float>& exec) const override { RunCpu(exec); }  \
  void Run(const CpuExec<double>& exec) const override { RunCpu(exec); } \
  template <typename T>                                                  \
  void RunCpu(const CpuExec<T>& exec) const

}  // namespace worker
